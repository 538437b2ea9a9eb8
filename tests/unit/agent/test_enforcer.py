# SPDX-License-Identifier: GPL-3.0-or-later
"""A forced update: CLMS is blocked at its deadline and not before, and never while a run goes on or nothing is sure."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import enforcer as module
from agent.config import Config
from agent.enforcer import Enforcer
from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.slots import Slot, SlotService
from ansible_collections.clms.update.plugins.module_utils.version import Version

FORCE = datetime(2026, 12, 1, 20, tzinfo=UTC)  # after school
DAY = timedelta(days=1)
ROUTES = ("GET /api/books",)


class World:
    """A school that runs 1.0.0, its vendor, its clock and its gate."""

    def __init__(self, folder: Path, home: Path, journal: Journal) -> None:
        self.home, self.journal = home, journal
        self.now = FORCE - 10 * DAY
        self.news_expired = False
        self.clock_wrong = False
        self.listed = [self.release("1.0.0", 1, critical=False), self.release("1.0.2", 3)]
        self.gate: list[str] = []
        self.forced: list[datetime] = []
        self.client = self
        self.enforcer = Enforcer(folder, self, engine=lambda: self, clock=lambda: self.now.timestamp())  # type: ignore[arg-type]

    # the vendor, as far as it is known here

    @staticmethod
    def release(version: str, sequence: int, *, critical: bool = True, channel: str = "stable") -> Any:
        return SimpleNamespace(
            version=Version(version), sequence=sequence, channel=channel, critical=critical,
            force_after=FORCE if critical else None, grace_days=0, reading_routes=ROUTES,
        )  # fmt: skip

    def releases(self) -> list[Any]:
        return self.listed

    def release_called(self, version: str, *, offline: bool) -> Any:
        assert offline, "the vendor is asked"
        return next(one for one in self.listed if one.version.text == version)

    def check_clock(self) -> None:
        if self.clock_wrong:
            raise ClmsError("CLOCK_WRONG", now="1970", seen="2026")

    # the gate, the planner and the engine

    def block(self, slot: Slot, routes: tuple[str, ...]) -> None:
        assert (slot.version, routes) == ("1.0.0", ROUTES)
        self.move("blocked")

    def unblock(self) -> None:
        self.move("open")

    def move(self, mode: str) -> None:
        self.gate.append(mode)
        (self.home / "gate").mkdir(exist_ok=True)
        (self.home / "gate/state.map").write_text(f"mode {mode}\n")

    def force(self, at: datetime) -> None:
        self.forced.append(at)

    def close(self) -> None:
        """Nothing to close."""

    # what is looked at

    def events(self, kind: str) -> list[str]:
        return [event["message"] for event in self.journal.events() if event["type"] == kind]

    def ended(self, kind: str, outcome: str, code: str | None = None) -> None:
        """A run has ended right now."""
        run = self.journal.begin(kind, phases=("preflight",), school={}, version="1.0.2")
        run.close(outcome, {"code": code, "message": "x", "remedy": "y", "phase": "z"} if code else None)
        self.journal.file.write(
            lambda: self.journal.file.execute(
                "UPDATE runs SET closed_at = ? WHERE id = ?", self.now.timestamp(), run.id
            )
        )


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
    monkeypatch.setattr(module, "GateControl", lambda *_: found)
    found.enforcer.look()
    return found


def test_before_the_deadline_nothing_is_touched(world: World) -> None:
    world.now = FORCE - timedelta(seconds=1)
    world.enforcer.look()
    assert (world.gate, world.forced) == ([], [])
    answer = world.enforcer.answer()
    assert answer == {
        "blocked": False,
        "forced": {
            "version": "1.0.2", "deadline": "2026-12-01T20:00:00Z", "overdue": False, "postponements_left": 3,
            "lifted_until": None,
        },
    }  # fmt: skip


def test_at_the_deadline_clms_is_blocked_and_the_update_begins(world: World) -> None:
    world.now = FORCE
    world.enforcer.look()
    world.enforcer.look()
    assert world.gate == ["blocked"], "it is blocked once"
    assert world.forced == [FORCE, FORCE], "it is seen to again and again"
    (message,) = world.events("UPDATE_OVERDUE")
    assert "1.0.2" in message
    assert world.enforcer.answer()["blocked"] is True


def test_in_school_hours_it_begins_at_night(world: World) -> None:
    world.now = datetime(2026, 12, 2, 9, tzinfo=UTC)
    world.enforcer.look()
    assert world.gate == ["blocked"]
    assert world.forced == [datetime(2026, 12, 2, 22, tzinfo=UTC)]


@pytest.mark.parametrize("case", ["news", "clock", "updated", "other channel", "not critical", "not fetched"])
def test_where_nothing_is_sure_nobody_is_locked_out(world: World, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """A clock that is five years ahead, for one: what was last heard of the vendor has expired by then."""
    world.now = FORCE
    world.enforcer.look()
    assert world.gate == ["blocked"]
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
    else:

        def missing(*_: Any, **__: Any) -> None:
            raise ClmsError("SERVER_UNREACHABLE", url="https://x", detail="not fetched yet")

        monkeypatch.setattr(module.store_of(None), "release", missing)  # type: ignore[arg-type]
    world.enforcer.look()
    assert world.gate == ["blocked", "open"], "who was blocked stays so"
    assert world.enforcer.answer() == {"forced": None, "blocked": False}
    world.enforcer.look()
    assert world.gate == ["blocked", "open"]


def test_one_that_was_followed_by_others_is_forced_all_the_same(world: World) -> None:
    world.listed.append(world.release("1.0.3", 4, critical=False))
    world.now = FORCE
    world.enforcer.look()
    assert world.enforcer.answer()["forced"]["version"] == "1.0.2"
    assert world.gate == ["blocked"]


def test_while_a_run_goes_on_the_gate_is_its(world: World) -> None:
    world.now = FORCE
    held = lock.acquire(world.home)
    assert held is not None
    world.enforcer.look()
    assert (world.gate, world.events("UPDATE_OVERDUE")) == ([], [])
    os.close(held)
    run = world.journal.begin("update", phases=("preflight",), school={}, version="1.0.2")
    world.enforcer.look()
    assert world.gate == []
    run.close("ABORTED", {"code": "RUN_CANCELLED", "message": "x", "remedy": "y", "phase": "z"})
    world.enforcer.look()
    assert world.gate == ["blocked"], "whoever stops it has not done it"


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
    world.enforcer.look()
    world.now += timedelta(minutes=5)
    world.ended(kind, outcome, code)
    world.enforcer.look()
    assert world.gate == ["blocked", "open"]
    assert world.enforcer.answer()["forced"]["lifted_until"] == "2026-12-02T20:05:00Z"
    world.now += DAY
    world.enforcer.look()
    assert world.gate == ["blocked", "open", "blocked"]


def test_it_is_put_off_by_people_and_counted(world: World) -> None:
    world.now = FORCE + timedelta(hours=1)
    world.enforcer.look()
    answer = world.enforcer.postpone()
    assert (answer["blocked"], answer["forced"]["postponements_left"]) == (False, 2)
    assert answer["forced"]["deadline"] == "2026-12-02T21:00:00Z"
    assert "can be done 2 times more" in world.events("UPDATE_POSTPONED")[0]
    assert world.gate == ["blocked", "open"]
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


def test_nothing_to_put_off(world: World) -> None:
    world.listed.pop()
    with pytest.raises(ClmsError) as caught:
        world.enforcer.postpone()
    assert caught.value.code == "FORCED_NONE"


def test_what_is_remembered_and_cannot_be_read_begins_anew(world: World) -> None:
    with module.closing(module.Store(world.home)) as store:
        store.note("forced", "{")
    assert world.enforcer.answer()["forced"]["postponements_left"] == 3
