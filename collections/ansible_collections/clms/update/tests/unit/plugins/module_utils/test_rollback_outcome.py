# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a run back: what it has come to, what is done in which order, and what happens when that fails too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import run as run_module
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.phases import forward, rollback
from ansible_collections.clms.update.plugins.module_utils.phases.rollback import outcome_of, put_back
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS, PHASES
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.slots import Slot
from ansible_collections.clms.update.plugins.module_utils.smoke import SmokeError

Begin = Callable[..., Context]


@pytest.mark.parametrize(
    ("phase", "outcome"),
    [
        ("preflight", "REFUSED"),
        ("release", "REFUSED"),
        ("image_pull", "ABORTED"),
        ("backup", "ABORTED"),
        ("rehearse", "ABORTED"),
        ("drain", "ROLLED_BACK"),
        ("slot", "ROLLED_BACK"),
        ("migrate", "ROLLED_BACK"),
        ("container_replace", "ROLLED_BACK"),
        ("health_check", "ROLLED_BACK"),
        ("commit", "ROLLED_BACK"),
        ("open", "ROLLED_BACK"),
        ("clean_up", "ABORTED"),
        ("", "ABORTED"),
        ("a phase of another version", "ABORTED"),
    ],
)
def test_outcome_of(phase: str, outcome: str) -> None:
    assert outcome_of(phase) == outcome


def test_that_table_has_every_phase() -> None:
    (mark,) = test_outcome_of.pytestmark  # type: ignore[attr-defined]
    assert set(PHASES) <= {phase for phase, _ in mark.args[1]}


@dataclass
class World:
    """What put_back does to the world beside the engine, in the order in which it does it."""

    engine: Any
    problems: list[Exception] = field(default_factory=list)
    """raised when the old version is asked for its health, one each time"""
    smoke_fails: bool = False
    gate_is_gone: bool = False
    waited: list[float] = field(default_factory=list)

    def say(self, *words: str) -> None:
        self.engine.calls.append(words)

    def order(self, *names: str) -> list[tuple[str, ...]]:
        return [call for call in self.engine.calls if call[0] in names]


@pytest.fixture
def world(engine: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    """The engine in memory, and everything else pretended."""
    found = World(engine)

    class Closable:
        def close(self) -> None:
            found.say("database closed")

    class Gate:
        def __init__(self, *_: Any) -> None: ...

        def open(self, slot: Slot) -> None:
            found.say("gate open", slot.name)

        def call_operator(self, slot: Slot, commands: str) -> None:
            found.say("gate calls", slot.name, *commands.splitlines())
            if found.gate_is_gone:
                raise ClmsError("GATE_UNREACHABLE", detail="gone", container="linden-gate")

    def smoke(*_: Any, writes: bool) -> Any:
        assert writes is False  # it is the data of the school
        found.say("smoke")
        if found.smoke_fails:
            raise SmokeError("step 'login' answered 401")
        return [], {}

    def wait_healthy(_: Any, place: Any, service: str, __: Any) -> float:
        found.say("healthy", place.containers[service])
        if found.problems:
            raise found.problems.pop(0)
        return 0.0

    def database_of(*_: Any, **__: Any) -> Closable:
        found.say("database answers")
        return Closable()

    monkeypatch.setattr(run_module, "Engine", lambda: engine)
    monkeypatch.setattr(rollback, "Engine", lambda: engine)
    monkeypatch.setattr(rollback, "GateControl", Gate)
    monkeypatch.setattr(rollback, "run_smoke", smoke)
    monkeypatch.setattr(rollback, "wait_healthy", wait_healthy)
    monkeypatch.setattr(rollback, "database_of", database_of)
    monkeypatch.setattr(rollback.time, "sleep", found.waited.append)
    return found


def closed(context: Context) -> None:
    """CLMS was closed, and the old version stopped."""
    with context.run.step("drain", "gate_close", mode="closed") as outcome:
        outcome["closed_at"] = 1.0
    for service in context.old.services.values():
        context.engine.stop(service.container, 1)
        context.engine.set_restart(service.container, "no")


def built(context: Context) -> None:
    """The new slot is there and runs."""
    context.engine.set_up(context.new, context.school.project)  # type: ignore[attr-defined]


def failed(context: Context, code: str = "HEALTH_FAILED", **values: Any) -> ClmsError:
    error = ClmsError(code, **(values or {"detail": "x"}))
    context.run.fail(context.phase, error)
    return error


def test_before_the_drain_the_old_version_is_not_touched(begin: Begin, world: World, labels_of: Any, old: Slot) -> None:
    context = begin(phase="rehearse")
    engine = world.engine
    engine.ensure_volume("linden-rehearsal-mysql-data-r2", labels_of(2, "rehearsal"))
    engine.ensure_network("linden-rehearsal-r2", internal=True, labels=labels_of(2, "rehearsal"))
    error = failed(context, "REHEARSAL_SMOKE", version="1.0.1", detail="x")
    before = dict(engine.containers)
    answer = put_back(context.journal, context.run.id)
    assert answer["outcome"] == "ABORTED"
    assert answer["changed"] is False
    assert answer["error"] == {"phase": "rehearse", **error.as_dict()}
    assert engine.containers == before
    assert not world.order("start", "stop", "set_restart", "gate open", "smoke")
    assert not [name for name in (*engine.volumes, *engine.networks) if "rehearsal" in name]
    row = context.journal.row(context.run.id)
    assert (row.outcome, row.error) == ("ABORTED", answer["error"])


def test_after_the_drain_the_old_version_serves_again(begin: Begin, world: World, old: Slot, new: Slot) -> None:
    context = begin(phase="health_check")
    closed(context)
    built(context)
    world.engine.outputs["linden-backend-r2"] = "Error: no such column"
    world.engine.calls.clear()
    failed(context)
    answer = put_back(context.journal, context.run.id)
    assert (answer["outcome"], answer["changed"]) == ("ROLLED_BACK", True)
    assert world.engine.running() == {service.container for service in old.services.values()}
    assert set(world.engine.volumes) == set(old.volumes.values())
    assert old.network in world.engine.networks
    assert new.network not in world.engine.networks
    assert {state.restart_policy for state in world.engine.containers.values()} == {"always"}
    assert [slot.name for slot in context.journal.slots("current")] == ["r1"]
    assert [slot.name for slot in context.journal.slots("freed")] == ["r2"]
    evidence = context.folder / "linden-backend-r2.log"
    assert evidence.read_text() == "Error: no such column"
    opened = [record for record in context.journal.records(context.run.id) if "opened_at" in record.names]
    assert len(opened) == 1


def test_the_old_version_is_tested_before_users_are_let_in(begin: Begin, world: World) -> None:
    context = begin(phase="migrate")
    closed(context)
    built(context)
    world.engine.calls.clear()
    failed(context)
    put_back(context.journal, context.run.id)
    assert world.order("stop", "start", "database answers", "healthy", "smoke", "gate open") == [
        # first everything of the new version ends: both databases have the same name
        *(("stop", f"linden-{service}-r2", "1") for service in ("backend", "frontend", "mysql", "redis")),
        ("start", "linden-mysql-r1"),
        ("database answers",),
        ("start", "linden-redis-r1"),
        ("start", "linden-backend-r1"),
        ("start", "linden-frontend-r1"),
        ("healthy", "linden-backend-r1"),
        ("healthy", "linden-frontend-r1"),
        ("smoke",),
        ("gate open", "r1"),
    ]


@pytest.mark.parametrize(
    ("phase", "state", "volume_is_there"),
    [
        pytest.param("migrate", "kept", True, id="a failed migration is kept for diagnosis"),
        pytest.param("health_check", "freed", False, id="everything else is freed"),
    ],
)
def test_what_becomes_of_the_new_data(
    begin: Begin, world: World, phase: str, state: str, volume_is_there: bool
) -> None:
    context = begin(phase=phase)
    closed(context)
    built(context)
    failed(context)
    put_back(context.journal, context.run.id)
    assert [slot.name for slot in context.journal.slots(state)] == ["r2"]
    assert ("linden-mysql-data-r2" in world.engine.volumes) is volume_is_there
    assert "linden-mysql-r2" not in world.engine.containers
    assert "linden-r2" not in world.engine.networks


def test_the_database_that_both_versions_use_goes_on(begin: Begin, world: World, old: Slot) -> None:
    context = begin("update_images", phase="drain")
    built(context)
    with context.run.step("drain", "gate_close", mode="held"):
        pass
    world.engine.calls.clear()
    failed(context, "DRAIN_FAILED")
    put_back(context.journal, context.run.id)
    assert "linden-mysql-r1" in world.engine.running()
    assert not [
        call for call in world.engine.calls if call[:2] in (("stop", "linden-mysql-r1"), ("remove", "linden-mysql-r1"))
    ]
    assert ("disconnect", "linden-mysql-r1", "linden-r2") in world.engine.calls
    assert set(world.engine.volumes) == set(old.volumes.values())


def test_what_a_run_of_a_rollback_started_is_stopped_and_not_removed(
    begin: Begin, world: World, old: Slot, new: Slot
) -> None:
    context = begin("rollback", phase="health_check")
    with context.run.step("drain", "gate_close", mode="closed"):
        pass
    for service in new.services.values():
        world.engine.stop(service.container, 1)
    for service in old.services.values():
        world.engine.start(service.container)
    failed(context)
    assert put_back(context.journal, context.run.id)["outcome"] == "ROLLED_BACK"
    assert world.engine.running() == {service.container for service in new.services.values()}
    assert set(world.engine.containers) >= {service.container for service in old.services.values()}
    assert set(world.engine.volumes) >= set(old.volumes.values())
    assert context.journal.slot("previous") == old


@pytest.mark.parametrize("kind", ["update", "rollback", "restore", "backup"])
def test_a_run_that_was_interrupted_in_its_preflight(begin: Begin, world: World, kind: str, old: Slot) -> None:
    context = begin(kind)
    context.run.enter("preflight")
    running = world.engine.running()
    answer = put_back(context.journal, context.run.id)
    assert answer["outcome"] == "REFUSED"
    assert answer["error"]["code"] == "RUN_INTERRUPTED"
    assert answer["error"]["phase"] == "preflight"
    assert world.engine.running() == running
    assert world.waited == []


def test_a_run_that_was_interrupted_has_that_as_its_cause(begin: Begin, world: World) -> None:
    context = begin("update_images", phase="image_pull")
    context.run.enter("image_pull")
    error = put_back(context.journal, context.run.id)["error"]
    assert error["code"] == "RUN_INTERRUPTED"
    assert error["message"] == f"Run number {context.run.id} (update) was interrupted at step 'image_pull'."


def unhealthy(detail: str) -> ClmsError:
    return ClmsError("HEALTH_FAILED", detail=detail)


def test_it_is_tried_three_times(begin: Begin, world: World) -> None:
    context = begin(phase="slot")
    closed(context)
    failed(context, "SLOT_FAILED")
    world.problems = [unhealthy("once"), unhealthy("again")]
    assert put_back(context.journal, context.run.id)["outcome"] == "ROLLED_BACK"
    assert world.waited == [1, 2]
    attempts = [r.event for r in context.journal.records(context.run.id) if r.step == "serve_old"]
    assert attempts == ["intent", "note", "intent", "note", "intent"]


@pytest.mark.parametrize("kind", ["rollback", "restore"])
def test_a_version_that_was_not_healthy_when_it_was_left_serves_again(begin: Begin, world: World, kind: str) -> None:
    context = begin(kind, phase="backup")
    closed(context)
    failed(context, "BACKUP_FAILED")
    world.problems = [unhealthy("the container of 'backend' ended with code 1")]
    answer = put_back(context.journal, context.run.id)
    assert (answer["outcome"], answer["error"]["code"]) == ("ROLLED_BACK", "BACKUP_FAILED")
    assert world.waited == []  # it is not tried again
    assert world.order("gate open") == [("gate open", context.old.name)]
    assert world.engine.running() >= {service.container for service in context.old.services.values()}
    notes = [r for r in context.journal.records(context.run.id) if r.event == "note"]
    assert [note.step for note in notes] == ["health_failed"]
    assert "the container of 'backend' ended with code 1" in notes[0].names["detail"]


@pytest.mark.parametrize("kind", ["rollback", "restore"])
def test_without_its_database_no_version_is_opened(
    begin: Begin, world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise ClmsError("DATABASE_UNREACHABLE", detail="no answer")

    monkeypatch.setattr(rollback, "database_of", unreachable)
    context = begin(kind, phase="backup")
    closed(context)
    failed(context, "BACKUP_FAILED")
    assert put_back(context.journal, context.run.id)["outcome"] == "NEEDS_OPERATOR"
    assert world.waited == [1, 2, 3]
    assert not world.order("gate open")


def test_a_smoke_test_that_fails_on_the_old_version_keeps_nobody_out(begin: Begin, world: World) -> None:
    context = begin(phase="slot")
    closed(context)
    failed(context, "SLOT_FAILED")
    world.smoke_fails = True
    assert put_back(context.journal, context.run.id)["outcome"] == "ROLLED_BACK"
    assert world.order("gate open")
    assert [r.step for r in context.journal.records(context.run.id) if r.step == "smoke_failed"] == ["smoke_failed"]


def give_up(context: Context, world: World) -> dict[str, Any]:
    closed(context)
    failed(context, "SLOT_FAILED")
    world.problems = [unhealthy(f"attempt {number}") for number in (1, 2, 3)]
    return put_back(context.journal, context.run.id)


@pytest.mark.parametrize("kind", ["update", "update_images"])
def test_an_update_opens_no_version_that_is_not_healthy(begin: Begin, world: World, kind: str) -> None:
    context = begin(kind, phase="drain")
    assert give_up(context, world)["outcome"] == "NEEDS_OPERATOR"
    assert world.waited == [1, 2, 3]
    assert not world.order("gate open", "smoke")


@pytest.mark.parametrize("gate_is_gone", [False, True], ids=["gate shows it", "gate is gone"])
def test_after_the_third_attempt_a_person_has_to_look(begin: Begin, world: World, gate_is_gone: bool) -> None:
    world.gate_is_gone = gate_is_gone
    context = begin(phase="slot")
    answer = give_up(context, world)
    assert (answer["outcome"], answer["changed"]) == ("NEEDS_OPERATOR", True)
    assert answer["error"]["code"] == "ROLLBACK_FAILED"
    assert "attempt 3" in answer["error"]["message"]
    commands = "docker start linden-mysql-r1 && docker start linden-redis-r1 && docker start linden-backend-r1"
    assert commands in answer["error"]["remedy"]
    assert answer["error"]["remedy"].endswith("&& clms-update recover")
    services = [f"docker start linden-{name}-r1" for name in ("mysql", "redis", "backend", "frontend")]
    assert world.order("gate calls") == [("gate calls", "r1", *services, "clms-update recover")]
    assert not world.order("gate open")
    assert context.journal.row(context.run.id).outcome == "NEEDS_OPERATOR"
    assert context.journal.slot("candidate") is not None  # nothing more is taken away


def test_a_run_that_was_given_up_can_be_put_back_later(begin: Begin, world: World) -> None:
    context = begin(phase="slot")
    give_up(context, world)
    context.run.reopen()
    answer = put_back(context.journal, context.run.id)
    assert answer["outcome"] == "ROLLED_BACK"
    assert (answer["error"]["phase"], answer["error"]["code"]) == ("slot", "SLOT_FAILED")


def test_an_interrupted_run_that_was_given_up_can_be_put_back_later(begin: Begin, world: World) -> None:
    context = begin(phase="slot")
    closed(context)
    world.problems = [unhealthy(f"attempt {number}") for number in (1, 2, 3)]
    put_back(context.journal, context.run.id)
    context.run.reopen()
    answer = put_back(context.journal, context.run.id)
    assert answer["outcome"] == "ROLLED_BACK"
    assert (answer["error"]["phase"], answer["error"]["code"]) == ("slot", "RUN_INTERRUPTED")


@pytest.mark.parametrize("phase", ["release", "rehearse", "slot"])
def test_a_failed_run_tidies_up_as_well(begin: Begin, world: World, phase: str) -> None:
    context = begin(phase=phase)
    if phase == "slot":
        closed(context)
    package, evidence = context.school.home / "downloads/clms-1.0.1.zip", context.folder / "x.log"
    for path in (package, evidence):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    failed(context, "SLOT_FAILED")
    put_back(context.journal, context.run.id)
    assert not package.exists()
    assert evidence.exists()


def test_what_cannot_be_tidied_up_does_not_count(begin: Begin, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Context) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(rollback, "tidy", fail)
    context = begin(phase="slot")
    closed(context)
    failed(context, "SLOT_FAILED")
    assert put_back(context.journal, context.run.id)["outcome"] == "ROLLED_BACK"
    assert world.order("gate open")


@pytest.mark.parametrize("kind", ["rollback", "restore"])
def test_a_backup_that_fails_after_the_drain_puts_the_version_back_that_ran(
    begin: Begin, world: World, kind: str
) -> None:
    context = begin(kind, phase="backup")
    serving = {service.container for service in context.old.services.values()}
    closed(context)
    failed(context, "BACKUP_FAILED")
    assert put_back(context.journal, context.run.id)["outcome"] == "ROLLED_BACK"
    assert world.engine.running() == serving
    assert world.order("gate open") == [("gate open", context.old.name)]


def test_what_cannot_be_removed_is_left_to_the_next_run(
    journal: Journal, school: School, engine: Any, world: World, old: Slot
) -> None:
    run = journal.begin("install", phases=KINDS["install"], school=school.raw, version="1.0.0")
    journal.set_slot(old, "candidate")
    run.enter("preflight")
    run.leave("preflight", slot=old.as_dict())
    engine.set_up(old, school.project)
    engine.fails["remove", "linden-mysql-r1"] = ClmsError("ENGINE_UNREACHABLE", detail="gone")
    run.fail("slot", ClmsError("SLOT_FAILED", detail="x"))
    answer = put_back(journal, run.id)
    assert answer["outcome"] == "ROLLED_BACK"
    assert journal.slot("candidate") == old


def test_a_committed_run_is_never_put_back(
    begin: Begin, world: World, new: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Context) -> dict[str, Any]:
        raise ClmsError("GATE_UNREACHABLE", detail="x", container="y")

    monkeypatch.setitem(forward._FORWARD, "open", fail)
    context = begin(phase="open")
    closed(context)
    built(context)
    context.run.commit(new)
    error = failed(context, "CONTAINER_FAILED")
    world.engine.calls.clear()
    answer = put_back(context.journal, context.run.id)
    assert answer == {"outcome": None, "error": {"phase": "open", **error.as_dict()}, "changed": True}
    assert world.engine.calls == []
    assert len(world.waited) == 3
    assert context.journal.open_run() is not None
    assert context.journal.slot("current") == new


@pytest.mark.parametrize("outcome", ["COMPLETED", "REFUSED", "ABORTED", "ROLLED_BACK", "NEEDS_OPERATOR"])
def test_a_run_that_has_ended_is_left_alone(begin: Begin, world: World, outcome: str) -> None:
    context = begin(phase="slot")
    context.run.close(outcome)
    assert put_back(context.journal, context.run.id) == {"outcome": outcome, "error": None, "changed": False}
    assert world.engine.calls == []


def test_people_are_told(begin: Begin, world: World) -> None:
    context = begin(phase="health_check")
    closed(context)
    built(context)
    error = failed(context)
    put_back(context.journal, context.run.id)
    event = context.journal.events(limit=1)[0]
    assert (event["type"], event["run"], event["message"]) == (
        "ROLLBACK_COMPLETED",
        context.run.id,
        error.happened,
    )
