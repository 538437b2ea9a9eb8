# SPDX-License-Identifier: GPL-3.0-or-later
"""What the schedule does: updates are scheduled, cancelled and begun when they are due; the vendor is asked for news.

Nothing here waits or has a clock of its own: :mod:`.clockwork` says when to look. What is due is begun only after
STARTED is on disk, so that no crash begins it twice; how it ended is then taken from the journal. Where that knows no
run, nothing was begun.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.clms.update.plugins.module_utils import lock, overview
from ansible_collections.clms.update.plugins.module_utils.calendar_rules import (
    Schedule,
    check_due,
    chosen_time,
    late_by,
    local_text,
)
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.status import cause_of
from ansible_collections.clms.update.plugins.module_utils.told import told

from . import config, runs
from .backoff import pause
from .executor import Job
from .reporting import Reporter
from .schedule import Entry, Store, tell, when

_KINDS = ("install", "update", "update_images")
_LATER = ("RUN_ACTIVE", "AGENT_SILENT")
"""Refusals that pass: another run goes on, or the agent has been told to end."""

_LINK_SECONDS = 1.0
"""between two looks for the run of an update that was begun"""

log = logging.getLogger("clms-update-agent")


class Begins(Protocol):
    """Who does runs; see :class:`.executor.Executor`."""

    def begin(self, order: runs.Order) -> Job:
        """Start a run."""


FORCED = "forced"
"""name of the fact that a release is forced, in the schedule's file"""
_FORCED_ENTRY = "forced_entry"
"""name of the fact which update was scheduled because it is overdue: its number"""
_REPEATED_ENTRY = "repeated_entry"
"""name of the fact which update was scheduled again because nothing was begun: its number"""
_FORCED_CHECK = timedelta(days=1)
FIRST_PAUSE = 3600.0
"""Seconds until the vendor is asked for news again after the first time without an answer, at most."""


class Planner:
    """The schedule of one school. Every method may be called from any thread."""

    def __init__(
        self,
        folder: Path,
        executor: Begins,
        *,
        clock: Callable[[], float] = time.time,
        check: Callable[[School], dict[str, Any]] = overview.check,
    ) -> None:
        """
        :param folder: the configuration folder, read anew each time
        :param clock: seconds since 1970
        :raises ClmsError: SCHOOL_INCOMPLETE
        """
        self.changed: Callable[[], None] = lambda: None
        """called when another time has become the next one"""
        self.rules_changed: Callable[[], None] = lambda: None
        """called when the description of the school says something else than before"""
        self._folder = folder
        self._home = config.load(folder).school.home
        self._executor = executor
        self._clock = clock
        self._check = check
        self._lock = threading.Lock()
        self._stopped = False
        self._watchers: dict[int, threading.Thread] = {}
        self._failed_checks = 0
        self._reporter = Reporter(lambda: config.load(folder).school, clock=clock)

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def stop(self) -> None:
        """Begin nothing any more; what goes on is still watched to its end."""
        with self._lock:
            self._stopped = True

    def join(self) -> None:
        """Wait until everything that was begun has ended."""
        for watcher in list(self._watchers.values()):
            watcher.join()

    # what people ask for

    def schedule(
        self,
        at: str,
        *,
        version: str | None = None,
        missed: str | None = None,
        backup_location: str | None = None,
    ) -> dict[str, Any]:
        """Schedule an update; asked the same twice, it is scheduled once.

        :param at: see :func:`.calendar_rules.chosen_time`
        :param backup_location: see :meth:`.school.BackupPlace.copied_to`
        :returns: ``schedule`` and ``warnings``
        :raises ClmsError: SCHEDULE_TIME, SCHEDULE_PAST, SCHEDULE_TWICE, SCHEDULE_STORE, BACKUP_LOCATION, NOT_INSTALLED
        """
        school = config.load(self._folder).school
        if not Journal.exists(self._home):
            raise ClmsError("NOT_INSTALLED")
        now = self.now()
        due, cautions = chosen_time(school.schedule, at, now)
        school.backup.copied_to(backup_location)
        with self._lock, closing(Store(self._home)) as store:
            wanted: dict[str, Any] = {
                "version": version,
                "due_at": due.timestamp(),
                "missed": missed or school.schedule.missed,
                "backup_location": backup_location,
            }
            added = store.add(**wanted, now=now.timestamp())
            entry = added or _same(store, wanted, school.schedule)
        if added:
            self._tell("UPDATE_SCHEDULED", entry, "SCHEDULED", at=when(entry, school.schedule))
            self.changed()
        return {
            "schedule": entry.as_dict(school.schedule),
            "warnings": [caution.as_dict() for caution in cautions],
        }

    def force(self, at: datetime, version: str) -> None:
        """Have a version installed at that time, or earlier where that is scheduled or goes on already. What a person
        has scheduled for later, or of another version, gives way, and they are told.

        :raises ClmsError: SCHEDULE_STORE
        """
        schedule = config.load(self._folder).school.schedule
        with self._lock, closing(Store(self._home)) as store:
            entry = store.scheduled()
            if store.started() or (entry is not None and entry.due <= at and entry.version == version):
                return
            given_way = entry if entry is not None and entry.id != store.fact(_FORCED_ENTRY) else None
            if entry is not None:
                store.end(entry, "CANCELLED")
            added = store.add(
                version=version,
                due_at=at.timestamp(),
                missed="run",
                now=self._clock(),
                backup_location=entry.backup_location if entry is not None and entry.version == version else None,
            )
            store.note(_FORCED_ENTRY, added.id if added else None)
        if given_way is not None:
            self._tell("UPDATE_CANCELLED", given_way, "GIVEN_WAY", at=when(given_way, schedule), version=version)
        begins = told("SCHEDULED_FORCED", version=version, at=local_text(schedule, at))
        tell(self._home, "UPDATE_SCHEDULED", begins, schedule=added.id if added else None)
        self.changed()

    def end_force(self) -> None:
        """Nothing is overdue any more: what :meth:`force` has scheduled does not begin.

        :raises ClmsError: SCHEDULE_STORE
        """
        schedule = config.load(self._folder).school.schedule
        with self._lock, closing(Store(self._home)) as store:
            number = store.fact(_FORCED_ENTRY)
            if number is None:
                return
            entry = store.entry(int(number))
            ended = entry is not None and entry.state == "SCHEDULED" and store.end(entry, "CANCELLED")
            store.note(_FORCED_ENTRY, None)
        if entry is not None and ended:
            self._tell("UPDATE_CANCELLED", entry, "NOT_OVERDUE", at=when(entry, schedule))
            self.changed()

    def cancel(self, number: int) -> dict[str, Any]:
        """Cancel an update that has yet to begin.

        :returns: ``schedule``
        :raises ClmsError: SCHEDULE_UNKNOWN, SCHEDULE_STORE
        """
        schedule = config.load(self._folder).school.schedule
        with self._lock, closing(Store(self._home)) as store:
            entry = store.entry(number)
            if entry is None or entry.state != "SCHEDULED" or not store.end(entry, "CANCELLED"):
                raise ClmsError("SCHEDULE_UNKNOWN", schedule=number)
            entry = store.entry(number) or entry
        self._tell("UPDATE_CANCELLED", entry, "CANCELLED", at=when(entry, schedule))
        self.changed()
        return {"schedule": entry.as_dict(schedule)}

    # what the clock brings

    def next_due(self) -> datetime | None:
        """When the scheduled update is to begin."""
        with closing(Store(self._home)) as store:
            entry = store.scheduled()
        return entry.due if entry else None

    def tick(self) -> None:
        """Compare the schedule with the clock, and begin what is due."""
        with self._lock, closing(Store(self._home)) as store:
            for entry in store.started():
                if entry.id not in self._watchers:
                    self._resolve(store, entry)
            scheduled = store.scheduled()
            if scheduled and scheduled.moved_at is not None and self._clock() < scheduled.moved_at:
                scheduled = self._move_back(store, scheduled)
            if scheduled and not self._stopped and self.now() >= scheduled.due:
                self._is_due(store, scheduled)

    def _is_due(self, store: Store, entry: Entry) -> None:
        now = self.now()
        # while it waits for another run it is not late, but the server may have been off since
        since = max(entry.due, datetime.fromtimestamp(entry.tried_at or 0, UTC))
        schedule = config.load(self._folder).school.schedule
        at = late_by(schedule, entry.missed, since, now)
        if at is None:
            self._missed(store, entry, "the server or its agent was off at that time")
        elif at > now:
            store.move(entry, at.timestamp(), now.timestamp())
            later = local_text(schedule, at)
            self._tell("UPDATE_SCHEDULED", entry, "SCHEDULED_LATER", at=when(entry, schedule), later=later)
            self.changed()
        else:
            self._begin(store, entry)

    def _move_back(self, store: Store, entry: Entry) -> Entry | None:
        """The clock was ahead when this update was put off, by years for all we know."""
        store.move_back(entry)
        found = store.scheduled()
        if found is not None:
            at = when(found, config.load(self._folder).school.schedule)
            self._tell("UPDATE_SCHEDULED", found, "SCHEDULED_AFTER_ALL", at=at)
        self.changed()
        return found

    def _begin(self, store: Store, entry: Entry) -> None:
        wanted = {"clms_version": entry.version, "clms_backup_location": entry.backup_location}
        variables = {name: value for name, value in wanted.items() if value is not None}
        try:
            if not store.start(entry, after_run=self._newest_run()):
                return
            job = self._executor.begin(runs.Order("update", entry.version, variables, schedule=entry.id))
        except Exception as error:  # whatever it is, the next minute must not bring it again
            self._not_begun(store, entry, error)
            return
        watcher = threading.Thread(target=self._watch, args=(entry, job), name=f"schedule {entry.id}")
        self._watchers[entry.id] = watcher
        watcher.start()

    def _not_begun(self, store: Store, entry: Entry, error: Exception) -> None:
        if not isinstance(error, ClmsError):
            log.exception("a scheduled update could not be begun")
            error = ClmsError("INTERNAL", phase="schedule", detail=f"{type(error).__name__}: {error}"[:300])
        if error.code == "SCHEDULE_STORE":  # nothing was begun; as long as nothing can be noted, nothing will be
            raise error
        if error.code in _LATER and self._waits(store, entry, error):
            return
        store.end(entry, "DONE", outcome="REFUSED", code=error.code)
        self._tell("UPDATE_FAILED", entry, "NOT_BEGUN", failure=error)

    def _waits(self, store: Store, entry: Entry, cause: ClmsError | dict[str, Any]) -> bool:
        """Have an update begin later that was not begun, and say so once; whether that can be."""
        waits = store.wait(entry, self._clock())
        if waits and entry.tried_at is None:
            self._tell("UPDATE_WAITING", entry, "WAITING", cause=cause)
        return waits

    def _watch(self, entry: Entry, job: Job) -> None:
        linked = False
        while not job.ended.wait(_LINK_SECONDS):
            linked = linked or self._link(entry)
        run = job.run or {}
        failed = run.get("error_code") if run.get("id") is None else None  # a run itself tells how it ends
        try:
            with closing(Store(self._home)) as store:
                if failed == "AGENT_SILENT" and self._waits(store, entry, cause_of(run)):
                    return
                store.end(
                    entry, "DONE", run=run.get("id"), outcome=run.get("outcome"), code=run.get("error_code")
                )  # fmt: skip
            if failed:
                self._tell("UPDATE_FAILED", entry, "NOT_SUCCEEDED", cause=cause_of(run))
        except ClmsError as error:  # the next look resolves it from the journal
            log.error("%s", error)
        finally:
            self._watchers.pop(entry.id, None)

    def _link(self, entry: Entry) -> bool:
        """Note which run it is, once it is there, so that people find it; what goes wrong here is no harm."""
        try:
            with closing(Store(self._home)) as store, closing(Journal(self._home)) as journal:
                started = store.entry(entry.id)
                row = journal.open_run()
                if started is None or row is None or row.id <= (started.after_run or 0):
                    return False
                store.link(started, row.id)
                return True
        except ClmsError as error:
            log.warning("%s", error)
            return False

    def _newest_run(self) -> int:
        with closing(Journal(self._home)) as journal:
            rows = journal.rows(limit=1)
            return rows[0].id if rows else 0

    def _resolve(self, store: Store, entry: Entry) -> None:
        """An earlier agent has started this update: see what the journal says of it."""
        held = lock.is_held(self._home)  # looked at first: what has ended since is in the journal
        with closing(Journal(self._home)) as journal:
            later = [row for row in journal.rows(kinds=_KINDS) if row.id > (entry.after_run or 0)]
        if later:
            row = later[-1]
            if row.outcome is not None:  # else it is being put in order
                store.end(entry, "DONE", run=row.id, outcome=row.outcome, code=(row.error or {}).get("code"))
        elif not held and not self._scheduled_again(store, entry):
            self._missed(store, entry, "the server or its agent went down as it was about to begin")

    def _scheduled_again(self, store: Store, entry: Entry) -> bool:
        """Schedule an update again of which nothing was begun, but once: the server may go down because of it."""
        journal_is_new = self._newest_run() < (entry.after_run or 0)  # it does not know what was begun before
        if journal_is_new or store.fact(_REPEATED_ENTRY) == entry.id:
            return False
        store.note(_REPEATED_ENTRY, entry.id)
        return store.wait(entry, entry.tried_at)

    def _missed(self, store: Store, entry: Entry, why: str) -> None:
        at = when(entry, config.load(self._folder).school.schedule)
        error = ClmsError("SCHEDULE_MISSED", at=at, detail=why)
        store.end(entry, "MISSED", code=error.code)
        self._tell("UPDATE_MISSED", entry, "FAILURE", failure=error)
        self.changed()

    # news from the vendor

    def next_check(self, *, starting: bool = False) -> datetime | None:
        """When to ask the vendor for news by itself; None is never.

        :param starting: whether the agent has just started
        """
        schedule = config.load(self._folder).school.schedule
        if starting and schedule.check_on_startup:
            return self.now()
        with closing(Store(self._home)) as store:
            checked, forced = store.fact("checked_at"), store.fact(FORCED)
        last = datetime.fromtimestamp(checked, UTC) if checked is not None else None
        due = check_due(schedule, last, self.now())
        if forced and last is not None:  # what is forced counts only while the news do
            due = min(due or last + _FORCED_CHECK, max(self.now(), last + _FORCED_CHECK))
        return due

    def check(self) -> float | None:
        """Ask the vendor for news; returns seconds until the next attempt where there was none, else None."""
        try:
            self.ask_vendor()
            self._failed_checks = 0
            return None
        except ClmsError as error:
            if overview.is_away(error):
                self._told_once(error)
            self._failed_checks += 1
            asked = error.values.get("pause")
            return pause(self._failed_checks, asked if isinstance(asked, float) else None, first=FIRST_PAUSE)

    def ask_vendor(self) -> dict[str, Any]:
        """Ask the vendor for news, and note when that was; returns and raises as :func:`.overview.check`."""
        answer = self._check(config.load(self._folder).school)
        with closing(Store(self._home)) as store:
            store.note("checked_at", self._clock())
            store.note("check_code", None)
        return answer

    def report(self) -> float | None:
        """Tell the vendor how runs ended; returns and raises as :meth:`.reporting.Reporter.send`."""
        return self._reporter.send()

    def _told_once(self, error: ClmsError) -> None:
        """A server that is offline for weeks says so once, not every hour."""
        with closing(Store(self._home)) as store:
            if store.fact("check_code") == error.code:
                return
            store.note("check_code", error.code)
        tell(self._home, "CHECK_FAILED", told("CHECK_FAILED", failure=error))

    def _tell(self, kind: str, entry: Entry, sentence: str, **values: object) -> None:
        """Record an event about a scheduled update."""
        tell(self._home, kind, told(sentence, update=entry.version, **values), schedule=entry.id)


def _same(store: Store, wanted: dict[str, Any], schedule: Schedule) -> Entry:
    """What is scheduled, where that is just what was asked for: somebody has pressed twice.

    :raises ClmsError: SCHEDULE_TWICE
    """
    other = store.scheduled()
    if other and all(getattr(other, name) == value for name, value in wanted.items()):
        return other
    at = when(other, schedule) if other else "?"
    raise ClmsError("SCHEDULE_TWICE", schedule=other.id if other else "?", at=at)
