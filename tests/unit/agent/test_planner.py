# SPDX-License-Identifier: GPL-3.0-or-later
"""What is begun when, and found again after a crash; with a clock that the test sets and runs that are not done."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent import planner as planner_module
from agent import runs
from agent.executor import Job
from agent.planner import Planner
from agent.schedule import Entry, Store
from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.school import School

from .conftest import description, write_config

BUSY = ClmsError("RUN_ACTIVE", kind="backup", run=3, phase="backup")
ENDING = ClmsError("AGENT_SILENT", path="/run/x", detail="it has been told to end")


class Clock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.set("2026-11-24 09:00")

    def set(self, text: str) -> None:
        self.seconds = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.seconds


class FakeExecutor:
    """Begins nothing; ``fails`` is raised instead."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.fails: Exception | None = None
        self.orders: list[runs.Order] = []
        self.jobs: list[Job] = []
        self.states: list[str] = []

    def begin(self, order: runs.Order) -> Job:
        with closing(Store(self.home)) as store:  # what another process would find on the disk now
            self.states.append(store.entries()[0].state)
        if self.fails:
            raise self.fails
        self.orders.append(order)
        self.jobs.append(Job(order))
        return self.jobs[-1]

    def finish(self, run: dict[str, Any], code: int = 0) -> None:
        self.jobs[-1].run, self.jobs[-1].exit_code = run, code
        self.jobs[-1].ended.set()


OF_SCHEDULE = {"UPDATE_SCHEDULED", "UPDATE_CANCELLED", "UPDATE_WAITING", "UPDATE_FAILED", "UPDATE_MISSED"}
"""events that name the scheduled update that they are about"""


class World:
    """A school server: its clock, its executor and its planner, which can be started anew."""

    def __init__(self, folder: Path, home: Path, journal: Journal) -> None:
        self.folder, self.home, self.journal = folder, home, journal
        self.clock = Clock()
        self.executor = FakeExecutor(home)
        self.vendor: list[ClmsError | None] = []
        self.watchers: list[threading.Thread] = []
        self.jobs: list[Job] = []
        self.planner = self.reboot()

    def reboot(self) -> Planner:
        self.jobs += self.executor.jobs
        self.executor = FakeExecutor(self.home)
        self.planner = Planner(self.folder, self.executor, clock=self.clock, check=self._check)
        return self.planner

    def _check(self, school: School) -> dict[str, Any]:
        answer = self.vendor.pop(0)
        if answer:
            raise answer
        return {"message": school.title}

    def entry(self) -> Entry:
        with closing(Store(self.home)) as store:
            return store.entries()[0]

    def due(self) -> str:
        return self.entry().due.strftime("%a %H:%M")

    def events(self) -> list[str]:
        found = self.journal.events()
        assert all(event["schedule"] for event in found if event["type"] in OF_SCHEDULE), found
        return [event["type"] for event in reversed(found)]


@pytest.fixture
def world(folder: Path, home: Path, journal: Journal) -> Iterator[World]:
    made = World(folder, home, journal)
    yield made
    for job in made.jobs + made.executor.jobs:
        job.ended.set()
    for watcher in [*made.watchers, *made.planner._watchers.values()]:
        watcher.join()


def test_it_is_begun_when_it_is_due_and_watched_to_its_end(world: World) -> None:
    answer = world.planner.schedule("tonight", version="1.0.1")
    assert (answer["schedule"]["due_at"], answer["warnings"]) == ("2026-11-24T22:00:00Z", [])
    world.clock.set("2026-11-24 21:59:59")
    world.planner.tick()
    assert world.executor.orders == []
    world.clock.set("2026-11-24 22:00:00")
    world.planner.tick()
    world.planner.tick()
    assert world.executor.orders == [runs.Order("update", "1.0.1", {"clms_version": "1.0.1"}, schedule=1)]
    assert world.executor.states == ["STARTED"]  # on disk before the run began
    world.executor.finish({"id": 7, "outcome": "ROLLED_BACK", "error_code": "HEALTH_FAILED", "message": "…"}, 1)
    world.planner.join()
    entry = world.entry()
    assert (entry.state, entry.run, entry.outcome, entry.code) == ("DONE", 7, "ROLLED_BACK", "HEALTH_FAILED")
    assert world.events() == ["UPDATE_SCHEDULED"]  # the run tells the rest
    world.planner.tick()
    assert len(world.executor.orders) == 1


def test_its_backup_goes_where_it_was_asked_for(world: World) -> None:
    with pytest.raises(ClmsError) as caught:
        world.planner.schedule("tonight", backup_location="external")
    assert caught.value.code == "BACKUP_LOCATION", "the school has no drive"
    answer = world.planner.schedule("tonight", backup_location="local")
    assert answer["schedule"]["backup_location"] == "local"
    world.clock.set("2026-11-24 22:00:00")
    world.planner.tick()
    assert world.executor.orders == [runs.Order("update", None, {"clms_backup_location": "local"}, schedule=1)]


def test_while_it_goes_on_its_run_is_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner_module, "_LINK_SECONDS", 0.01)
    earlier = world.journal.begin("backup", phases=KINDS["backup"], school={})
    earlier.close("COMPLETED")
    world.planner.schedule("2026-11-24T09:00")
    world.planner.tick()
    time.sleep(0.1)
    assert world.entry().run is None, "a run of before was taken for it"
    run = world.journal.begin("update", phases=KINDS["update"], school={}, version="1.0.1")
    deadline = time.monotonic() + 10
    while world.entry().run is None and time.monotonic() < deadline:
        time.sleep(0.02)
    entry = world.entry()
    assert (entry.state, entry.run) == ("STARTED", run.id)
    run.close("ABORTED", {"code": "RUN_CANCELLED", "message": "x", "remedy": "y", "phase": "z"})
    world.executor.finish({"id": run.id, "outcome": "ABORTED", "error_code": "RUN_CANCELLED", "message": "x"}, 1)
    world.planner.join()
    assert (world.entry().state, world.entry().run) == ("DONE", run.id)


def test_forced_it_is_scheduled_once_and_never_later(world: World) -> None:
    def at(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    world.planner.force(at("2026-11-24 22:00"), "1.0.2")
    assert (world.due(), world.entry().version, world.entry().missed) == ("Tue 22:00", "1.0.2", "run")
    world.planner.force(at("2026-11-25 22:00"), "1.0.2")
    assert world.due() == "Tue 22:00", "it was put off"
    world.planner.force(at("2026-11-24 09:30"), "1.0.2")
    assert world.due() == "Tue 09:30"
    assert world.events() == ["UPDATE_SCHEDULED", "UPDATE_SCHEDULED"]
    # what a person has scheduled for later, or of another version, gives way
    world.planner.cancel(world.entry().id)
    world.planner.schedule("weekend", version="1.0.1")
    world.planner.force(at("2026-11-24 22:00"), "1.0.2")
    assert (world.due(), world.entry().version) == ("Tue 22:00", "1.0.2")
    # while it goes on, nothing is scheduled beside it
    world.clock.set("2026-11-24 22:00")
    world.planner.tick()
    world.planner.force(at("2026-11-24 22:05"), "1.0.2")
    with closing(Store(world.home)) as store:
        assert [entry.state for entry in store.entries()][:2] == ["STARTED", "CANCELLED"]


@pytest.mark.parametrize(("version", "location"), [("1.0.2", "local"), ("1.0.1", None), (None, None)])
def test_whose_schedule_gives_way_is_told(world: World, version: str | None, location: str | None) -> None:
    world.planner.schedule("weekend", version=version, backup_location="local")
    world.planner.force(datetime(2026, 11, 24, 22, tzinfo=UTC), "1.0.2")
    assert (world.due(), world.entry().version, world.entry().backup_location) == ("Tue 22:00", "1.0.2", location)
    assert world.events() == ["UPDATE_SCHEDULED", "UPDATE_CANCELLED", "UPDATE_SCHEDULED"]
    told = world.journal.events()[1]
    assert told["schedule"] == 1
    assert "scheduled for Saturday, 28 November 2026" in told["message"]
    assert "the update to version 1.0.2 is overdue, and takes its place" in told["message"]


def test_the_newest_version_of_that_time(world: World) -> None:
    world.planner.schedule("2026-11-24T09:00")
    world.planner.tick()
    assert world.executor.orders == [runs.Order("update", None, {}, schedule=1)]


def test_one_at_a_time(world: World) -> None:
    world.planner.schedule("tonight")
    with pytest.raises(ClmsError) as caught:
        world.planner.schedule("weekend")
    assert caught.value.code == "SCHEDULE_TWICE"
    assert "number 1, for Tuesday, 24 November 2026, 22:00 (UTC)" in caught.value.happened
    assert "clms-update schedule --cancel 1" in caught.value.remedy


def test_asked_the_same_twice_it_is_scheduled_once(world: World) -> None:
    first = world.planner.schedule("tonight", version="1.0.1", backup_location="local")
    assert world.planner.schedule("tonight", version="1.0.1", backup_location="local") == first
    assert world.events() == ["UPDATE_SCHEDULED"]
    same = {"version": "1.0.1", "backup_location": "local"}
    for other in (same | {"version": "1.0.2"}, same | {"backup_location": None}, same | {"missed": "skip"}):
        with pytest.raises(ClmsError):
            world.planner.schedule("tonight", **other)


def test_cancelled(world: World) -> None:
    world.planner.schedule("tonight")
    assert world.planner.cancel(1)["schedule"]["state"] == "CANCELLED"
    world.clock.set("2026-11-24 22:00")
    world.planner.tick()
    assert world.executor.orders == []
    assert world.events() == ["UPDATE_SCHEDULED", "UPDATE_CANCELLED"]
    world.planner.schedule("tonight")  # there is room for another one


@pytest.mark.parametrize("state", ["none", "cancelled", "going on"])
def test_what_cannot_be_cancelled(world: World, state: str) -> None:
    if state != "none":
        world.planner.schedule("2026-11-24T09:00")
        world.planner.cancel(1) if state == "cancelled" else world.planner.tick()
    with pytest.raises(ClmsError) as caught:
        world.planner.cancel(1)
    assert caught.value.code == "SCHEDULE_UNKNOWN"


def test_a_server_without_clms(folder: Path) -> None:
    with pytest.raises(ClmsError) as caught:
        Planner(folder, FakeExecutor(folder)).schedule("tonight")
    assert caught.value.code == "NOT_INSTALLED"


# another run goes on


def test_it_waits_for_another_run_and_says_so_once(world: World) -> None:
    world.planner.schedule("tonight", missed="skip")
    world.executor.fails = BUSY
    for minute in range(40):  # longer than it might be late
        world.clock.set(f"2026-11-24 22:{minute:02}")
        world.planner.tick()
        assert world.entry().state == "SCHEDULED"
    assert world.events() == ["UPDATE_SCHEDULED", "UPDATE_WAITING"]
    world.executor.fails = None
    world.clock.set("2026-11-24 22:40")
    world.planner.tick()
    assert world.entry().state == "STARTED"
    assert len(world.executor.orders) == 1


def test_it_waited_and_then_the_server_was_off(world: World) -> None:
    world.planner.schedule("tonight")
    world.executor.fails = BUSY
    world.clock.set("2026-11-24 22:30")
    world.clock.set("2026-11-24 22:10")
    world.planner.tick()
    world.reboot()
    world.clock.set("2026-11-25 08:00")
    world.planner.tick()
    assert (world.executor.orders, world.due()) == ([], "Wed 22:00")


@pytest.mark.parametrize("began", [False, True], ids=["refused", "before its playbook"])
def test_an_agent_that_is_told_to_end_leaves_it_to_the_next_one(world: World, began: bool) -> None:
    world.planner.schedule("tonight", missed="skip")
    world.clock.set("2026-11-24 22:00")
    world.executor.fails = None if began else ENDING
    world.planner.tick()
    if began:
        world.executor.finish(runs.without_run(world.executor.orders[0], ENDING.as_dict()), 2)
        world.planner.join()
    assert (world.entry().state, world.entry().code) == ("SCHEDULED", None)
    assert world.events() == ["UPDATE_SCHEDULED", "UPDATE_WAITING"]
    world.reboot()
    world.clock.set("2026-11-24 22:10")
    world.planner.tick()
    assert world.entry().state == "STARTED"


def test_it_does_not_wait_where_another_one_was_scheduled_meanwhile(world: World) -> None:
    world.planner.schedule("2026-11-24T09:00")
    world.planner.tick()
    world.planner.schedule("tonight")
    world.executor.finish(runs.without_run(world.executor.orders[0], ENDING.as_dict()), 2)
    world.planner.join()
    assert world.events()[2:] == ["UPDATE_FAILED"]
    with closing(Store(world.home)) as store:
        assert [entry.state for entry in store.entries()] == ["SCHEDULED", "DONE"]


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ClmsError("SCHOOL_INCOMPLETE", detail="x"), "SCHOOL_INCOMPLETE"),
        (ClmsError("JOURNAL_UNREADABLE", path="x", detail="x"), "JOURNAL_UNREADABLE"),
        (RuntimeError("can't start new thread"), "INTERNAL"),
    ],
    ids=["school", "journal", "bug"],
)
def test_it_cannot_begin(world: World, failure: Exception, code: str) -> None:
    world.planner.schedule("2026-11-24T09:00")
    world.executor.fails = failure
    world.planner.tick()
    assert (world.entry().state, world.entry().outcome, world.entry().code) == ("DONE", "REFUSED", code)
    assert world.events() == ["UPDATE_SCHEDULED", "UPDATE_FAILED"]
    world.executor.fails = None
    world.planner.tick()
    assert world.executor.orders == []


def test_a_run_that_was_refused_is_told_of(world: World) -> None:
    world.planner.schedule("2026-11-24T09:00")
    world.planner.tick()
    refused = runs.without_run(world.executor.orders[0], ClmsError("NOT_INSTALLED").as_dict())
    world.executor.finish(refused, 2)
    world.planner.join()
    assert (world.entry().state, world.entry().code) == ("DONE", "NOT_INSTALLED")
    assert world.events() == ["UPDATE_SCHEDULED", "UPDATE_FAILED"]


# the server was off


@pytest.mark.parametrize(
    ("missed", "now", "state", "due"),
    [
        ("skip", "2026-11-24 22:15", "STARTED", "Tue 22:00"),
        ("skip", "2026-11-25 08:00", "MISSED", "Tue 22:00"),
        ("run", "2026-11-25 08:00", "STARTED", "Tue 22:00"),
        ("tonight", "2026-11-25 08:00", "SCHEDULED", "Wed 22:00"),
        (None, "2026-11-27 23:00", "SCHEDULED", "Sat 22:00"),
    ],
    ids=["a moment late", "skip", "run", "tonight", "as the school says"],
)
def test_its_time_passed_while_the_server_was_off(
    world: World, missed: str | None, now: str, state: str, due: str
) -> None:
    world.planner.schedule("tonight", missed=missed)
    world.reboot()
    world.clock.set(now)
    world.planner.tick()
    assert (world.entry().state, world.due()) == (state, due)
    told = {"MISSED": "UPDATE_MISSED", "SCHEDULED": "UPDATE_SCHEDULED"}
    assert world.events()[1:] == ([told[state]] if state in told else [])
    assert len(world.executor.orders) == (state == "STARTED")


def test_put_off_over_quiet_days(folder: Path, home: Path, journal: Journal) -> None:
    write_config(folder, {**description(home), "schedule": {"quiet_days": ["2026-11-25..2026-11-27"]}})
    world = World(folder, home, journal)
    world.planner.schedule("tonight")
    world.clock.set("2026-11-25 08:00")
    world.planner.tick()
    assert world.due() == "Sat 22:00"


def test_a_clock_that_was_years_ahead_for_a_while(world: World) -> None:
    """What was put off in those years is due when it was planned."""
    world.planner.schedule("tonight", missed="tonight")
    world.clock.set("2036-03-03 08:00")
    world.planner.tick()
    assert world.entry().due.year == 2036
    world.clock.set("2026-11-24 12:00")
    world.planner.tick()
    assert (world.entry().due.year, world.due()) == (2026, "Tue 22:00")
    assert "after all" in world.journal.events()[0]["message"]
    world.clock.set("2026-11-24 22:00")
    world.planner.tick()
    assert world.entry().state == "STARTED"


def test_a_clock_that_was_put_back_after_the_time_had_passed(world: World) -> None:
    world.planner.schedule("tonight", missed="tonight")
    world.clock.set("2036-03-03 08:00")
    world.planner.tick()
    world.clock.set("2026-11-25 08:00")
    world.planner.tick()
    assert (world.entry().due.year, world.due()) == (2026, "Wed 22:00")


# the agent went down after STARTED


def crashed(world: World, missed: str | None = None) -> None:
    """The agent has begun an update and is gone."""
    world.planner.schedule("2026-11-24T09:00", missed=missed)
    world.planner.tick()
    went_down(world)


def went_down(world: World) -> None:
    world.watchers += world.planner._watchers.values()
    world.reboot()


def open_run(world: World, kind: str = "update") -> Any:
    return world.journal.begin(kind, phases=KINDS[kind], school=description(world.home), version="1.0.1")


@pytest.mark.parametrize("outcome", ["COMPLETED", "ROLLED_BACK"])
def test_the_journal_says_how_it_ended(world: World, outcome: str) -> None:
    open_run(world).close("ABORTED")  # an earlier one
    crashed(world)
    run = open_run(world)
    world.planner.tick()
    assert world.entry().state == "STARTED"  # it is still being put in order
    error = None if outcome == "COMPLETED" else ClmsError("HEALTH_FAILED", detail="x").as_dict()
    run.close(outcome, error)
    world.planner.tick()
    entry = world.entry()
    assert (entry.state, entry.run, entry.outcome) == ("DONE", run.id, outcome)
    assert entry.code == (error and "HEALTH_FAILED")
    assert world.executor.orders == []


def test_there_was_no_run_yet(world: World) -> None:
    crashed(world)
    open_run(world, "backup").close("COMPLETED")  # that is not it
    held = lock.acquire(world.home)
    assert held is not None
    world.planner.tick()
    assert world.entry().state == "STARTED"  # who holds the lock may be about to open it
    os.close(held)
    world.planner.tick()
    assert (world.entry().state, len(world.executor.orders)) == ("STARTED", 1)  # nothing was begun, so it is now
    assert world.events() == ["UPDATE_SCHEDULED"]
    # it may be what the server goes down of
    went_down(world)
    world.planner.tick()
    assert (world.entry().state, world.entry().code) == ("MISSED", "SCHEDULE_MISSED")
    assert world.events()[-1] == "UPDATE_MISSED"
    world.planner.tick()
    assert world.executor.orders == []


@pytest.mark.parametrize(
    ("missed", "state", "due"),
    [("skip", "MISSED", "Tue 09:00"), ("run", "STARTED", "Tue 09:00"), ("tonight", "SCHEDULED", "Tue 22:00")],
)
def test_there_was_no_run_yet_and_the_server_was_off_for_hours(world: World, missed: str, state: str, due: str) -> None:
    crashed(world, missed)
    world.clock.set("2026-11-24 12:00")
    world.planner.tick()
    assert (world.entry().state, world.due()) == (state, due)


@pytest.mark.parametrize("case", ["another one is scheduled", "the journal was begun anew"])
def test_it_is_not_begun_again(world: World, case: str) -> None:
    open_run(world).close("ABORTED")
    crashed(world, "run")
    if case == "another one is scheduled":
        world.planner.schedule("tonight")
    else:
        with closing(Store(world.home)) as store:
            store._db.execute("UPDATE schedules SET after_run = 9")
    world.planner.tick()
    assert world.executor.orders == []
    with closing(Store(world.home)) as store:
        assert store.entries()[-1].state == "MISSED"


def test_an_agent_that_is_about_to_end_begins_nothing(world: World) -> None:
    world.planner.schedule("2026-11-24T09:00")
    world.planner.stop()
    world.planner.tick()
    assert world.executor.orders == []
    world.reboot().tick()
    assert len(world.executor.orders) == 1


def test_nothing_is_begun_as_long_as_nothing_can_be_noted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.planner.schedule("2026-11-24T09:00")

    def full(*_: Any, **__: Any) -> bool:
        raise ClmsError("SCHEDULE_STORE", path="x", detail="disk full")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "start", full)
        with pytest.raises(ClmsError):
            world.planner.tick()
    assert world.executor.orders == []
    world.planner.tick()
    assert len(world.executor.orders) == 1


# news from the vendor


def offline() -> ClmsError:
    return ClmsError("SERVER_UNREACHABLE", url="https://releases.test", detail="x")


def test_it_asks_again_after_a_week(world: World) -> None:
    assert world.planner.next_check() == world.planner.now()
    world.vendor = [None]
    assert world.planner.check() is None
    assert world.planner.next_check() == datetime(2026, 12, 1, 9, tzinfo=UTC)
    world.clock.set("2026-12-24 09:00")
    assert world.reboot().next_check() == world.planner.now()


def test_a_vendor_that_cannot_be_reached_is_told_of_once(world: World) -> None:
    world.vendor = [offline(), offline(), None, offline()]
    pauses = [world.planner.check() for _ in range(4)]
    assert [pause and pause > 60 for pause in pauses] == [True, True, None, True]
    assert world.events() == ["CHECK_FAILED", "CHECK_FAILED"]


def test_a_vendor_that_does_not_answer_is_asked_less_and_less(world: World) -> None:
    world.vendor = [offline()] * 5 + [None, offline()]
    pauses = [world.planner.check() or 0 for _ in range(7)]
    hours = [pause / 3600 for pause in pauses]
    assert [low <= hour <= 2 * low for hour, low in zip(hours, (0.5, 1, 2, 3, 3, 0, 0.5), strict=True)] == [True] * 7


def test_a_vendor_that_wants_to_be_left_alone_is_left_alone(world: World) -> None:
    busy = ClmsError("SERVER_UNREACHABLE", url="https://releases.test", detail="it answered 429", pause=5 * 3600.0)
    world.vendor = [busy]
    assert world.planner.check() == 5 * 3600


def test_an_answer_that_is_not_believed_is_asked_for_again_later(world: World) -> None:
    """What is to be told of it, the check itself has recorded."""
    world.vendor = [ClmsError("SERVER_REFUSED", url="https://releases.test", detail="x")]
    assert (world.planner.check() or 0) >= 1800
    assert world.events() == []


def test_a_person_is_told_each_time(world: World) -> None:
    world.vendor = [None, offline()]
    assert world.planner.ask_vendor() == {"message": "Linden School"}
    with pytest.raises(ClmsError):
        world.planner.ask_vendor()
    assert world.planner.next_check() == datetime(2026, 12, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rules", "starting", "expected"),
    [
        ({"check_on_startup": True}, True, "now"),
        ({"check_on_startup": True}, False, "later"),
        ({"check_on_startup": True, "check_interval_days": 0}, True, "now"),
        ({"check_interval_days": 0}, True, None),
        ({}, True, "later"),
    ],
    ids=str,
)
def test_at_the_start(world: World, rules: dict[str, Any], starting: bool, expected: str | None) -> None:
    world.vendor = [None]
    world.planner.check()
    write_config(world.folder, {**description(world.home), "schedule": rules})
    later = datetime(2026, 12, 1, 9, tzinfo=UTC)
    wanted = {"now": world.planner.now(), "later": later, None: None}[expected]
    assert world.planner.next_check(starting=starting) == wanted
