# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of CLMS 1.0.1."""

from __future__ import annotations

from .tables import Field, Table

STUDENTS = Table(
    "students",
    (
        Field("student_id", 64, required=True),
        Field("first_name", 100, required=True),
        Field("last_name", 100, required=True),
        Field("grade_level", 16, required=True),
        Field("grade_category", 32),
    ),
)
BOOKS = Table(
    "books",
    (
        Field("accession_no", 64, required=True),
        Field("title", required=True),
        Field("author"),
        Field("category", 64),
        Field("location_code", 32, default="MAIN"),
        Field("total_copies", 2**31 - 1, default=1),
        Field("available_copies", 2**31 - 1, default=1),
    ),
)
