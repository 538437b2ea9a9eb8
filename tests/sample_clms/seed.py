#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill a fresh CLMS 1.0.0 with the data of a school: the same data every time.

A database that has students is left as it is, except that ``--bulk-mb`` lets it grow if it is too small.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

import pymysql
from faker import Faker

BATCH = 2000
# The data has dates of its own, so that it does not depend on the day it is made.
TODAY = datetime(2025, 11, 14, 16, 0)
OPENED = TODAY - timedelta(days=730)
CATEGORIES = ("Fiction", "Science", "History", "Mathematics", "Languages", "Reference", "Filipiniana")
SHELVES = ("main-a", "main-b", "annex", "reading room", "storage")
LIBRARIANS = ("a.santos", "m.reyes", "j.cruz")
# What InnoDB keeps beside the tables: log, system and temporary tablespace.
OVERHEAD_MB = 96 + 12 + 12 + 8
CHUNK_ROWS = 16_000


class Seeder:
    """Inserts the rows of one school."""

    def __init__(self, connection: pymysql.Connection[pymysql.cursors.Cursor]) -> None:
        """:param connection: to a database with the schema of CLMS 1.0.0"""
        self._connection = connection
        self._faker = Faker()
        self._faker.seed_instance(20251104)
        self._random = random.Random(20251104)  # noqa: S311  # made-up data, not secrets

    def _insert(self, table: str, columns: str, rows: Iterable[Sequence[object]]) -> None:
        marks = ", ".join(["%s"] * (columns.count(",") + 1))
        sql = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608  # names from this file
        waiting = iter(rows)
        with self._connection.cursor() as cursor:
            while batch := list(islice(waiting, BATCH)):
                cursor.executemany(sql, batch)
        self._connection.commit()

    def has_students(self) -> bool:
        """Whether this database was filled before."""
        with self._connection.cursor() as cursor:
            return bool(cursor.execute("SELECT id FROM students LIMIT 1"))

    def fill(self, students: int, books: int, loans: int) -> None:
        """Insert students, books, and loans of the last two years of which few are still out."""
        self._insert(
            "students",
            "id, student_id, first_name, last_name, grade_level, grade_category, created_at",
            self._students(students),
        )
        copies = {book: self._random.randint(1, 6) for book in range(1, books + 1)}
        borrows = list(self._borrows(students, copies, loans))
        out = dict.fromkeys(copies, 0)
        for _, book, _, _, returned, _ in borrows:
            out[book] += returned is None
        self._insert(
            "books",
            "id, accession_no, title, author, category, shelf, total_copies, available_copies, created_at",
            ((*row, copies[row[0]], copies[row[0]] - out[row[0]], OPENED) for row in self._books(books)),
        )
        self._insert("borrows", "student_id, book_id, borrowed_at, due_at, returned_at, librarian", borrows)

    def _students(self, count: int) -> Iterator[tuple[object, ...]]:
        for number in range(1, count + 1):
            grade = self._random.randint(1, 12)
            category = "PRIMARY" if grade <= 6 else "JUNIOR_HIGH" if grade <= 10 else "SENIOR_HIGH"
            # a few were never given a grade, as in real schools
            level = None if number % 97 == 0 else f"Grade {grade}"
            yield number, f"S-{number:05}", self._faker.first_name(), self._faker.last_name(), level, category, OPENED

    def _books(self, count: int) -> Iterator[tuple[int, str, str, str, str, str]]:
        authors = [self._faker.name() for _ in range(max(1, count // 5))]
        for number in range(1, count + 1):
            title = self._faker.sentence(nb_words=4).rstrip(".")
            category, shelf = self._random.choice(CATEGORIES), self._random.choice(SHELVES)
            yield number, f"ACC-{number:06}", title, self._random.choice(authors), category, shelf

    def _borrows(
        self, students: int, copies: dict[int, int], count: int
    ) -> Iterator[tuple[int, int, datetime, datetime, datetime | None, str]]:
        free = dict(copies)
        books = list(copies)
        for number in range(count):
            borrowed = TODAY - timedelta(minutes=(count - number) * 700 * 24 * 60 // count)
            due = (borrowed + timedelta(days=14)).replace(hour=23, minute=59, second=59)
            returned: datetime | None = borrowed + timedelta(hours=self._random.randint(2, 24 * 20))
            book = self._random.choice(books)
            if returned is not None and returned > TODAY:
                if free[book] > 0:
                    free[book] -= 1
                    returned = None
                else:
                    returned = TODAY
            yield self._random.randint(1, students), book, borrowed, due, returned, self._random.choice(LIBRARIANS)

    def grow(self, megabytes: int) -> None:
        """Add entries to the audit log until the data directory has about ``megabytes``."""
        with self._connection.cursor() as cursor:
            while (missing := megabytes - OVERHEAD_MB - self._size(cursor)) > 0:
                rows = cursor.execute("SELECT id FROM audit_log LIMIT %s", (CHUNK_ROWS,))
                if rows < BATCH:
                    self._insert("audit_log", "username, action, details, created_at", self._visits(BATCH))
                    continue
                # about 1100 bytes a row on disk; doubling at first, then by the chunk
                cursor.execute(
                    "INSERT INTO audit_log (username, action, details, created_at)"
                    " SELECT username, action, details, created_at FROM audit_log LIMIT %s",
                    (min(rows, CHUNK_ROWS, max(BATCH, missing * 900)),),
                )
                self._connection.commit()

    def _visits(self, count: int) -> Iterator[tuple[object, ...]]:
        for _ in range(count):
            when = TODAY - timedelta(minutes=self._random.randint(0, 1_000_000))
            yield self._random.choice(LIBRARIANS), "catalogue.view", self._faker.text(1000), when

    def _size(self, cursor: pymysql.cursors.Cursor) -> int:
        cursor.execute("ANALYZE TABLE audit_log")
        cursor.execute(
            "SELECT SUM(data_length + index_length) FROM information_schema.tables WHERE table_schema = DATABASE()"
        )
        return int(cursor.fetchall()[0][0]) >> 20


def write_uploads(folder: Path, count: int = 12, size: int = 300_000) -> None:
    """Write made-up cover pictures into ``folder``, as people upload them."""
    source = random.Random(20251104)  # noqa: S311
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        (folder / f"cover-{number:04}.jpg").write_bytes(b"\xff\xd8\xff\xe0" + source.randbytes(size))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, default=3306)
    parser.add_argument("--defaults-file", required=True, help="option file with user and password under [client]")
    parser.add_argument("--database", default="clms_database")
    parser.add_argument("--students", type=int, default=900)
    parser.add_argument("--books", type=int, default=3000)
    parser.add_argument("--loans", type=int, default=20_000)
    parser.add_argument("--uploads", type=Path, metavar="DIR", help="also write a few uploaded files into this folder")
    parser.add_argument("--bulk-mb", type=int, default=0, metavar="N", help="grow the data directory to about N MB")
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        with pymysql.connect(
            host=arguments.host,
            port=arguments.port,
            database=arguments.database,
            read_default_file=arguments.defaults_file,
            charset="utf8mb4",
        ) as connection:
            seeder = Seeder(connection)
            filled = not seeder.has_students()
            if filled:
                seeder.fill(arguments.students, arguments.books, arguments.loans)
            if arguments.bulk_mb:
                seeder.grow(arguments.bulk_mb)
    except pymysql.Error as error:
        print(f"The database could not be filled: {error}", file=sys.stderr)
        return 1
    if arguments.uploads and not any(arguments.uploads.glob("cover-*")):
        write_uploads(arguments.uploads)
    print(f"{'filled' if filled else 'had data already'} ({time.monotonic() - started:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
