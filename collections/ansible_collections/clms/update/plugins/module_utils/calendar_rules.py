# SPDX-License-Identifier: GPL-3.0-or-later
"""When a school may be updated: its hours, its quiet days, and what "tonight" and a missed time mean for it.

Nothing here looks at a clock: ``now`` comes from the caller, with a time zone. Local times are reckoned in the school's
zone with its changes between summer and winter time: one that does not exist is refused where a person gave it and
moved forward where a rule did; of one that comes twice the first is meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from .errors import ClmsError
from .fields import FieldError, Fields

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MISSED = ("run", "tonight", "skip")
GRACE = timedelta(minutes=15)
"""An update that is late by no more than this is simply begun."""
AHEAD = timedelta(days=366)
"""How far ahead an update may be scheduled."""
DEFAULTS: dict[str, Any] = {
    "time_zone": "UTC",
    "school_hours": ["mon-fri 07:30-17:00"],
    "quiet_days": [],
    "tonight": "22:00",
    "weekend": "sat 10:00",
    "missed": "tonight",
    "check_interval_days": 7,
    "check_on_startup": False,
}
"""What holds of the variable ``clms_schedule`` where a school says nothing."""

_CLOCK = r"([01]\d|2[0-3]):([0-5]\d)"
_DAY = "|".join(DAYS)
_HOURS = re.compile(rf"({_DAY})(?:-({_DAY}))? +{_CLOCK}-{_CLOCK}", re.ASCII)
_WEEKLY = re.compile(rf"({_DAY}) +{_CLOCK}", re.ASCII)
_DATES = re.compile(r"(2\d{3}-\d\d-\d\d)(?:\.\.(2\d{3}-\d\d-\d\d))?", re.ASCII)
_ZONE = r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,3}"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?", re.ASCII)


@dataclass(frozen=True)
class Hours:
    """Hours of school: the same on some days of the week."""

    days: frozenset[int]
    """0 is Monday"""
    start: time
    end: time
    """the first minute that is none of them"""


@dataclass(frozen=True)
class Schedule:
    """What a school wants of updates that begin by themselves."""

    time_zone: str
    """its name in the IANA database"""
    school_hours: tuple[Hours, ...]
    quiet_days: tuple[tuple[date, date], ...]
    """first and last day; on them nothing begins that no person has put there"""
    tonight: time
    weekend: tuple[int, time]
    """day of the week (0 is Monday) and time"""
    missed: str
    """what becomes of an update whose time passed while the server was off: one of :data:`MISSED`"""
    check_interval_days: int
    """0 is never"""
    check_on_startup: bool

    @property
    def zone(self) -> tzinfo:
        """The school's zone; UTC needs no database of zones."""
        return UTC if self.time_zone == "UTC" else ZoneInfo(self.time_zone)


@dataclass(frozen=True)
class Caution:
    """Something that a person should know of a time that is allowed all the same."""

    code: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """As answers carry it: ``code`` and ``message``."""
        return {"code": self.code, "message": self.message}


# the description of the school


def parse_schedule(fields: Fields) -> Schedule:
    """Read the variable ``clms_schedule``; everything in it may be left out.

    :raises FieldError: with the field that is wrong
    """
    schedule = Schedule(
        time_zone=_zone(fields),
        school_hours=tuple(
            _hours(fields, text) for text in fields.texts("school_hours", default=DEFAULTS["school_hours"])
        ),
        quiet_days=tuple(_dates(fields, item) for item in fields.get("quiet_days", list, DEFAULTS["quiet_days"])),
        tonight=_tonight(fields),
        weekend=_weekend(fields),
        missed=fields.text("missed", pattern="|".join(MISSED), default=DEFAULTS["missed"]),
        check_interval_days=fields.number("check_interval_days", high=366, default=DEFAULTS["check_interval_days"]),
        check_on_startup=fields.get("check_on_startup", bool, DEFAULTS["check_on_startup"]),
    )
    fields.done()
    return schedule


def _zone(fields: Fields) -> str:
    name: str = fields.text("time_zone", pattern=_ZONE, limit=64, default=DEFAULTS["time_zone"])
    try:
        if name != "UTC":
            ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise FieldError(f"{fields.where('time_zone')} names no time zone that this server knows") from None
    return name


def _hours(fields: Fields, text: str) -> Hours:
    found = _HOURS.fullmatch(text)
    if not found:
        raise FieldError(f"{fields.where('school_hours')} must be written as 'mon-fri 07:30-17:00'")
    first = DAYS.index(found[1])
    last = DAYS.index(found[2] or found[1])
    hours = Hours(
        days=frozenset((first + i) % 7 for i in range((last - first) % 7 + 1)),
        start=time(int(found[3]), int(found[4])),
        end=time(int(found[5]), int(found[6])),
    )
    if hours.start >= hours.end:
        raise FieldError(f"{fields.where('school_hours')} has hours that end before they begin")
    return hours


def _dates(fields: Fields, item: object) -> tuple[date, date]:
    # YAML reads a day that stands without quotation marks as a date
    found = _DATES.fullmatch(item.isoformat() if isinstance(item, date) else item if isinstance(item, str) else "")
    wrong = f"{fields.where('quiet_days')} must be written as '2026-12-21' or '2026-12-21..2027-01-06'"
    if not found:
        raise FieldError(wrong)
    try:
        first, last = date.fromisoformat(found[1]), date.fromisoformat(found[2] or found[1])
    except ValueError:
        raise FieldError(wrong) from None
    if last < first:
        raise FieldError(f"{fields.where('quiet_days')} has days that end before they begin")
    return first, last


def _tonight(fields: Fields) -> time:
    value = fields.any("tonight")
    if type(value) is int and 0 <= value < 24 * 60:  # YAML reads 22:00 without quotation marks as a number of minutes
        return time(*divmod(value, 60))
    found = re.fullmatch(_CLOCK, fields.text("tonight", default=DEFAULTS["tonight"]), re.ASCII)
    if not found:
        raise FieldError(f"{fields.where('tonight')} must be written as '22:00'")
    return time(int(found[1]), int(found[2]))


def _weekend(fields: Fields) -> tuple[int, time]:
    found = _WEEKLY.fullmatch(fields.text("weekend", default=DEFAULTS["weekend"]))
    if not found:
        raise FieldError(f"{fields.where('weekend')} must be written as 'sat 10:00'")
    return DAYS.index(found[1]), time(int(found[2]), int(found[3]))


# times


def _on(schedule: Schedule, day: date, clock: time) -> datetime:
    """A local time as a moment; one that the clocks leave out is as much later as they are put forward."""
    return datetime.combine(day, clock, schedule.zone).astimezone(UTC)


def local(schedule: Schedule, at: datetime) -> datetime:
    """A moment as the school's clocks show it."""
    return at.astimezone(schedule.zone)


def local_text(schedule: Schedule, at: datetime) -> str:
    """A moment for people: ``Tuesday, 24 November 2026, 22:00 (Europe/Berlin)``."""
    there = local(schedule, at)
    return f"{there:%A}, {there.day} {there:%B %Y, %H:%M} ({schedule.time_zone})"


def next_tonight(schedule: Schedule, now: datetime) -> datetime:
    """The next time that the clocks show the hour for updates at night; later than ``now``, in UTC."""
    day = local(schedule, now).date()
    return next(at for i in range(3) if (at := _on(schedule, day + timedelta(i), schedule.tonight)) > now)


def next_weekend(schedule: Schedule, now: datetime) -> datetime:
    """The next time for updates at the weekend; later than ``now``, in UTC."""
    weekday, clock = schedule.weekend
    day = local(schedule, now).date()
    day += timedelta((weekday - day.weekday()) % 7)
    return next(at for i in range(3) if (at := _on(schedule, day + timedelta(7 * i), clock)) > now)


def next_quiet_time(schedule: Schedule, now: datetime) -> datetime:
    """The next night at which an update may begin by itself; later than ``now``, in UTC."""
    at = next_tonight(schedule, now)
    while (quiet := _quiet(schedule, at)) is not None:
        at = _on(schedule, quiet[1] + timedelta(1), schedule.tonight)
    return at


def _quiet(schedule: Schedule, at: datetime) -> tuple[date, date] | None:
    """The quiet days in which a moment lies."""
    day = local(schedule, at).date()
    return next((days for days in schedule.quiet_days if days[0] <= day <= days[1]), None)


def is_quiet_day(schedule: Schedule, at: datetime) -> bool:
    """Whether nothing begins by itself on that day."""
    return _quiet(schedule, at) is not None


def in_school_hours(schedule: Schedule, at: datetime) -> bool:
    """Whether people are at work at that moment."""
    there = local(schedule, at)
    return any(
        there.weekday() in hours.days and hours.start <= there.time().replace(tzinfo=None) < hours.end
        for hours in schedule.school_hours
    )


def chosen_time(schedule: Schedule, text: str, now: datetime) -> tuple[datetime, list[Caution]]:
    """The moment that a person means, in UTC, and what that person should know of it.

    :param text: ``tonight``, ``weekend``, or ISO 8601 with or without an offset; without one in the school's zone
    :raises ClmsError: SCHEDULE_TIME, SCHEDULE_PAST
    """
    warnings: list[Caution] = []
    if text == "tonight":
        at = next_tonight(schedule, now)
    elif text == "weekend":
        at = next_weekend(schedule, now)
    else:
        at = _given(schedule, text, warnings)
    if at < now:
        raise ClmsError("SCHEDULE_PAST", at=text[:64])
    if at - now > AHEAD:
        raise ClmsError("SCHEDULE_TIME", at=text[:64], detail=f"it is more than {AHEAD.days} days ahead")
    if in_school_hours(schedule, at):
        message = f"{local_text(schedule, at)} is during school hours: users will see a page that says CLMS is closed."
        warnings.append(Caution("SCHOOL_HOURS", message))
    if is_quiet_day(schedule, at):
        message = f"{local_text(schedule, at)} is one of the school's quiet days; the update begins all the same."
        warnings.append(Caution("QUIET_DAY", message))
    return at, warnings


def _given(schedule: Schedule, text: str, warnings: list[Caution]) -> datetime:
    """:raises ClmsError: SCHEDULE_TIME"""
    short = text[:64]
    try:
        given = datetime.fromisoformat(text) if _MOMENT.fullmatch(text) else None
        if given is None:
            raise ClmsError("SCHEDULE_TIME", at=short, detail="it is not written as 2026-11-24T22:00")
        if given.tzinfo is not None:
            return given.astimezone(UTC)
        at = given.replace(tzinfo=schedule.zone).astimezone(UTC)
        if local(schedule, at).replace(tzinfo=None) != given:
            detail = "the clocks are put forward then, and leave this time out"
            raise ClmsError("SCHEDULE_TIME", at=short, detail=detail)
        if given.replace(tzinfo=schedule.zone, fold=1).astimezone(UTC) != at:
            message = f"The clocks are put back then, and {given:%H:%M} comes twice: the first one is meant."
            warnings.append(Caution("TIME_TWICE", message))
        return at
    except (ValueError, OverflowError):  # there is no 31 February, and nothing before the year 1
        raise ClmsError("SCHEDULE_TIME", at=short, detail="there is no such time") from None


# what is late, and what is due


def late_by(schedule: Schedule, missed: str, since: datetime, now: datetime) -> datetime | None:
    """When to begin an update that was due at ``since``: ``now`` or a later night; None is never.

    :param missed: one of :data:`MISSED`
    """
    if now - since <= GRACE:
        return now
    if missed == "skip":
        return None
    # nobody has chosen this day, so a quiet one is left alone
    return now if missed == "run" and not is_quiet_day(schedule, now) else next_quiet_time(schedule, now)


def check_due(schedule: Schedule, checked: datetime | None, now: datetime) -> datetime | None:
    """When to ask the vendor for news by itself: at once (``now``) or later; None is never.

    :param checked: when it was asked last, if ever; a time to come (the clock was wrong) counts as never
    """
    if not schedule.check_interval_days:
        return None
    if checked is None or checked > now:
        return now
    return max(now, checked + timedelta(schedule.check_interval_days))
