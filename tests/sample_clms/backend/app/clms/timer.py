# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend's own clock: every half minute it looks for overdue books, whether anybody is there or not."""

from __future__ import annotations

import csv
import logging
import socket
import threading

import pymysql

from .config import Config
from .database import transaction

log = logging.getLogger("clms")

SECONDS = 30


def _list_overdue(config: Config) -> int:
    with transaction(config.database) as cursor:
        cursor.execute(
            "SELECT borrows.id, students.student_id, books.title, borrows.due_at FROM borrows"
            " JOIN students ON students.id = borrows.student_id JOIN books ON books.id = borrows.book_id"
            " WHERE returned_at IS NULL AND due_at < UTC_TIMESTAMP(3) ORDER BY due_at"
        )
        rows = cursor.fetchall()
    new = config.generated / "overdue.csv.new"
    with new.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["borrow", "student", "title", "due"])
        writer.writerows(tuple(row.values()) for row in rows)
    new.rename(config.generated / "overdue.csv")
    return len(rows)


def _call_mail_server(host: str) -> str:
    try:
        with socket.create_connection((host, 25), timeout=5):
            return "reached"
    except OSError as error:
        return f"not reached: {error}"


def _run(config: Config, stop: threading.Event) -> None:
    while not stop.wait(SECONDS):
        try:
            log.info("reminder: %d books are overdue", _list_overdue(config))
        except (pymysql.Error, OSError) as error:
            log.warning("reminder: %s", error)
        if config.smtp_host:
            log.info("reminder: mail server %s %s", config.smtp_host, _call_mail_server(config.smtp_host))


def start(config: Config) -> None:
    """Start the clock in a thread that ends with the process."""
    threading.Thread(target=_run, args=(config, threading.Event()), name="reminder", daemon=True).start()
