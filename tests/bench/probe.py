# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that keeps asking at a steady rate, whatever becomes of its requests, and what its notes say.

It is an open loop: each request has its moment, and a request that comes late because the machine was busy counts as
having waited since that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

PATIENCE = 60.0
"""seconds after which a request counts as refused"""
SLOW = 1.0
"""a request that waits longer was held"""


@dataclass(frozen=True)
class Sample:
    """One request."""

    sent: float
    """seconds since 1970"""
    seconds: float
    status: int
    """0 when there was no answer"""

    @property
    def served(self) -> bool:
        """Whether CLMS answered it."""
        return self.status == 200

    @property
    def ended(self) -> float:
        """When its answer was there."""
        return self.sent + self.seconds


@dataclass(frozen=True)
class Window:
    """A time in which CLMS was closed to users."""

    began: float
    """when the first request was sent that was held or refused"""
    ended: float
    """when the first request since then had been served"""

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.ended - self.began


def windows(samples: Sequence[Sample]) -> list[Window]:
    """The times in which CLMS was closed; one that never ended is left out."""
    found: list[Window] = []
    ordered = sorted(samples, key=lambda sample: sample.sent)
    before_was_good = True
    for number, sample in enumerate(ordered):
        good = sample.served and sample.seconds <= SLOW
        if before_was_good and not good:
            ends = [later.ended for later in ordered[number:] if later.served]
            if ends:
                found.append(Window(sample.sent, min(ends)))
        before_was_good = good
    return found


def closed_window(samples: Sequence[Sample]) -> Window | None:
    """The longest time in which CLMS was closed, or None when it was never or never opened again."""
    return max(windows(samples), key=lambda window: window.seconds, default=None)


def failed(samples: Sequence[Sample]) -> int:
    """How many requests CLMS did not answer."""
    return sum(not sample.served for sample in samples)


def longest_wait(samples: Sequence[Sample]) -> float:
    """How long the slowest request took, answered or not."""
    return max(sample.seconds for sample in samples)


def first_served(samples: Sequence[Sample], since: float) -> float | None:
    """When the first request that was sent after ``since`` had been served."""
    return min((sample.ended for sample in samples if sample.served and sample.sent >= since), default=None)


def status_of(answer: bytes) -> int:
    """The status of an HTTP answer; 0 when it is cut off."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")), None)
    complete = len(body) == length if length is not None else body.endswith(b"0\r\n\r\n")
    return int(lines[0].split()[1]) if blank and complete else 0


class Probe(threading.Thread):
    """Sends requests from a thread of its own, from the beginning of a ``with`` block to its end."""

    def __init__(self, url: str, *, rate: float = 50, token: str = "") -> None:
        """:param url: plain HTTP; each request has a connection of its own"""
        super().__init__(name="probe", daemon=True)
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        login = f"Authorization: Bearer {token}\r\n" if token else ""
        self._request = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n{login}Connection: close\r\n\r\n".encode()
        self._pause = 1 / rate
        self._over = threading.Event()
        self.samples: list[Sample] = []

    def __enter__(self) -> Probe:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """The thread's work."""
        asyncio.run(self._ask_steadily())

    async def _ask_steadily(self) -> None:
        began, clock = time.time(), time.monotonic()
        under_way: set[asyncio.Task[None]] = set()
        number = 0
        while not self._over.is_set():
            moment = number * self._pause
            await asyncio.sleep(max(0.0, clock + moment - time.monotonic()))
            task = asyncio.create_task(self._ask(began + moment, clock + moment))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1
        await asyncio.gather(*under_way)

    async def _ask(self, sent: float, clock: float) -> None:
        status = 0
        with contextlib.suppress(OSError, TimeoutError, ValueError, IndexError):
            async with asyncio.timeout(PATIENCE):
                status = await self._status()
        self.samples.append(Sample(sent, time.monotonic() - clock, status))

    async def _status(self) -> int:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(self._request)
            return status_of(await reader.read())
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
