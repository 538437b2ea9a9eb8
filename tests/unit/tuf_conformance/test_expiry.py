# SPDX-License-Identifier: GPL-3.0-or-later
"""Metadata that counts no longer (the suite's test_expiration.py)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from .conftest import School
from .simulator import REST, Repository

FIRST = {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}


def expire(repository: Repository, role: str, days: int) -> None:
    repository.signed(role).expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


def test_an_expired_root_is_followed_and_then_refused(school: School, repository: Repository) -> None:
    """Kept before it is refused: the way to newer roots goes through it (specification, 5.3.10)."""
    assert school.refresh() == ""
    repository.publish("root")
    assert school.refresh() == ""
    expire(repository, "root", -1)
    repository.publish("root", *REST)
    assert school.refresh() == "TRUST_EXPIRED"
    assert school.versions() == {**FIRST, "root": 3}


@pytest.mark.parametrize(
    ("role", "believed"),
    [
        ("timestamp", FIRST),
        ("snapshot", {**FIRST, "timestamp": 2}),
        ("targets", {**FIRST, "timestamp": 2, "snapshot": 2}),
    ],
)
def test_an_expired_role(school: School, repository: Repository, role: str, believed: dict[str, int]) -> None:
    assert school.refresh() == ""
    expire(repository, role, -5)
    repository.publish(*REST[REST.index(role) :])
    assert school.refresh() == "TRUST_EXPIRED"
    assert school.versions() == believed


def test_a_known_root_that_expires(school: School, repository: Repository, days_later: Callable[[int], None]) -> None:
    expire(repository, "root", 7)
    repository.publish("root")
    assert school.refresh() == ""
    days_later(8)
    assert school.refresh() == "TRUST_EXPIRED"
    expire(repository, "root", 21)
    repository.publish("root")
    assert school.refresh() == ""
    assert school.versions() == {**FIRST, "root": 3}


def test_a_known_timestamp_that_expires(
    school: School, repository: Repository, days_later: Callable[[int], None]
) -> None:
    expire(repository, "timestamp", 7)
    repository.publish("timestamp")
    assert school.refresh() == ""
    expire(repository, "timestamp", 21)
    repository.publish(*REST)
    days_later(18)
    assert school.refresh() == ""
    assert school.versions() == {"root": 1, "timestamp": 3, "snapshot": 2, "targets": 2}
