# SPDX-License-Identifier: GPL-3.0-or-later
"""Forced updates (original design, section 4.2): how long a critical release may wait, and what follows then.

The date comes from signed metadata alone, and only news that still count are believed: a school that is offline, or
whose clock is wrong by more than they count, is warned and never locked out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from .calendar_rules import Schedule, in_school_hours, is_quiet_day, next_quiet_time
from .errors import ClmsError
from .release import Release

POSTPONEMENTS = 3
"""How often a forced update can be put off."""
POSTPONED = timedelta(days=1)
"""By how much each time, and for how long CLMS is used again after a forced update that failed."""


@dataclass(frozen=True)
class Kept:
    """What a school remembers of a release that is forced; times are seconds since 1970."""

    version: str
    seen_at: float
    """when the release was first seen here"""
    postponed: int = 0
    until: float = 0.0
    """a person has put it off until then"""

    def as_dict(self) -> dict[str, Any]:
        """For :meth:`from_dict`."""
        return vars(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Kept:
        """:raises TypeError: when it is no such thing"""
        return cls(**data)


@dataclass(frozen=True)
class Forced:
    """A release that is forced, as things are at one moment."""

    release: Release
    deadline: datetime
    """from then on CLMS is blocked until it is updated"""
    postponements_left: int
    lifted_until: datetime | None
    """an update to it has failed, so that people can work until then"""
    overdue: bool
    """whether CLMS is to be blocked now"""
    install: Release
    """the release that can be installed right now: this one, a newer one, or a step on the way to it"""

    def as_dict(self) -> dict[str, Any]:
        """As answers carry it; times as ISO 8601, UTC."""
        lifted = self.lifted_until
        return {
            "version": self.release.version.text,
            "install": self.install.version.text,
            "deadline": f"{self.deadline:%Y-%m-%dT%H:%M:%SZ}",
            "overdue": self.overdue,
            "postponements_left": self.postponements_left,
            "lifted_until": f"{lifted:%Y-%m-%dT%H:%M:%SZ}" if lifted else None,
        }


def most_urgent(releases: Iterable[Release]) -> Release | None:
    """The release that is forced first, of those that are newer than what runs."""
    forced = [release for release in releases if release.critical and release.force_after is not None]
    return min(forced, key=lambda release: release.force_after or datetime.max.replace(tzinfo=UTC), default=None)


def judge(
    release: Release,
    kept: Kept,
    now: datetime,
    failed_at: datetime | None,
    *,
    install: Release | None = None,
    quiet: bool = False,
) -> Forced:
    """How a forced release stands.

    :param failed_at: when an update has failed last, since the deadline or before it
    :param install: what can be installed right now, where that is another release
    :param quiet: whether this is a day on which nothing begins by itself: then nothing is blocked either
    """
    seen = datetime.fromtimestamp(kept.seen_at, UTC)
    force_after = release.force_after or datetime.max.replace(tzinfo=UTC)
    # whoever hears of it late has the days of grace all the same
    deadline = max(force_after, seen + timedelta(days=release.grace_days), datetime.fromtimestamp(kept.until, UTC))
    lifted = failed_at + POSTPONED if failed_at is not None and failed_at + POSTPONED > now >= deadline else None
    return Forced(
        release=release,
        deadline=deadline,
        postponements_left=max(0, POSTPONEMENTS - kept.postponed),
        lifted_until=lifted,
        overdue=now >= deadline and lifted is None and not quiet,
        install=install or release,
    )


def postponed(forced: Forced, kept: Kept, now: datetime) -> Kept:
    """The same, put off once more.

    :raises ClmsError: FORCED_LAST
    """
    if not forced.postponements_left:
        raise ClmsError("FORCED_LAST", version=forced.release.version, count=POSTPONEMENTS)
    until = max(forced.deadline, now) + POSTPONED
    return replace(kept, postponed=kept.postponed + 1, until=until.timestamp())


def begin_at(schedule: Schedule, now: datetime) -> datetime:
    """When an update begins by itself that is overdue: at once, or at the next quiet time while school is on."""
    busy = in_school_hours(schedule, now) or is_quiet_day(schedule, now)
    return next_quiet_time(schedule, now) if busy else now
