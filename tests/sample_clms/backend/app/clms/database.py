# SPDX-License-Identifier: GPL-3.0-or-later
"""Database connections, one per thread, and transactions that never guess how a commit ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymysql
from pymysql.cursors import DictCursor

from .config import Database

_here = threading.local()


class OutcomeUnknown(Exception):
    """The connection was lost while COMMIT was under way: the change may or may not be there."""


def connect(database: Database, *, timeout: float = 30) -> pymysql.Connection[DictCursor]:
    """A new connection.

    :param timeout: seconds to wait for a connection (at most 5) and for each answer
    """
    return pymysql.connect(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password,
        database=database.name,
        charset="utf8mb4",
        cursorclass=DictCursor,
        connect_timeout=min(5, timeout),
        read_timeout=timeout,
        write_timeout=timeout,
        init_command="SET time_zone = '+00:00'",
    )


def _connection(database: Database) -> pymysql.Connection[DictCursor]:
    connection: pymysql.Connection[DictCursor] | None = getattr(_here, "connection", None)
    if connection is not None:
        try:
            connection.ping(reconnect=False)
            return connection
        except pymysql.Error:  # the database was restarted, or closed an idle connection
            _forget()
    _here.connection = connect(database)
    return _here.connection  # type: ignore[no-any-return]


def _forget() -> None:
    connection = _here.__dict__.pop("connection", None)
    if connection is not None and connection.open:
        # not close(): it would send a farewell to a server that may be gone
        connection._force_close()


@contextmanager
def transaction(database: Database) -> Iterator[DictCursor]:
    """A cursor whose changes are committed when the block ends well and rolled back otherwise.

    :raises OutcomeUnknown: when nobody can say whether the commit happened
    :raises pymysql.Error: when the database refuses or cannot be reached; nothing was changed then
    """
    connection = _connection(database)
    try:
        with connection.cursor() as cursor:
            yield cursor
    except BaseException:
        # Without a connection there is nothing to roll back: the server does it when it notices.
        try:
            connection.rollback()
        except pymysql.Error:
            _forget()
        raise
    try:
        connection.commit()
    except pymysql.Error as error:
        _forget()
        raise OutcomeUnknown(str(error)) from error


def one(cursor: DictCursor, sql: str, *values: Any) -> dict[str, Any] | None:
    """The first row of an answer, or None."""
    cursor.execute(sql, values)
    return cursor.fetchone()
