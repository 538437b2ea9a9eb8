# SPDX-License-Identifier: GPL-3.0-or-later
"""Notices a run that goes on although nobody works on it.

``ansible-playbook`` waits for ever for a worker that was killed (for want of memory, for example), and CLMS may be
closed then. Whoever carries out a phase, or puts a run back, holds a lock of its own; a run whose lock is free, and
which writes nothing into the journal, stands still.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

from ansible_collections.clms.update.plugins.module_utils import journal_file, lock
from ansible_collections.clms.update.plugins.module_utils.journal import Journal

from .background import repeated

SECONDS = 30
"""for which a run may stand still: between two phases a module is started"""
PREFLIGHT_SECONDS = 300
"""in ``preflight``, whose module does not hold the lock"""
_LOOK_SECONDS = 1.0

log = logging.getLogger("clms-update-agent")


class Watchdog:
    """Watches the runs of one school."""

    def __init__(self, home: Path, end: Callable[[], object], clock: Callable[[], float] = time.monotonic) -> None:
        """:param end: ends the playbook of the run, with all that it has started"""
        self._home = home
        self._end = end
        self._clock = clock
        self._seen: tuple[int, int] | None = None
        self._since = 0.0

    def on(self) -> AbstractContextManager[None]:
        """Watch while a ``with`` goes on."""
        return repeated("watchdog", self._look, seconds=_LOOK_SECONDS)

    def _look(self) -> None:
        if self.stands_still():
            log.error("nobody works on the run any more: its playbook is ended, and CLMS put in order")
            self._end()

    def stands_still(self) -> bool:
        """Look once; whether the run has stood still for too long."""
        now = self._clock()
        seen, patience = self._state()
        if seen is None or seen != self._seen or lock.is_at_work(self._home):
            self._seen, self._since = seen, now
            return False
        if now - self._since < patience:
            return False
        self._seen = None  # what is started next has its own time
        return True

    def _state(self) -> tuple[tuple[int, int] | None, float]:
        """Run and number of its records, None where there are none; how long it may stand still."""
        if not journal_file.path_in(self._home).exists():
            return None, 0.0
        with closing(Journal(self._home)) as journal:
            row = journal.open_run()
            records = journal.records(row.id) if row else []
        if row is None or not records:
            return None, 0.0
        return (row.id, len(records)), PREFLIGHT_SECONDS if records[-1].phase == "preflight" else SECONDS
