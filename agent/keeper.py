# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts again what the engine has given up on, while no run goes on.

A database may die of a full disk. The engine cannot start it again then, as it has to write a little itself, and does
not come back to that when there is room again, whatever the restart policy says (seen with Docker 20.10: the container
stays ``exited`` with an error). What a person has stopped carries no such error, and stays as it is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.told import told

from .background import repeated

SECONDS = 15.0
"""between two looks"""

log = logging.getLogger("clms-update-agent")


class Keeper:
    """Looks after the containers that serve."""

    def __init__(self, school: Callable[[], School], engine: Callable[[], Any] = Engine) -> None:
        """:param school: gives the description, which is read anew each time"""
        self._school = school
        self._engine = engine

    def on(self) -> AbstractContextManager[None]:
        """Look after them while a ``with`` goes on."""
        return repeated("keeper", self.look, seconds=SECONDS)

    def look(self) -> list[str]:
        """Look once; the containers that were started."""
        school = self._school()
        if not Journal.exists(school.home):
            return []
        engine = self._engine()
        try:
            if not self._given_up(engine, school):
                return []
            held = lock.acquire(school.home)
            if held is None:  # a run goes on, and knows what is to run
                return []
            try:
                return [self._start(engine, school.home, *found) for found in self._given_up(engine, school)]
            finally:
                os.close(held)
        finally:
            engine.client.close()

    def _given_up(self, engine: Any, school: School) -> list[tuple[str, str]]:
        """Container and error of each that should serve, does not run, and could not be started; in starting order."""
        with closing(Journal(school.home)) as journal:
            slot = journal.slot("current")
            if slot is None or journal.open_run() is not None:
                return []
        names = [slot.services[service.name].container for service in school.services if service.name in slot.services]
        found = []
        for name in [*names, school.gate.container]:
            state = engine.state(name)
            if state is not None and not state.running and state.error and state.restart_policy != "no":
                found.append((name, state.error))
        return found

    def _start(self, engine: Any, home: Path, name: str, error: str) -> str:
        engine.start(name)
        started = told("CONTAINER_STARTED", container=name, detail=error[:300])
        log.warning("%s", started.message)
        with closing(Journal(home)) as journal:
            journal.event("CONTAINER_STARTED", started)
        return name
