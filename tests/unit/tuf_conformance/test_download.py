# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that the signed list names (the suite's test_file_download.py)."""

from __future__ import annotations

import pytest
from tuf.api.metadata import DelegatedRole, Delegations

from .conftest import School
from .simulator import REST, Repository

PATH = "releases/1.0.1.json"


@pytest.mark.parametrize("path", ["release.json", PATH, "a/b/c/release.json"])
def test_a_file(school: School, repository: Repository, path: str) -> None:
    repository.add_target(path, b"what was signed")
    repository.publish(*REST)
    assert school.refresh() == ""
    assert school.downloaded() == set()
    assert school.download(path) == ""
    assert school.downloaded() == {b"what was signed"}


def test_a_file_is_fetched_once(school: School, repository: Repository) -> None:
    repository.add_target(PATH, b"what was signed")
    repository.publish(*REST)
    for _ in range(2):
        assert school.download(PATH) == ""
    assert len([path for path in repository.asked if path.startswith("targets/")]) == 1


def test_a_file_that_was_replaced(school: School, repository: Repository) -> None:
    other = "releases/1.0.2.json"
    repository.add_target(PATH, b"what was signed")
    repository.add_target(other, b"signed as well")
    repository.publish(*REST)
    assert school.download(PATH) == ""
    repository.contents = dict.fromkeys(repository.contents, b"what an attacker wants to have installed")
    assert school.download(PATH) == ""
    assert school.download(other) == "TRUST_REFUSED"
    assert school.downloaded() == {b"what was signed"}


def test_a_file_that_changes_often(school: School, repository: Repository) -> None:
    for number in range(11):
        repository.add_target(PATH, b"version %d" % number)
        repository.add_target(f"releases/1.{number}.0.json", b"number %d" % number)
        repository.publish(*REST)
        if number % 5:
            continue  # the school sees every fifth list only
        assert school.download(PATH, f"releases/1.{number}.0.json") == ""
        expected = {b"version %d" % number, *(b"number %d" % seen for seen in range(0, number + 1, 5))}
        assert school.downloaded() == expected
        repository.contents[PATH] = b"malicious"
        repository.publish(*REST)
        school.download(PATH)  # what the school has already is as good as ever
        assert school.downloaded() == expected


@pytest.mark.parametrize(
    ("hashes", "code"), [(["sha256"], ""), (["sha256", "sha512"], ""), (["sha512"], "TRUST_REFUSED")]
)
def test_hashes_of_a_file(school: School, repository: Repository, hashes: list[str], code: str) -> None:
    """One of them has to be SHA-256: here we are stricter than the suite."""
    repository.add_target(PATH, b"what was signed", *hashes)
    repository.publish(*REST)
    assert school.download(PATH) == code
    assert school.downloaded() == ({b"what was signed"} if not code else set())


def test_a_hash_that_nobody_knows(school: School, repository: Repository) -> None:
    repository.add_target(PATH, b"what was signed")
    hashes = repository.signed("targets").targets[PATH].hashes
    hashes["unknown-hash"] = hashes.pop("sha256")
    repository.publish(*REST)
    assert school.download(PATH) == "TRUST_REFUSED"
    assert school.downloaded() == set()


def test_a_delegation_is_not_followed(school: School, repository: Repository) -> None:
    """Whatever is not in the list that the pinned keys have signed does not exist."""
    targets = repository.signed("targets")
    signer = repository.new_signer()
    targets.delegations = Delegations({}, roles={"helper": DelegatedRole("helper", [], 1, False, ["releases/*"])})
    targets.add_key(signer.public_key, "helper")
    repository.publish(*REST)
    assert school.download(PATH) == "TRUST_REFUSED"
    assert not [path for path in repository.asked if "helper" in path]
