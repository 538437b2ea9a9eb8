# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads of the schedule: they look at the clock, and the planner decides what that means.

APScheduler keeps the next moments in memory only; they are set anew from the planner's table at the start and after
every change. It reckons with the server's clock alone, and would sleep on when that is put back by a year. So another
thread looks every minute, by a clock that nobody can change, and sets the moments anew after a jump or a suspension.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from .planner import Planner

MINUTE = 60.0
JITTER = 3600.0
"""seconds by which an automatic check is late at random, so that not all schools ask at once"""
RETRY = timedelta(hours=1)
"""after which is tried again what broke"""

_JUMP = 30.0
"""seconds by which the clock has to have jumped to count"""

log = logging.getLogger("clms-update-agent")


class Clockwork:
    """Runs from the beginning to the end of a ``with``."""

    def __init__(self, planner: Planner, *, minute: float = MINUTE, jitter: float = JITTER) -> None:
        """
        :param minute: seconds between two looks at the clock
        :param jitter: see :data:`JITTER`
        """
        self._planner = planner
        self._minute = minute
        self._jitter = jitter
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look_every_minute, name="schedule")
        self._reporting = threading.Lock()
        self._scheduler: Any = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(2)},
            # late is late: whether an update still begins is the planner's business
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def __enter__(self) -> Clockwork:
        self._planner.changed = self.set_update
        self._planner.rules_changed = self._set_check
        self._scheduler.start()
        self._guarded(self._planner.tick)
        self.set_update()
        self._set_check(starting=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._planner.stop()
        self._end.set()
        self._scheduler.remove_all_jobs()  # its thread would stumble over one that is just being begun
        self._scheduler.shutdown(wait=False)  # a check that goes on ends by itself
        self._thread.join()

    def set_update(self) -> None:
        """Set the moment of the scheduled update anew."""
        self._guarded(lambda: self._set("update", self._planner.next_due(), self._look))

    def _set_check(self, *, starting: bool = False, pause: float = 0) -> None:
        def set_it() -> None:
            at = self._planner.next_check(starting=starting)
            now = self._planner.now()  # later than that one: what is to be done at once is not ahead any more
            if at is not None and pause:
                at = max(at, now + timedelta(seconds=pause))
            elif at is not None and at > now:
                at += timedelta(seconds=random.uniform(0, self._jitter))  # noqa: S311 - not a secret
            self._set("check", at, self._check)

        if not self._guarded(set_it):  # the description of the school cannot be read right now, for one
            self._set("check", self._planner.now() + RETRY, self._set_check)

    def _set(self, name: str, at: datetime | None, what: Callable[[], object]) -> None:
        if self._end.is_set():
            return
        if at is None:
            with suppress(JobLookupError):
                self._scheduler.remove_job(name)
        else:
            self._scheduler.add_job(what, "date", run_date=at, id=name, replace_existing=True)

    def _look(self) -> None:
        self._guarded(self._planner.tick)

    def _check(self) -> None:
        pause: float | None = RETRY.total_seconds()

        def check() -> None:
            nonlocal pause
            pause = self._planner.check()

        self._guarded(check)
        self._set_check(pause=pause or 0)

    def _report(self) -> None:
        """What has ended is told soon after; where the vendor does not answer, that waits longer each time."""
        pause: float | None = None

        def report() -> None:
            nonlocal pause
            pause = self._planner.report()

        if not self._reporting.acquire(blocking=False):
            return
        try:
            answered = self._guarded(report)
            if pause is not None or not answered:
                again = RETRY if pause is None else timedelta(seconds=pause)
                self._set("report", self._planner.now() + again, self._report)
        finally:
            self._reporting.release()

    def _look_every_minute(self) -> None:
        ahead = time.time() - time.monotonic()
        while not self._end.wait(self._minute):
            self._look()
            if self._reporting.acquire(blocking=False):  # else what is told right now says when the next one is
                try:
                    if self._scheduler.get_job("report") is None:
                        self._set("report", self._planner.now(), self._report)
                finally:
                    self._reporting.release()
            before, ahead = ahead, time.time() - time.monotonic()
            if abs(ahead - before) > _JUMP:
                log.info("the clock was changed, or the server was suspended")
                self.set_update()
                self._set_check()

    def _guarded(self, what: Callable[[], object]) -> bool:
        """Do something that must not end the clockwork; returns whether it went well."""
        try:
            what()
            return True
        except Exception as error:
            log.exception("the schedule could not be looked after: %s", error)
            return False
