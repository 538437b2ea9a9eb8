# SPDX-License-Identifier: GPL-3.0-or-later
"""When a school may be updated. Times are written as the school's clocks show them, in Berlin unless said otherwise.

In 2026 the clocks there go forward on 29 March (02:00 is 03:00) and back on 25 October (03:00 is 02:00).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.clms.update.plugins.module_utils.calendar_rules import (
    Schedule,
    check_due,
    chosen_time,
    in_school_hours,
    late_by,
    local,
    local_text,
    next_quiet_time,
    next_tonight,
    next_weekend,
    parse_schedule,
)
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fields import FieldError, Fields
from ansible_collections.clms.update.plugins.module_utils.school import parse_school

BERLIN = ZoneInfo("Europe/Berlin")


def rules(**changes: Any) -> Schedule:
    return parse_schedule(Fields({"time_zone": "Europe/Berlin", **changes}, "schedule"))


def berlin(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).astimezone(UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown(schedule: Schedule, at: datetime) -> str:
    return local(schedule, at).strftime("%a %Y-%m-%d %H:%M")


# the description


def test_what_may_be_left_out() -> None:
    schedule = parse_schedule(Fields({}))
    assert (schedule.time_zone, schedule.zone, schedule.missed) == ("UTC", UTC, "tonight")
    assert (schedule.check_interval_days, schedule.check_on_startup, schedule.quiet_days) == (7, False, ())
    assert (schedule.tonight, schedule.weekend) == (time(22), (5, time(10)))
    assert [(hours.days, hours.start, hours.end) for hours in schedule.school_hours] == [
        (frozenset(range(5)), time(7, 30), time(17))
    ]


@pytest.mark.parametrize(
    ("field", "value", "read"),
    [
        pytest.param("tonight", "00:00", time(0), id="midnight"),
        pytest.param("tonight", 22 * 60 + 5, time(22, 5), id="a time as YAML reads it without quotation marks"),
        pytest.param("weekend", "sun 08:15", (6, time(8, 15)), id="Sunday"),
        pytest.param("quiet_days", ["2026-12-21"], ((date(2026, 12, 21), date(2026, 12, 21)),), id="one day"),
        pytest.param(
            "quiet_days", ["2026-12-21..2027-01-06"], ((date(2026, 12, 21), date(2027, 1, 6)),), id="over new year"
        ),
        pytest.param(
            "quiet_days", [date(2026, 12, 21)], ((date(2026, 12, 21), date(2026, 12, 21)),), id="a day as YAML reads it"
        ),
        pytest.param("school_hours", [], (), id="no school hours"),
        pytest.param("missed", "skip", "skip", id="skip"),
        pytest.param("check_interval_days", 0, 0, id="never check"),
    ],
)
def test_what_is_understood(field: str, value: Any, read: Any) -> None:
    assert getattr(rules(**{field: value}), field) == read


@pytest.mark.parametrize(
    ("text", "days"), [("mon-fri", {0, 1, 2, 3, 4}), ("sat", {5}), ("sun-mon", {6, 0}), ("wed-wed", {2})]
)
def test_days_of_the_week(text: str, days: set[int]) -> None:
    assert rules(school_hours=[f"{text} 08:00-12:00"]).school_hours[0].days == days


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "Europe"),
        ("time_zone", "../../etc/passwd"),
        ("time_zone", "/etc/localtime"),
        ("time_zone", ""),
        ("time_zone", 1),
        ("school_hours", ["07:30-17:00"]),
        ("school_hours", ["mon-fri 17:00-07:30"]),
        ("school_hours", ["mon-fri 08:00-08:00"]),
        ("school_hours", ["mon-fri 7:30-17:00"]),
        ("school_hours", ["mon-fri 08:00-24:00"]),
        ("school_hours", ["mo-fr 08:00-12:00"]),
        ("school_hours", "mon-fri 07:30-17:00"),
        ("school_hours", [8]),
        ("quiet_days", ["2026-02-30"]),
        ("quiet_days", ["2026-12-21.."]),
        ("quiet_days", ["2027-01-06..2026-12-21"]),
        ("quiet_days", ["1926-12-21"]),
        ("quiet_days", ["21.12.2026"]),
        ("quiet_days", [7]),
        ("quiet_days", "2026-12-21"),
        ("tonight", "22"),
        ("tonight", "24:00"),
        ("tonight", 1440),
        ("tonight", -1),
        ("tonight", True),
        ("tonight", "\u0662\u0662:\u0660\u0660"),
        ("weekend", "10:00"),
        ("weekend", "saturday 10:00"),
        ("missed", "later"),
        ("check_interval_days", -1),
        ("check_interval_days", 367),
        ("check_interval_days", "7"),
        ("check_on_startup", "no"),
        ("colour", "red"),
    ],
    ids=str,
)
def test_refused_by_name(field: str, value: Any, describe: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(FieldError, match=re.escape(f"schedule.{field}")):
        rules(**{field: value})
    with pytest.raises(ClmsError, match=re.escape(f"clms_schedule.{field}")) as caught:
        parse_school(describe(schedule={field: value}))
    assert caught.value.code == "SCHOOL_INCOMPLETE"


def test_a_school_without_a_schedule_has_the_usual_one(describe: Callable[..., dict[str, Any]]) -> None:
    assert parse_school(describe()).schedule == parse_school(describe(schedule=None)).schedule == rules(time_zone="UTC")


# tonight, at the weekend, on a quiet night


@pytest.mark.parametrize(
    ("now", "clock", "expected"),
    [
        pytest.param("2026-11-24T09:00", "22:00", "Tue 2026-11-24 22:00", id="in the morning"),
        pytest.param("2026-11-24T21:59", "22:00", "Tue 2026-11-24 22:00", id="a minute before"),
        pytest.param("2026-11-24T22:00", "22:00", "Wed 2026-11-25 22:00", id="at that very time"),
        pytest.param("2026-11-24T23:59", "22:00", "Wed 2026-11-25 22:00", id="after it"),
        pytest.param("2026-11-24T00:10", "22:00", "Tue 2026-11-24 22:00", id="after midnight"),
        pytest.param("2026-11-24T20:00", "00:00", "Wed 2026-11-25 00:00", id="midnight"),
        pytest.param("2026-11-24T20:00", "02:00", "Wed 2026-11-25 02:00", id="an hour after midnight"),
        pytest.param("2026-12-31T23:00", "22:00", "Fri 2027-01-01 22:00", id="over new year"),
        pytest.param("2026-03-28T23:00", "02:30", "Sun 2026-03-29 03:30", id="a time that the clocks leave out"),
        pytest.param("2026-03-28T23:00", "22:00", "Sun 2026-03-29 22:00", id="a night with 23 hours"),
        pytest.param("2026-10-24T23:00", "22:00", "Sun 2026-10-25 22:00", id="a night with 25 hours"),
    ],
)
def test_tonight(now: str, clock: str, expected: str) -> None:
    schedule = rules(tonight=clock)
    assert shown(schedule, next_tonight(schedule, berlin(now))) == expected


def test_of_a_time_that_comes_twice_tonight_is_the_first() -> None:
    schedule = rules(tonight="02:30")
    first = next_tonight(schedule, berlin("2026-10-24T23:00"))
    assert first == utc("2026-10-25T00:30")
    assert next_tonight(schedule, first) == berlin("2026-10-26T02:30")  # and not an hour later again


def test_tonight_is_the_schools_night_wherever_the_server_stands() -> None:
    schedule = rules(time_zone="Pacific/Auckland")
    assert shown(schedule, next_tonight(schedule, utc("2026-11-24T10:00"))) == "Wed 2026-11-25 22:00"


@pytest.mark.parametrize(
    ("now", "rule", "expected"),
    [
        pytest.param("2026-11-24T09:00", "sat 10:00", "Sat 2026-11-28 10:00", id="Tuesday"),
        pytest.param("2026-11-28T09:59", "sat 10:00", "Sat 2026-11-28 10:00", id="Saturday before the hour"),
        pytest.param("2026-11-28T10:00", "sat 10:00", "Sat 2026-12-05 10:00", id="Saturday at the hour"),
        pytest.param("2026-11-28T10:01", "sat 10:00", "Sat 2026-12-05 10:00", id="Saturday after the hour"),
        pytest.param("2026-11-29T10:00", "sat 10:00", "Sat 2026-12-05 10:00", id="Sunday"),
        pytest.param("2026-11-28T10:00", "sun 00:00", "Sun 2026-11-29 00:00", id="midnight to Sunday"),
        pytest.param("2026-03-27T10:00", "sun 02:30", "Sun 2026-03-29 03:30", id="a time that the clocks leave out"),
    ],
)
def test_weekend(now: str, rule: str, expected: str) -> None:
    schedule = rules(weekend=rule)
    assert shown(schedule, next_weekend(schedule, berlin(now))) == expected


@pytest.mark.parametrize(
    ("quiet", "expected"),
    [
        pytest.param([], "Tue 2026-11-24 22:00", id="none"),
        pytest.param(["2026-11-24"], "Wed 2026-11-25 22:00", id="today"),
        pytest.param(["2026-11-24..2026-11-30"], "Tue 2026-12-01 22:00", id="a week"),
        pytest.param(["2026-11-25", "2026-11-24", "2026-11-26"], "Fri 2026-11-27 22:00", id="one after the other"),
        pytest.param(["2026-11-20..2026-11-26", "2026-11-22..2026-11-29"], "Mon 2026-11-30 22:00", id="overlapping"),
        pytest.param(["2026-11-25"], "Tue 2026-11-24 22:00", id="tomorrow"),
        pytest.param(["2026-01-01..2999-12-31"], "Wed 3000-01-01 22:00", id="for ever"),
    ],
)
def test_a_quiet_night(quiet: list[str], expected: str) -> None:
    schedule = rules(quiet_days=quiet)
    assert shown(schedule, next_quiet_time(schedule, berlin("2026-11-24T09:00"))) == expected


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        pytest.param("2026-11-24T07:29", False, id="a minute before"),
        pytest.param("2026-11-24T07:30", True, id="it begins"),
        pytest.param("2026-11-24T16:59", True, id="its last minute"),
        pytest.param("2026-11-24T17:00", False, id="it has ended"),
        pytest.param("2026-11-28T10:00", True, id="Saturday has its own hours"),
        pytest.param("2026-11-29T10:00", False, id="Sunday"),
        pytest.param("2026-07-01T07:30", True, id="summer time"),
    ],
)
def test_school_hours(at: str, expected: bool) -> None:
    schedule = rules(school_hours=["mon-fri 07:30-17:00", "sat 09:00-12:00"])
    assert in_school_hours(schedule, berlin(at)) is expected


# a time that a person gives

NOW = "2026-11-24T09:00"


@pytest.mark.parametrize(
    ("now", "text", "expected", "codes"),
    [
        pytest.param(NOW, "2026-11-24T22:00", "2026-11-24T21:00", [], id="the school's own time"),
        pytest.param(NOW, "2026-11-24 22:00:30", "2026-11-24T21:00:30", [], id="a blank and seconds"),
        pytest.param(NOW, "2026-11-24T22:00Z", "2026-11-24T22:00", [], id="UTC"),
        pytest.param(NOW, "2026-11-24T22:00+05:30", "2026-11-24T16:30", [], id="an offset"),
        pytest.param(NOW, "2026-11-24T22:00-0500", "2026-11-25T03:00", [], id="an offset without a colon"),
        pytest.param(NOW, "2026-11-25T10:00", "2026-11-25T09:00", ["SCHOOL_HOURS"], id="in school hours"),
        pytest.param(NOW, "2026-12-24T22:00", "2026-12-24T21:00", ["QUIET_DAY"], id="on a quiet day"),
        pytest.param(NOW, "2026-12-24T10:00", "2026-12-24T09:00", ["SCHOOL_HOURS", "QUIET_DAY"], id="on both"),
        pytest.param(NOW, "tonight", "2026-11-24T21:00", [], id="tonight"),
        pytest.param("2026-12-24T09:00", "tonight", "2026-12-24T21:00", ["QUIET_DAY"], id="tonight is a quiet day"),
        pytest.param(NOW, "weekend", "2026-11-28T09:00", [], id="at the weekend"),
        pytest.param("2026-10-01T09:00", "2026-10-25T02:30", "2026-10-25T00:30", ["TIME_TWICE"], id="it comes twice"),
        pytest.param("2026-10-01T09:00", "2026-10-25T02:30+01:00", "2026-10-25T01:30", [], id="the second one"),
        pytest.param("2026-10-01T09:00", "2026-10-25T03:00", "2026-10-25T02:00", [], id="after it came twice"),
        pytest.param("2026-03-01T09:00", "2026-03-29T03:00", "2026-03-29T01:00", [], id="just after the gap"),
        pytest.param(NOW, "2027-11-25T09:00", "2027-11-25T08:00", ["SCHOOL_HOURS"], id="366 days ahead"),
        pytest.param(NOW, NOW, "2026-11-24T08:00", ["SCHOOL_HOURS"], id="right now"),
    ],
)
def test_a_time_that_is_given(now: str, text: str, expected: str, codes: list[str]) -> None:
    schedule = rules(quiet_days=["2026-12-24"])
    at, cautions = chosen_time(schedule, text, berlin(now))
    assert (at, at.tzinfo) == (utc(expected), UTC)
    assert [caution.code for caution in cautions] == codes
    assert all(caution.as_dict()["message"].endswith(".") for caution in cautions)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        pytest.param("2026-11-24T08:59", "SCHEDULE_PAST", "has passed already", id="a minute ago"),
        pytest.param("2026-11-24T08:59:59.999999", "SCHEDULE_PAST", "has passed already", id="just now"),
        pytest.param("1999-12-31T23:59", "SCHEDULE_PAST", "has passed already", id="long ago"),
        pytest.param("0001-01-02T00:00Z", "SCHEDULE_PAST", "has passed already", id="very long ago"),
        pytest.param("2027-03-28T02:30", "SCHEDULE_TIME", "the clocks are put forward", id="in the gap"),
        pytest.param("2027-11-25T09:01", "SCHEDULE_TIME", "more than 366 days", id="too far ahead"),
        pytest.param("9999-12-31T23:59-23:59", "SCHEDULE_TIME", "no such time", id="after the end of time"),
        pytest.param("0001-01-01T00:00+14:00", "SCHEDULE_TIME", "no such time", id="before its beginning"),
        pytest.param("0001-01-01T00:00", "SCHEDULE_TIME", "no such time", id="before its beginning in Berlin"),
        pytest.param("2027-02-29T10:00", "SCHEDULE_TIME", "no such time", id="no leap year"),
        pytest.param("2026-11-24T24:00", "SCHEDULE_TIME", "no such time", id="hour 24"),
        pytest.param("2026-11-24T22:00+25:00", "SCHEDULE_TIME", "no such time", id="no such offset"),
        pytest.param("2026-11-25", "SCHEDULE_TIME", "not written as", id="a day alone"),
        pytest.param("22:00", "SCHEDULE_TIME", "not written as", id="a time alone"),
        pytest.param("tomorrow", "SCHEDULE_TIME", "not written as", id="a word"),
        pytest.param("Tonight", "SCHEDULE_TIME", "not written as", id="a capital letter"),
        pytest.param("", "SCHEDULE_TIME", "not written as", id="nothing"),
        pytest.param("2026-11-24T22:00\n", "SCHEDULE_TIME", "not written as", id="a line break"),
        pytest.param("24.11.2026 22:00", "SCHEDULE_TIME", "not written as", id="as people write it here"),
        pytest.param("{at}" * 40, "SCHEDULE_TIME", "not written as", id="braces"),
    ],
)
def test_a_time_that_is_refused(text: str, code: str, words: str) -> None:
    with pytest.raises(ClmsError, match=words) as caught:
        chosen_time(rules(), text, berlin(NOW))
    assert caught.value.code == code


@given(st.one_of(st.text(max_size=40), st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d([+-]\d\d:\d\d)?", fullmatch=True)))
def test_whatever_is_given_is_a_time_or_refused(text: str) -> None:
    now = berlin(NOW)
    at = None
    with contextlib.suppress(ClmsError):
        at, _ = chosen_time(rules(), text, now)
    assert at is None or now <= at <= now + timedelta(366)


@given(
    st.datetimes(datetime(2025, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Pacific/Apia"]),
    st.integers(0, 1439),
)
def test_a_night_is_ahead_and_near(now: datetime, zone: str, minutes: int) -> None:
    schedule = rules(time_zone=zone, tonight=minutes)
    night = next_tonight(schedule, now)
    assert timedelta(0) < night - now <= timedelta(hours=26)
    assert timedelta(0) < next_weekend(schedule, now) - now <= timedelta(days=7, hours=2)
    assert next_quiet_time(schedule, now) == night


# late, and due


@pytest.mark.parametrize(
    ("late", "missed", "expected"),
    [
        pytest.param("22:00", "skip", "22:00", id="not late"),
        pytest.param("22:15", "skip", "22:15", id="a quarter of an hour is nothing"),
        pytest.param("22:16", "skip", None, id="skip"),
        pytest.param("22:16", "run", "22:16", id="run"),
        pytest.param("22:16", "tonight", "tomorrow", id="the next night"),
    ],
)
def test_late(late: str, missed: str, expected: str | None) -> None:
    schedule, now = rules(), berlin(f"2026-11-24T{late}")
    at = late_by(schedule, missed, berlin("2026-11-24T22:00"), now)
    wanted = {None: None, "tomorrow": berlin("2026-11-25T22:00")}.get(expected, now)
    assert at == wanted


def test_what_is_late_is_not_made_up_for_on_a_quiet_day() -> None:
    schedule = rules(quiet_days=["2026-11-25..2026-11-26"])
    at = late_by(schedule, "run", berlin("2026-11-24T22:00"), berlin("2026-11-25T08:00"))
    assert at == berlin("2026-11-27T22:00")


@pytest.mark.parametrize(
    ("days", "checked", "expected"),
    [
        pytest.param(0, None, None, id="never"),
        pytest.param(7, None, 0, id="not yet asked"),
        pytest.param(7, -3, 4, id="three days ago"),
        pytest.param(7, -7, 0, id="a week ago"),
        pytest.param(7, -70, 0, id="long ago"),
        pytest.param(7, 1, 0, id="the clock was wrong"),
    ],
)
def test_when_to_ask_the_vendor(days: int, checked: int | None, expected: int | None) -> None:
    now = berlin(NOW)
    last = None if checked is None else now + timedelta(checked)
    due = check_due(rules(check_interval_days=days), last, now)
    assert due == (None if expected is None else now + timedelta(expected))


def test_words() -> None:
    assert local_text(rules(), berlin("2026-11-24T22:00")) == "Tuesday, 24 November 2026, 22:00 (Europe/Berlin)"
