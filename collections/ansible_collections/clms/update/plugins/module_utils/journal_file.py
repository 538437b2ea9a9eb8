# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of the journal: its tables, its format, whether it can be read, and how a broken one is kept aside."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from . import reserve
from .adapters.files import sync_folder
from .adapters.slot_files import kept_slots
from .errors import ClmsError

FORMAT = 4

_NAME = "journal.db"
_ASIDE = "journal-broken-"
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
    error TEXT,
    fence INTEGER NOT NULL DEFAULT 0
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
    message TEXT NOT NULL,
    schedule INTEGER,
    told TEXT
);
"""
_TABLES = {"runs", "records", "slots", "commits", "events"}
_MIGRATIONS = {
    1: "ALTER TABLE runs ADD COLUMN fence INTEGER NOT NULL DEFAULT 0",
    2: "ALTER TABLE events ADD COLUMN schedule INTEGER",
    3: "ALTER TABLE events ADD COLUMN told TEXT",
}
"""Format -> the statement that makes the next one of it."""

_GONE = "it is gone"
_EMPTY = "there is nothing in it"

_NO_SPACE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

T = TypeVar("T")


def path_in(home: Path) -> Path:
    """The journal of the school whose state is in ``home``."""
    return home / _NAME


def is_broken(error: sqlite3.Error) -> bool:
    """Whether the file itself is spoilt: not a disk that is full, a lock, or a missing right, which pass."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in _BROKEN or "no such table" in str(error) or "no such column" in str(error)


class _Connection(sqlite3.Connection):
    """A connection that takes the space that was set aside when the disk is full."""

    home: Path

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        alone = not self.in_transaction  # asked before: SQLite may give a whole transaction up
        try:
            return super().execute(*arguments)
        except sqlite3.OperationalError as error:
            # one within a transaction is not repeated alone; see `JournalFile.write`
            if not alone or (error.sqlite_errorcode & 0xFF) not in _NO_SPACE:
                raise
            reserve.give_back(self.home)
            return super().execute(*arguments)


class JournalFile:
    """The open file: transactions and queries on it."""

    def __init__(self, home: Path) -> None:
        """:raises ClmsError: JOURNAL_UNREADABLE or JOURNAL_NEWER"""
        self.path = path_in(home)
        try:
            self.db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, factory=_Connection)
            self.db.home = home
            self._use_wal()
            self.db.execute("PRAGMA synchronous=FULL")
            self.db.execute("PRAGMA foreign_keys=ON")
            found = self._format()
        except sqlite3.Error as error:
            raise ClmsError("JOURNAL_UNREADABLE", path=self.path, detail=error) from None
        if found > FORMAT:
            self.db.close()
            raise ClmsError("JOURNAL_NEWER", path=self.path, found=found, known=FORMAT)

    def _use_wal(self) -> None:
        # two processes that make a journal at once: this change alone does not wait for the other one
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self.db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def _format(self) -> int:
        found = self._user_version()
        if found >= FORMAT:
            return found
        with self.transaction():
            # another process may have done it in the meantime
            found = self._user_version()
            if not found:
                for statement in _SCHEMA.split(";"):
                    self.db.execute(statement)
            else:
                for number in range(found, FORMAT):
                    self.db.execute(_MIGRATIONS[number])
            if found < FORMAT:
                self.db.execute(f"PRAGMA user_version={FORMAT}")
        return max(found, FORMAT)

    def _user_version(self) -> int:
        return int(self.db.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that the body writes is on disk at its end, or nothing of it.

        :raises ClmsError: JOURNAL_UNREADABLE when the file turns out to be spoilt
        """
        with self._readable():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise

    def write(self, action: Callable[[], T]) -> T:
        """Do ``action`` as one transaction, or as part of the one that is going on.

        Where the disk is full, it is done once more, with the space that was set aside.
        """
        if self.db.in_transaction:
            return action()
        try:
            with self.transaction():
                return action()
        except sqlite3.OperationalError as error:
            if (error.sqlite_errorcode & 0xFF) not in _NO_SPACE:
                raise
            reserve.give_back(self.db.home)
        with self.transaction():
            return action()

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        """Carry out one statement that writes.

        :raises ClmsError: JOURNAL_UNREADABLE when the file turns out to be spoilt
        """
        with self._readable():
            return self.db.execute(statement, values)

    def select(self, query: str, *values: object) -> list[Any]:
        """All rows of a query.

        :raises ClmsError: JOURNAL_UNREADABLE when the file turns out to be spoilt
        """
        with self._readable():
            return self.db.execute(query, values).fetchall()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if not is_broken(error):
                raise
            raise ClmsError("JOURNAL_UNREADABLE", path=self.path, detail=error) from None

    def close(self) -> None:
        """Close the file."""
        self.db.close()


def problem(home: Path) -> str | None:
    """What keeps the journal from being read, as far as another one has to take its place; None when nothing does.

    :raises ClmsError: JOURNAL_NEWER; JOURNAL_UNREADABLE where the file itself need not be spoilt
    """
    found = _look(path_in(home))
    # before the first installation that is as it should be
    return None if found in (_GONE, _EMPTY) and not kept_slots(home) else found


def _look(path: Path) -> str | None:
    if not path.exists():
        return _GONE
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS)) as db:
            found = int(db.execute("PRAGMA user_version").fetchone()[0])
            if found > FORMAT:
                raise ClmsError("JOURNAL_NEWER", path=path, found=found, known=FORMAT)
            answer = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
            if answer != "ok":
                return answer.replace("\n", " ")
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not found and not tables:  # somebody is about to fill it, or has emptied it
                return _EMPTY
            if missing := sorted(_TABLES - tables):
                return f"it has no table {missing[0]}"
            return None if db.execute("SELECT 1 FROM runs LIMIT 1").fetchone() else _EMPTY
    except sqlite3.Error as error:
        if is_broken(error):
            return str(error)
        raise ClmsError("JOURNAL_UNREADABLE", path=path, detail=error) from None


def set_aside(home: Path) -> Path | None:
    """Move the journal and what belongs to it to a folder of its own.

    :returns: the folder; where there is nothing to move any more, the one of the last time, or None
    """
    # the database first: a log without it is thrown away by SQLite, a database without its log is an older one
    parts = [path_in(home).with_name(f"{_NAME}{suffix}") for suffix in ("", "-wal", "-shm")]
    if not any(part.exists() for part in parts):
        return max(home.glob(f"{_ASIDE}*"), default=None)
    stamp = f"{_ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    names = (stamp, *(f"{stamp}-{number}" for number in range(2, 1000)))
    # never over what was kept before: a recovery that was killed leaves a journal that is broken too
    folder = next(home / name for name in names if not (home / name).exists())
    folder.mkdir(mode=0o700)
    for part in parts:
        if part.exists():
            part.rename(folder / part.name)
    sync_folder(folder)
    sync_folder(home)
    return folder
