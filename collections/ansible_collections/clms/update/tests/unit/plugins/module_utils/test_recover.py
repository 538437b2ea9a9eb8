# SPDX-License-Identifier: GPL-3.0-or-later
"""After an interruption: which runs are put back, which are finished, and which are left alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run
from ansible_collections.clms.update.plugins.module_utils.phases import forward
from ansible_collections.clms.update.plugins.module_utils.phases import recover as module
from ansible_collections.clms.update.plugins.module_utils.phases.recover import is_needed, recover, unfinished
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

Begin = Callable[..., Context]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What recover has others do: phases, and putting back (which ends as ROLLED_BACK)."""
    found: list[str] = []

    def put_back(journal: Journal, run: int) -> dict[str, Any]:
        assert lock.is_held(journal.path.parent)
        found.append("put_back")
        journal.run(run).close("ROLLED_BACK")
        return {"outcome": "ROLLED_BACK", "error": None, "changed": True}

    def phase(name: str) -> Callable[[Context], dict[str, Any]]:
        def work(context: Context) -> dict[str, Any]:
            assert lock.is_held(context.journal.path.parent)
            found.append(name)
            return {}

        return work

    monkeypatch.setattr(module, "put_back", put_back)
    monkeypatch.setattr(forward, "_FORWARD", {name: phase(name) for name in forward._FORWARD})
    return found


def test_there_was_nothing_to_do(journal: Journal, done: list[str]) -> None:
    home = journal.path.parent
    assert recover(home) == {"outcome": None, "changed": False}
    assert done == []
    assert not lock.is_held(home)


@pytest.mark.parametrize("phase", [phase for phase in KINDS["update"] if phase not in ("open", "clean_up")])
def test_before_its_commit_record_a_run_is_put_back(begin: Begin, done: list[str], phase: str) -> None:
    context = begin(phase=phase)
    context.run.enter(phase)
    assert recover(context.journal.path.parent) == {"outcome": "ROLLED_BACK", "changed": True}
    assert done == ["put_back"]
    assert not lock.is_held(context.journal.path.parent)


@pytest.mark.parametrize("kind", ["update", "update_images", "rollback", "restore"])
@pytest.mark.parametrize(
    ("phase", "entered", "expected"),
    [
        pytest.param("commit", True, ["open", "clean_up"], id="right after the record"),
        pytest.param("open", False, ["open", "clean_up"], id="before open"),
        pytest.param("open", True, ["open", "clean_up"], id="in open"),
        pytest.param("clean_up", True, ["clean_up"], id="in clean_up"),
    ],
)
def test_after_its_commit_record_a_run_is_finished(
    begin: Begin, done: list[str], kind: str, phase: str, entered: bool, expected: list[str]
) -> None:
    context = begin(kind, phase=phase)
    context.run.commit(context.new)
    if entered:
        context.run.enter(phase)
    assert recover(context.journal.path.parent) == {"outcome": "COMPLETED", "changed": True}
    assert done == expected
    assert context.journal.row(context.run.id).outcome == "COMPLETED"
    assert recover(context.journal.path.parent) == {"outcome": None, "changed": False}


def test_a_phase_that_had_failed_is_done_again(begin: Begin, done: list[str], new: Slot) -> None:
    context = begin(phase="open")
    context.run.commit(new)
    context.run.enter("open")
    context.run.fail("open", ClmsError("GATE_UNREACHABLE", detail="x", container="y"))
    assert recover(context.journal.path.parent)["outcome"] == "COMPLETED"
    assert done == ["open", "clean_up"]


def test_what_keeps_a_committed_run_from_being_finished_is_told(
    begin: Begin, done: list[str], new: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Context) -> dict[str, Any]:
        raise ClmsError("GATE_UNREACHABLE", detail="x", container="y")

    context = begin(phase="open")
    context.run.commit(new)
    with monkeypatch.context() as patch:
        patch.setitem(forward._FORWARD, "open", fail)
        with pytest.raises(ClmsError) as caught:
            recover(context.journal.path.parent)
    assert caught.value.code == "GATE_UNREACHABLE"
    assert context.journal.open_run() is not None
    assert not lock.is_held(context.journal.path.parent)
    assert recover(context.journal.path.parent)["outcome"] == "COMPLETED"


def close(run: Run, outcome: str) -> None:
    run.close(outcome, ClmsError("ROLLBACK_FAILED", detail="x", commands="y").as_dict())


GIVEN_UP = pytest.mark.parametrize(
    ("outcome", "later", "expected"),
    [
        pytest.param("NEEDS_OPERATOR", [], ["put_back"], id="given up: tried again"),
        pytest.param("NEEDS_OPERATOR", ["REFUSED"], ["put_back"], id="also when an update was refused since then"),
        pytest.param("NEEDS_OPERATOR", ["REFUSED"] * 3, ["put_back"], id="or three"),
        pytest.param("NEEDS_OPERATOR", ["COMPLETED"], [], id="a backup was made: the school serves"),
        pytest.param("NEEDS_OPERATOR", ["ABORTED", "REFUSED"], [], id="an update passed its preflight"),
        pytest.param("ROLLED_BACK", [], [], id="put back"),
        pytest.param("REFUSED", [], [], id="refused"),
    ],
)


@GIVEN_UP
def test_a_run_that_was_given_up(
    begin: Begin, done: list[str], outcome: str, later: list[str], expected: list[str]
) -> None:
    context = begin(phase="slot")
    close(context.run, outcome)
    for other in later:
        close(context.journal.begin("update", phases=KINDS["update"], school={}), other)
    answer = recover(context.journal.path.parent)
    assert done == expected
    assert answer["changed"] is bool(expected)
    assert context.journal.row(context.run.id).outcome == ("ROLLED_BACK" if expected else outcome)


@GIVEN_UP
def test_whether_there_is_something_to_do(begin: Begin, outcome: str, later: list[str], expected: list[str]) -> None:
    context = begin(phase="slot")
    home = context.journal.path.parent
    row = unfinished(context.journal)
    assert row is not None
    assert row.id == context.run.id
    assert is_needed(home)
    close(context.run, outcome)
    for other in later:
        close(context.journal.begin("update", phases=KINDS["update"], school={}), other)
    row = unfinished(context.journal)
    assert (row.id if row else None) == (context.run.id if expected else None)
    assert is_needed(home) is bool(expected)
    assert context.journal.row(context.run.id).outcome == outcome  # it was only looked at
    assert not lock.is_held(home)


def test_a_run_that_is_open_comes_before_one_that_was_given_up(begin: Begin) -> None:
    context = begin(phase="slot")
    close(context.run, "NEEDS_OPERATOR")
    later = context.journal.begin("update", phases=KINDS["update"], school={})
    row = unfinished(context.journal)
    assert row is not None
    assert row.id == later.id


def test_where_nothing_was_ever_done_nothing_is_needed(journal: Journal) -> None:
    assert unfinished(journal) is None
    assert is_needed(journal.path.parent) is False


@pytest.mark.parametrize("open_run", [True, False], ids=["a run goes on", "a run just begins"])
def test_while_somebody_has_the_lock_nothing_is_done(
    begin: Begin, journal: Journal, done: list[str], open_run: bool
) -> None:
    if open_run:
        begin("update_images", phase="backup")
    descriptor = lock.acquire(journal.path.parent)
    assert descriptor is not None
    for ask in (recover, is_needed):
        with pytest.raises(ClmsError) as caught:
            ask(journal.path.parent)
        assert caught.value.code == "RUN_ACTIVE"
        if open_run:
            assert "update number" in caught.value.happened
            assert "'backup'" in caught.value.happened
    os.close(descriptor)
    assert done == []


@pytest.mark.parametrize("ask", [recover, is_needed])
def test_a_server_without_installation(tmp_path: Path, ask: Callable[[Path], Any]) -> None:
    with pytest.raises(ClmsError) as caught:
        ask(tmp_path / "home")
    assert caught.value.code == "NOT_INSTALLED"
    assert not (tmp_path / "home").exists()
