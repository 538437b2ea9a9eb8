# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: what every run on this server was about to do and has done.

SQLite in WAL mode with ``synchronous=FULL``, outside Docker and outside everything that an update replaces
(architecture.md, decision 9). Intent is committed before each side effect, with exact names. There is one commit
record per run; from it on a run only goes forward.

``records.event`` is one of ``enter``, ``leave`` (of a phase), ``intent``, ``done`` (of a step), ``failed`` and
``note``. ``slots.state`` is ``candidate``, ``current``, ``previous``, ``kept`` (for diagnosis) or ``freed``.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import reserve
from .errors import ClmsError
from .plan import kind_word, next_phase
from .slots import Slot

FORMAT = 1

_BUSY_SECONDS = 30
_SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    phases TEXT NOT NULL,
    school TEXT NOT NULL,
    version TEXT,
    from_version TEXT,
    opened_at REAL NOT NULL,
    closed_at REAL,
    outcome TEXT,
    error TEXT
);
CREATE TABLE records (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES runs (id),
    at REAL NOT NULL,
    phase TEXT NOT NULL,
    step TEXT NOT NULL,
    event TEXT NOT NULL,
    names TEXT NOT NULL
);
CREATE INDEX records_run ON records (run, id);
CREATE TABLE slots (
    name TEXT PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (id),
    state TEXT NOT NULL,
    content TEXT NOT NULL
);
CREATE TABLE commits (
    run INTEGER PRIMARY KEY REFERENCES runs (id),
    at REAL NOT NULL,
    slot TEXT NOT NULL REFERENCES slots (name)
);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    type TEXT NOT NULL,
    run INTEGER,
    message TEXT NOT NULL
);
"""


_MOST_RECORDS = 2000
"""of a run; one that writes more goes round in circles"""
_NO_SPACE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}

_RUN_COLUMNS = "id, kind, phases, school, version, from_version, opened_at, closed_at, outcome, error"


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
    error: dict[str, str] | None


class _Connection(sqlite3.Connection):
    """A connection that takes the space that was set aside when the disk is full."""

    home: Path

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        try:
            return super().execute(*arguments)
        except sqlite3.OperationalError as error:
            # a statement within a transaction cannot simply be repeated: the transaction may be gone
            if self.in_transaction or (error.sqlite_errorcode & 0xFF) not in _NO_SPACE:
                raise
            reserve.give_back(self.home)
            return super().execute(*arguments)


class Journal:
    """The journal of one school, in ``home/journal.db``."""

    def __init__(self, home: Path, *, create: bool = False) -> None:
        """Open the journal.

        :param home: the school's state folder
        :param create: make the folder (0700) and the journal where they do not exist
        :raises ClmsError: NOT_INSTALLED, JOURNAL_UNREADABLE or JOURNAL_NEWER
        """
        self.path = home / "journal.db"
        if create:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not self.exists(home):
            raise ClmsError("NOT_INSTALLED")
        try:
            self._db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, factory=_Connection)
            self._db.home = home
            self._use_wal()
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            found = self._format()
        except sqlite3.Error as error:
            raise ClmsError("JOURNAL_UNREADABLE", path=self.path, detail=error) from None
        if found > FORMAT:
            raise ClmsError("JOURNAL_NEWER", path=self.path, found=found, known=FORMAT)

    @staticmethod
    def exists(home: Path) -> bool:
        """Whether a school has a journal already."""
        return (home / "journal.db").exists()

    def _use_wal(self) -> None:
        # two processes that make a journal at once: this change alone does not wait for the other one
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def _format(self) -> int:
        found = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if found:
            return found
        with self._transaction():
            # another process may have made the tables in the meantime
            if not self._db.execute("PRAGMA user_version").fetchone()[0]:
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={FORMAT}")
        return FORMAT

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # runs

    def begin(
        self,
        kind: str,
        *,
        phases: tuple[str, ...],
        school: dict[str, Any],
        version: str | None = None,
        from_version: str | None = None,
    ) -> Run:
        """Open a run.

        :raises ClmsError: RUN_ACTIVE when one is open
        """
        with self._transaction():
            if self.open_run():
                raise self.in_the_way()
            cursor = self._db.execute(
                "INSERT INTO runs (kind, phases, school, version, from_version, opened_at) VALUES (?, ?, ?, ?, ?, ?)",
                (kind, json.dumps(phases), json.dumps(school), version, from_version, time.time()),
            )
        return self.run(int(cursor.lastrowid or 0))

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

    def rows(self, *, limit: int = 100, kinds: tuple[str, ...] = ()) -> list[RunRow]:
        """The newest runs first, of all kinds or of ``kinds``."""
        marks = ", ".join("?" * len(kinds))
        where = f"WHERE kind IN ({marks}) " if kinds else ""
        return self._rows(f"{where}ORDER BY id DESC LIMIT ?", *kinds, limit)

    def _rows(self, where: str, *values: object) -> list[RunRow]:
        cursor = self._db.execute(f"SELECT {_RUN_COLUMNS} FROM runs {where}", values)  # noqa: S608 - from this file
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
            )
            for row in cursor
        ]

    def run(self, run: int) -> Run:
        """The run with this number."""
        return Run(self, self.row(run))

    def records(self, run: int) -> list[Record]:
        """All records of a run, oldest first."""
        cursor = self._db.execute("SELECT at, phase, step, event, names FROM records WHERE run = ? ORDER BY id", (run,))
        return [Record(row[0], row[1], row[2], row[3], json.loads(row[4])) for row in cursor]

    # slots

    def slot(self, *states: str) -> Slot | None:
        """The newest slot that is in one of ``states``."""
        slots = self.slots(*states)
        return slots[-1] if slots else None

    def slots(self, *states: str) -> list[Slot]:
        """The slots in one of ``states``, oldest first."""
        marks = ", ".join("?" * len(states))
        cursor = self._db.execute(f"SELECT content FROM slots WHERE state IN ({marks}) ORDER BY run", states)  # noqa: S608
        return [Slot.from_dict(json.loads(row[0])) for row in cursor]

    def opening_run(self, slot: Slot) -> int:
        """The run that made ``slot`` serve most recently: the one that built it, or one that went back to it."""
        row = self._db.execute("SELECT MAX(run) FROM commits WHERE slot = ?", (slot.name,)).fetchone()
        return int(row[0] or slot.run)

    def set_slot(self, slot: Slot, state: str) -> None:
        """Record ``slot`` with ``state``."""
        self._db.execute(
            "INSERT INTO slots (name, run, state, content) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET state = excluded.state, content = excluded.content",
            (slot.name, slot.run, state, json.dumps(slot.as_dict())),
        )

    # events

    def event(self, kind: str, message: str, *, run: int | None = None) -> None:
        """Record an event of section 8.1 of the original design, for people."""
        self._db.execute(
            "INSERT INTO events (at, type, run, message) VALUES (?, ?, ?, ?)", (time.time(), kind, run, message)
        )

    def event_once(self, kind: str, message: str) -> None:
        """Record an event, unless the very same one was recorded at any time before."""
        self._db.execute(
            "INSERT INTO events (at, type, run, message) SELECT ?, ?, NULL, ? "
            "WHERE NOT EXISTS (SELECT 1 FROM events WHERE type = ? AND message = ?)",
            (time.time(), kind, message, kind, message),
        )

    def events(self, *, limit: int = 100, after: int = 0) -> list[dict[str, Any]]:
        """The newest events first: ``id``, ``at`` (seconds since 1970), ``type``, ``run``, ``message``.

        :param after: only events with a higher id
        """
        cursor = self._db.execute(
            "SELECT id, at, type, run, message FROM events WHERE id > ? ORDER BY id DESC LIMIT ?", (after, limit)
        )
        return [dict(zip(("id", "at", "type", "run", "message"), row, strict=True)) for row in cursor]


class Run:
    """One run in the journal."""

    def __init__(self, journal: Journal, row: RunRow) -> None:
        self.journal = journal
        self.row = row
        self.id = row.id

    def record(self, phase: str, step: str, event: str, **names: Any) -> None:
        """Write one record; it is on disk when this returns.

        :raises ClmsError: RUN_LOOPS when there are too many; putting the run back has as many again
        """
        most = _MOST_RECORDS * (2 if phase == "rollback" else 1)
        (count,) = self.journal._db.execute("SELECT COUNT(*) FROM records WHERE run = ?", (self.id,)).fetchone()
        if count >= most:
            raise ClmsError("RUN_LOOPS", run=self.id, count=count)
        self.journal._db.execute(
            "INSERT INTO records (run, at, phase, step, event, names) VALUES (?, ?, ?, ?, ?, ?)",
            (self.id, time.time(), phase, step, event, json.dumps(names)),
        )

    def done_phases(self) -> set[str]:
        """The phases that have ended well."""
        return {record.phase for record in self.journal.records(self.id) if record.event == "leave"}

    def phase(self) -> str | None:
        """The phase that the run is in or comes to next; None after the last."""
        return next_phase(self.row.phases, self.done_phases())

    def _check_open(self, phase: str) -> None:
        # a process that was left behind must not go on with a run that has been put back meanwhile
        if self.journal.row(self.id).outcome is not None:
            raise ClmsError("RUN_NONE", phase=phase)

    def enter(self, phase: str) -> None:
        """Begin a phase.

        :raises ClmsError: RUN_NONE when the run has ended, RUN_PHASE when another phase is due
        """
        self._check_open(phase)
        due = self.phase()
        if due != phase:
            raise ClmsError("RUN_PHASE", phase=phase, detail=f"the run is at step '{due or 'end'}'")
        self.record(phase, "", "enter")

    def leave(self, phase: str, **result: Any) -> None:
        """End a phase; ``result`` is what later phases and reports need of it.

        :raises ClmsError: RUN_NONE when the run has ended
        """
        with self.journal._transaction():  # or a crash in between would leave a run that has nothing left to do open
            self._check_open(phase)
            self.record(phase, "", "leave", **result)
            if self.phase() is None:
                self.close("COMPLETED")

    def result(self, phase: str) -> dict[str, Any]:
        """What :meth:`leave` recorded for ``phase``, or an empty mapping."""
        found = [r.names for r in self.journal.records(self.id) if r.phase == phase and r.event == "leave"]
        return found[-1] if found else {}

    @contextmanager
    def step(self, phase: str, step: str, **names: Any) -> Iterator[dict[str, Any]]:
        """Do one step: intent first, then the side effect, then ``done`` with what the body put into the mapping.

        :raises ClmsError: RUN_NONE when the run has ended
        """
        self._check_open(phase)
        self.record(phase, step, "intent", **names)
        outcome: dict[str, Any] = {}
        yield outcome
        self.record(phase, step, "done", **{**names, **outcome})

    def intended(self, *steps: str) -> bool:
        """Whether one of ``steps`` was ever begun in this run."""
        return any(record.step in steps for record in self.journal.records(self.id))

    def use(self, *, kind: str, phases: tuple[str, ...], version: str, from_version: str | None) -> None:
        """Settle what the run is about, once the release is known."""
        self.journal._db.execute(
            "UPDATE runs SET kind = ?, phases = ?, version = ?, from_version = ? WHERE id = ?",
            (kind, json.dumps(phases), version, from_version, self.id),
        )
        self.row = self.journal.row(self.id)

    def commit(self, slot: Slot) -> None:
        """The commit record: ``slot`` serves from now on, the slot before it becomes ``previous``.

        :raises ClmsError: RUN_NONE when the run has ended
        """
        with self.journal._transaction():
            self._check_open("commit")
            db = self.journal._db
            db.execute("INSERT INTO commits (run, at, slot) VALUES (?, ?, ?)", (self.id, time.time(), slot.name))
            db.execute("UPDATE slots SET state = 'previous' WHERE state = 'current' AND name <> ?", (slot.name,))
            db.execute("UPDATE slots SET state = 'current' WHERE name = ?", (slot.name,))

    def committed(self) -> bool:
        """Whether the commit record exists."""
        return bool(self.journal._db.execute("SELECT 1 FROM commits WHERE run = ?", (self.id,)).fetchone())

    def fail(self, phase: str, error: ClmsError) -> None:
        """Record why a phase failed; the run stays open until it is put back."""
        self.record(phase, "", "failed", **error.as_dict())

    def failure(self) -> dict[str, str] | None:
        """The first failure of the run, with its ``phase``; failed attempts to put it back do not count."""
        for record in self.journal.records(self.id):
            if record.event == "failed" and not record.step:
                return {"phase": record.phase, **record.names}
        return None

    def discard(self) -> None:
        """Forget a run that found nothing to do and has touched nothing."""
        with self.journal._transaction():
            self.journal._db.execute("DELETE FROM records WHERE run = ?", (self.id,))
            self.journal._db.execute("DELETE FROM runs WHERE id = ?", (self.id,))

    def reopen(self) -> None:
        """Take up again a run whose putting back was given up."""
        self.journal._db.execute(
            "UPDATE runs SET closed_at = NULL, outcome = NULL, error = NULL "
            "WHERE id = ? AND outcome = 'NEEDS_OPERATOR'",
            (self.id,),
        )
        self.row = self.journal.row(self.id)

    def close(self, outcome: str, error: dict[str, str] | None = None) -> None:
        """End the run."""
        self.journal._db.execute(
            "UPDATE runs SET closed_at = ?, outcome = ?, error = ? WHERE id = ? AND outcome IS NULL",
            (time.time(), outcome, json.dumps(error) if error else None, self.id),
        )
        self.row = self.journal.row(self.id)
