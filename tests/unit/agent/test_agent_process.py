# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent as systemd starts and ends it: a process, its signals, and what it says of itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.config import Config
from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.agent_client import Conversation
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run

from .conftest import description, write_config

# The agent as it is, but for its playbooks: they end the open run when a file has appeared.
AGENT = """
import sys, time
from pathlib import Path
from agent import executor, service
from agent.runner import Ending
from ansible_collections.clms.update.plugins.module_utils.journal import Journal

home = Path(sys.argv.pop())

class Playbook:
    def __init__(self, what, **others):
        self.deadline = time.monotonic() + 60
    def wait(self, seconds):
        if not (home / "go-on").exists() and time.monotonic() < self.deadline:
            time.sleep(0.02)
            return False
        journal = Journal(home)
        row = journal.open_run()
        if row:
            journal.run(row.id).close("ROLLED_BACK")
        journal.close()
        return True
    def ending(self):
        return Ending(0, None, "/log")

executor.Executor.__init__.__defaults__ = (Playbook,)
sys.exit(service.main())
"""


class AgentProcess:
    """An agent, seen by systemd."""

    def __init__(self, folder: Path, home: Path, socket_path: Path) -> None:
        self.socket = socket_path
        self._said: list[str] = []
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = folder / "notify"
        self._listening.bind(str(address))
        self._log = folder / "agent.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", AGENT, "--config", str(folder), str(home)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(address)},
            )

    def said(self) -> list[str]:
        """What systemd was told up to now, without what is said over and over."""
        try:
            while True:
                said = self._listening.recv(4096, socket.MSG_DONTWAIT).decode().split("\n")
                self._said += [word for word in said if not word.startswith("EXTEND_TIMEOUT_USEC=")]
        except BlockingIOError:
            return self._said

    def log(self) -> str:
        return self._log.read_text()

    def wait_for(self, found: Callable[[], object]) -> None:
        """Wait until ``found`` says so."""
        deadline = time.monotonic() + 20
        while not found():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def ready(self) -> bool:
        return "READY=1" in self.said()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._listening.close()


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    """A school whose socket and control group are this test's own: an agent takes the one, and empties the other."""
    own = {"project": f"clms-unit-{os.getpid()}", "agent_socket": str(tmp_path / "agent.sock")}
    return write_config(tmp_path / "etc", {**description(home), **own})


@pytest.fixture
def start(folder: Path, home: Path, settings: Config) -> Iterator[Callable[[], AgentProcess]]:
    """Starts an agent."""
    path = settings.school.agent_socket
    assert path.is_relative_to(home.parent)
    started: list[AgentProcess] = []

    def begin() -> AgentProcess:
        started.append(AgentProcess(folder, home, path))
        return started[-1]

    yield begin
    for agent in started:
        agent.close()


def test_from_start_to_end(start: Callable[[], AgentProcess], journal: Journal) -> None:
    agent = start()
    agent.wait_for(agent.ready)
    assert agent.socket.exists()
    agent.terminate()
    assert agent.process.wait(20) == 0
    assert agent.said()[-1] == "STOPPING=1"
    assert not agent.socket.exists()
    assert "waiting" not in agent.log()


def test_it_is_silent_while_a_run_goes_on_without_it(
    start: Callable[[], AgentProcess], home: Path, begin: Callable[..., Run]
) -> None:
    run = begin()
    held = lock.acquire(home)
    assert held is not None
    agent = start()
    agent.wait_for(lambda: "waiting for the end of a run that goes on without the agent" in agent.log())
    assert not agent.ready()
    assert not agent.socket.exists()
    run.close("COMPLETED")
    os.close(held)
    agent.wait_for(agent.ready)
    assert agent.socket.exists()


def test_sigterm_ends_the_waiting(
    start: Callable[[], AgentProcess], home: Path, journal: Journal, begin: Callable[..., Run]
) -> None:
    begin()
    held = lock.acquire(home)
    assert held is not None
    agent = start()
    agent.wait_for(lambda: "waiting for the end of a run" in agent.log())
    agent.terminate()
    assert agent.process.wait(20) == 0
    os.close(held)
    assert not agent.ready()
    assert not agent.socket.exists()
    assert journal.row(1).outcome is None
    assert "Traceback" not in agent.log()


def test_it_answers_while_it_puts_a_run_in_order_and_sigterm_waits_for_that(
    start: Callable[[], AgentProcess], home: Path, journal: Journal, begin: Callable[..., Run]
) -> None:
    begin()
    agent = start()
    agent.wait_for(agent.ready)
    conversation = Conversation(agent.socket, {"verb": "status"})
    answer = conversation.wait(20)
    conversation.close()
    assert answer is not None
    assert answer["running"] is not None
    agent.terminate()
    agent.wait_for(lambda: "waiting for run 1 (recover) to end" in agent.log())
    assert not agent.socket.exists()
    assert journal.row(1).outcome is None
    (home / "go-on").touch()
    assert agent.process.wait(20) == 0
    assert journal.row(1).outcome == "ROLLED_BACK"
    assert agent.said().index("READY=1") < agent.said().index("STOPPING=1")
    assert "STATUS=waiting for run 1 (recover) to end" in agent.said()
    assert "Traceback" not in agent.log()


def test_a_killed_agent_leaves_it_to_the_next_one(
    start: Callable[[], AgentProcess], home: Path, journal: Journal, begin: Callable[..., Run], tmp_path: Path
) -> None:
    begin()
    first = start()
    first.wait_for(first.ready)
    first.close()
    assert first.socket.exists()  # nobody works beside a school that has yet to be put in order
    assert not lock.is_held(home)
    (tmp_path / "etc" / "notify").unlink()
    (home / "go-on").touch()
    second = start()
    second.wait_for(lambda: journal.row(1).outcome == "ROLLED_BACK")
    second.wait_for(second.ready)
