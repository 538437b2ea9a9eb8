# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page has answered to requests with an idempotency key, in ``<home>/once.db`` (SQLite, 0600), for 24 hours.

The page has no database, and its memory is gone when it starts anew: after a power cut, when a program asks once more.
So the agent keeps it, on the disk before anything is begun. A key without an answer stands for a request that goes on,
or of which nobody knows what became of it; nothing is begun a second time for either. The file holds nothing else, so
one that is broken gives way to an empty one.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .protocol import Request

KEPT_SECONDS = 24 * 3600.0
MOST = 20_000
"""keys of one account in that time"""

_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS once (account TEXT, key TEXT, body TEXT NOT NULL, at REAL NOT NULL, answer TEXT, "
    "PRIMARY KEY (account, key)) WITHOUT ROWID"
)
_alone = threading.Lock()
"""of two threads that find the file broken, the second must not remove what the first has made"""
log = logging.getLogger("clms-update-agent")


class Once:
    """The keys of one school."""

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = home / "once.db"
        self._clock = clock

    def answer(self, request: Request) -> dict[str, Any]:
        """The answer to ``once``; see :mod:`.protocol`.

        :raises ClmsError: as :meth:`begin`
        """
        name, key = str(request.name), str(request.key)
        if request.answer is not None:
            self._write("UPDATE once SET answer = ? WHERE account = ? AND key = ?", request.answer, name, key)
        elif request.free:
            self._write("DELETE FROM once WHERE account = ? AND key = ? AND answer IS NULL", name, key)
        else:
            found = self.begin(name, key, str(request.body))
            return {"answer": json.loads(found) if found is not None else None}
        return {"answer": None}

    def begin(self, account: str, key: str, body: str) -> str | None:
        """Take a key for a request; returns what was answered to it before, and None where this is the first one.

        :param body: tells requests apart
        :raises ClmsError: KEY_REUSED for another request, KEY_ACTIVE where there is no answer yet, LIMIT_REACHED,
            KEYS_STORE
        """
        now = self._clock()
        with _alone, self._opened() as db:
            # of a clock that was put back too, or a key might count for years
            db.execute("DELETE FROM once WHERE at NOT BETWEEN ? AND ?", (now - KEPT_SECONDS, now + KEPT_SECONDS))
            row = db.execute("SELECT body, answer FROM once WHERE account = ? AND key = ?", (account, key)).fetchone()
            if row is None:
                count, first = db.execute("SELECT count(*), min(at) FROM once WHERE account = ?", (account,)).fetchone()
                if count >= MOST:
                    raise ClmsError("LIMIT_REACHED", seconds=max(1, int(first + KEPT_SECONDS - now) + 1))
                db.execute("INSERT INTO once VALUES (?, ?, ?, ?, NULL)", (account, key, body, now))
                return None
        if row[0] != body:
            raise ClmsError("KEY_REUSED")
        if row[1] is None:
            raise ClmsError("KEY_ACTIVE")
        return str(row[1])

    def _write(self, statement: str, *values: str) -> None:
        """:raises ClmsError: KEYS_STORE"""
        with _alone, self._opened() as db:
            db.execute(statement, values)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The file in one transaction, made where there is none.

        :raises ClmsError: KEYS_STORE
        """
        try:
            try:
                db = self._open()
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BROKEN:
                    raise
                log.warning("%s is broken and is made anew: %s", self._path, error)
                self._path.unlink()
                db = self._open()
            with closing(db), db:
                yield db
        except (OSError, sqlite3.Error) as error:
            raise ClmsError("KEYS_STORE", path=self._path, detail=error) from None

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self._path, timeout=10)
        try:
            db.execute("PRAGMA synchronous = FULL")
            db.execute(_SCHEMA)
            db.execute("SELECT count(*) FROM once").fetchone()  # a broken file shows itself here
        except BaseException:
            db.close()
            raise
        return db
