# SPDX-License-Identifier: GPL-3.0-or-later
"""Borrows and who handled them, as CLMS 1.0.0 keeps it: the lender in the row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymysql.cursors import DictCursor

LIST = (
    "SELECT id, student_id, book_id, borrowed_at, due_at, returned_at, librarian, note FROM borrows"
    " WHERE id > %s ORDER BY id LIMIT %s"
)


def insert_borrow(cursor: DictCursor, borrow: Mapping[str, Any], username: str) -> int:
    """Add a borrow; gives its id. Who lent the book stands in the row."""
    cursor.execute(
        "INSERT INTO borrows (student_id, book_id, borrowed_at, due_at, note, librarian)"
        " VALUES (%(student_id)s, %(book_id)s, %(borrowed_at)s, %(due_at)s, %(note)s, %(librarian)s)",
        {**borrow, "librarian": username},
    )
    return int(cursor.lastrowid)


def record_return(cursor: DictCursor, borrow_id: int, username: str) -> None:
    """Write down who took a book back."""
    cursor.execute(
        "INSERT INTO audit_log (username, action, details) VALUES (%s, 'borrows.return', %s)",
        (username, f"id {borrow_id}"),
    )
