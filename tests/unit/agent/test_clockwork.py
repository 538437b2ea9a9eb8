# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads of the schedule, with a planner that only counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent import clockwork
from agent.clockwork import Clockwork


class FakePlanner:
    """Does nothing, and keeps count of it."""

    def __init__(self) -> None:
        self.changed: Callable[[], None] = lambda: None
        self.ticks = self.checks = self.reports = 0
        self.report_pauses: list[float | None] = []
        self.due: datetime | None = None
        self.check_at: datetime | None = None
        self.overdue = False
        self.answers = True
        self.fails = False
        self.starting: list[bool] = []
        self.stopped = False

    def now(self) -> datetime:
        return datetime.now(UTC)

    def stop(self) -> None:
        self.stopped = True

    def tick(self) -> None:
        self.ticks += 1
        if self.fails:
            raise RuntimeError("boom")

    def report(self) -> float | None:
        self.reports += 1
        return self.report_pauses.pop(0) if self.report_pauses else None

    def next_due(self) -> datetime | None:
        return self.due

    def next_check(self, *, starting: bool = False) -> datetime | None:
        self.starting.append(starting)
        if self.fails:
            raise RuntimeError("boom")
        return self.now() if self.overdue and not self.checks else self.check_at

    def check(self) -> float | None:
        self.checks += 1
        if self.answers:
            self.check_at = self.now() + timedelta(days=7)
        return None if self.answers else 7200


@pytest.fixture
def planner() -> FakePlanner:
    return FakePlanner()


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def moments(work: Clockwork) -> dict[str, datetime]:
    return {job.id: job.next_run_time for job in work._scheduler.get_jobs()}


def start(planner: FakePlanner, **options: Any) -> Clockwork:
    return Clockwork(planner, **{"minute": 3600, "jitter": 0, **options})  # type: ignore[arg-type]


def test_it_looks_at_the_start_and_then_every_minute(planner: FakePlanner) -> None:
    with start(planner) as work:
        assert (planner.ticks, moments(work)) == (1, {})
    with start(planner, minute=0.01):
        wait_for(lambda: planner.ticks > 5)
    assert planner.stopped
    count = planner.ticks
    time.sleep(0.05)
    assert planner.ticks == count
    assert not [thread for thread in threading.enumerate() if thread.name in ("schedule", "APScheduler")]


def test_it_looks_at_the_very_moment(planner: FakePlanner) -> None:
    for _ in range(10):  # it may be ended while a moment is just being taken up
        with start(planner) as work:
            count = planner.ticks
            planner.due = planner.now() + timedelta(seconds=0.05)
            planner.changed()
            wait_for(lambda count=count: planner.ticks == count + 1)  # type: ignore[misc]
            planner.due = None
        assert moments(work) == {}


def test_what_was_cancelled_has_no_moment(planner: FakePlanner) -> None:
    planner.due = planner.now() + timedelta(days=1)
    with start(planner) as work:
        assert moments(work) == {"update": planner.due}
        planner.due = None
        planner.changed()
        planner.changed()
        assert moments(work) == {}
    planner.changed()  # it has ended, and that does no harm


def test_a_check_that_is_due_is_made_and_the_next_one_set(planner: FakePlanner) -> None:
    planner.check_at = planner.now()
    with start(planner, jitter=3600) as work:
        wait_for(lambda: planner.checks == 1 and "check" in moments(work))
        assert planner.check_at <= moments(work)["check"] <= planner.check_at + timedelta(hours=1)
    assert planner.starting == [True, False]


def test_a_check_that_is_overdue_is_not_late_at_random(planner: FakePlanner) -> None:
    planner.overdue = True
    with start(planner, jitter=3600):
        wait_for(lambda: planner.checks == 1)


def test_without_an_answer_it_asks_again_as_the_planner_says(planner: FakePlanner) -> None:
    planner.check_at, planner.answers = planner.now(), False
    with start(planner, jitter=3600) as work:  # the pause itself is drawn already
        wait_for(lambda: planner.checks == 1 and "check" in moments(work))
        assert timedelta(minutes=119) < moments(work)["check"] - planner.now() <= timedelta(hours=2)


def test_no_checks(planner: FakePlanner) -> None:
    with start(planner) as work:
        assert moments(work) == {}


def test_the_vendor_is_told_of_runs_every_minute(planner: FakePlanner) -> None:
    with start(planner, minute=0.01):
        wait_for(lambda: planner.reports > 5)


def test_a_report_that_does_not_arrive_waits(planner: FakePlanner) -> None:
    planner.report_pauses = [3600.0] * 9
    with start(planner, minute=0.01) as work:
        wait_for(lambda: planner.reports == 1 and "report" in moments(work))
        at = moments(work)["report"]
        assert timedelta(minutes=59) < at - planner.now() <= timedelta(hours=1)
        time.sleep(0.1)
        assert (planner.reports, moments(work)["report"]) == (1, at)


def test_nothing_that_breaks_ends_it(planner: FakePlanner) -> None:
    planner.fails = True
    with start(planner, minute=0.01) as work:
        wait_for(lambda: planner.ticks > 5)
        assert timedelta(minutes=59) < moments(work)["check"] - planner.now() <= timedelta(hours=1)


def test_a_clock_that_was_changed_sets_the_moments_anew(planner: FakePlanner, monkeypatch: pytest.MonkeyPatch) -> None:
    class Jumping:
        """``time`` as the clockwork sees it: put back by a year at some moment."""

        jump = 0.0
        monotonic = staticmethod(time.monotonic)

        @classmethod
        def time(cls) -> float:
            return time.time() + cls.jump

    monkeypatch.setattr(clockwork, "time", Jumping)
    with start(planner, minute=0.01) as work:
        planner.due = planner.now() + timedelta(days=1)
        wait_for(lambda: planner.ticks > 3)
        assert "update" not in moments(work)  # nobody has told it; a report may be on its way
        Jumping.jump = -365 * 86400.0
        wait_for(lambda: moments(work).get("update") == planner.due)
