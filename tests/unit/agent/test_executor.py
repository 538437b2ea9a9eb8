# SPDX-License-Identifier: GPL-3.0-or-later
"""The executor with a journal, locks and threads as they are, and playbooks and processes that a test makes up."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent import executor as module
from agent import runs
from agent.cgroup import Group
from agent.config import Config
from agent.executor import Executor, Job
from agent.inhibitor import Inhibitor
from agent.runner import Ending, Play
from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run

from .conftest import FakeRunner, ended

Begin = Callable[..., Run]
BACKUP = runs.Order("backup")
UPDATE = runs.Order("update", "1.0.1", {"clms_version": "1.0.1"})

SECOND_AGENT = """
import sys, time
from pathlib import Path
from agent.executor import Executor

class Endless:
    def __init__(self, what, **others):
        print(what.playbook, flush=True)
    def wait(self, seconds):
        time.sleep(seconds)
        return False

executor = Executor(Path(sys.argv[1]), Endless, group=lambda name: None)
with executor.alone():
    executor.recover().ended.wait()
"""


class FakeGroup(Group):
    """A control group that writes down when it was ended; it fails so many times first."""

    def __init__(self, done: list[str], fails: int = 0) -> None:
        super().__init__(Path("/none"))
        self.fails = fails
        self.tried = threading.Event()
        self._done = done

    def make(self) -> None:
        """Nothing to do."""

    def end(self, seconds: float = 30) -> bool:
        self.tried.set()
        if self.fails:
            self.fails -= 1
            raise ClmsError("PROCESSES_STAY", processes="17")
        self._done.append("end processes")
        return False


class FakeInhibitor(Inhibitor):
    """Writes down what it is told."""

    def __init__(self, done: list[str]) -> None:
        super().__init__()
        self._done = done

    def hold(self) -> None:
        self._done.append("hold")

    def release(self) -> None:
        self._done.append("release")


class Stage:
    """An executor, the playbooks that it is going to start, and all that it does."""

    def __init__(self, folder: Path, fails: int = 0) -> None:
        self.done: list[str] = []
        self.plays: list[Play] = []
        self.given: list[dict[str, Any]] = []
        self.playbooks: list[FakeRunner] = []
        self.group = FakeGroup(self.done, fails)
        self.executor = Executor(
            folder, self._start, group=lambda _: self.group, inhibitor=FakeInhibitor(self.done)
        )  # fmt: skip

    def _start(self, what: Play, **given: Any) -> FakeRunner:
        self.done.append(what.playbook)
        self.plays.append(what)
        self.given.append(given)
        return self.playbooks.pop(0)

    def playbook(self, *steps: Callable[[], object], ending: Ending | None) -> None:
        """The next one that is started."""
        self.playbooks.append(FakeRunner(*steps, ending=ending))

    @property
    def order_of_things(self) -> list[str]:
        """What was done, without the inhibitor."""
        return [word for word in self.done if word not in ("hold", "release")]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(module, "_ENDING_SECONDS", 0.5)


@pytest.fixture(autouse=True)
def any_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A playbook of a test writes to the test's journal from the thread of its run, while the test waits."""
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, check_same_thread=False))


@pytest.fixture
def stage(folder: Path) -> Stage:
    return Stage(folder)


@pytest.fixture
def held(home: Path) -> Iterator[Callable[[], None]]:
    """The lock is held by somebody else, until this is called."""
    descriptor: int | None = lock.acquire(home)
    assert descriptor is not None

    def let_go() -> None:
        nonlocal descriptor
        if descriptor is not None:
            os.close(descriptor)
            descriptor = None

    yield let_go
    let_go()


def result(job: Job | None) -> tuple[dict[str, Any], int]:
    """What a run has come to."""
    assert job is not None
    assert job.ended.wait(20)
    assert job.run is not None
    return job.run, job.exit_code


def put_back(journal: Journal, run: int = 1) -> Callable[[], None]:
    error = ClmsError("INTERNAL", phase="x", detail="y")
    return lambda: journal.run(run).close("ROLLED_BACK", {"phase": "migrate", **error.as_dict()})


def enter(run: Run, *phases: str) -> None:
    """Come to the last one of ``phases``."""
    for phase in phases[:-1]:
        run.enter(phase)
        run.leave(phase)
    run.enter(phases[-1])


def wait_until_it_waits(stage: Stage, caplog: pytest.LogCaptureFixture) -> tuple[threading.Thread, list[Job | None]]:
    """Start the recovery in a thread, and return when the log says that it waits."""
    found: list[Job | None] = []
    thread = threading.Thread(target=lambda: found.append(stage.executor.recover()))
    thread.start()
    for _ in range(500):
        if "waiting for the end of a run that goes on without the agent" in caplog.text:
            return thread, found
        thread.join(0.02)
    raise AssertionError("it does not wait")


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
