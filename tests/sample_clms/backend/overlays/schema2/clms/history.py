# SPDX-License-Identifier: GPL-3.0-or-later
"""Borrows and who handled them, since CLMS 1.0.1: each checkout and return is an event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymysql.cursors import DictCursor

LIST = (
    "SELECT id, student_id, book_id, borrowed_at, due_at, returned_at, note FROM borrows"
    " WHERE id > %s ORDER BY id LIMIT %s"
)


def insert_borrow(cursor: DictCursor, borrow: Mapping[str, Any], username: str) -> int:
    """Add a borrow; gives its id. Who lent the book stands in its history."""
    cursor.execute(
        "INSERT INTO borrows (student_id, book_id, borrowed_at, due_at, note)"
        " VALUES (%(student_id)s, %(book_id)s, %(borrowed_at)s, %(due_at)s, %(note)s)",
        dict(borrow),
    )
    borrow_id = int(cursor.lastrowid)
    _record(cursor, borrow_id, "checkout", username)
    return borrow_id


def record_return(cursor: DictCursor, borrow_id: int, username: str) -> None:
    """Write down who took a book back."""
    _record(cursor, borrow_id, "return", username)


def _record(cursor: DictCursor, borrow_id: int, kind: str, username: str) -> None:
    cursor.execute(
        "INSERT INTO borrow_events (borrow_id, kind, username) VALUES (%s, %s, %s)", (borrow_id, kind, username)
    )
