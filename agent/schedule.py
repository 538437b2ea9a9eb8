# SPDX-License-Identifier: GPL-3.0-or-later
"""What is scheduled on this server, in ``<home>/schedule.db``: written by the agent alone, read by the command line.

SQLite in WAL mode with ``synchronous=FULL``, mode 0600, beside the journal. It holds nothing that a person could not
enter again, so a file that is broken, or newer than this program, is kept under another name and an empty one takes its
place; an event says so.

``schedules.state`` is SCHEDULED, STARTED, DONE, CANCELLED or MISSED. STARTED is on disk before the run begins.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.calendar_rules import Schedule, local, local_text
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.status import iso
from ansible_collections.clms.update.plugins.module_utils.told import Told, told

FORMAT = 3
KEPT = 200
"""schedules that have ended and are remembered"""

_BUSY_SECONDS = 30
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SCHEMA = (
    "CREATE TABLE schedules (id INTEGER PRIMARY KEY AUTOINCREMENT, version TEXT, due_at REAL NOT NULL, "
    "missed TEXT NOT NULL, state TEXT NOT NULL, created_at REAL NOT NULL, tried_at REAL, after_run INTEGER, "
    "run INTEGER, outcome TEXT, code TEXT, backup_location TEXT, planned_at REAL, moved_at REAL)",
    "CREATE UNIQUE INDEX schedules_one ON schedules (state) WHERE state = 'SCHEDULED'",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value)",
)
_ADDED = (
    ("ALTER TABLE schedules ADD COLUMN backup_location TEXT",),
    ("ALTER TABLE schedules ADD COLUMN planned_at REAL", "ALTER TABLE schedules ADD COLUMN moved_at REAL"),
)
"""what a file of format 1 lacks, and what one of format 2 lacks"""
_COLUMNS = (
    "id, version, due_at, missed, state, created_at, tried_at, after_run, run, outcome, code, backup_location, "
    "planned_at, moved_at"
)

log = logging.getLogger("clms-update-agent")

_opening = threading.Lock()
"""of two threads that find the file broken, the second must not set aside what the first has made"""


@dataclass(frozen=True)
class Entry:
    """An update that is or was scheduled; times are seconds since 1970."""

    id: int
    version: str | None
    """None is the newest one at that time"""
    due_at: float
    missed: str
    """what becomes of it when the server is off at that time; see :mod:`.calendar_rules`"""
    state: str
    created_at: float
    tried_at: float | None
    """when it last had to wait, for another run or the next agent; it is not late while it waits"""
    after_run: int | None
    """the newest run in the journal when it was started"""
    run: int | None
    outcome: str | None
    code: str | None
    """why it came to nothing"""
    backup_location: str | None
    """see :meth:`.school.BackupPlace.copied_to`"""
    planned_at: float | None
    """when it was to begin before it was put off"""
    moved_at: float | None
    """when it was put off"""

    @property
    def due(self) -> datetime:
        """When it is to begin."""
        return datetime.fromtimestamp(self.due_at, UTC)

    def as_dict(self, schedule: Schedule) -> dict[str, Any]:
        """As answers carry it, with the school's own time beside UTC."""
        return {
            "id": self.id,
            "version": self.version,
            "state": self.state,
            "due_at": iso(self.due_at),
            "due_local": local(schedule, self.due).isoformat(timespec="seconds"),
            "time_zone": schedule.time_zone,
            "missed": self.missed,
            "created_at": iso(self.created_at),
            "run": self.run,
            "outcome": self.outcome,
            "code": self.code,
            "backup_location": self.backup_location,
        }


class Store:
    """The schedule of one school; one object for each thread that uses it."""

    def __init__(self, home: Path) -> None:
        """Open it, and make it where there is none.

        :raises ClmsError: SCHEDULE_STORE
        """
        self.path = home / "schedule.db"
        with self._readable(), _opening:
            problem = self._open()
            if problem is None:
                return
            kept = _set_aside(self.path)
            if self._open() is not None:
                raise ClmsError("SCHEDULE_STORE", path=self.path, detail="a new one is broken at once")
        lost = told("SCHEDULE_LOST", detail=problem, file=kept.name)
        log.warning("%s", lost.message)
        tell(home, "SCHEDULE_LOST", lost)

    def _open(self) -> str | None:
        """Returns what is wrong with the file, and has closed it then."""
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
            return "was no file"
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.path.chmod(0o600)
        self._db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            problem = self._prepare()
        except sqlite3.DatabaseError as error:
            self._db.close()
            if (getattr(error, "sqlite_errorcode", 0) & 0xFF) not in _BROKEN:
                raise
            return "was broken"
        if problem is not None:
            self._db.close()
        return problem

    def _prepare(self) -> str | None:
        found = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if found > FORMAT:
            return "was written by a newer CLMS Update"
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        if self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            return "was broken"
        try:
            with self._transaction():
                # another thread may have made the tables in the meantime
                found = int(self._db.execute("PRAGMA user_version").fetchone()[0])
                if not found and self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
                    return "was no schedule"
                for statement in chain.from_iterable(_ADDED[found - 1 :]) if found else _SCHEMA:
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={FORMAT}")
            self._db.execute(f"SELECT {_COLUMNS} FROM schedules LIMIT 1").fetchone()  # noqa: S608 - from this file
            self._db.execute("SELECT name, value FROM facts LIMIT 1").fetchone()
        except sqlite3.OperationalError as error:
            if "no such" not in str(error):
                raise
            return "was no schedule"
        return None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """:raises ClmsError: SCHEDULE_STORE in place of the errors of SQLite and of the file system"""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise ClmsError("SCHEDULE_STORE", path=self.path, detail=error) from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has ended it already
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # schedules

    def add(
        self, *, version: str | None, due_at: float, missed: str, now: float, backup_location: str | None = None
    ) -> Entry | None:
        """Schedule an update; None when there is one already."""
        with self._readable():
            try:
                cursor = self._db.execute(
                    "INSERT INTO schedules (version, due_at, missed, state, created_at, backup_location) "
                    "VALUES (?, ?, ?, 'SCHEDULED', ?, ?)",
                    (version, due_at, missed, now, backup_location),
                )
            except sqlite3.IntegrityError:
                return None
            self._db.execute(
                "DELETE FROM schedules WHERE id <= ? AND state NOT IN ('SCHEDULED', 'STARTED')",
                ((cursor.lastrowid or 0) - KEPT,),
            )
            return self.entry(cursor.lastrowid or 0)

    def entry(self, number: int) -> Entry | None:
        """The update with this number."""
        found = self._entries("WHERE id = ?", number)
        return found[0] if found else None

    def scheduled(self) -> Entry | None:
        """The update that has yet to begin."""
        found = self._entries("WHERE state = 'SCHEDULED'")
        return found[0] if found else None

    def started(self) -> list[Entry]:
        """What has begun, and is not known to have ended."""
        return self._entries("WHERE state = 'STARTED' ORDER BY id")

    def entries(self) -> list[Entry]:
        """Everything, the newest first."""
        return self._entries("ORDER BY id DESC LIMIT ?", KEPT)

    def _entries(self, where: str, *values: object) -> list[Entry]:
        with self._readable():
            cursor = self._db.execute(f"SELECT {_COLUMNS} FROM schedules {where}", values)  # noqa: S608 - from this file
            return [Entry(*row) for row in cursor]

    def move(self, entry: Entry, due_at: float, now: float) -> None:
        """Put an update off."""
        change = "planned_at = coalesce(planned_at, due_at), moved_at = ?, due_at = ?, tried_at = NULL"
        self._change(f"{change} WHERE id = ? AND state = 'SCHEDULED'", now, due_at, entry.id)

    def move_back(self, entry: Entry) -> None:
        """An update that was put off is due when it was before."""
        change = "due_at = planned_at, planned_at = NULL, moved_at = NULL, tried_at = NULL"
        self._change(f"{change} WHERE id = ? AND state = 'SCHEDULED' AND planned_at IS NOT NULL", entry.id)

    def start(self, entry: Entry, *, after_run: int) -> bool:
        """The update begins now; False when it is not scheduled any more."""
        change = "state = 'STARTED', after_run = ? WHERE id = ? AND state = 'SCHEDULED'"
        return self._change(change, after_run, entry.id)

    def link(self, entry: Entry, run: int) -> None:
        """The update is this run."""
        self._change("run = ? WHERE id = ? AND state = 'STARTED'", run, entry.id)

    def wait(self, entry: Entry, tried_at: float | None) -> bool:
        """The update could not begin, and is to be tried again; False when another one is scheduled by now."""
        change = "state = 'SCHEDULED', tried_at = ? WHERE id = ? AND state = 'STARTED'"
        free = "NOT EXISTS (SELECT 1 FROM schedules WHERE state = 'SCHEDULED')"
        return self._change(f"{change} AND {free}", tried_at, entry.id)

    def end(
        self, entry: Entry, state: str, *, run: int | None = None, outcome: str | None = None, code: str | None = None
    ) -> bool:
        """The update is done with; False when it was so before."""
        change = "state = ?, run = ?, outcome = ?, code = ? WHERE id = ? AND state IN ('SCHEDULED', 'STARTED')"
        return self._change(change, state, run, outcome, code, entry.id)

    def _change(self, what: str, *values: object) -> bool:
        with self._readable():
            return self._db.execute(f"UPDATE schedules SET {what}", values).rowcount > 0  # noqa: S608 - from this file

    # facts: ``checked_at``, when the vendor was asked last; ``check_code``, why it could not be asked

    def fact(self, name: str) -> Any:
        """What was noted under ``name``, or None."""
        with self._readable():
            row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
            return row[0] if row else None

    def note(self, name: str, value: float | str | None) -> None:
        """Note something."""
        with self._readable():
            self._db.execute("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", (name, value))


def _set_aside(path: Path) -> Path:
    """Give the file another name, and those that SQLite has made beside it."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (path.with_name(f"{path.name}.kept-{stamp}{suffix}") for suffix in ("", *(f"-{i}" for i in range(2, 1000))))
    kept = next(name for name in names if not os.path.lexists(name))
    path.rename(kept)
    for ending in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(kept.with_name(kept.name + ending))
    return kept


def tell(home: Path, kind: str, what: Told, *, schedule: int | None = None) -> None:
    """Record an event in the journal, where there is one; what is scheduled does not depend on it.

    :param schedule: number of the scheduled update that it is about
    """
    try:
        if Journal.exists(home):
            with closing(Journal(home)) as journal:
                journal.event(kind, what, schedule=schedule)
    except (ClmsError, sqlite3.Error):
        log.exception("the event %s could not be recorded: %s", kind, what.message)


# for the command line: reads only, and makes nothing


def read(home: Path) -> tuple[list[Entry], float | None]:
    """What is and was scheduled, the newest first, and when the vendor was asked last.

    :raises ClmsError: SCHEDULE_STORE when there is a schedule that cannot be read
    """
    path = home / "schedule.db"
    if not path.exists():
        return [], None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
            cursor = db.execute(f"SELECT {_COLUMNS} FROM schedules ORDER BY id DESC LIMIT ?", (KEPT,))  # noqa: S608
            checked = db.execute("SELECT value FROM facts WHERE name = 'checked_at'").fetchone()
            return [Entry(*row) for row in cursor], float(checked[0]) if checked and checked[0] else None
    except sqlite3.Error as error:
        raise ClmsError("SCHEDULE_STORE", path=path, detail=error) from None


def pending(home: Path) -> Entry | None:
    """The update that has yet to begin; None also where that cannot be known."""
    with contextlib.suppress(ClmsError, TypeError, OverflowError):
        return next((entry for entry in read(home)[0] if entry.state == "SCHEDULED"), None)
    return None


def described(entries: list[Entry], checked_at: float | None, schedule: Schedule) -> dict[str, Any]:
    """The answer of ``list`` for the schedule."""
    return {
        "schedules": [entry.as_dict(schedule) for entry in entries],
        "time_zone": schedule.time_zone,
        "checked_at": iso(checked_at),
    }


def when(entry: Entry, schedule: Schedule) -> str:
    """The time of an update, for people."""
    return local_text(schedule, entry.due)
