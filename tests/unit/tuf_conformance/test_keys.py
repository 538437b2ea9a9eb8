# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has to sign, and how often (the suite's test_keys.py and test_updater_key_rotations.py)."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
from securesystemslib.formats import encode_canonical

from .conftest import School
from .simulator import REST, Repository


class Signed(NamedTuple):
    """A version of a role: which keys count for it, how many of them have to sign, and which have."""

    keys: list[int]
    threshold: int
    signed_by: list[int]


FIVE, MOVED, OTHERS = [0, 1, 2, 3, 4], [0, 1, 3, 4, 5], [5, 6, 7, 8, 9]

FOLLOWED = {
    "another key": [Signed([1], 1, [1]), Signed([2], 1, [2, 1]), Signed([2], 1, [2])],
    "signatures of strangers beside": [Signed([1], 1, [3, 1, 4]), Signed([2], 1, [3, 2, 1, 4]), Signed([2], 1, [3, 2])],
    "any three of five": [Signed(FIVE, 3, [0, 2, 4]), Signed(FIVE, 3, [0, 4, 1]), Signed(FIVE, 3, [0, 1, 3])],
    "one of five replaced": [Signed(FIVE, 3, [0, 2, 4]), Signed(MOVED, 3, [0, 4, 1])],
    "one of five replaced, in two steps": [
        Signed(FIVE, 3, [0, 2, 4]), Signed(MOVED, 3, [0, 2, 4, 5]), Signed(MOVED, 3, [0, 4, 5]),
    ],
    "all five replaced, in two steps": [
        Signed(FIVE, 3, [0, 2, 4]), Signed(OTHERS, 3, [0, 2, 4, 5, 6, 7]), Signed(OTHERS, 3, [5, 6, 7]),
    ],
    "threshold raised": [Signed([1, 2, 3], 1, [1]), Signed([1, 2, 3], 2, [1, 2])],
    "threshold lowered": [Signed([1, 2, 3], 2, [1, 2]), Signed([1, 2, 3], 1, [1, 2]), Signed([1, 2, 3], 1, [1])],
    "one key and one threshold more": [Signed([1], 1, [1]), Signed([1, 2], 2, [1, 2])],
}  # fmt: skip
REFUSED = {
    "not signed by the old key": [Signed([1], 1, [1]), Signed([2], 1, [2, 3, 4])],
    "not signed by the new key": [Signed([1], 1, [1]), Signed([2], 1, [1, 3, 4])],
    "two of the new keys only": [Signed(FIVE, 3, [0, 2, 4]), Signed(MOVED, 3, [0, 2, 4])],
    "two of the old keys only": [Signed(FIVE, 3, [0, 2, 4]), Signed(MOVED, 3, [0, 4, 5])],
    "new threshold not reached": [Signed([1, 2, 3], 1, [1]), Signed([1, 2, 3], 2, [2])],
    "old threshold not reached": [Signed([1, 2, 3], 2, [1, 2]), Signed([1, 2, 3], 1, [1])],
}


def begin_with(school: School, repository: Repository, versions: list[Signed]) -> None:
    """Publish these roots, and install the school with the first of them."""
    repository.start_over("root")
    for version in versions:
        repository.set_keys("root", *version)
        repository.publish("root")
    school.pin(repository.served["root"][0])


@pytest.mark.parametrize("versions", FOLLOWED.values(), ids=FOLLOWED.keys())
def test_roots_that_are_followed(school: School, repository: Repository, versions: list[Signed]) -> None:
    begin_with(school, repository, versions)
    assert school.refresh() == ""
    assert school.stored("root") == repository.served["root"][-1]


@pytest.mark.parametrize("versions", REFUSED.values(), ids=REFUSED.keys())
def test_roots_that_are_refused(school: School, repository: Repository, versions: list[Signed]) -> None:
    begin_with(school, repository, versions)
    assert school.refresh() == "TRUST_REFUSED"
    assert school.stored("root") == repository.served["root"][-2]


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(
    ("version", "refused"),
    [
        (Signed([2], 1, [2]), False),
        (Signed([1], 1, [3, 1, 4]), False),
        (Signed(FIVE, 3, [0, 2, 4]), False),
        (Signed(FIVE, 3, [0, 4, 1]), False),
        (Signed(FIVE, 3, [1, 2, 3]), False),
        (Signed(FIVE, 3, [2, 3, 4]), False),
        (Signed([2], 1, [1, 3, 4]), True),
        (Signed(MOVED, 3, [0, 2, 4]), True),
        (Signed(MOVED, 3, [0, 4]), True),
    ],
)
def test_keys_of_the_other_roles(
    school: School, repository: Repository, role: str, version: Signed, refused: bool
) -> None:
    repository.set_keys(role, *version)
    repository.publish("root", *REST)
    assert school.refresh() == ("TRUST_REFUSED" if refused else "")
    assert (school.stored(role) == repository.served[role][-1]) is not refused


def test_a_threshold_that_is_not_met_any_more(school: School, repository: Repository) -> None:
    repository.root.roles["snapshot"].threshold = 3
    for _ in range(2):
        repository.add_key("snapshot")
    repository.publish("root", *REST)
    assert school.refresh() == ""
    repository.signers["snapshot"].pop()
    repository.publish(*REST)
    assert school.refresh() == "TRUST_REFUSED"
    assert school.versions()["snapshot"] == 2


def test_a_threshold_that_cannot_be_met(school: School, repository: Repository) -> None:
    for _ in range(4):
        repository.add_key("snapshot")
    repository.root.roles["snapshot"].threshold = 6
    repository.publish("root", *REST)
    assert school.refresh() == "TRUST_REFUSED"
    assert school.versions() == {"root": 2, "timestamp": 2}


def test_a_key_counts_once(school: School, repository: Repository) -> None:
    """The root names it nine times, and the snapshot carries its signature nine times."""
    signer = repository.add_key("snapshot")
    repository.root.roles["snapshot"].threshold = 6
    repository.publish("root", *REST)
    root = json.loads(repository.served["root"].pop())["signed"]
    root["roles"]["snapshot"]["keyids"] += [signer.public_key.keyid] * 8
    signature = repository.signers["root"][0].sign(encode_canonical(root).encode())
    repository.served["root"].append(json.dumps({"signatures": [signature.to_dict()], "signed": root}).encode())
    repeat_signatures(repository, 9)
    assert school.refresh() == "TRUST_REFUSED"
    assert "snapshot" not in school.versions()


def test_a_signature_stands_once(school: School, repository: Repository) -> None:
    """Twice is refused, even where one would have been enough (specification, 4.2.1)."""
    repeat_signatures(repository, 2)
    assert school.refresh() == "TRUST_REFUSED"
    assert "snapshot" not in school.versions()


def repeat_signatures(repository: Repository, times: int) -> None:
    """Serve the snapshot with each of its signatures so many times."""
    snapshot = json.loads(repository.served["snapshot"].pop())
    snapshot["signatures"] *= times
    repository.served["snapshot"].append(json.dumps(snapshot).encode())


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_kinds_of_keys(school: School, repository: Repository, kind: str) -> None:
    signer = repository.add_key("root", repository.new_signer(kind))
    repository.root.roles["root"].threshold = 2
    repository.publish("root")
    assert school.refresh() == ""
    assert school.versions()["root"] == 2
    repository.publish("root")
    root = json.loads(repository.served["root"].pop())
    (signature,) = [one for one in root["signatures"] if one["keyid"] == signer.public_key.keyid]
    signature["sig"] = signature["sig"][:-1] + ("0" if signature["sig"][-1] != "0" else "1")
    repository.served["root"].append(json.dumps(root).encode())
    assert school.refresh() == "TRUST_REFUSED"
    assert school.versions()["root"] == 2


@pytest.mark.parametrize("text", ["30" * 64, ""], ids=["of other bytes", "empty"])
def test_one_good_signature_is_enough(school: School, repository: Repository, text: str) -> None:
    """A broken one beside it changes nothing."""
    broken = repository.signers["timestamp"][0].public_key.keyid
    repository.add_key("timestamp")
    repository.publish("root", "timestamp")
    timestamp = json.loads(repository.served["timestamp"].pop())
    (signature,) = [one for one in timestamp["signatures"] if one["keyid"] == broken]
    signature["sig"] = text
    repository.served["timestamp"].append(json.dumps(timestamp).encode())
    assert school.refresh() == ""
    assert school.versions()["timestamp"] == 2
