# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: what every run on this server was about to do and has done.

SQLite in WAL mode with ``synchronous=FULL``, outside Docker and outside everything that an update replaces
(architecture.md, decision 9). Intent is committed before each side effect, with exact names. There is one commit
record per run; from it on a run only goes forward.

``records.event`` is one of ``enter``, ``leave`` (of a phase), ``intent``, ``done`` (of a step), ``failed`` and
``note``. ``slots.state`` is ``candidate``, ``current``, ``previous``, ``kept`` (for diagnosis) or ``freed``.
``runs.fence`` goes up by one with each process that takes a run over; see :mod:`.journal_run`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import journal_file
from .errors import ClmsError
from .journal_run import Run
from .plan import kind_word
from .slots import Slot
from .told import Told

_RUN_COLUMNS = "id, kind, phases, school, version, from_version, opened_at, closed_at, outcome, error, fence"


@dataclass(frozen=True)
class Record:
    """One line of the journal; see the module's text."""

    at: float
    phase: str
    step: str
    event: str
    names: dict[str, Any]


@dataclass(frozen=True)
class RunRow:
    """What the journal knows of a run, without its records."""

    id: int
    kind: str
    phases: tuple[str, ...]
    school: dict[str, Any]
    version: str | None
    from_version: str | None
    opened_at: float
    """seconds since 1970"""
    closed_at: float | None
    outcome: str | None
    """None while the run is open; COMPLETED, REFUSED, ABORTED, ROLLED_BACK or NEEDS_OPERATOR"""
    error: dict[str, Any] | None
    fence: int = 0
    """the number of times that the run was taken over"""


class Journal:
    """The journal of one school, in ``home/journal.db``."""

    def __init__(self, home: Path, *, create: bool = False) -> None:
        """Open the journal.

        :param home: the school's state folder
        :param create: make the folder (0700) and the journal where they do not exist
        :raises ClmsError: NOT_INSTALLED, JOURNAL_UNREADABLE or JOURNAL_NEWER
        """
        if create:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not self.exists(home):
            raise ClmsError("NOT_INSTALLED")
        self.file = journal_file.JournalFile(home)
        self.path = self.file.path

    @staticmethod
    def exists(home: Path) -> bool:
        """Whether a school has a journal already."""
        return journal_file.path_in(home).exists()

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    # runs

    def begin(
        self,
        kind: str,
        *,
        phases: tuple[str, ...],
        school: dict[str, Any],
        version: str | None = None,
        from_version: str | None = None,
        number: int | None = None,
    ) -> Run:
        """Open a run.

        :param number: of the run; by default the next one
        :raises ClmsError: RUN_ACTIVE when one is open
        """

        def write() -> int:
            if self.open_run():
                raise self.in_the_way()
            cursor = self.file.execute(
                "INSERT INTO runs (id, kind, phases, school, version, from_version, opened_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                *(number, kind, json.dumps(phases), json.dumps(school), version, from_version, time.time()),
            )
            return int(cursor.lastrowid or 0)

        return self.run(self.file.write(write))

    def open_run(self) -> RunRow | None:
        """The run that has not ended, if there is one."""
        rows = self._rows("WHERE outcome IS NULL ORDER BY id LIMIT 1")
        return rows[0] if rows else None

    def in_the_way(self, code: str = "RUN_ACTIVE") -> ClmsError:
        """The refusal that names the run which has not ended.

        :param code: RUN_INTERRUPTED where nobody is at work on it any more
        """
        row = self.open_run()
        if row is None:  # somebody holds the lock and has not opened a run yet
            return ClmsError(code, kind="run", run="?", phase="preflight")
        return ClmsError(code, kind=kind_word(row.kind), run=row.id, phase=self.run(row.id).phase())

    def row(self, run: int) -> RunRow:
        """:raises ClmsError: RUN_NONE when the journal has no such run."""
        rows = self._rows("WHERE id = ?", run)
        if not rows:
            raise ClmsError("RUN_NONE", phase=f"run {run}")
        return rows[0]

    def rows(self, *, limit: int = 100, kinds: tuple[str, ...] = (), before: int | None = None) -> list[RunRow]:
        """The newest runs first, of all kinds or of ``kinds``.

        :param before: only runs with a lower number
        """
        marks = ", ".join("?" * len(kinds))
        where = f"WHERE id < coalesce(?, id + 1) {f'AND kind IN ({marks}) ' if kinds else ''}"
        return self._rows(f"{where}ORDER BY id DESC LIMIT ?", before, *kinds, limit)

    def totals(self) -> list[dict[str, Any]]:
        """The runs that have ended: ``kind``, ``outcome``, ``count``, and the ``seconds`` that they took in all."""
        found = self.file.select(
            "SELECT kind, outcome, count(*), sum(max(0.0, closed_at - opened_at)) FROM runs "
            "WHERE outcome IS NOT NULL GROUP BY kind, outcome ORDER BY kind, outcome"
        )
        return [dict(zip(("kind", "outcome", "count", "seconds"), row, strict=True)) for row in found]

    def _rows(self, where: str, *values: object) -> list[RunRow]:
        found = self.file.select(f"SELECT {_RUN_COLUMNS} FROM runs {where}", *values)  # noqa: S608 - from this file
        return [
            RunRow(
                id=row[0],
                kind=row[1],
                phases=tuple(json.loads(row[2])),
                school=json.loads(row[3]),
                version=row[4],
                from_version=row[5],
                opened_at=row[6],
                closed_at=row[7],
                outcome=row[8],
                error=json.loads(row[9]) if row[9] else None,
                fence=row[10],
            )
            for row in found
        ]

    def run(self, run: int, *, fence: int = 0) -> Run:
        """The run with this number.

        :param fence: under which this process works on it; 0 until somebody has taken the run over
        """
        return Run(self, self.row(run), fence)

    def records(self, run: int) -> list[Record]:
        """All records of a run, oldest first."""
        found = self.file.select("SELECT at, phase, step, event, names FROM records WHERE run = ? ORDER BY id", run)
        return [Record(row[0], row[1], row[2], row[3], json.loads(row[4])) for row in found]

    # slots

    def slot(self, *states: str) -> Slot | None:
        """The newest slot that is in one of ``states``."""
        slots = self.slots(*states)
        return slots[-1] if slots else None

    def slots(self, *states: str) -> list[Slot]:
        """The slots in one of ``states``, oldest first."""
        marks = ", ".join("?" * len(states))
        found = self.file.select(f"SELECT content FROM slots WHERE state IN ({marks}) ORDER BY run", *states)  # noqa: S608
        return [Slot.from_dict(json.loads(row[0])) for row in found]

    def slot_called(self, name: str) -> Slot | None:
        """The slot with this name, in whatever state."""
        found = self.file.select("SELECT content FROM slots WHERE name = ?", name)
        return Slot.from_dict(json.loads(found[0][0])) if found else None

    def opening_run(self, slot: Slot) -> int:
        """The run that made ``slot`` serve most recently: the one that built it, or one that went back to it."""
        ((run,),) = self.file.select("SELECT MAX(run) FROM commits WHERE slot = ?", slot.name)
        return int(run or slot.run)

    def set_slot(self, slot: Slot, state: str, *, run: int | None = None) -> None:
        """Record ``slot`` with ``state``.

        :param run: that stands for the one that made the slot, where this journal does not know that one
        """
        self.file.execute(
            "INSERT INTO slots (name, run, state, content) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET state = excluded.state, content = excluded.content",
            *(slot.name, slot.run if run is None else run, state, json.dumps(slot.as_dict())),
        )

    # events

    def event(self, kind: str, told: Told, *, run: int | None = None, schedule: int | None = None) -> None:
        """Record an event of section 8.1 of the original design, for people.

        :param told: what it tells them
        :param run: that it is about
        :param schedule: number of the scheduled update that it is about
        """
        self.file.execute(
            "INSERT INTO events (at, type, run, message, schedule, told) VALUES (?, ?, ?, ?, ?, ?)",
            *(time.time(), kind, run, told.message, schedule, json.dumps(told.as_dict())),
        )

    def event_once(self, kind: str, told: Told) -> None:
        """Record an event, unless the very same one was recorded at any time before."""
        self.file.execute(
            "INSERT INTO events (at, type, run, message, told) SELECT ?, ?, NULL, ?, ? "
            "WHERE NOT EXISTS (SELECT 1 FROM events WHERE type = ? AND message = ?)",
            *(time.time(), kind, told.message, json.dumps(told.as_dict()), kind, told.message),
        )

    def event_anew(self, kind: str, told: Told) -> None:
        """Record an event, unless the newest one is the very same."""
        newest = self.events(limit=1)
        if [(event["type"], event["message"]) for event in newest] != [(kind, told.message)]:
            self.event(kind, told)

    def events(
        self, *, limit: int = 100, after: int = 0, before: int | None = None, run: int | None = None
    ) -> list[dict[str, Any]]:
        """The newest events first: ``id``, ``at`` (seconds since 1970), ``type``, ``run``, ``message``, ``schedule``,
        ``told``: ``code`` and ``values`` of :class:`.told.Told`, None for those that an older updater has recorded.

        :param after: only events with a higher id
        :param before: only events with a lower one
        :param run: only events of this run
        """
        found = self.file.select(
            "SELECT id, at, type, run, message, schedule, told FROM events "
            "WHERE id > ? AND id < coalesce(?, id + 1) AND run IS coalesce(?, run) ORDER BY id DESC LIMIT ?",
            after,
            before,
            run,
            limit,
        )
        names = ("id", "at", "type", "run", "message", "schedule", "told")
        return [dict(zip(names, (*row[:-1], json.loads(row[-1]) if row[-1] else None), strict=True)) for row in found]
