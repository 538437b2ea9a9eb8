# SPDX-License-Identifier: GPL-3.0-or-later
"""A forced update: CLMS is blocked at its deadline and not before, and never while a run goes on or nothing is sure."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import enforcer as module
from agent import runs
from agent.config import Config
from agent.enforcer import Enforcer
from agent.executor import Job
from agent.planner import Planner
from agent.schedule import Store
from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.slots import Slot, SlotService
from ansible_collections.clms.update.plugins.module_utils.version import Version

FORCE = datetime(2026, 12, 1, 20, tzinfo=UTC)  # after school
DAY = timedelta(days=1)
ROUTES = ("GET /api/books",)


class Gate:
    """A gate: what is on its disk, and what its process has been told."""

    def __init__(self, home: Path) -> None:
        self.process: str | None = "open"
        self.moves: list[str] = []
        self.breaks = False
        """whether the agent is killed between the disk and the process"""
        self._file = home / "gate/state.map"
        self._file.parent.mkdir()
        self.write("open")

    def write(self, mode: str) -> None:
        self._file.write_text(f"mode {mode}\n")

    @property
    def disk(self) -> str:
        return self._file.read_text().split()[1]

    def block(self, slot: Slot, routes: tuple[str, ...]) -> None:
        assert (slot.version, routes) == ("1.0.0", ROUTES)
        self._move("blocked")

    def unblock(self) -> None:
        self._move("open")

    def _move(self, mode: str) -> None:
        self.write(mode)
        if self.breaks:
            raise ClmsError("GATE_UNREACHABLE", detail="timed out", container="gate")
        self.process = mode
        self.moves.append(mode)


class World:
    """A school that runs 1.0.0, its vendor, its clock, its gate and its schedule."""

    def __init__(self, folder: Path, home: Path, journal: Journal) -> None:
        self.home, self.journal = home, journal
        self.now = FORCE - 10 * DAY
        self.news_expired = False
        self.clock_wrong = False
        self.trust: ClmsError | None = None
        self.blocked_by: dict[str, str] = {}
        """version -> code for which it cannot be installed"""
        self.unread: set[str] = set()
        """versions whose description is not here"""
        self.listed = [self.release("1.0.0", 1, critical=False), self.release("1.0.2", 3)]
        self.gate = Gate(home)
        self.begun: list[str | None] = []
        self.begins: ClmsError | None = None
        self.client = self
        self.planner = Planner(folder, self, clock=lambda: self.now.timestamp())
        self.enforcer = Enforcer(folder, self.planner, engine=lambda: self, clock=lambda: self.now.timestamp())

    # the vendor, as far as it is known here

    @staticmethod
    def release(version: str, sequence: int, *, critical: bool = True, channel: str = "stable") -> Any:
        return SimpleNamespace(
            version=Version(version), sequence=sequence, channel=channel, critical=critical,
            force_after=FORCE if critical else None, grace_days=0, reading_routes=ROUTES,
        )  # fmt: skip

    def releases(self) -> list[Any]:
        if self.trust:
            raise self.trust
        return self.listed

    def release_called(self, version: str, *, offline: bool) -> Any:
        assert offline, "the vendor is asked"
        if version in self.unread:
            raise ClmsError("SERVER_UNREACHABLE", url="https://x", detail="not fetched yet")
        return next(one for one in self.listed if one.version.text == version)

    def check_clock(self) -> None:
        if self.clock_wrong:
            raise ClmsError("CLOCK_WRONG", now="1970", seen="2026")

    def check_release(self, release: Any, _slot: Slot, _kind: str) -> None:
        code = self.blocked_by.get(release.version.text)
        if code:
            raise ClmsError(code, version=release.version, minimum="1.0.1", current="1.0.0", expires="2026")

    # the executor, and the engine's client

    def begin(self, order: runs.Order) -> Job:
        if self.begins:
            raise self.begins
        self.begun.append(order.version)
        job = Job(order)
        job.run, job.exit_code = {"id": 99, "outcome": "COMPLETED", "error_code": None, "message": ""}, 0
        job.ended.set()
        return job

    def close(self) -> None:
        """Nothing to close."""

    # what happens, and what is looked at

    def look(self) -> None:
        """The agent looks, as it does every few seconds, and its clock goes."""
        self.enforcer.look()
        self.planner.tick()
        self.planner.join()

    def planned(self) -> list[tuple[str | None, str]]:
        """Version and time of what is scheduled."""
        with closing(Store(self.home)) as store:
            return [(e.version, f"{e.due:%m-%d %H:%M}") for e in store.entries() if e.state == "SCHEDULED"]

    def events(self, kind: str) -> list[str]:
        return [event["message"] for event in self.journal.events() if event["type"] == kind]

    def ended(self, kind: str, outcome: str, code: str | None = None, *, version: str = "1.0.2") -> None:
        """A run has ended right now; one that goes back does so from that version."""
        versions = (
            {"version": "1.0.0", "from_version": version} if kind in ("rollback", "restore") else {"version": version}
        )
        run = self.journal.begin(kind, phases=("preflight",), school={}, **versions)
        run.close(outcome, {"code": code, "message": "x", "remedy": "y", "phase": "z"} if code else None)
        change = "UPDATE runs SET closed_at = ? WHERE id = ?"
        self.journal.file.write(lambda: self.journal.file.execute(change, self.now.timestamp(), run.id))


@pytest.fixture
def world(settings: Config, folder: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> World:
    run = journal.begin("install", phases=("preflight",), school={}, version="1.0.0")
    services = {name: SlotService(f"clms-{name}-r1", "image", "config") for name in ("mysql", "backend")}
    slot = Slot("r1", 1, "1.0.0", "clms-r1", services, {}, {"version": "1.0.0"})
    journal.set_slot(slot, "candidate")
    run.commit(slot)
    run.close("COMPLETED")
    found = World(folder, settings.school.home, journal)
    monkeypatch.setattr(Slot, "parsed_release", lambda _: SimpleNamespace(sequence=1))
    store = SimpleNamespace(
        releases=found.releases, release=found.release_called, check_clock=found.check_clock,
        news_expired=lambda: found.news_expired,
    )  # fmt: skip
    monkeypatch.setattr(module, "store_of", lambda _: store)
    monkeypatch.setattr(module, "GateControl", lambda *_: found.gate)
    monkeypatch.setattr(module, "running_mode", lambda _: found.gate.process)
    monkeypatch.setattr(module, "check_release", found.check_release)
    found.look()
    return found


def test_before_the_deadline_nothing_is_touched(world: World) -> None:
    world.now = FORCE - timedelta(seconds=1)
    world.look()
    assert (world.gate.moves, world.planned(), world.begun) == ([], [], [])
    assert world.enforcer.answer() == {
        "blocked": False,
        "forced": {
            "version": "1.0.2", "install": "1.0.2", "deadline": "2026-12-01T20:00:00Z", "overdue": False,
            "postponements_left": 3, "lifted_until": None,
        },
    }  # fmt: skip


def test_where_nothing_is_sure_nothing_is_forced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page has to open: it has the button that asks the vendor anew."""

    def unsure(_: object) -> None:
        raise ClmsError("CLOCK_WRONG", now="x", seen="y")

    monkeypatch.setattr(world.enforcer, "_found", unsure)
    assert world.enforcer.answer() == {"blocked": False, "forced": None}


def test_at_the_deadline_clms_is_blocked_and_the_update_begins(world: World) -> None:
    world.now = FORCE
    world.look()
    assert world.begun == ["1.0.2"]
    assert (world.gate.moves, world.gate.disk) == (["blocked"], "blocked")
    (message,) = world.events("UPDATE_OVERDUE")
    assert "1.0.2" in message
    assert world.enforcer.answer()["blocked"] is True
    world.enforcer.look()
    assert world.gate.moves == ["blocked"], "it is blocked once"
    assert len(world.events("UPDATE_OVERDUE")) == 1


def test_in_school_hours_it_begins_at_night(world: World) -> None:
    world.now = datetime(2026, 12, 2, 9, tzinfo=UTC)
    for _ in range(3):
        world.look()
    assert world.gate.moves == ["blocked"]
    assert (world.planned(), world.begun) == ([("1.0.2", "12-02 22:00")], [])
    assert len(world.events("UPDATE_SCHEDULED")) == 1


def test_on_quiet_days_nothing_is_blocked(world: World, folder: Path) -> None:
    """In holidays and exam weeks nothing begins by itself, so nobody would be let in for weeks."""
    path = folder / "host_vars/school.yml"
    days = "clms_schedule: {quiet_days: ['2026-12-01..2026-12-18']}"
    path.write_text(f"{path.read_text()}\n{days}\n")
    world.now = FORCE
    world.look()
    assert (world.gate.moves, world.planned(), world.begun) == ([], [], [])
    world.now = datetime(2026, 12, 19, 9, tzinfo=UTC)
    world.look()
    assert (world.gate.moves, world.begun) == (["blocked"], ["1.0.2"])


def test_what_can_be_installed_is_installed(world: World) -> None:
    """The newest release may want another one first; then the forced one is installed, or a step on the way to it."""
    world.listed.append(world.release("2.0.0", 9, critical=False))
    world.now = datetime(2026, 12, 2, 9, tzinfo=UTC)
    assert world.enforcer.answer()["forced"]["install"] == "2.0.0"
    world.blocked_by = {"2.0.0": "RELEASE_MIN_VERSION"}
    world.look()
    assert world.planned() == [("1.0.2", "12-02 22:00")]
    world.listed.insert(1, world.release("1.0.1", 2, critical=False))
    world.blocked_by["1.0.2"] = "RELEASE_MIN_VERSION"
    world.look()
    assert world.planned() == [("1.0.1", "12-02 22:00")]
    world.blocked_by["1.0.1"] = "RELEASE_EXPIRED"
    world.look()
    assert world.enforcer.answer() == {"forced": None, "blocked": False}, "nothing can be installed"
    assert world.gate.moves == ["blocked", "open"]


def test_what_a_person_has_scheduled_gives_way(world: World) -> None:
    world.planner.schedule("2026-12-03T21:00", version="1.0.1")
    world.now = datetime(2026, 12, 2, 9, tzinfo=UTC)
    world.look()
    assert world.planned() == [("1.0.2", "12-02 22:00")]


@pytest.mark.parametrize("breaks", ["block", "unblock"])
def test_what_was_not_told_to_the_gate_is_told_later(world: World, breaks: str) -> None:
    """The agent is killed between the disk and the process, or the gate does not answer in time."""
    world.now = FORCE
    if breaks == "unblock":
        world.look()
        world.news_expired = True
    world.gate.breaks = True
    with pytest.raises(ClmsError):
        world.enforcer.look()
    assert world.gate.disk != world.gate.process
    world.gate.breaks = False
    world.look()
    expected = "blocked" if breaks == "block" else "open"
    assert (world.gate.disk, world.gate.process) == (expected, expected)
    assert len(world.events("UPDATE_OVERDUE")) == 1


@pytest.mark.parametrize(
    "case", ["news", "clock", "updated", "other channel", "not critical", "not fetched", "trust store"]
)
def test_where_nothing_is_sure_nobody_is_locked_out(world: World, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """A clock that is five years ahead, for one: what was last heard of the vendor has expired by then."""
    world.now = FORCE
    world.look()
    assert world.gate.moves == ["blocked"]
    if case == "news":
        world.news_expired = True
    elif case == "clock":
        world.clock_wrong = True
    elif case == "updated":
        monkeypatch.setattr(Slot, "parsed_release", lambda _: SimpleNamespace(sequence=3))
    elif case == "other channel":
        world.listed[1].channel = "beta"
    elif case == "not critical":
        world.listed[1].critical = False
    elif case == "trust store":
        world.trust = ClmsError("TRUST_REFUSED", detail="somebody has changed it")
    else:
        world.unread.add("1.0.2")
    for _ in range(2):
        world.look()
    assert world.gate.moves == ["blocked", "open"], "who was blocked stays so"


def test_one_that_was_followed_by_others_is_forced_all_the_same(world: World) -> None:
    world.listed.append(world.release("1.0.3", 4, critical=False))
    world.now = FORCE
    world.look()
    assert world.enforcer.answer()["forced"]["version"] == "1.0.2"
    assert world.gate.moves == ["blocked"]
    assert world.begun == ["1.0.3"]


def test_while_a_run_goes_on_the_gate_is_its(world: World) -> None:
    world.now = FORCE
    held = lock.acquire(world.home)
    assert held is not None
    world.look()
    assert (world.gate.moves, world.events("UPDATE_OVERDUE"), world.planned()) == ([], [], [])
    os.close(held)
    run = world.journal.begin("update", phases=("preflight",), school={}, version="1.0.2")
    world.look()
    assert (world.gate.moves, world.planned()) == ([], [])
    run.close("ABORTED", {"code": "RUN_CANCELLED", "message": "x", "remedy": "y", "phase": "z"})
    world.look()
    assert world.gate.moves == ["blocked"], "whoever stops it has not done it"


@pytest.mark.parametrize("refused", [False, True])
def test_where_a_person_has_to_put_clms_in_order_nothing_is_touched(world: World, refused: bool) -> None:
    """The gate is closed, with the page that says what to do; also a day later, and after a run that was refused."""
    world.now = FORCE - 5 * DAY
    world.ended("update", "NEEDS_OPERATOR", "ROLLBACK_FAILED")
    if refused:
        world.ended("update", "REFUSED", "RUN_INTERRUPTED")
    world.gate.write("closed")
    world.gate.process = "closed"
    world.now = FORCE
    world.look()
    assert (world.gate.moves, world.planned(), world.begun) == ([], [], [])
    assert world.gate.disk == "closed"


def test_a_gate_that_is_closed_is_not_opened_by_this(world: World) -> None:
    world.now = FORCE
    world.gate.write("closed")
    world.gate.process = "closed"
    world.look()
    world.news_expired = True
    world.look()
    assert (world.gate.moves, world.gate.disk) == ([], "closed")


@pytest.mark.parametrize(
    ("kind", "outcome", "code"),
    [
        ("update", "ROLLED_BACK", "MIGRATION_FAILED"),
        ("update_images", "ABORTED", "REGISTRY_UNREACHABLE"),
        ("update", "REFUSED", "DISK_TOO_SMALL"),
        ("rollback", "COMPLETED", None),
        ("restore", "COMPLETED", None),
    ],
)
def test_after_an_update_that_failed_people_can_work_for_a_day(
    world: World, kind: str, outcome: str, code: str | None
) -> None:
    world.now = FORCE
    world.look()
    world.now += timedelta(minutes=5)
    world.ended(kind, outcome, code)
    world.look()
    assert world.gate.moves == ["blocked", "open"]
    assert world.enforcer.answer()["forced"]["lifted_until"] == "2026-12-02T20:05:00Z"
    # whatever else comes to nothing meanwhile takes nothing of that away
    world.now += timedelta(minutes=5)
    world.ended("restore", "REFUSED", "DISK_TOO_SMALL")
    world.look()
    assert world.gate.moves == ["blocked", "open"]
    world.now += DAY
    world.look()
    assert world.gate.moves == ["blocked", "open", "blocked"]


def test_that_another_update_has_failed_says_nothing(world: World) -> None:
    """One that the vendor has taken back since, for one."""
    world.now = FORCE
    world.ended("update", "ROLLED_BACK", "HEALTH_FAILED", version="1.0.1-withdrawn")
    world.look()
    assert world.gate.moves == ["blocked"]


def test_one_that_cannot_even_begin_is_tried_once_a_day(world: World) -> None:
    """No run is opened: the playbooks cannot be started, for one."""
    world.begins = ClmsError("SCHOOL_INCOMPLETE", detail="x")
    world.now = FORCE
    for _ in range(30):
        world.look()
        world.now += timedelta(seconds=20)
    assert len(world.events("UPDATE_FAILED")) == 1
    assert world.gate.moves == ["blocked", "open"]
    world.now = FORCE + DAY + timedelta(hours=1)
    world.look()
    assert len(world.events("UPDATE_FAILED")) == 2


def test_it_is_put_off_by_people_and_counted(world: World) -> None:
    world.now = datetime(2026, 12, 2, 9, tzinfo=UTC)
    world.look()
    answer = world.enforcer.postpone()
    assert (answer["blocked"], answer["forced"]["postponements_left"]) == (False, 2)
    assert answer["forced"]["deadline"] == "2026-12-03T09:00:00Z"
    assert "can be done 2 times more" in world.events("UPDATE_POSTPONED")[0]
    assert world.gate.moves == ["blocked", "open"]
    for _ in range(2):
        world.now += DAY
        world.enforcer.look()
        world.enforcer.postpone()
    with pytest.raises(ClmsError) as caught:
        world.enforcer.postpone()
    assert caught.value.code == "FORCED_LAST"
    # another release begins anew
    world.listed.append(world.release("1.0.4", 5))
    world.listed[1].critical = False
    assert world.enforcer.answer()["forced"]["postponements_left"] == 3


@pytest.mark.parametrize(
    ("case", "left"),
    [("cannot be read", 2), ("cannot be read beside another one", 2), ("cannot be installed", 2), ("withdrawn", 3)],
)
def test_what_is_counted_goes_on_while_nothing_is_sure(world: World, case: str, left: int) -> None:
    world.listed[1].grace_days = 20
    world.now += DAY
    world.look()
    before = world.enforcer.postpone()["forced"]
    world.now += DAY
    forced = world.listed[1]
    if case.startswith("cannot be read"):
        world.unread.add("1.0.2")
        world.listed += [world.release("1.0.4", 5)] if case.endswith("another one") else []
    elif case == "cannot be installed":
        world.blocked_by["1.0.2"] = "RELEASE_EXPIRED"
    else:
        world.listed.pop()
    world.look()
    assert world.enforcer.answer()["forced"] is None
    world.unread.clear()
    world.blocked_by.clear()
    world.listed[1:] = [forced]
    world.look()
    after = world.enforcer.answer()["forced"]
    assert (after["postponements_left"], after == before) == (left, left == 2)


def test_pressed_twice_it_is_put_off_once(world: World) -> None:
    world.now = datetime(2026, 12, 2, 9, tzinfo=UTC)
    world.look()
    shown = world.enforcer.answer()["forced"]["deadline"]
    first = world.enforcer.postpone(shown)
    assert world.enforcer.postpone(shown) == first
    assert first["forced"]["postponements_left"] == 2
    assert world.enforcer.postpone(first["forced"]["deadline"])["forced"]["postponements_left"] == 1


def test_what_is_put_off_does_not_begin_at_the_time_before(world: World) -> None:
    world.now = datetime(2026, 12, 2, 9, tzinfo=UTC)
    world.look()
    assert world.planned() == [("1.0.2", "12-02 22:00")]
    world.enforcer.postpone()
    assert (world.planned(), world.begun) == ([], [])
    assert "is not overdue any more" in world.events("UPDATE_CANCELLED")[0]
    world.now = datetime(2026, 12, 2, 22, 1, tzinfo=UTC)
    world.look()
    assert (world.planned(), world.begun) == ([], [])
    world.now = datetime(2026, 12, 3, 9, 1, tzinfo=UTC)
    world.look()
    assert world.planned() == [("1.0.2", "12-03 22:00")]
    world.news_expired = True
    world.look()
    assert (world.planned(), world.gate.disk) == ([], "open")


def test_what_a_person_has_scheduled_stays_when_nothing_is_overdue_any_more(world: World) -> None:
    world.now = datetime(2026, 12, 2, 9, tzinfo=UTC)
    world.planner.schedule("2026-12-02T21:00", version="1.0.2")
    world.look()
    assert (world.planned(), world.gate.disk) == ([("1.0.2", "12-02 21:00")], "blocked")
    world.enforcer.postpone()
    assert (world.planned(), world.gate.disk) == ([("1.0.2", "12-02 21:00")], "open")


def test_nothing_to_put_off(world: World) -> None:
    world.listed.pop()
    with pytest.raises(ClmsError) as caught:
        world.enforcer.postpone()
    assert caught.value.code == "FORCED_NONE"


def test_while_something_is_forced_the_vendor_is_asked_each_day(world: World) -> None:
    """Or its news would expire before the next question, and nothing would be forced any more."""
    with closing(Store(world.home)) as store:
        store.note("checked_at", world.now.timestamp())
    assert world.planner.next_check() == world.now + DAY
    world.listed.pop()
    world.look()
    assert world.planner.next_check() == world.now + 7 * DAY


def test_what_is_remembered_and_cannot_be_read_begins_anew(world: World) -> None:
    with closing(Store(world.home)) as store:
        store.note("forced", "{")
    assert world.enforcer.answer()["forced"]["postponements_left"] == 3
