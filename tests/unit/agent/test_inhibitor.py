# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping a server from being shut down; in place of systemd-inhibit there is the bare `cat` that it would start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.inhibitor import COMMAND, Inhibitor, WhileClosed, is_offered
from agent.progress import View
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS, is_closed

AGENT = """
import subprocess, sys, time
from agent.inhibitor import Inhibitor

def start(command):
    process = subprocess.Popen(command[-1:], stdin=subprocess.PIPE)
    print(process.pid, flush=True)
    return process

inhibitor = Inhibitor(start, lambda: True)
inhibitor.hold()
time.sleep(600)
"""


class Starter:
    """Starts a command in place of systemd-inhibit, and keeps what it has started."""

    def __init__(self, *command: str) -> None:
        self.command = command
        self.started: list[subprocess.Popen[bytes]] = []

    def __call__(self, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
        self.started.append(subprocess.Popen(self.command or command[-1:], stdin=subprocess.PIPE))
        return self.started[-1]


def view(kind: str, phase: str | None, failure: str | None = None) -> View:
    """A run of that kind which has come to a phase, or has ended."""
    phases = KINDS[kind]
    done = phases[: phases.index(phase)] if phase else phases
    return View(dict.fromkeys(done, 1.0), phase, is_closed(phases, phase, done), 50, None, failure)


def test_it_lasts_from_hold_to_release() -> None:
    start = Starter()
    inhibitor = Inhibitor(start, lambda: True)
    inhibitor.hold()
    inhibitor.hold()
    (process,) = start.started
    assert process.poll() is None
    inhibitor.release()
    inhibitor.release()
    assert process.returncode == 0
    inhibitor.hold()
    assert len(start.started) == 2
    inhibitor.release()


def test_what_is_started() -> None:
    given: list[tuple[str, ...]] = []

    def start(command: tuple[str, ...]) -> subprocess.Popen[bytes]:
        given.append(command)
        return Starter()(command)

    inhibitor = Inhibitor(start, lambda: True)
    inhibitor.hold()
    inhibitor.release()
    assert given == [COMMAND]
    assert {"systemd-inhibit", "--what=shutdown:sleep", "--mode=block"} <= set(COMMAND)


def test_it_ends_with_the_agent() -> None:
    with subprocess.Popen([sys.executable, "-c", AGENT], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        process = int(agent.stdout.readline())
        assert Path(f"/proc/{process}").exists()
        agent.kill()
        # it has the same standard output, which is at its end when both are gone
        assert agent.stdout.read() == ""


def test_where_there_is_no_systemd(caplog: pytest.LogCaptureFixture) -> None:
    start = Starter()
    inhibitor = Inhibitor(start, lambda: False)
    inhibitor.hold()
    inhibitor.release()
    assert (start.started, caplog.text) == ([], "")


@pytest.mark.parametrize("at_work", [True, False])
@pytest.mark.parametrize("has_program", [True, False])
def test_where_it_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_work: bool, has_program: bool) -> None:
    if at_work:
        (tmp_path / "system").mkdir()
    if has_program:
        (tmp_path / "systemd-inhibit").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert is_offered(tmp_path / "system") is (at_work and has_program)


@pytest.mark.parametrize(
    ("command", "said"),
    [("/none", "No such file"), ("false", "systemd-inhibit ended with exit code 1")],
    ids=["not there", "refused"],
)
def test_a_failure_is_told_once(command: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    start = Starter(command)
    inhibitor = Inhibitor(start, lambda: True)
    for _ in range(2):
        inhibitor.hold()
        for process in start.started:
            process.wait()
        inhibitor.hold()
        inhibitor.hold()
        inhibitor.release()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert said in caplog.text
    assert len(start.started) in (0, 2)  # once for each run


def test_a_failure_is_noticed_at_the_end_too(caplog: pytest.LogCaptureFixture) -> None:
    start = Starter("false")
    inhibitor = Inhibitor(start, lambda: True)
    inhibitor.hold()
    start.started[0].wait()
    inhibitor.release()
    assert "exit code 1" in caplog.text


@pytest.mark.parametrize(
    ("kind", "first", "last"),
    [
        ("update", "drain", "open"),
        ("update_images", "drain", "open"),
        ("rollback", "drain", "open"),
        ("restore", "drain", "open"),
        ("install", "slot", "open"),
        ("backup", None, None),
    ],
)
@pytest.mark.parametrize("failure", [None, "It failed."], ids=["goes on", "is being put back"])
def test_when(kind: str, first: str | None, last: str | None, failure: str | None) -> None:
    """From the phase that closes CLMS to the end of `open`, also when the run has failed there."""
    phases = KINDS[kind]
    expected = phases[phases.index(first) : phases.index(last) + 1] if first and last else ()
    start = Starter()
    inhibitor = Inhibitor(start, lambda: True)
    display = WhileClosed(inhibitor)
    for phase in phases:
        display.show(view(kind, phase, failure))
        held = bool(start.started) and start.started[-1].poll() is None
        assert held is (phase in expected), phase
    display.show(view(kind, None))
    display.close()
    assert len(start.started) == (1 if expected else 0)
    assert all(process.returncode == 0 for process in start.started)


def test_the_end_of_a_playbook_releases_nothing() -> None:
    start = Starter()
    inhibitor = Inhibitor(start, lambda: True)
    display = WhileClosed(inhibitor)
    display.show(view("update", "migrate", "It failed."))
    display.close()
    assert start.started[0].poll() is None
    inhibitor.release()


def test_what_is_worth_knowing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    WhileClosed(Inhibitor()).say("Putting the school back in order …")
    assert "Putting the school back in order" in caplog.text
