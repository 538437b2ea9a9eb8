# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may work on a run: processes that take it over, those that were left behind, and people who want it to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils import run as run_module
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run
from ansible_collections.clms.update.plugins.module_utils.phases import forward, rollback
from ansible_collections.clms.update.plugins.module_utils.phases.recover import recover
from ansible_collections.clms.update.plugins.module_utils.phases.rollback import put_back
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.run import Context, do_phase
from ansible_collections.clms.update.plugins.module_utils.slots import Slot
from ansible_collections.clms.update.plugins.module_utils.status import describe_run

Begin = Callable[..., Context]


@pytest.fixture
def again(journal: Journal) -> Iterator[Journal]:
    """The same journal, as another process sees it."""
    other = Journal(journal.path.parent)
    yield other
    other.close()


@pytest.fixture(autouse=True)
def world(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine in memory; nothing is waited for, and the old version serves at once."""
    monkeypatch.setattr(run_module, "Engine", lambda: engine)
    monkeypatch.setattr(rollback, "Engine", lambda: engine)
    monkeypatch.setattr(rollback.time, "sleep", lambda _: None)


def code(action: Callable[[], Any]) -> str:
    with pytest.raises(ClmsError) as caught:
        action()
    return caught.value.code


def step(run: Run, phase: str, name: str = "copy") -> None:
    with run.step(phase, name):
        pass


CHANGES = pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda run, new: run.enter("backup"), id="enter"),
        pytest.param(lambda run, new: run.leave("backup"), id="leave"),
        pytest.param(lambda run, new: step(run, "backup"), id="step"),
        pytest.param(lambda run, new: run.intend("backup", "copy"), id="intend"),
        pytest.param(lambda run, new: run.commit(new), id="commit"),
        pytest.param(lambda run, new: run.close("COMPLETED"), id="close"),
    ],
)


@CHANGES
def test_who_was_left_behind_is_refused(begin: Begin, again: Journal, new: Slot, change: Any) -> None:
    run = begin(phase="backup").run
    other = again.run(run.id)
    other.take_over()
    before = again.records(run.id)
    assert code(lambda: change(run, new)) == "RUN_FENCED"
    assert again.records(run.id) == before
    assert not other.committed()
    assert again.row(run.id).outcome is None
    change(other, new)


def test_each_process_that_takes_over_refuses_the_one_before(begin: Begin, again: Journal) -> None:
    first = begin(phase="backup").run
    second, third = again.run(first.id), again.run(first.id)
    second.take_over()
    third.take_over()
    assert (again.row(first.id).fence, second.fence, third.fence) == (2, 1, 2)
    for run in (first, second):
        assert code(lambda run=run: run.enter("backup")) == "RUN_FENCED"  # type: ignore[misc]
    third.enter("backup")
    second.take_over()
    second.leave("backup")


def test_a_run_that_has_ended_is_not_taken_over(begin: Begin, again: Journal) -> None:
    run = begin(phase="backup").run
    again.run(run.id).close("ABORTED")
    assert code(run.take_over) == "RUN_NONE"
    assert again.row(run.id).fence == 0


def test_a_step_whose_run_is_taken_over_meanwhile_is_not_called_done(begin: Begin, again: Journal) -> None:
    run = begin(phase="backup").run

    def act() -> None:
        with run.step("backup", "copy"):
            again.run(run.id).take_over()

    assert code(act) == "RUN_FENCED"
    assert [record.event for record in again.records(run.id) if record.step == "copy"] == ["intent"]


def test_what_somebody_left_behind_runs_into_is_not_the_cause(begin: Begin, again: Journal) -> None:
    context = begin(phase="backup")

    def work(inside: Context) -> dict[str, Any]:
        again.run(inside.run.id).take_over()
        with inside.step("copy"):
            raise AssertionError("it must not come to this")

    home = context.journal.path.parent
    assert code(lambda: do_phase(home, context.run.id, "backup", work)) == "RUN_FENCED"
    assert context.run.failure() is None
    # the phase itself is refused from then on, unless it is the new owner's
    assert code(lambda: do_phase(home, context.run.id, "backup", lambda _: {})) == "RUN_FENCED"
    assert do_phase(home, context.run.id, "backup", lambda _: {"a": 1}, fence=1) == {"a": 1}


def test_the_rescue_finishes_a_committed_run_also_when_it_was_killed(
    begin: Begin, new: Slot, again: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    fences: list[int] = []

    def killed(context: Context) -> dict[str, Any]:
        fences.append(context.run.fence)
        if len(fences) < 3:
            raise SystemExit
        return {}

    monkeypatch.setattr(forward, "_FORWARD", {"open": killed, "clean_up": lambda _: {}})
    context = begin(phase="open")
    context.run.commit(new)
    for _ in range(2):
        with pytest.raises(SystemExit):
            put_back(context.journal, context.run.id)
    assert put_back(context.journal, context.run.id)["outcome"] == "COMPLETED"
    assert fences == sorted(set(fences))  # each under a number of its own
    assert put_back(context.journal, context.run.id)["changed"] is False


def test_putting_back_goes_on_where_it_was_killed(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    context = begin(phase="slot")
    step(context.run, "drain", "gate_close")
    served: list[int] = []

    def serve_old(inside: Context) -> None:
        served.append(inside.run.fence)
        if len(served) == 1:
            raise SystemExit

    monkeypatch.setattr(rollback, "_serve_old", serve_old)
    with pytest.raises(SystemExit):
        put_back(context.journal, context.run.id)
    assert recover(context.journal.path.parent) == {"outcome": "ROLLED_BACK", "changed": True}
    assert served == sorted(set(served))
    assert code(lambda: context.run.enter("slot")) == "RUN_NONE"


def test_who_loses_the_run_while_putting_it_back_gives_up_nothing(
    begin: Begin, again: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = begin(phase="slot")
    step(context.run, "drain", "gate_close")

    def serve_old(inside: Context) -> None:
        again.run(inside.run.id).take_over()
        with inside.step("start_old"):
            raise AssertionError("it must not come to this")

    monkeypatch.setattr(rollback, "_serve_old", serve_old)
    assert code(lambda: put_back(context.journal, context.run.id)) == "RUN_FENCED"
    assert context.journal.row(context.run.id).outcome is None  # and not NEEDS_OPERATOR


def test_once_it_was_begun_the_old_version_is_put_back_whatever_the_records_say(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = begin(phase="backup")
    context.run.record("thaw", "", "enter")  # of another version of this program
    served: list[str] = []

    def serve_old(_: Context) -> None:
        served.append("old")
        if len(served) == 1:
            raise SystemExit

    monkeypatch.setattr(rollback, "_serve_old", serve_old)
    with pytest.raises(SystemExit):
        put_back(context.journal, context.run.id)
    assert put_back(context.journal, context.run.id)["outcome"] == "ROLLED_BACK"
    assert served == ["old", "old"]


@pytest.mark.parametrize("kind", ["update", "committed"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(0, 1, id="a playbook is at work: it ends at its next step"),
        pytest.param(1, 1, id="a recovery is at work: it is waited for"),
    ],
)
def test_who_comes_while_another_process_is_at_work(
    begin: Begin, new: Slot, monkeypatch: pytest.MonkeyPatch, kind: str, before: int, after: int
) -> None:
    monkeypatch.setattr(rollback, "LINGER_SECONDS", 0)
    context = begin(phase="open")
    if kind == "committed":
        context.run.commit(new)
    if before:
        context.run.take_over()
    with lock.at_work(context.journal.path.parent, 0) as alone:
        assert alone
        assert code(lambda: put_back(context.journal, context.run.id)) == "RUN_ACTIVE"
    assert context.journal.row(context.run.id).fence == after


# a person wants it to stop


def test_a_run_that_is_to_stop_does_nothing_more(begin: Begin, again: Journal) -> None:
    run = begin(phase="backup").run
    run.enter("backup")
    again.run(run.id).ask_to_cancel()
    assert code(lambda: step(run, "backup")) == "RUN_CANCELLED"
    run.leave("backup")
    assert code(lambda: run.enter("rehearse")) == "RUN_CANCELLED"
    assert code(lambda: step(run, "drain", "gate_close")) == "RUN_CANCELLED"
    assert not run.intended("gate_close")
    run.take_over()
    step(run, "rollback")  # putting it back goes on


@pytest.mark.parametrize("kind", ["update", "update_images", "rollback", "restore"])
def test_once_clms_was_closed_it_is_too_late(begin: Begin, again: Journal, kind: str) -> None:
    run = begin(kind, phase="drain").run
    run.enter("drain")
    run.intend("drain", "gate_close")
    assert code(again.run(run.id).ask_to_cancel) == "RUN_CLOSED"
    assert not run.cancelled()
    step(run, "drain", "stop")


def test_an_installation_is_stopped_until_it_is_committed(begin: Begin, again: Journal, new: Slot) -> None:
    run = begin(phase="commit").run
    run.enter("commit")
    again.run(run.id).ask_to_cancel()
    assert code(lambda: run.commit(new)) == "RUN_CANCELLED"
    assert not run.committed()


def test_a_committed_run_is_not_stopped(begin: Begin, again: Journal, new: Slot) -> None:
    run = begin(phase="commit").run
    run.commit(new)
    assert code(again.run(run.id).ask_to_cancel) == "RUN_CLOSED"


def test_a_run_that_has_ended_cannot_be_stopped(begin: Begin, again: Journal) -> None:
    run = begin(phase="backup").run
    run.close("ABORTED")
    assert code(again.run(run.id).ask_to_cancel) == "RUN_NONE"


def test_asking_twice_is_asking_once(begin: Begin, again: Journal) -> None:
    run = begin(phase="backup").run
    for _ in range(2):
        again.run(run.id).ask_to_cancel()
    assert [(r.phase, r.step, r.event) for r in again.records(run.id)][-1] == ("backup", "cancel", "note")
    assert len([r for r in again.records(run.id) if r.step == "cancel"]) == 1


@pytest.mark.parametrize("attempt", range(5))
def test_either_it_is_closed_or_it_is_stopped(begin: Begin, journal: Journal, attempt: int) -> None:
    run = begin(phase="drain").run
    run.enter("drain")
    ready = threading.Barrier(2)

    def ask() -> None:
        other = Journal(journal.path.parent)
        ready.wait()
        with suppress(ClmsError):
            other.run(run.id).ask_to_cancel()
        other.close()

    thread = threading.Thread(target=ask)
    thread.start()
    ready.wait()
    with suppress(ClmsError):
        run.intend("drain", "gate_close")
    thread.join()
    assert run.intended("gate_close") is not run.cancelled()


@pytest.mark.parametrize(
    ("phase", "outcome"),
    [("release", "REFUSED"), ("backup", "ABORTED"), ("drain", "ABORTED")],
)
@pytest.mark.parametrize("told", [True, False], ids=["at its next step", "its playbook was killed before that"])
def test_a_run_that_was_stopped_leaves_everything_as_it_was(
    begin: Begin, engine: Any, new: Slot, phase: str, outcome: str, told: bool
) -> None:
    context = begin(phase=phase)
    running = engine.running()
    engine.set_up(new, "linden", running=False)
    context.run.ask_to_cancel()
    if told:
        home = context.journal.path.parent
        assert code(lambda: do_phase(home, context.run.id, phase, lambda _: {})) == "RUN_CANCELLED"
    answer = put_back(context.journal, context.run.id)
    assert (answer["outcome"], answer["error"]["code"], answer["changed"]) == (outcome, "RUN_CANCELLED", False)
    assert engine.running() == running
    assert set(engine.containers) == running
    described = describe_run(context.journal.row(context.run.id), context.journal.records(context.run.id))
    assert (described["status"], described["error_code"]) == ("FAILED", "RUN_CANCELLED")
    assert "because somebody asked for it" in described["message"]


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("install", ("UPDATE_COMPLETED", "CLMS 1.0.1 was installed.")),
        ("update", ("UPDATE_COMPLETED", "CLMS was updated to version 1.0.1.")),
        ("update_images", ("UPDATE_COMPLETED", "CLMS was updated to version 1.0.1.")),
        ("rollback", ("ROLLBACK_COMPLETED", "CLMS went back to version 1.0.1.")),
        ("restore", ("ROLLBACK_COMPLETED", "The backup was restored.")),
        ("backup", None),
    ],
)
def test_the_last_phase_says_what_was_done(journal: Journal, kind: str, event: tuple[str, str] | None) -> None:
    run = journal.begin(kind, phases=KINDS[kind], school={}, version="1.0.1")
    for phase in KINDS[kind]:
        assert journal.events() == []
        run.enter(phase)
        run.leave(phase)
    assert run.row.outcome == "COMPLETED"
    told = [(found["type"], found["message"]) for found in journal.events() if found["run"] == run.id]
    assert told == ([event] if event else [])
