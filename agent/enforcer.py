# SPDX-License-Identifier: GPL-3.0-or-later
"""Sees to it that a forced update is done: counts the time, blocks CLMS at the deadline, and has the update begin.

Nothing here decides; see :mod:`..enforcement`. The update itself is one like any other, with its proven backup. While a
run goes on, or a person has to put CLMS in order, nothing is touched. Whatever was not told to the gate, because the
agent was killed for one, is told at the next look: what the gate's process says counts as well as what is on the disk.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils import enforcement, lock
from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from ansible_collections.clms.update.plugins.module_utils.adapters.gate import GateControl, mode_on_disk, running_mode
from ansible_collections.clms.update.plugins.module_utils.adapters.vendor import store_of
from ansible_collections.clms.update.plugins.module_utils.calendar_rules import is_quiet_day, local_text
from ansible_collections.clms.update.plugins.module_utils.enforcement import Forced, Kept
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal, RunRow
from ansible_collections.clms.update.plugins.module_utils.phases.preflight_checks import check_release
from ansible_collections.clms.update.plugins.module_utils.release import Release
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.slots import Slot
from ansible_collections.clms.update.plugins.module_utils.told import Told, told
from ansible_collections.clms.update.plugins.module_utils.trust import ReleaseEntry, TrustStore

from . import config
from .background import repeated
from .planner import FORCED, Planner
from .schedule import Store, tell

SECONDS = 20.0
"""between two looks"""
_UPDATES = ("update", "update_images")
_BACK = ("rollback", "restore")
_LOOKED_AT = 20
"""runs that may say why CLMS is not blocked"""


class Enforcer:
    """The forced updates of one school."""

    def __init__(
        self,
        folder: Path,
        planner: Planner,
        *,
        engine: Callable[[], Any] = Engine,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        :param folder: the configuration folder, read anew each time
        :param clock: seconds since 1970
        """
        self._folder = folder
        self._postponing = threading.Lock()
        self._planner = planner
        self._engine = engine
        self._clock = clock

    def on(self) -> AbstractContextManager[None]:
        """See to it while a ``with`` goes on."""
        return repeated("forced updates", self.look, seconds=SECONDS)

    def answer(self) -> dict[str, Any]:
        """``forced``: see :meth:`.enforcement.Forced.as_dict`, or None; ``blocked``: whether CLMS is blocked now.

        :raises ClmsError: SCHOOL_INCOMPLETE
        """
        school = config.load(self._folder).school
        found = self._found_if_sure(school)
        return {"forced": found[0].as_dict() if found else None, "blocked": mode_on_disk(school.home) == "blocked"}

    def postpone(self, shown: str | None = None) -> dict[str, Any]:
        """Put the forced update off once more; returns :meth:`answer`.

        :param shown: the deadline that whoever asks has seen, as answers carry it: when it is another one by now, they
            have pressed twice or somebody else was faster, and nothing is done
        :raises ClmsError: FORCED_NONE, FORCED_LAST
        """
        school = config.load(self._folder).school
        with self._postponing:
            found = self._found(school)
            if found is None:
                raise ClmsError("FORCED_NONE")
            forced, kept = found
            if shown is not None and shown != forced.as_dict()["deadline"]:
                return self.answer()
            later = enforcement.postponed(forced, kept, self._now())
            with closing(Store(school.home)) as store:
                store.note(FORCED, json.dumps(later.as_dict()))
        until = local_text(school.schedule, datetime.fromtimestamp(later.until, UTC))
        put_off = told("POSTPONED", version=kept.version, at=until, left=forced.postponements_left - 1)
        tell(school.home, "UPDATE_POSTPONED", put_off)
        self.look()
        return self.answer()

    def look(self) -> None:
        """Compare the deadline with the clock, and do what follows."""
        school = config.load(self._folder).school
        if not Journal.exists(school.home):
            return
        found = self._found_if_sure(school)
        if found is not None and found[0].overdue:
            self._is_overdue(school, found[0])
            return
        self._planner.end_force()
        if "blocked" in (mode_on_disk(school.home), running_mode(school)):
            self._move(school, lambda gate, _: gate.unblock())

    def _is_overdue(self, school: School, forced: Forced) -> None:
        if (mode_on_disk(school.home), running_mode(school)) != ("blocked", "blocked") and not self._move(
            school, lambda gate, slot: gate.block(slot, forced.release.reading_routes)
        ):
            return
        with closing(Journal(school.home)) as journal:
            journal.event_once("UPDATE_OVERDUE", _overdue(school, forced))
        self._planner.force(enforcement.begin_at(school.schedule, self._now()), forced.install.version.text)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _found_if_sure(self, school: School) -> tuple[Forced, Kept] | None:
        try:
            return self._found(school)
        except ClmsError:  # nothing is sure, and nobody is blocked for that
            return None

    def _found(self, school: School) -> tuple[Forced, Kept] | None:
        """The forced release, and what is remembered of it; None where nothing can be forced right now.

        :raises ClmsError: when the vendor's metadata, the journal or the schedule cannot be read
        """
        store = store_of(school)
        with closing(Journal(school.home)) as journal:
            slot = journal.slot("current")
            rows = journal.rows(limit=_LOOKED_AT, kinds=(*_UPDATES, *_BACK))
        if slot is None or store.news_expired():
            return None
        store.check_clock()
        running = slot.parsed_release().sequence
        listed = [one for one in store.releases() if one.channel == school.trust.channel and one.sequence > running]
        newer = _readable(store, listed)
        unread = {entry.version.text for entry in listed} - {release.version.text for release in newer}
        release = enforcement.most_urgent(newer)
        install = _installable(newer, slot)
        with closing(Store(school.home)) as schedule:
            known = _remembered(schedule)
            if known is not None and known.version in unread:  # whatever it says, its days and its count go on
                return None
            if release is None:
                schedule.note(FORCED, None)
                return None
            if install is None:
                return None
            kept = known if known is not None and known.version == release.version.text else None
            if kept is None:
                kept = Kept(release.version.text, self._clock())
                schedule.note(FORCED, json.dumps(kept.as_dict()))
            # of what was tried: that another update has failed says nothing of these
            tried = {newer_one.version.text for newer_one in newer}
            failed = [_failed_at(row) for row in rows if {row.version, row.from_version} & tried]
            # an update that came to nothing before there was a run, because a playbook does not start for one
            ended = (entry for entry in schedule.entries() if entry.state in ("DONE", "MISSED") and entry.run is None)
            failed += [entry.due for entry in ended if entry.code and entry.version in (None, *tried)]
        last = max((at for at in failed if at is not None), default=None)
        now = self._now()
        quiet = is_quiet_day(school.schedule, now)
        return enforcement.judge(release, kept, now, last, install=install, quiet=quiet), kept

    def _move(self, school: School, what: Callable[[GateControl, Slot], None]) -> bool:
        """Block the gate or end that; whether it was done.

        Not while a run goes on, which has the gate then, nor where it is closed: a person has to look there first.
        """
        held = lock.acquire(school.home)
        if held is None:
            return False
        try:
            with closing(Journal(school.home)) as journal:
                slot = journal.slot("current")
                rows = [row for row in journal.rows(limit=_LOOKED_AT) if row.outcome != "REFUSED"]
                if slot is None or journal.open_run() is not None or (rows and rows[0].outcome == "NEEDS_OPERATOR"):
                    return False
            if not {mode_on_disk(school.home), running_mode(school) or "open"} <= {"open", "blocked"}:
                return False
            engine = self._engine()
            with closing(engine.client):
                what(GateControl(school, engine), slot)
            return True
        finally:
            os.close(held)


def _readable(store: TrustStore, listed: list[ReleaseEntry]) -> list[Release]:
    """Those whose description was fetched, in the same order."""
    found = []
    for entry in listed:
        with suppress(ClmsError):
            found.append(store.release(entry.version.text, offline=True))
    return found


def _remembered(schedule: Store) -> Kept | None:
    """What is remembered of the release that was forced last."""
    with suppress(ValueError, TypeError):
        return Kept.from_dict(json.loads(schedule.fact(FORCED) or ""))
    return None


def _installable(newer: list[Release], slot: Slot) -> Release | None:
    """The newest release that can be installed right now; it may be a step on the way to the forced one."""
    for release in reversed(newer):
        with suppress(ClmsError):
            check_release(release, slot, "update")
            return release
    return None


def _failed_at(row: RunRow) -> datetime | None:
    """When a run has ended after which people have to be able to work for a while, whatever is overdue."""
    cancelled = (row.error or {}).get("code") == "RUN_CANCELLED"
    failed = row.kind in _UPDATES and row.outcome not in (None, "COMPLETED") and not cancelled
    back = row.kind in _BACK and row.outcome == "COMPLETED"
    return datetime.fromtimestamp(row.closed_at, UTC) if row.closed_at is not None and (failed or back) else None


def _overdue(school: School, forced: Forced) -> Told:
    return told("OVERDUE", version=forced.release.version, at=local_text(school.schedule, forced.deadline))
