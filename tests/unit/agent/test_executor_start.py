# SPDX-License-Identifier: GPL-3.0-or-later
"""The start of an agent: what an earlier one has left behind."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.cgroup import Group
from agent.executor import Executor
from agent.runner import Play
from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal

from .conftest import FakeRunner, ended
from .stage import (
    BACKUP,
    SECOND_AGENT,
    Begin,
    Stage,
    any_thread,
    enter,
    held,
    put_back,
    quick,
    result,
    stage,
    wait_until_it_waits,
)

__all__ = ["any_thread", "held", "quick", "stage"]  # fixtures


# the start of an agent


@pytest.mark.parametrize("ended_runs", [None, 0, 1], ids=["not installed", "no run yet", "one run"])
def test_nothing_to_put_in_order(stage: Stage, request: pytest.FixtureRequest, ended_runs: int | None) -> None:
    if ended_runs is not None:
        request.getfixturevalue("journal")
    if ended_runs:
        request.getfixturevalue("begin")().close("COMPLETED")
    assert stage.executor.recover() is None
    assert stage.done == ["end processes"]


def test_an_interrupted_run_is_put_in_order(stage: Stage, home: Path, journal: Journal, begin: Begin) -> None:
    begin()
    stage.playbook(put_back(journal), ending=ended())
    run, code = result(stage.executor.recover())
    assert (code, run["id"], run["outcome"]) == (0, 1, "ROLLED_BACK")
    assert stage.order_of_things == ["end processes", "end processes", "recover", "end processes"]
    assert stage.done.index("hold") < stage.done.index("recover") < stage.done.index("release")
    assert not lock.is_held(home)


@pytest.mark.parametrize("outcome", ["COMPLETED", None], ids=["it ends well", "it is interrupted"])
def test_it_waits_for_a_run_without_agent(
    stage: Stage,
    journal: Journal,
    begin: Begin,
    held: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
    outcome: str | None,
) -> None:
    caplog.set_level(logging.INFO)
    run = begin()
    enter(run, "preflight", "release")
    thread, found = wait_until_it_waits(stage, caplog)
    assert "update number 1, at step 'release'" in caplog.text
    assert thread.is_alive()
    assert stage.plays == []
    if outcome:
        run.close(outcome)
    else:
        stage.playbook(put_back(journal), ending=ended())
    held()
    thread.join(20)
    if outcome:
        assert found == [None]
    else:
        assert result(found[0])[0]["outcome"] == "ROLLED_BACK"
    assert caplog.text.count("goes on without the agent") == 1


def test_the_waiting_ends_with_the_agent(
    stage: Stage, begin: Begin, held: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    begin()
    thread, found = wait_until_it_waits(stage, caplog)
    stage.executor.stop()
    thread.join(20)
    assert found == [None]
    assert stage.plays == []


def test_at_the_start_too_it_tries_again_to_end_processes(folder: Path, journal: Journal, begin: Begin) -> None:
    begin()
    stage = Stage(folder, fails=2)
    stage.playbook(put_back(journal), ending=ended())
    assert result(stage.executor.recover())[0]["outcome"] == "ROLLED_BACK"


def test_processes_that_stay_do_not_keep_an_agent_from_ending(folder: Path, begin: Begin) -> None:
    begin()
    stage = Stage(folder, fails=10**9)
    thread = threading.Thread(target=stage.executor.recover)
    thread.start()
    assert stage.group.tried.wait(20)
    stage.executor.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert stage.plays == []


def test_a_recovery_that_was_killed_is_begun_anew(folder: Path, journal: Journal, begin: Begin) -> None:
    begin()
    first = Stage(folder)
    first.playbook(ending=None)
    first.playbook(put_back(journal), ending=ended())
    assert result(first.executor.recover())[0]["outcome"] == "ROLLED_BACK"


def test_a_recovery_that_was_killed_three_times_needs_a_person(folder: Path, journal: Journal, begin: Begin) -> None:
    begin()
    first = Stage(folder)
    for _ in range(3):
        first.playbook(ending=None)
    run, code = result(first.executor.recover())
    assert (code, run["id"], run["outcome"], run["error_code"]) == (3, 1, None, "INTERNAL")
    second = Stage(folder)
    second.playbook(put_back(journal), ending=ended())
    assert result(second.executor.recover())[0]["outcome"] == "ROLLED_BACK"


def test_an_agent_that_is_killed_while_it_recovers(
    stage: Stage, folder: Path, home: Path, journal: Journal, begin: Begin
) -> None:
    begin()
    command = [sys.executable, "-c", SECOND_AGENT, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == "recover\n"
        assert lock.is_held(home)
        with pytest.raises(ClmsError, match="Another agent"), stage.executor.alone():
            pass
        agent.kill()
    assert agent.returncode == -signal.SIGKILL
    stage.playbook(put_back(journal), ending=ended())
    with stage.executor.alone():
        assert result(stage.executor.recover())[0]["outcome"] == "ROLLED_BACK"


@pytest.mark.parametrize("problem", [True, False], ids=["cannot be made", "none"])
def test_what_is_not_promised_without_groups(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, problem: bool
) -> None:
    group = Group(tmp_path / "not mounted" / "run") if problem else None
    given: list[Any] = []

    def start(what: Play, **others: Any) -> FakeRunner:
        given.append(others["group"])
        return FakeRunner(ending=ended())

    Journal(tmp_path / "home", create=True).close()
    executor = Executor(folder, start, group=lambda _: group)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "what a killed run has started is not ended" in caplog.text
    assert ("cannot be made (No such file or directory)" in caplog.text) is problem
    assert executor.recover() is None
    assert result(executor.begin(BACKUP))[1] == 0
    assert given == [None]
