# SPDX-License-Identifier: GPL-3.0-or-later
"""The school that `clms-update` updates, and the way back to where it was before each run."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import config
from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from ansible_collections.clms.update.plugins.module_utils.adapters.gate import GateControl
from ansible_collections.clms.update.plugins.module_utils.adapters.probe import wait_healthy
from ansible_collections.clms.update.plugins.module_utils.adapters.supply import supply
from ansible_collections.clms.update.plugins.module_utils.journal import Journal, Record
from ansible_collections.clms.update.plugins.module_utils.phases.health_check import place_of
from ansible_collections.clms.update.plugins.module_utils.phases.open import restore_restart
from ansible_collections.clms.update.plugins.module_utils.slots import Slot
from tests.stand.stand import Finished, Stand

SCHOOL = "linden"
_LEFT_ALONE_SECONDS = 300


class BenchError(Exception):
    """Something could not be measured; the text says what happened."""


@dataclass(frozen=True)
class Baseline:
    """A state to which the school can be brought back."""

    journal: Path
    slot: Slot


@dataclass(frozen=True)
class Run:
    """A run that was measured."""

    began: float
    """seconds since 1970"""
    seconds: float
    """wall clock of the command"""
    records: tuple[Record, ...]
    outcome: str | None

    def result(self, phase: str) -> dict[str, Any]:
        """What the phase told the journal."""
        found = [record.names for record in self.records if record.phase == phase and record.event == "leave"]
        return found[-1] if found else {}


class Ours:
    """The school of the stand."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.engine = Engine()
        self.etc = stand.school_folder(SCHOOL) / "etc"
        self.home = stand.home(SCHOOL)
        self.url = stand.url(SCHOOL)
        self.school = config.load(self.etc).school
        self.gate = GateControl(self.school, self.engine)

    def image(self, version: str, service: str) -> str:
        """The reference by which a release's image is pulled."""
        architecture = self.engine.architecture()
        image = supply(self.school, version, architecture).release.image(service, architecture)
        return f"{self.school.registry}/{image.repository}@{image.digest}"

    def slot(self) -> Slot:
        """The slot that serves."""
        return self.stand.slot(SCHOOL)

    def start(self) -> None:
        """Start what the journal says that serves, and open the gate to it."""
        slot = self.slot()
        for service in self.school.services:
            self.engine.start(slot.services[service.name].container)
        for name, health in slot.parsed_release().health.items():
            wait_healthy(self.engine, place_of(slot), name, health)
        self.gate.open(slot)
        restore_restart(self.engine, self.school, slot)

    def stop(self) -> None:
        """Stop it, so that it takes nothing from what is measured next."""
        slot = self.slot()
        for service in reversed(self.school.services):
            self.engine.stop(slot.services[service.name].container, 300)

    # runs

    def update(self, version: str) -> Run:
        """Update with the command that a school admin uses."""
        return self._run(lambda: self.stand.clms_update(SCHOOL, "update", "--version", version, "--json", check=False))

    def update_without_rehearsal(self, version: str) -> Run:
        """Update with the playbook, the rehearsal left out; it may fail."""
        variables = f'{{"clms_version": "{version}", "clms_rehearse": false}}'
        return self._run(lambda: self.stand.playbook("update", "-e", variables, check=False))

    def _run(self, command: Callable[[], Finished]) -> Run:
        began, clock = time.time(), time.monotonic()
        done = command()
        seconds = time.monotonic() - clock
        with closing(Journal(self.home)) as journal:
            row = journal.rows(limit=1)[0]
            if row.outcome is None:
                raise BenchError(f"The run did not end:\n{done.output[-2000:]}")
            return Run(began, seconds, tuple(journal.records(row.id)), row.outcome)

    # the way back

    def baseline(self, name: str) -> Baseline:
        """Remember the state in which the school is."""
        path = self.home.parent / f"{name}.db"
        with closing(sqlite3.connect(self.home / "journal.db")) as now, closing(sqlite3.connect(path)) as kept:
            now.backup(kept)
        return Baseline(path, self.slot())

    def reset(self, baseline: Baseline) -> None:
        """Remove what runs have made since ``baseline``, as if they had never been; its slot does not serve yet."""
        for file in self.home.glob("journal.db*"):
            file.unlink()
        shutil.copy(baseline.journal, self.home / "journal.db")
        slot, engine, project = baseline.slot, self.engine, self.school.project
        kept = {service.container for service in slot.services.values()} | {self.school.gate.container}
        for container in set(engine.by_label(project=project)) - kept:
            engine.remove(container)
        for volume in set(engine.volumes_by_label(project=project)) - set(slot.volumes.values()):
            engine.remove_volume(volume)
        for network in set(engine.networks_by_label(project=project)) - {slot.network}:
            if not network.endswith("-outside"):
                engine.remove_network(network)
        for folder in Path(self.school.backup.path).iterdir():
            shutil.rmtree(folder)

    def wait_until_left_alone(self) -> None:
        """A run goes on when whoever asked for it is interrupted: wait for its end."""
        deadline = time.monotonic() + _LEFT_ALONE_SECONDS
        while lock.is_held(self.home) and time.monotonic() < deadline:
            time.sleep(0.5)
