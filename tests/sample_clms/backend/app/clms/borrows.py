# SPDX-License-Identifier: GPL-3.0-or-later
"""Checking books out and taking them back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, g, request
from werkzeug.exceptions import Conflict, NotFound

from . import answers, history
from .database import one, transaction
from .due_dates import due_date
from .tables import Field, Table

blueprint = Blueprint("borrows", __name__)

_CHECKOUT = Table(
    "borrows",
    (
        Field("student_id", 2**31 - 1, required=True, default=0),
        Field("book_id", 2**31 - 1, required=True, default=0),
        Field("note", 255),
    ),
)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


@blueprint.post("/api/borrows")
def checkout() -> Any:
    """Lend a copy of a book to a student: 404 when one of them is unknown, 409 when no copy is left."""
    given = _CHECKOUT.read(request.get_json())
    now = _now()
    with transaction(g.config.database) as cursor:
        if one(cursor, "SELECT id FROM students WHERE id = %s", given["student_id"]) is None:
            raise NotFound("There is no such student.")
        # locked, so that two people cannot lend the last copy
        book = one(cursor, "SELECT available_copies FROM books WHERE id = %s FOR UPDATE", given["book_id"])
        if book is None:
            raise NotFound("There is no such book.")
        if book["available_copies"] < 1:
            raise Conflict("No copy of this book is left.")
        days = one(cursor, "SELECT `value` FROM SystemSettings WHERE `key` = 'loan_days'")
        borrow = {
            "student_id": given["student_id"],
            "book_id": given["book_id"],
            "borrowed_at": now,
            "due_at": due_date(now, days["value"] if days else "14"),
            "note": given["note"] or None,
        }
        cursor.execute("UPDATE books SET available_copies = available_copies - 1 WHERE id = %s", (given["book_id"],))
        borrow_id = history.insert_borrow(cursor, borrow, g.username)
    return answers.data({"id": borrow_id, **borrow}, 201)


@blueprint.put("/api/borrows/<int:borrow_id>/return")
def take_back(borrow_id: int) -> Any:
    """Take a book back: 404 when it was never lent, 409 when it is back already."""
    now = _now()
    with transaction(g.config.database) as cursor:
        borrow = one(cursor, "SELECT book_id, returned_at FROM borrows WHERE id = %s FOR UPDATE", borrow_id)
        if borrow is None:
            raise NotFound("This was never lent.")
        if borrow["returned_at"] is not None:
            raise Conflict("This book is back already.")
        cursor.execute("UPDATE borrows SET returned_at = %s WHERE id = %s", (now, borrow_id))
        cursor.execute("UPDATE books SET available_copies = available_copies + 1 WHERE id = %s", (borrow["book_id"],))
        history.record_return(cursor, borrow_id, g.username)
    return answers.data({"id": borrow_id, "returned_at": now})


@blueprint.get("/api/borrows")
def borrows() -> Any:
    """What was lent, by id."""
    after, limit = answers.page()
    with transaction(g.config.database) as cursor:
        cursor.execute(history.LIST, (after, limit))
        return answers.data(list(cursor.fetchall()))
