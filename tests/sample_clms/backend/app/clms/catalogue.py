# SPDX-License-Identifier: GPL-3.0-or-later
"""Students and books."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, g, request

from . import answers
from .database import transaction
from .model import BOOKS, STUDENTS
from .search import pattern
from .tables import Invalid, Table

blueprint = Blueprint("catalogue", __name__)


def _add(table: Table, row: dict[str, str | int]) -> Any:
    with transaction(g.config.database) as cursor:
        row_id = table.insert(cursor, row)
        cursor.execute(
            "INSERT INTO audit_log (username, action, details) VALUES (%s, %s, %s)",
            (g.username, f"{table.name}.create", f"id {row_id}"),
        )
    return answers.data({"id": row_id, **row}, 201)


def _list(table: Table, where: str = "TRUE", *values: str) -> Any:
    after, limit = answers.page()
    with transaction(g.config.database) as cursor:
        # only names and conditions of our own stand in the text
        sql = f"SELECT {table.columns} FROM {table.name} WHERE id > %s AND ({where}) ORDER BY id LIMIT %s"  # noqa: S608
        cursor.execute(sql, (after, *values, limit))
        return answers.data(list(cursor.fetchall()))


@blueprint.get("/api/students")
def students() -> Any:
    """Students by id."""
    return _list(STUDENTS)


@blueprint.post("/api/students")
def add_student() -> Any:
    """A new student."""
    return _add(STUDENTS, STUDENTS.read(request.get_json()))


@blueprint.get("/api/books")
def books() -> Any:
    """Books by id; ``search`` keeps those with this text in the title or the author's name."""
    wanted = request.args.get("search", "")
    if not wanted:
        return _list(BOOKS)
    return _list(BOOKS, "title LIKE %s OR author LIKE %s", pattern(wanted), pattern(wanted))


@blueprint.post("/api/books")
def add_book() -> Any:
    """A new book."""
    row = BOOKS.read(request.get_json())
    if row["available_copies"] > row["total_copies"]:  # type: ignore[operator]
        raise Invalid("available_copies must not be larger than total_copies.")
    return _add(BOOKS, row)
