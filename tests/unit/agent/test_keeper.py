# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine has given up on is started again, and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import keeper as module
from agent.config import Config
from agent.keeper import Keeper
from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run
from ansible_collections.clms.update.plugins.module_utils.slots import Slot, SlotService

ERROR = "failed to create endpoint: no space left on device"
RUNS, GIVEN_UP = {"running": True}, {"running": False, "error": ERROR}
STOPPED = {"running": False, "error": ""}


class FakeEngine:
    """Containers, and what was started."""

    def __init__(self) -> None:
        self.client = self
        self.containers: dict[str, dict[str, Any]] = {}
        self.started: list[str] = []
        self.fails: Exception | None = None

    def state(self, name: str) -> Any:
        found = self.containers.get(name)
        return found and SimpleNamespace(**{"error": "", "restart_policy": "unless-stopped", **found})

    def start(self, name: str) -> None:
        if self.fails:
            raise self.fails
        self.started.append(name)
        self.containers[name] = RUNS

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def keeper(settings: Config, engine: FakeEngine) -> Keeper:
    return Keeper(lambda: settings.school, lambda: engine)


@pytest.fixture
def served(journal: Journal) -> None:
    """The school runs 1.0.0."""
    run = journal.begin("install", phases=("preflight",), school={}, version="1.0.0")
    services = {name: SlotService(f"clms-{name}-r1", "image", "config") for name in ("mysql", "backend")}
    slot = Slot("r1", 1, "1.0.0", "clms-r1", services, {}, {"version": "1.0.0"})
    journal.set_slot(slot, "candidate")
    run.commit(slot)
    run.close("COMPLETED")


@pytest.mark.parametrize(
    ("containers", "started"),
    [
        pytest.param({"mysql": RUNS, "backend": RUNS}, [], id="all is well"),
        pytest.param({"mysql": GIVEN_UP, "backend": RUNS}, ["clms-mysql-r1"], id="given up"),
        pytest.param({"mysql": GIVEN_UP, "backend": GIVEN_UP}, ["clms-mysql-r1", "clms-backend-r1"], id="in order"),
        pytest.param({"mysql": STOPPED, "backend": STOPPED}, [], id="stopped by a person"),
        pytest.param({"mysql": {**GIVEN_UP, "restart_policy": "no"}, "backend": RUNS}, [], id="not to be started"),
        pytest.param({"backend": RUNS}, [], id="not there"),
    ],
)
def test_look(
    keeper: Keeper, engine: FakeEngine, journal: Journal, served: None, containers: dict[str, Any], started: list[str]
) -> None:
    engine.containers = {f"clms-{name}-r1": state for name, state in containers.items()}
    assert keeper.look() == started
    assert engine.started == started
    events = [event["message"] for event in journal.events() if event["type"] == "CONTAINER_STARTED"]
    assert len(events) == len(started)
    assert all(ERROR in message for message in events)
    assert keeper.look() == []


def test_the_gate_too(keeper: Keeper, engine: FakeEngine, served: None, settings: Config) -> None:
    engine.containers = {settings.school.gate.container: GIVEN_UP}
    assert keeper.look() == [settings.school.gate.container]


def test_nothing_while_a_run_goes_on(
    keeper: Keeper, engine: FakeEngine, served: None, begin: Callable[..., Run], home: Path
) -> None:
    engine.containers = {"clms-mysql-r1": GIVEN_UP}
    held = lock.acquire(home)
    assert held is not None
    assert keeper.look() == []
    os.close(held)
    run = begin()
    assert keeper.look() == []
    run.close("ABORTED")
    assert keeper.look() == ["clms-mysql-r1"]
    assert not lock.is_held(home)


def test_nothing_is_installed(keeper: Keeper, engine: FakeEngine) -> None:
    engine.containers = {"clms-gate": GIVEN_UP}
    assert keeper.look() == []


def test_it_tries_again_and_says_so_once(
    keeper: Keeper,
    engine: FakeEngine,
    served: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    home: Path,
) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.01)
    engine.containers = {"clms-mysql-r1": GIVEN_UP}
    engine.fails = OSError("no space left on device")
    with keeper.on():
        for _ in range(500):
            if caplog.text:
                break
            time.sleep(0.02)
        time.sleep(0.2)
        assert caplog.text.count("no space left on device") == 1
        assert not engine.started
        engine.fails = None
        for _ in range(500):
            if engine.started:
                break
            time.sleep(0.02)
    assert engine.started == ["clms-mysql-r1"]
    assert not lock.is_held(home)
