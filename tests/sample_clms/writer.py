#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user who never stops checking books out and returning them, and a judge of what became of it.

Every request is written down before it is sent and again when its outcome is known, so that afterwards each write
that was answered can be looked for in the database. What an answer means:

* 2xx: *acknowledged*, the write must be there, once.
* 502 and 504: *unknown*; a proxy in between does not know what became of the request it passed on.
* any other status: *refused*, the write must not be there.
* no answer: *unknown*; the write may be there, at most once.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import requests

PATIENCE = 120
"""seconds that a request may be held at the gate"""


class SetUpError(Exception):
    """The writer cannot begin: it got no student and no book."""


def outcome(status: int | None) -> str:
    """What an HTTP status says about a write; None stands for no answer."""
    if status is None or status in (502, 504):
        return "unknown"
    return "acknowledged" if 200 <= status < 300 else "refused"


class Log:
    """An append-only file of JSON lines, written by many threads."""

    def __init__(self, path: Path) -> None:
        """:param path: is made when it is missing, and appended to when not"""
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        """outcome -> requests so far"""

    def add(self, **entry: Any) -> None:
        """Write one line."""
        with self._lock:
            self._file.write(json.dumps({**entry, "at": time.time()}) + "\n")
            self.counts[str(entry["outcome"])] += 1

    def close(self) -> None:
        """Nothing is added from here on."""
        self._file.close()


class Writer:
    """Checks books out and returns them through the gate, at a steady rate, until it is told to stop."""

    def __init__(
        self,
        base_url: str,
        username: str,
        password: str,
        rate: float,
        log_path: Path,
        *,
        threads: int = 8,
        verify: bool | str = True,
    ) -> None:
        """A writer that does nothing yet.

        :param base_url: the gate, ``http://host:port``
        :param rate: requests per second, over all threads; held requests bring it down
        :param verify: a file with certificates to trust, or False to trust any
        """
        self._base = base_url.rstrip("/")
        self._credentials = {"username": username, "password": password}
        self._pause = threads / rate
        self._verify = verify
        self._run = secrets.token_hex(4)
        self._stop = threading.Event()
        self._token = ""
        self._login_lock = threading.Lock()
        self._student = 0
        self._books: list[int] = []
        self.log = Log(log_path)
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"writer-{number}") for number in range(threads)
        ]

    def start(self) -> None:
        """Get a student and books with copies for everybody, then begin.

        :raises SetUpError: when CLMS does not give them
        """
        session = self._session()
        self._log_in(session, self._token)
        self._student = self._create(session, "students", student_id=self._run, first_name="Wanda", last_name="Writer")
        self._books = [
            self._create(session, "books", accession_no=f"{self._run}-{number}", title="Much borrowed")
            for number in range(min(4, len(self._threads)))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> Counter[str]:
        """Let requests under way end; gives how many requests had which outcome (``sent`` counts them all)."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self.log.close()
        return self.log.counts

    def _session(self) -> requests.Session:
        session = requests.Session()
        session.verify = self._verify
        session.trust_env = False  # a proxy of this machine has no business here
        return session

    def _create(self, session: requests.Session, kind: str, **row: Any) -> int:
        # only fields that every version takes
        extra = {"grade_level": "Staff"} if kind == "students" else {"total_copies": 10**6, "available_copies": 10**6}
        answer = self._send(session, "POST", f"/api/{kind}", {**row, **extra})
        if answer is None or answer.status_code != 201:
            raise SetUpError(f"POST /api/{kind} answered {answer.text if answer is not None else 'nothing'}")
        return int(answer.json()["data"]["id"])

    def _log_in(self, session: requests.Session, rejected: str) -> None:
        with self._login_lock:
            if self._token != rejected:  # another thread was quicker
                return
            answer = self._send(session, "POST", "/api/auth/login", self._credentials)
            if answer is not None and answer.status_code == 200:
                self._token = answer.json()["data"]["accessToken"]

    def _send(self, session: requests.Session, method: str, path: str, body: Any) -> requests.Response | None:
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            return session.request(method, self._base + path, json=body, headers=headers, timeout=PATIENCE)
        except requests.RequestException:
            return None

    def _write(
        self, session: requests.Session, kind: str, tag: str, method: str, path: str, body: Any, row: int | None = None
    ) -> int | None:
        """One write; gives the id of the borrow when it was acknowledged."""
        self.log.add(id=tag, kind=kind, outcome="sent", row=row)
        token = self._token
        started = time.monotonic()
        answer = self._send(session, method, path, body)
        seconds = round(time.monotonic() - started, 4)
        status = None if answer is None else answer.status_code
        result = outcome(status)
        if answer is not None and result == "acknowledged":
            row = int(answer.json()["data"]["id"])
        self.log.add(id=tag, kind=kind, outcome=result, status=status, row=row, seconds=seconds)
        if status == 401:
            self._log_in(session, token)
        return row if result == "acknowledged" else None

    def _work(self, number: int) -> None:
        session = self._session()
        book = self._books[number % len(self._books)]
        step = 0
        started = time.monotonic() + self._pause * number / len(self._threads)
        row: int | None = None
        tag = ""
        while not self._stop.wait(max(0.0, started + step * self._pause - time.monotonic())):
            if row is None:
                tag = f"{self._run}-{number}-{step}"
                body = {"student_id": self._student, "book_id": book, "note": tag}
                row = self._write(session, "checkout", tag, "POST", "/api/borrows", body)
            else:
                self._write(session, "return", tag, "PUT", f"/api/borrows/{row}/return", None, row)
                row = None  # whatever the answer: the next book
            step += 1
            if step * self._pause < time.monotonic() - started - 1:
                # held for a while: go on at the same rate, without making up for what was missed
                started = time.monotonic() - step * self._pause


@dataclass(frozen=True)
class Judgement:
    """What became of the writes in a log."""

    acknowledged: int
    lost: int
    """acknowledged, and not in the database"""
    invented: int
    """refused or never sent, and in the database"""
    unknown: int
    duplicates: int
    """in the database more than once"""
    examples: tuple[str, ...]
    """a few of the lost, invented and duplicated writes, for people"""

    @property
    def good(self) -> bool:
        """Whether every write is where its answer says."""
        return not (self.lost or self.invented or self.duplicates)


def _read(log_path: Path) -> dict[tuple[str, str], str]:
    """(tag, kind) -> outcome; what was sent and has no outcome is unknown."""
    outcomes: dict[tuple[str, str], str] = {}
    with log_path.open() as file:
        for line in file:
            if line.endswith("\n"):  # a writer that was killed may leave half a line
                entry = json.loads(line)
                said = entry["outcome"]
                outcomes[entry["id"], entry["kind"]] = "unknown" if said == "sent" else said
    return outcomes


def judge(log_path: Path, connection: pymysql.Connection[Any]) -> Judgement:
    """Compare a writer's log with the table ``borrows``.

    :param connection: to the database of CLMS, of any version; the writer must have stopped
    """
    outcomes = _read(log_path)
    rows: dict[str, int] = {}
    returned: set[str] = set()
    with connection.cursor(pymysql.cursors.Cursor) as cursor:
        for run in sorted({tag.partition("-")[0] for tag, _ in outcomes}):
            cursor.execute(
                "SELECT note, COUNT(*), COUNT(returned_at) FROM borrows WHERE note LIKE %s GROUP BY note", (f"{run}-%",)
            )
            for note, count, back in cursor.fetchall():
                rows[note] = count
                if back:
                    returned.add(note)
    lost, invented = [], []
    for (tag, kind), said in outcomes.items():
        there = tag in rows if kind == "checkout" else tag in returned
        if said == "acknowledged" and not there:
            lost.append(f"lost: {kind} {tag}")
        elif said == "refused" and there:
            invented.append(f"invented: {kind} {tag}")
    invented += [f"invented: checkout {note}" for note in rows if (note, "checkout") not in outcomes]
    invented += [f"invented: return {note}" for note in returned if (note, "return") not in outcomes]
    duplicates = [f"twice: checkout {note}" for note, count in rows.items() if count > 1]
    total = Counter(outcomes.values())
    return Judgement(
        acknowledged=total["acknowledged"],
        lost=len(lost),
        invented=len(invented),
        unknown=total["unknown"],
        duplicates=len(duplicates),
        examples=tuple((lost + invented + duplicates)[:10]),
    )


def main() -> int:
    """The command line: writes until it is interrupted or the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="the gate, http://host:port")
    parser.add_argument("--username", required=True)
    parser.add_argument("--password-file", required=True, type=Path)
    parser.add_argument("--rate", type=float, default=50, help="requests per second")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--log", required=True, type=Path)
    parser.add_argument("--ca", help="file with certificates to trust")
    parser.add_argument("--seconds", type=float, help="stop after this time; without it, at Ctrl-C or SIGTERM")
    arguments = parser.parse_args()
    writer = Writer(
        arguments.url,
        arguments.username,
        arguments.password_file.read_text().rstrip("\n"),
        arguments.rate,
        arguments.log,
        threads=arguments.threads,
        verify=arguments.ca or True,
    )
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    try:
        writer.start()
    except SetUpError as error:
        print(error, file=sys.stderr)
        return 1
    over.wait(arguments.seconds)
    print(json.dumps(writer.stop()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
