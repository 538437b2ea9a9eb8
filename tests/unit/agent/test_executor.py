# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the executor, and the end of an agent."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import executor as module
from agent import runs
from agent.config import Config
from agent.executor import Executor
from agent.runner import Ending
from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal

from .conftest import ended
from .stage import BACKUP, UPDATE, Begin, Stage, any_thread, enter, held, put_back, quick, result, stage

__all__ = ["any_thread", "held", "quick", "stage"]  # fixtures


# one run


def test_a_run(stage: Stage, home: Path, settings: Config, begin: Begin) -> None:
    seen: list[bool] = []

    def work() -> None:
        seen.append(lock.is_held(home))
        begin().close("COMPLETED")

    stage.playbook(work, ending=ended())
    run, code = result(stage.executor.begin(UPDATE))
    assert (code, run["id"], run["outcome"]) == (0, 1, "COMPLETED")
    assert stage.order_of_things == ["update", "end processes"]
    assert (stage.plays[0].inventory, stage.plays[0].variables) == (str(settings.inventory), {"clms_version": "1.0.1"})
    assert stage.given[0]["group"] is stage.group
    assert isinstance(stage.given[0]["held"], int)
    assert seen == [True]
    assert not lock.is_held(home)


def test_one_at_a_time(stage: Stage, journal: Journal) -> None:
    go_on = threading.Event()
    stage.playbook(lambda: go_on.wait(20), ending=ended())
    job = stage.executor.begin(BACKUP)
    with pytest.raises(ClmsError) as caught:
        stage.executor.begin(BACKUP)
    assert caught.value.code == "RUN_ACTIVE"
    go_on.set()
    assert result(job)[1] == 0
    stage.playbook(ending=ended())
    assert result(stage.executor.begin(BACKUP))[1] == 0


@pytest.mark.parametrize("installed", [True, False], ids=["installed", "no journal yet"])
def test_somebody_else_is_at_work(
    stage: Stage, request: pytest.FixtureRequest, held: Callable[[], None], installed: bool
) -> None:
    if installed:
        request.getfixturevalue("journal")
    with pytest.raises(ClmsError) as caught:
        stage.executor.begin(BACKUP)
    assert caught.value.code == "RUN_ACTIVE"
    assert not stage.plays


def test_a_run_that_has_ended_lets_the_next_one_begin(
    stage: Stage, journal: Journal, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal says that it has ended a moment before its playbook does."""
    monkeypatch.setattr(module, "_ENDING_SECONDS", 20)
    timer = threading.Timer(0.3, held)
    timer.start()
    stage.playbook(ending=ended())
    assert result(stage.executor.begin(BACKUP))[1] == 0
    timer.join()


def test_a_run_that_goes_on_is_named_at_once(
    stage: Stage, begin: Begin, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ENDING_SECONDS", 20)
    run = begin()
    began = time.monotonic()
    with pytest.raises(ClmsError) as caught:
        stage.executor.begin(BACKUP)
    assert (caught.value.code, caught.value.values["run"]) == ("RUN_ACTIVE", run.id)
    assert time.monotonic() - began < 10


def test_it_is_alone(stage: Stage, folder: Path) -> None:
    with stage.executor.alone():
        with pytest.raises(ClmsError) as caught, Executor(folder, group=lambda _: stage.group).alone():
            pass
        assert caught.value.code == "AGENT_TWICE"
    with stage.executor.alone():
        pass


@pytest.mark.parametrize(
    ("problem", "code", "exit_code"),
    [
        (ClmsError("JOURNAL_UNREADABLE", path="/x", detail="y"), "JOURNAL_UNREADABLE", 2),
        (RuntimeError("boom"), "INTERNAL", 1),
    ],
    ids=["known", "bug"],
)
def test_what_breaks_is_told(
    stage: Stage, home: Path, journal: Journal, problem: Exception, code: str, exit_code: int
) -> None:
    def fail() -> None:
        raise problem

    stage.playbook(fail, ending=None)
    run, found = result(stage.executor.begin(BACKUP))
    assert (found, run["error_code"], run["kind"], run["id"]) == (exit_code, code, "backup", None)
    assert not lock.is_held(home)
    assert stage.done[-1] == "release"


def test_a_school_without_a_journal(stage: Stage) -> None:
    run, code = result(stage.executor.begin(BACKUP))
    assert (code, run["error_code"]) == (2, "NOT_INSTALLED")


@pytest.mark.parametrize(
    ("order", "ending", "told"),
    [
        (UPDATE, None, ["UPDATE_FAILED"]),
        (UPDATE, ended(2, "SCHOOL_INCOMPLETE", detail="x"), ["UPDATE_FAILED"]),
        (BACKUP, None, ["BACKUP_FAILED"]),
        (runs.Order("rollback"), None, ["ROLLBACK_FAILED"]),
        (UPDATE, ended(), []),  # that version runs already
        (replace(UPDATE, schedule=3), None, []),  # the schedule tells it
    ],
    ids=["killed", "school", "backup", "rollback", "nothing to do", "scheduled"],
)
def test_what_comes_to_nothing_before_there_is_a_run_is_told(
    stage: Stage, journal: Journal, order: runs.Order, ending: Ending | None, told: list[str]
) -> None:
    """Whoever has begun it on the page does not wait for its end."""
    stage.playbook(ending=ending)
    run, _ = result(stage.executor.begin(order))
    events = journal.events()
    assert [event["type"] for event in events] == told
    assert all(event["message"] == run["message"] != "" for event in events)


def test_an_agent_that_is_told_to_end_in_the_first_moment_tells_it(
    stage: Stage, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out = runs.carry_out

    def late(*given: Any, **others: Any) -> Any:
        stage.executor.stop()
        return carry_out(*given, **others)

    monkeypatch.setattr(runs, "carry_out", late)
    run, code = result(stage.executor.begin(UPDATE))
    assert (code, run["id"], run["error_code"], stage.plays) == (2, None, "AGENT_SILENT", [])
    assert [event["type"] for event in journal.events()] == ["UPDATE_FAILED"]


def test_a_run_tells_by_itself_how_it_ends(stage: Stage, journal: Journal, begin: Begin) -> None:
    stage.playbook(lambda: put_back(journal, begin().id)(), ending=ended(2, "INTERNAL", phase="x", detail="y"))
    assert result(stage.executor.begin(UPDATE))[0]["outcome"] == "ROLLED_BACK"
    assert journal.events() == []


# what a playbook leaves behind


@pytest.mark.parametrize(
    "ending", [None, ended(2, "INTERNAL", phase="x", detail="y")], ids=["killed", "could not put it back"]
)
def test_a_run_that_was_left_open_is_put_in_order(
    stage: Stage, journal: Journal, begin: Begin, ending: Ending | None
) -> None:
    stage.playbook(lambda: enter(begin(), "preflight"), ending=ending)
    if ending is not None:  # whoever carries out a run tries it once more; this one is in vain
        stage.playbook(ending=ended())
    stage.playbook(put_back(journal), ending=ended())
    run, code = result(stage.executor.begin(UPDATE))
    assert (code, run["id"], run["outcome"], run["error_code"]) == (1, 1, "ROLLED_BACK", "INTERNAL")
    assert stage.order_of_things[-3:] == ["end processes", "recover", "end processes"]
    assert stage.plays[0].playbook == "update"


def test_nothing_is_put_back_before_the_processes_are_gone(
    folder: Path, journal: Journal, begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(folder, fails=3)
    stage.playbook(lambda: begin(), ending=None)
    stage.playbook(put_back(journal), ending=ended())
    run, code = result(stage.executor.begin(UPDATE))
    assert (code, run["outcome"]) == (1, "ROLLED_BACK")
    assert stage.order_of_things == ["update", "end processes", "end processes", "recover", "end processes"]
    assert caplog.text.count("Processes of an interrupted run cannot be ended: 17.") == 3
    assert "Traceback" not in caplog.text


def test_processes_that_stay_are_told_when_the_agent_is_to_end(folder: Path, begin: Begin) -> None:
    stage = Stage(folder, fails=10**9)
    stage.playbook(lambda: begin(), ending=None)
    job = stage.executor.begin(UPDATE)
    assert stage.group.tried.wait(20)
    stage.executor.stop()
    run, code = result(job)
    assert (code, run["id"], run["outcome"], run["error_code"]) == (3, 1, None, "PROCESSES_STAY")
    assert [play.playbook for play in stage.plays] == ["update"]


# the end of an agent


def test_it_waits_for_its_run(stage: Stage, begin: Begin, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    opened, go_on = threading.Event(), threading.Event()

    def work() -> None:
        run = begin()
        opened.set()
        assert go_on.wait(20)
        run.close("COMPLETED")

    stage.playbook(work, ending=ended())
    job = stage.executor.begin(UPDATE)
    assert opened.wait(20)
    stage.executor.stop()
    waiting = threading.Thread(target=stage.executor.wait_for_end)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    assert "waiting for run 1 (update) to end" in caplog.text
    go_on.set()
    waiting.join(20)
    assert result(job)[0]["outcome"] == "COMPLETED"


def test_without_a_run_it_ends_at_once(stage: Stage, journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stage.executor.stop()
    stage.executor.wait_for_end()
    assert caplog.text == ""


def test_nothing_is_begun_any_more(stage: Stage, begin: Begin) -> None:
    begin()
    stage.executor.stop()
    with pytest.raises(ClmsError) as caught:
        stage.executor.begin(BACKUP)
    assert caught.value.code == "AGENT_SILENT"
    assert stage.executor.recover() is None
    assert stage.plays == []


def test_a_run_that_was_left_open_waits_for_the_next_agent(
    stage: Stage, folder: Path, journal: Journal, begin: Begin
) -> None:
    """Whoever ends the agent may be about to shut the server down, which has killed the playbook."""

    def work() -> None:
        begin()
        stage.executor.stop()

    stage.playbook(work, ending=None)
    run, code = result(stage.executor.begin(UPDATE))
    assert (code, run["id"], run["outcome"], run["error_code"]) == (3, 1, None, "AGENT_SILENT")
    assert "systemctl start clms-update-agent" in run["remedy"]
    assert [play.playbook for play in stage.plays] == ["update"]
    following = Stage(folder)
    following.playbook(put_back(journal), ending=ended())
    assert result(following.executor.recover())[0]["outcome"] == "ROLLED_BACK"


# no shutdown


def test_no_shutdown_while_it_is_closed(stage: Stage, journal: Journal, begin: Begin) -> None:
    def reach(*phases: str) -> Callable[[], None]:
        return lambda: enter(journal.run(1), *phases)

    def leave(phase: str) -> Callable[[], None]:
        return lambda: journal.run(1).leave(phase)

    phases = ("preflight", "drain", "backup", "container_replace", "health_check", "commit", "open", "clean_up")
    steps: list[Callable[[], object]] = [lambda: begin("rollback")]
    for phase in phases:
        steps += [reach(phase), leave(phase)]
    stage.playbook(*steps, ending=ended())
    run, _ = result(stage.executor.begin(runs.Order("rollback")))
    assert run["outcome"] == "COMPLETED"
    words = [word for word in stage.done if word in ("hold", "release")]
    first, last = words.index("hold"), len(words) - words[::-1].index("hold")
    assert set(words[first:last]) == {"hold"}
    assert last - first == 12  # from the end of the preflight to the last look before the end of `open`
    assert words[-1] == "release"


def test_no_shutdown_between_a_killed_playbook_and_its_putting_back(
    stage: Stage, journal: Journal, begin: Begin
) -> None:
    stage.playbook(lambda: enter(begin("rollback"), "preflight", "drain"), ending=None)
    stage.playbook(put_back(journal), ending=ended())
    result(stage.executor.begin(runs.Order("rollback")))
    words = [word for word in stage.done if word in ("hold", "release", "recover")]
    assert words[words.index("hold") :] == ["hold", "hold", "hold", "recover", "release"]
