# SPDX-License-Identifier: GPL-3.0-or-later
"""An executor with a journal, locks and threads as they are, and playbooks and processes that a test makes up."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent import executor as module
from agent import runs
from agent.cgroup import Group
from agent.executor import Executor, Job
from agent.inhibitor import Inhibitor
from agent.runner import Ending, Play
from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run

from .conftest import FakeRunner

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
