# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions do not go down, except by a change of keys (the suite's test_rollback.py)."""

from __future__ import annotations

import pytest

from .conftest import School
from .simulator import REST, Repository

SECOND = {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}


def test_a_timestamp_of_before(school: School, repository: Repository) -> None:
    repository.publish("timestamp")
    assert school.refresh() == ""
    repository.start_over("timestamp")
    repository.publish("timestamp")
    assert school.refresh() == "TRUST_REFUSED"
    assert school.versions()["timestamp"] == 2
    assert repository.asked[-1] == "metadata/timestamp.json"


@pytest.mark.parametrize("with_hashes", [False, True], ids=["", "with hashes"])
def test_a_snapshot_of_before(school: School, repository: Repository, with_hashes: bool) -> None:
    repository.with_hashes = with_hashes
    repository.publish(*REST)
    assert school.refresh() == ""
    repository.start_over("snapshot")
    repository.publish("snapshot", "timestamp")
    assert school.refresh() == "TRUST_REFUSED"
    assert school.versions() == SECOND
    assert repository.asked[-1] == "metadata/timestamp.json"


@pytest.mark.parametrize("with_hashes", [False, True], ids=["", "with hashes"])
def test_targets_of_before(school: School, repository: Repository, with_hashes: bool) -> None:
    repository.with_hashes = with_hashes
    repository.publish(*REST)
    assert school.refresh() == ""
    repository.start_over("targets")
    repository.publish(*REST)
    assert school.refresh() == "TRUST_REFUSED"
    assert (school.versions()["snapshot"], school.versions()["targets"]) == (2, 2)


def test_a_snapshot_that_names_no_targets_any_more(school: School, repository: Repository) -> None:
    repository.publish(*REST)
    assert school.refresh() == ""
    del repository.signed("snapshot").meta["targets.json"]
    repository.publish("snapshot", "timestamp")
    assert school.refresh() == "TRUST_REFUSED"
    assert school.versions()["snapshot"] == 2


@pytest.mark.parametrize(
    ("role", "rotated", "published"),
    [
        ("timestamp", ("timestamp",), ("root", "timestamp")),
        ("snapshot", ("snapshot", "timestamp"), ("root", "snapshot", "timestamp")),
        ("targets", ("snapshot",), ("root", *REST)),
    ],
)
def test_after_a_thief_of_keys_versions_begin_anew(
    school: School, repository: Repository, role: str, rotated: tuple[str, ...], published: tuple[str, ...]
) -> None:
    """Who has a key can make versions so high that no honest one comes after them; a change of keys mends that."""
    for _ in range(99):
        repository.publish(role)
    repository.publish(*REST[REST.index(role) + 1 :])
    assert school.refresh() == ""
    assert school.versions()[role] == 100
    for one in rotated:
        repository.rotate(one)
    repository.start_over(role)
    repository.publish(*published)
    assert school.refresh() == ""
    assert school.versions()[role] == 1
