# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a critical release may wait, and what follows then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import enforcement
from ansible_collections.clms.update.plugins.module_utils.calendar_rules import parse_schedule
from ansible_collections.clms.update.plugins.module_utils.enforcement import Kept
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fields import Fields
from ansible_collections.clms.update.plugins.module_utils.version import Version

DAY = timedelta(days=1)
FORCE = datetime(2026, 12, 1, 8, tzinfo=UTC)
LONG_AGO = (FORCE - 100 * DAY).timestamp()


def release(version: str = "1.0.2", *, force: datetime | None = FORCE, critical: bool = True, grace: int = 0) -> Any:
    return SimpleNamespace(version=Version(version), critical=critical, force_after=force, grace_days=grace)


@pytest.mark.parametrize(
    ("releases", "expected"),
    [
        ([], None),
        ([release(critical=False)], None),
        ([release(force=None)], None),
        ([release("1.0.2", force=FORCE), release("1.0.3", force=FORCE - DAY), release("1.0.4", force=None)], "1.0.3"),
    ],
)
def test_the_first_deadline_counts(releases: list[Any], expected: str | None) -> None:
    found = enforcement.most_urgent(releases)
    assert (found.version.text if found else None) == expected


@pytest.mark.parametrize(
    ("grace", "seen", "until", "deadline"),
    [
        pytest.param(0, FORCE - 9 * DAY, None, FORCE, id="the vendor's date"),
        pytest.param(14, FORCE - 30 * DAY, None, FORCE, id="grace that is over by then"),
        pytest.param(14, FORCE - 2 * DAY, None, FORCE + 12 * DAY, id="heard of late"),
        pytest.param(14, FORCE + 5 * DAY, None, FORCE + 19 * DAY, id="heard of after the date"),
        pytest.param(0, FORCE - 9 * DAY, FORCE + DAY, FORCE + DAY, id="put off"),
        pytest.param(14, FORCE, FORCE + DAY, FORCE + 14 * DAY, id="put off by less than the grace"),
    ],
)
def test_deadline(grace: int, seen: datetime, until: datetime | None, deadline: datetime) -> None:
    kept = Kept("1.0.2", seen.timestamp(), until=until.timestamp() if until else 0.0)
    for now, overdue in ((deadline - timedelta(seconds=1), False), (deadline, True), (deadline + 400 * DAY, True)):
        forced = enforcement.judge(release(grace=grace), kept, now, None)
        assert (forced.deadline, forced.overdue, forced.lifted_until) == (deadline, overdue, None)


@pytest.mark.parametrize(
    ("failed", "overdue"),
    [
        (None, True),
        (timedelta(hours=1), False),
        (timedelta(hours=23), False),
        (timedelta(hours=25), True),
        (timedelta(days=30), True),
    ],
)
def test_after_an_update_that_failed_people_can_work_for_a_day(failed: timedelta | None, overdue: bool) -> None:
    now = FORCE + 40 * DAY
    forced = enforcement.judge(release(), Kept("1.0.2", LONG_AGO), now, now - failed if failed else None)
    assert forced.overdue is overdue
    assert (forced.lifted_until is None) is overdue


def test_it_can_be_put_off_three_times() -> None:
    kept, now = Kept("1.0.2", LONG_AGO), FORCE + 2 * DAY
    for left in (3, 2, 1):
        forced = enforcement.judge(release(), kept, now, None)
        assert (forced.overdue, forced.postponements_left) == (True, left)
        kept = enforcement.postponed(forced, kept, now)
        forced = enforcement.judge(release(), kept, now, None)
        assert (forced.overdue, forced.deadline) == (False, now + DAY)
        now += DAY
    with pytest.raises(ClmsError) as caught:
        enforcement.postponed(enforcement.judge(release(), kept, now, None), kept, now)
    assert caught.value.code == "FORCED_LAST"


def test_put_off_before_the_deadline_a_day_is_added_to_it() -> None:
    kept = Kept("1.0.2", LONG_AGO)
    forced = enforcement.judge(release(), kept, FORCE - 2 * DAY, None)
    assert enforcement.judge(release(), enforcement.postponed(forced, kept, FORCE - 2 * DAY), FORCE, None).deadline == (
        FORCE + DAY
    )


def test_what_is_remembered_can_be_written_down() -> None:
    kept = Kept("1.0.2", 5.0, 2, 7.5)
    assert Kept.from_dict(kept.as_dict()) == kept
    with pytest.raises(TypeError):
        Kept.from_dict({"version": "1.0.2", "colour": "red"})


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param("2026-11-24 21:00", "2026-11-24 21:00", id="in the evening at once"),
        pytest.param("2026-11-28 11:00", "2026-11-28 11:00", id="on Saturday at once"),
        pytest.param("2026-11-24 09:00", "2026-11-24 22:00", id="in school hours tonight"),
        pytest.param("2026-12-23 12:00", "2027-01-07 22:00", id="after the holidays"),
    ],
)
def test_it_begins_at_once_or_at_the_next_quiet_time(now: str, expected: str) -> None:
    schedule = parse_schedule(Fields({"quiet_days": ["2026-12-21..2027-01-06"]}))

    def at(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    assert enforcement.begin_at(schedule, at(now)) == at(expected)
