# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked for, what is believed, and what is refused in a refresh (the suite's test_basic.py)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tuf.api.metadata import MetaFile

from .conftest import School
from .simulator import REST, ROLES, Repository

FIRST = {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}
REQUESTS = [f"metadata/{name}.json" for name in ("2.root", "timestamp", "1.snapshot", "1.targets")]


def test_the_requests_of_a_refresh(school: School, repository: Repository) -> None:
    assert school.refresh() == ""
    assert repository.asked == REQUESTS


def test_everything_is_stored_as_it_came(school: School, repository: Repository) -> None:
    repository.served["timestamp"][-1] += b" "
    assert school.refresh() == ""
    assert {role: school.stored(role) for role in ROLES} == {role: repository.served[role][-1] for role in ROLES}


def test_a_download_begins_with_a_refresh(school: School, repository: Repository) -> None:
    assert school.download("releases/none.json") == "TRUST_REFUSED"
    assert repository.asked == REQUESTS
    assert school.versions() == FIRST


def without_version(root: dict[str, Any]) -> None:
    del root["signed"]["version"]


def signed_by_nobody(root: dict[str, Any]) -> None:
    root["signatures"][0]["sig"] = "30" * 64


@pytest.mark.parametrize("spoil", [without_version, signed_by_nobody])
def test_a_pinned_root_that_is_none(school: School, repository: Repository, spoil: Any) -> None:
    root = json.loads(repository.served["root"][0])
    spoil(root)
    school.pin(json.dumps(root).encode())
    assert school.refresh() == "TRUST_MISSING"
    assert repository.asked == []


BEFORE = {
    "root": {"root": 1},
    "timestamp": {"root": 2},
    "snapshot": {"root": 2, "timestamp": 2},
    "targets": {"root": 2, "timestamp": 2, "snapshot": 2},
}
"""What is believed of a second version when one role of it is refused."""


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_nobody_signed(school: School, repository: Repository, role: str) -> None:
    repository.signers[role].clear()
    repository.publish("root", *REST)
    assert school.refresh() == "TRUST_REFUSED"
    assert school.versions() == BEFORE[role]


@pytest.mark.parametrize("role", ["root", "snapshot", "targets"])
def test_another_version_than_the_address_says(school: School, repository: Repository, role: str) -> None:
    repository.publish("root", *REST)
    repository.publish(role)
    repository.served[role][1] = repository.served[role].pop()
    assert school.refresh() == "TRUST_REFUSED"
    assert school.versions() == BEFORE[role]


def test_a_timestamp_that_changes_under_its_version(school: School, repository: Repository) -> None:
    assert school.refresh() == ""
    known = school.stored("timestamp")
    repository.signed("timestamp").snapshot_meta.version = 100
    repository.publish("timestamp", again=True)
    assert school.refresh() == ""
    assert repository.asked[-1] == "metadata/timestamp.json"
    assert school.stored("timestamp") == known


def test_hashes_of_metadata(school: School, repository: Repository) -> None:
    repository.with_hashes = True
    repository.publish(*REST)
    assert school.refresh() == ""
    assert school.versions() == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_metadata_of_another_hash(school: School, repository: Repository, role: str) -> None:
    repository.with_hashes = True
    repository.publish(*REST)
    assert school.refresh() == ""
    repository.publish("targets", "snapshot")
    if role == "targets":
        repository.signed("snapshot").meta["targets.json"].hashes["sha256"] = "0" * 64
        repository.publish("snapshot", again=True)
    else:
        repository.signed("timestamp").snapshot_meta.hashes["sha256"] = "0" * 64
    repository.publish("timestamp")
    assert school.refresh() == "TRUST_REFUSED"
    assert school.versions() == {"root": 1, "timestamp": 3, "snapshot": 3 if role == "targets" else 2, "targets": 2}


def test_fields_that_nobody_knows_are_signed_too(school: School, repository: Repository) -> None:
    signer = repository.new_signer()
    signer.public_key.unrecognized_fields["extra-field"] = {"a": 1, "b": 2}
    repository.root.unrecognized_fields["custom-field"] = "value"
    repository.add_key("root", signer)
    repository.root.roles["root"].unrecognized_fields["another-field"] = "value"
    repository.publish("root")
    assert school.refresh() == ""
    assert school.versions()["root"] == 2
    del signer.public_key.unrecognized_fields["extra-field"]  # the next test takes the same key


def test_keyid_hash_algorithms_mean_nothing(school: School, repository: Repository) -> None:
    signer = repository.new_signer()
    signer.public_key.unrecognized_fields["keyid_hash_algorithms"] = "md5"
    repository.root.roles["snapshot"].keyids.clear()
    repository.signers["snapshot"].clear()
    repository.add_key("snapshot", signer)
    repository.publish("root", "snapshot", "timestamp")
    assert school.refresh() == ""
    assert school.versions() == {"root": 2, "timestamp": 2, "snapshot": 2, "targets": 1}
    del signer.public_key.unrecognized_fields["keyid_hash_algorithms"]


def test_no_timestamp(school: School, repository: Repository) -> None:
    assert school.refresh() == ""
    repository.served["timestamp"].clear()
    assert school.refresh() == "SERVER_UNREACHABLE"
    assert school.versions() == FIRST


def test_no_snapshot(school: School, repository: Repository) -> None:
    assert school.refresh() == ""
    repository.signed("timestamp").snapshot_meta.version = 2
    repository.publish("timestamp")
    assert school.refresh() == "SERVER_UNREACHABLE"
    assert repository.asked[-1] == "metadata/2.snapshot.json"
    assert school.versions() == {**FIRST, "timestamp": 2}


def test_no_targets(school: School, repository: Repository) -> None:
    assert school.refresh() == ""
    repository.signed("snapshot").meta["targets.json"].version = 2
    repository.publish("snapshot", "timestamp")
    assert school.refresh() == "SERVER_UNREACHABLE"
    assert repository.asked[-1] == "metadata/2.targets.json"
    assert school.versions() == {**FIRST, "timestamp": 2, "snapshot": 2}


def test_a_snapshot_in_the_place_of_a_timestamp(school: School, repository: Repository) -> None:
    """It is signed by the timestamp's key too, and says all that a timestamp says."""
    repository.add_key("snapshot", repository.signers["timestamp"][0])
    repository.signed("snapshot").meta = {"snapshot.json": MetaFile(1)}
    repository.publish("root", "snapshot")
    repository.served["timestamp"].append(repository.served["snapshot"].pop())
    assert school.refresh() == "TRUST_REFUSED"
    assert school.versions() == {"root": 2}
