# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells people what happens here: by mail, chat or webhook, through Apprise. One that fails never harms an update.

What has yet to be told follows from the journal and two facts in the schedule's file: the last event that was told, and
for each address that fails what it has missed. What is new is told everybody at once; what an address has missed it is
told later, and less and less often. So neither an address nor an event holds up others.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.maintenance_texts import ORIGINAL
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.told import TEST_TITLE, TITLES, told

from . import addresses
from .addresses import Line, Message, Outcome, Send
from .background import repeated
from .backoff import LONGEST_PAUSE, pause
from .schedule import Store, tell

SECONDS = 10.0
"""between two looks"""
_FACT = "notified_event"
_MISSED_FACT = "notifications_missed"
_FILE = ""
"""in place of an address: the file with all of them"""
_FIRST_PAUSE = 60.0
_TOO_OLD = 86_400.0
"""seconds after which an event is no news any more"""
_MOST = 1000
"""events of that time, at most"""
_trying = threading.Lock()

log = logging.getLogger("clms-update-agent")


@dataclass(frozen=True)
class Missed:
    """An address that fails, or has failed; kept by :attr:`.addresses.Line.key`."""

    events: tuple[int, ...] = ()
    """what it has yet to be told of what is not new any more"""
    failures: int = 0
    """in a row; the first one was told"""


def send(path: Path, title: str, body: str) -> None:
    """Send one notification to all addresses in a file.

    :raises ClmsError: NOTIFY_FAILED, when anybody was not told
    """
    lines = addresses.read(path)
    outcomes = addresses.send([(line, [Message(title, body)]) for line in lines])
    wrong = _complaint(zip(lines, outcomes, strict=True))
    if wrong:
        raise ClmsError("NOTIFY_FAILED", path=path, detail=wrong)


def _complaint(found: Iterable[tuple[Line, Outcome]]) -> str:
    return "; ".join(f"line {line.number}: {outcome.problem}" for line, outcome in found if outcome.problem)


def send_test(school: School) -> dict[str, Any]:
    """Tell everybody that this is a test.

    :raises ClmsError: NOTIFY_NOBODY or NOTIFY_FAILED
    """
    if school.notify_file is None:
        raise ClmsError("NOTIFY_NOBODY")
    with _trying:  # whoever presses the button again and again gets one after the other
        what = told("TEST")
        message = _message(school, TEST_TITLE, {"message": what.message, "told": what.as_dict()})
        send(Path(school.notify_file), message.title, message.body)
    return {"sent": True}


class Notifier:
    """Tells the people of one school."""

    def __init__(
        self,
        school: Callable[[], School],
        *,
        send_all: Send = addresses.send,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        :param school: reads its description, anew each time
        :param clock: seconds since 1970
        """
        self._read_school = school
        self._send = send_all
        self._clock = clock
        self._not_before: dict[str, float] = {}
        """key of an address -> when it is told again what it has missed; after a restart that is at once"""
        self._file_failures = 0

    def on(self) -> AbstractContextManager[None]:
        """Tell them while a ``with`` goes on."""
        return repeated("notifications", self.look, seconds=SECONDS)

    def look(self) -> None:
        """Tell everybody what has happened since the last time, and those who have missed something that, too."""
        school = self._read_school()
        if school.notify_file is None or not Journal.exists(school.home) or self._waits(_FILE):
            return
        with closing(Journal(school.home)) as journal, closing(Store(school.home)) as store:
            told, newest = store.fact(_FACT), _newest(journal)
            if told is None:  # what was before somebody has asked for it is no news
                store.note(_FACT, float(newest))
                return
            missed = _read_missed(store)
            if newest < told:  # the journal was begun anew, and counts from 1
                told, missed = 0, {}
            # asked once: a pause may end while others are told
            due = {key: one.events for key, one in missed.items() if one.events and not self._waits(key)}
            if newest == told and not due:
                return
            oldest = min([int(told) + 1, *(number for numbers in due.values() for number in numbers)])
            events = {event["id"]: event for event in reversed(journal.events(after=oldest - 1, limit=_MOST))}
            news = {number: event for number, event in events.items() if self._is_news(event)}
            new = [number for number in news if number > told]
            if new or due:
                lines = self._lines(school)
                if lines is None:
                    return
                wanted = {line: [n for n in sorted({*due.get(line.key, ()), *new}) if n in news] for line in lines}
                missed = {key: one for key, one in missed.items() if key in {line.key for line in lines}}
                missed |= {key: replace(missed[key], events=()) for key in due.keys() & missed.keys()}
                missed = self._tell(school, news, wanted, missed)
                found = {key: asdict(one) for key, one in missed.items() if one != Missed()}
                store.note(_MISSED_FACT, json.dumps(found) if found else None)
            store.note(_FACT, float(max([told, *events])))

    def _lines(self, school: School) -> list[Line] | None:
        """All addresses, or None where that has to wait."""
        try:
            lines = addresses.read(Path(str(school.notify_file)))
        except ClmsError as error:
            self._file_failures += 1
            self._pause(_FILE, self._file_failures)
            _complain(school, error, first=self._file_failures == 1)
            return None
        self._file_failures = 0
        return lines

    def _tell(
        self,
        school: School,
        news: Mapping[int, dict[str, Any]],
        wanted: Mapping[Line, Sequence[int]],
        missed: Mapping[str, Missed],
    ) -> dict[str, Missed]:
        """Tell each address what it wants.

        :param missed: what each has missed besides
        :returns: what each has missed now
        """
        asked = {line: numbers for line, numbers in wanted.items() if numbers}
        if not asked:
            return dict(missed)
        letters = [
            (line, [_message(school, TITLES[news[n]["type"]], news[n]) for n in numbers])
            for line, numbers in asked.items()
        ]
        outcomes = dict(zip(asked, self._send(letters), strict=True))
        after, first = dict(missed), dict[Line, Outcome]()
        for line, outcome in outcomes.items():
            before = after.pop(line.key, Missed())
            left = (number for place, number in enumerate(asked[line]) if place not in outcome.taken)
            events = tuple(sorted({*before.events, *left}))
            if outcome.problem:
                after[line.key] = Missed(events, before.failures + 1)
                self._pause(line.key, before.failures + 1)
                first |= {} if before.failures else {line: outcome}
            else:
                self._not_before.pop(line.key, None)  # it is there: what it has missed comes with the next look
                after |= {line.key: Missed(events, before.failures)} if events else {}
        wrong = _complaint(first.items()) or _complaint(outcomes.items())
        if wrong:
            error = ClmsError("NOTIFY_FAILED", path=school.notify_file, detail=wrong)
            _complain(school, error, first=bool(first))
        return after

    def _is_news(self, event: Mapping[str, Any]) -> bool:
        return event["type"] in TITLES and event["at"] >= self._clock() - _TOO_OLD

    def _pause(self, key: str, failures: int) -> None:
        self._not_before[key] = self._clock() + pause(failures, None, first=_FIRST_PAUSE)

    def _waits(self, key: str) -> bool:
        left = self._not_before.get(key, 0.0) - self._clock()
        return 0 < left <= LONGEST_PAUSE  # longer is no pause: the clock was put back


def _newest(journal: Journal) -> int:
    events = journal.events(limit=1)
    return int(events[0]["id"]) if events else 0


def _read_missed(store: Store) -> dict[str, Missed]:
    found = json.loads(store.fact(_MISSED_FACT) or "{}")
    return {key: Missed(tuple(one["events"]), one["failures"]) for key, one in found.items()}


def _message(school: School, title: str, event: Mapping[str, Any]) -> Message:
    text = event["message"]
    if school.notify_language != ORIGINAL:
        try:
            from webui.school import letters  # only here: an agent that speaks English needs less memory

            title, text = letters.in_language(school.notify_language, school.schedule.time_zone, title, event)
        except Exception:  # whatever it is: told in English is better than nobody told of anything
            log.exception("an event could not be told in the language %s", school.notify_language)
    return Message(f"{school.title}: {title}", text)


def _complain(school: School, error: ClmsError, *, first: bool) -> None:
    log.warning("%s", error)
    if first:  # whoever fails for long is told of once, not with every event
        tell(school.home, error.code, told("FAILURE", failure=error))
