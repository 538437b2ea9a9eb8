# SPDX-License-Identifier: GPL-3.0-or-later
"""Which slot serves when the journal cannot be read, and what recovery makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import gate_config, lock
from ansible_collections.clms.update.plugins.module_utils import run as run_module
from ansible_collections.clms.update.plugins.module_utils.adapters import gate as gate_module
from ansible_collections.clms.update.plugins.module_utils.adapters import slot_files
from ansible_collections.clms.update.plugins.module_utils.adapters.gate import GateControl
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.overview import history, status
from ansible_collections.clms.update.plugins.module_utils.phases import commit as commit_phase
from ansible_collections.clms.update.plugins.module_utils.phases import open as open_phase
from ansible_collections.clms.update.plugins.module_utils.phases import preflight, prepare, salvage
from ansible_collections.clms.update.plugins.module_utils.phases.clean_up import free_slot
from ansible_collections.clms.update.plugins.module_utils.phases.recover import is_needed, recover
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.salvage import Choice, Undecided, slot_to_serve
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

Begin = Callable[..., Context]

# the decision

A, B = frozenset({"db-1", "web-1"}), frozenset({"db-2", "web-2"})
SHARED = frozenset({"db-1", "web-2"})
"""a slot that has the database of A"""
GATE, NOTE = "the gate said", "the note of the last commit said"


@pytest.mark.parametrize(
    ("gate_open", "named", "serving", "slots", "expected"),
    [
        pytest.param(True, A, "a", {"a": A, "b": B}, ("a", GATE), id="gate and note agree"),
        pytest.param(True, {"web-1"}, "b", {"a": A, "b": B}, ("a", GATE), id="the gate comes first"),
        pytest.param(True, {"web-2"}, None, {"a": A, "b": B}, ("b", GATE), id="the gate alone"),
        pytest.param(True, {"web-2", "db-1"}, "a", {"a": A, "c": SHARED}, ("c", GATE), id="a shared database"),
        pytest.param(True, {"db-1"}, "c", {"a": A, "c": SHARED}, ("c", f"the gate and {NOTE}"), id="only shared ones"),
        pytest.param(True, {"db-1"}, None, {"a": A, "c": SHARED}, "slots a and c share", id="shared, and no note"),
        pytest.param(True, {"db-1"}, "b", {"a": A, "b": B, "c": SHARED}, "slots a and c share", id="a note of another"),
        pytest.param(True, {"web-9"}, "a", {"a": A}, "of which nothing is written down", id="an unknown container"),
        pytest.param(True, {"web-1", "web-2"}, "a", {"a": A, "b": B}, "nothing is written down", id="a mixture"),
        pytest.param(True, set(), "a", {"a": A, "b": B}, ("a", NOTE), id="a gate without its configuration"),
        pytest.param(False, A, "b", {"a": A, "b": B}, ("b", NOTE), id="closed: committed and not opened yet"),
        pytest.param(False, A, "a", {"a": A, "b": B}, ("a", NOTE), id="closed: not committed"),
        pytest.param(False, A, None, {"a": A}, "none is noted", id="closed, and no note"),
        pytest.param(False, A, "c", {"a": A}, "nothing else is written down of it", id="a note of an unknown slot"),
        pytest.param(False, set(), None, {}, "none is noted", id="nothing at all"),
    ],
)
def test_which_slot_serves(gate_open: bool, named: Any, serving: Any, slots: Any, expected: Any) -> None:
    def decide() -> Choice:
        return slot_to_serve(gate_open=gate_open, named=frozenset(named), serving=serving, slots=slots)

    if isinstance(expected, tuple):
        assert decide() == Choice(*expected)
    else:
        with pytest.raises(Undecided, match=expected):
            decide()


# what is written down


@pytest.mark.parametrize("serves", [True, False])
def test_the_gates_file_is_read_as_it_is_written(school: School, engine: Any, old: Slot, serves: bool) -> None:
    control = GateControl(school, engine)
    assert gate_module.on_disk(school.home) == (False, frozenset())
    control.write_files(old if serves else None)
    named = {old.services[name].container for name in ("frontend", "mysql")} if serves else set()
    assert gate_module.on_disk(school.home) == (False, named)
    control._write_mode("open")
    assert gate_module.on_disk(school.home) == (True, named)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("mode open\n", True), ("mode closed\n", False), ("mode held\n", False), ("", False), ("mode openly\n", False)],
)
def test_is_open(text: str, expected: bool) -> None:
    assert gate_config.is_open(text) is expected


def test_slots_are_written_and_read(tmp_path: Path, old: Slot, new: Slot) -> None:
    assert (slot_files.kept_slots(tmp_path), slot_files.serving(tmp_path)) == ([], None)
    for slot in (new, old, old):
        slot_files.keep_slot(tmp_path, slot, school={"title": "x"}, event_scheduler="ON")
        slot_files.keep_serving(tmp_path, slot)
    assert [kept.slot for kept in slot_files.kept_slots(tmp_path)] == [old, new]
    assert slot_files.kept_slots(tmp_path)[0].school == {"title": "x"}
    assert slot_files.serving(tmp_path) == "r1"
    files = [path for path in (tmp_path / "slots").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    slot_files.forget_slot(tmp_path, new)
    assert [kept.slot for kept in slot_files.kept_slots(tmp_path)] == [old]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"slot": 1}', '{"slot": {"name": "r1"}}', "\0\0"])
def test_spoilt_files_count_as_none(tmp_path: Path, old: Slot, text: str) -> None:
    slot_files.keep_slot(tmp_path, old, school={}, event_scheduler="ON")
    for path in (tmp_path / "slots/r1/slot.json", tmp_path / "slots/serving.json"):
        path.write_text(text)
    assert (slot_files.kept_slots(tmp_path), slot_files.serving(tmp_path)) == ([], None)


def test_a_slot_is_written_down_before_its_containers_are_made(
    begin: Begin, engine: Any, secrets: Path, new: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = begin(phase="drain", event_scheduler="ON")
    engine.fails["create", new.services["mysql"].container] = SystemExit()
    with pytest.raises(SystemExit):
        prepare.prepare(context)
    (kept,) = slot_files.kept_slots(context.school.home)
    assert (kept.slot, kept.school, kept.event_scheduler) == (new, context.school.raw, "ON")


def test_the_commit_is_noted_after_its_record(
    begin: Begin, engine: Any, new: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_phase, "sync_file_system", lambda _: None)
    context = begin(phase="commit")
    with monkeypatch.context() as patch:
        patch.setattr(type(context.run), "commit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            commit_phase.work(context)
    assert slot_files.serving(context.school.home) is None
    commit_phase.work(context)
    assert slot_files.serving(context.school.home) == "r2"


def test_a_freed_slot_is_forgotten(begin: Begin, engine: Any, new: Slot) -> None:
    context = begin()
    slot_files.keep_slot(context.school.home, new, school={}, event_scheduler="ON")
    free_slot(context, new)
    assert slot_files.kept_slots(context.school.home) == []


# a broken journal


@pytest.fixture
def world(engine: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The engine in memory; the gate's files are real, and its runtime pretended."""

    class Database:
        def __init__(self) -> None:
            self.events: list[str] = []

        def __getattr__(self, name: str) -> Callable[..., Any]:
            return lambda *_: engine.calls.append((f"database {name}", *map(str, _))) or {}

    def gate_open(self: GateControl, slot: Slot) -> None:
        engine.calls.append(("gate open", slot.name))
        self.write_files(slot)
        self._write_mode("open")

    monkeypatch.setattr(run_module, "Engine", lambda: engine)
    monkeypatch.setattr(salvage, "Engine", lambda: engine)
    monkeypatch.setattr(open_phase, "database_of", lambda *_, **__: Database())
    monkeypatch.setattr(open_phase, "wait_healthy", lambda *_: 0.0)
    monkeypatch.setattr(GateControl, "open", gate_open)
    monkeypatch.setattr(GateControl, "has_read_all", lambda _: True)
    engine.add("linden-gate", labels={"clms.project": "linden", "clms.purpose": "gate"}, restart="always")
    return engine


@pytest.fixture
def two(begin: Begin, world: Any, new: Slot) -> Context:
    """1.0.0 serves, and an update to 1.0.1 is on its way; both slots are written down."""
    context = begin(phase="commit")
    world.set_up(new, "linden")
    for slot in (context.old, new):
        slot_files.keep_slot(context.school.home, slot, school=context.school.raw, event_scheduler="ON")
    slot_files.keep_serving(context.school.home, context.old)
    GateControl(context.school, world).write_files(context.old)
    (context.school.home / "gate/state.map").write_text("mode closed\n")
    return context


def spoil(context: Context) -> Path:
    context.journal.close()
    context.journal.path.write_bytes(b"\0" * 8192)
    return context.school.home


def containers(slot: Slot) -> set[str]:
    return {service.container for service in slot.services.values()}


def test_what_was_committed_serves(two: Context, world: Any, old: Slot, new: Slot) -> None:
    slot_files.keep_serving(two.school.home, new)  # and then the power was cut
    for name in containers(new):
        world.stop(name, 1)
    world.add("linden-rehearsal-x", labels={"clms.project": "linden", "clms.purpose": "rehearsal", "clms.run": "2"})
    world.add("other-school", labels={"clms.project": "other", "clms.purpose": "service"})
    home = spoil(two)
    world.calls.clear()
    assert is_needed(home)
    answer = recover(home)
    (folder,) = home.glob("journal-broken-*")
    assert (answer["outcome"], answer["changed"]) == ("COMPLETED", True)
    assert answer["message"] == (
        f"The journal could not be read (file is not a database); it is kept in {folder}. "
        f"Version 1.0.1 is the valid one, as {NOTE}."
    )
    assert (folder / "journal.db").read_bytes() == b"\0" * 8192
    assert world.running() == {*containers(new), "linden-gate", "other-school"}
    assert world.containers.keys().isdisjoint(containers(old))
    # a person may want to look at what they said, and at their data
    assert {path.stem for path in home.glob("runs/*/*.log")} == containers(old)
    assert all(world.volume_path(volume) for volume in old.own_volumes(new))
    assert {world.state(name).restart_policy for name in containers(new)} == {"always"}
    assert "linden-rehearsal-x" not in world.containers
    assert gate_module.on_disk(home) == (True, {"linden-frontend-r2", "linden-mysql-r2"})
    # the old databases stop before the new ones start, and all of it before users are let in
    order = [call[:2] for call in world.did("stop", "start", "gate open")]
    assert order.index(("stop", "linden-mysql-r1")) < order.index(("start", "linden-mysql-r2"))
    assert order[-1] == ("gate open", "r2")
    assert ("database set_event_scheduler", "ON") in world.calls
    assert recover(home) == {"outcome": None, "changed": False}
    assert not is_needed(home)
    assert not lock.is_held(home)


def test_the_slot_that_the_gate_names_goes_on_serving(two: Context, world: Any, old: Slot) -> None:
    (two.school.home / "gate/state.map").write_text("mode open\n")
    home = spoil(two)
    world.calls.clear()
    assert "Version 1.0.0 is the valid one, as the gate said." in recover(home)["message"]
    assert world.running() == {*containers(old), "linden-gate"}
    assert not world.did("start")
    with closing(Journal(home)) as journal:
        assert journal.slot("current") == old
        assert [slot.name for slot in journal.slots("kept")] == ["r2"]
        row = journal.rows(limit=1)[0]
        assert (row.kind, row.outcome, row.version) == ("recover", "COMPLETED", "1.0.0")
        assert row.id == 3  # the broken journal knew of two
        assert journal.opening_run(old) == 3
        assert [event["type"] for event in journal.events()] == ["JOURNAL_BROKEN"]


def test_a_slot_of_which_nothing_is_left_is_not_kept(two: Context, world: Any, new: Slot) -> None:
    for name in containers(new):
        world.remove(name)
    for volume in new.own_volumes(two.old):
        world.remove_volume(volume)
    home = spoil(two)
    recover(home)
    with closing(Journal(home)) as journal:
        assert journal.slots("kept") == []


@pytest.mark.parametrize("moment", ["set_aside", "_begin_anew", "end_others", "gate open"])
def test_a_recovery_that_is_killed_goes_on(
    two: Context, world: Any, old: Slot, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise SystemExit

    home = spoil(two)
    broken = (home / "journal.db").read_bytes()
    with monkeypatch.context() as patch:
        if moment == "set_aside":
            patch.setattr(salvage.journal_file, "set_aside", killed)
        elif moment == "gate open":
            patch.setattr(GateControl, "open", killed)
        else:
            patch.setattr(open_phase if moment == "end_others" else salvage, moment, killed)
        with pytest.raises(SystemExit):
            recover(home)
    assert is_needed(home)
    assert recover(home)["outcome"] == "COMPLETED"
    # killed in the middle of a new journal, it keeps that one too, beside the first
    kept = sorted(home.glob("journal-broken-*"))
    assert len(kept) == (2 if moment == "_begin_anew" else 1)
    assert (kept[0] / "journal.db").read_bytes() == broken
    assert world.running() == {*containers(old), "linden-gate"}
    with closing(Journal(home)) as journal:
        assert [row.outcome for row in journal.rows()] == ["COMPLETED"]
        assert journal.slot("current") == old


def test_what_cannot_be_decided_is_left_to_a_person(two: Context, world: Any) -> None:
    slot_files.serving_file(two.school.home).unlink()
    home = spoil(two)
    world.calls.clear()
    with pytest.raises(ClmsError) as caught:
        recover(home)
    error = caught.value
    assert error.code == "JOURNAL_BROKEN"
    assert (home / "journal.db").exists()
    assert world.calls == []
    assert not lock.is_held(home)
    # the command that is shown does what it says
    assert f"""to have version 1.0.1 serve: echo 'mode closed' > {home}/gate/state.map""" in error.remedy
    assert f"""echo '{{"slot": "r2"}}' > {home}/slots/serving.json && clms-update recover""" in error.remedy
    slot_files.serving_file(home).write_text(json.dumps({"slot": "r2"}))
    assert "Version 1.0.1" in recover(home)["message"]


@pytest.mark.parametrize("ask", [recover, is_needed])
def test_a_newer_journal_is_never_touched(two: Context, ask: Any) -> None:
    two.journal.file.db.execute("PRAGMA user_version=99")
    with pytest.raises(ClmsError) as caught:
        ask(two.school.home)
    assert caught.value.code == "JOURNAL_NEWER"
    assert not list(two.school.home.glob("journal-broken-*"))


def test_while_a_process_is_at_work_nothing_is_moved(two: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.clms.update.plugins.module_utils.phases.recover.LINGER_SECONDS", 0)
    home = spoil(two)
    with lock.at_work(home, 0), pytest.raises(ClmsError) as caught:
        recover(home)
    assert caught.value.code == "RUN_ACTIVE"
    assert (home / "journal.db").exists()


def test_later_commands_find_their_way(two: Context, world: Any, old: Slot, new: Slot, school: School) -> None:
    home = spoil(two)
    recover(home)
    seen = status(home)
    assert (seen["current_version"], seen["running"], seen["last_update"]) == ("1.0.0", None, None)
    with closing(Journal(home)) as journal:
        (described,) = history(journal)
        assert (described["kind"], described["status"]) == ("recover", "COMPLETED")
        assert "CLMS runs version 1.0.0" in described["message"]
        run = journal.begin("update", phases=KINDS["update"], school=school.raw, version="1.0.1")
        context = Context(journal, run, "preflight")
        run.enter("preflight")
        again = Slot.from_dict({**new.as_dict(), "name": f"r{run.id}", "run": run.id})
        preflight._settle(context, preflight.Findings("update", again, [], "OFF", {}, None))
        assert journal.slots("kept") == []
        assert journal.slots("freed") == [new]
        assert world.containers.keys() == {*containers(old), "linden-gate"}
        assert set(world.volumes) == set(old.volumes.values())
        assert journal.slot("candidate") == again
        run.close("ABORTED")


def test_nothing_is_installed_over_a_journal_that_is_gone(two: Context, describe: Callable[..., Any]) -> None:
    home = two.school.home
    two.journal.close()
    two.journal.path.unlink()
    with pytest.raises(ClmsError) as caught:
        preflight.begin(describe(), preflight.Request("install", "1.0.0"))
    assert caught.value.code == "JOURNAL_UNREADABLE"
    assert recover(home)["outcome"] == "COMPLETED"
