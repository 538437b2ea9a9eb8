# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells people what happens here: by mail, chat or webhook, through Apprise. One that fails never harms an update.

What has yet to be told follows from the journal and one fact in the schedule's file: the last event that was told.
Apprise knows a hundred services and needs memory for that, so it runs in a process of its own, for the moment.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.secret_file import read_secret

from .background import repeated
from .backoff import pause
from .schedule import Store, tell

TITLES = {
    "UPDATE_AVAILABLE": "an update is available",
    "UPDATE_SCHEDULED": "an update is scheduled",
    "UPDATE_STARTED": "an update has begun",
    "UPDATE_COMPLETED": "the update was completed",
    "UPDATE_FAILED": "the update did not work",
    "ROLLBACK_STARTED": "CLMS is being put back",
    "ROLLBACK_COMPLETED": "CLMS was put back",
    "ROLLBACK_FAILED": "going back did not work",
    "BACKUP_FAILED": "a backup did not work",
    "UPDATE_MISSED": "an update was missed",
    "UPDATE_OVERDUE": "a critical update is overdue",
    "CHECK_REFUSED": "what the vendor's server says is not believed",
}
"""Type of an event -> what it is called; others are not told."""

SECONDS = 10.0
"""between two looks"""
_FACT = "notified_event"
_FIRST_PAUSE = 60.0
_TOO_OLD = 86_400.0
"""seconds after which an event is no news any more"""
_SEND_SECONDS = 180
_trying = threading.Lock()

log = logging.getLogger("clms-update-agent")

Send = Callable[[Path, str, str], None]


def send(addresses: Path, title: str, body: str) -> None:
    """Send one notification to all addresses in a file.

    :raises ClmsError: NOTIFY_FAILED
    """
    try:
        text = read_secret(addresses).decode("utf-8", "replace")
    except ClmsError as error:
        raise ClmsError("NOTIFY_FAILED", path=addresses, detail=error.happened.rstrip(".")) from None
    message = json.dumps({"addresses": text, "title": title, "body": body})
    try:
        done = subprocess.run(
            [sys.executable, "-m", "agent.send_notification"],
            cwd=Path(__file__).parent.parent,
            input=message,
            capture_output=True,
            text=True,
            timeout=_SEND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ClmsError("NOTIFY_FAILED", path=addresses, detail="nobody answered in time") from None
    if done.returncode:
        lines = done.stdout.strip().splitlines()
        raise ClmsError("NOTIFY_FAILED", path=addresses, detail=lines[-1] if lines else "the sender ended early")


def send_test(school: School) -> dict[str, Any]:
    """Tell everybody that this is a test.

    :raises ClmsError: NOTIFY_NOBODY or NOTIFY_FAILED
    """
    if school.notify_file is None:
        raise ClmsError("NOTIFY_NOBODY")
    with _trying:  # whoever presses the button again and again gets one after the other
        send(Path(school.notify_file), f"{school.title}: a test", "Notifications of CLMS updates arrive here.")
    return {"sent": True}


class Notifier:
    """Tells the people of one school."""

    def __init__(
        self, school: Callable[[], School], *, send_one: Send = send, clock: Callable[[], float] = time.time
    ) -> None:
        """
        :param school: reads its description, anew each time
        :param clock: seconds since 1970
        """
        self._read_school = school
        self._send = send_one
        self._clock = clock
        self._failures = 0
        self._not_before = 0.0

    def on(self) -> AbstractContextManager[None]:
        """Tell them while a ``with`` goes on."""
        return repeated("notifications", self.look, seconds=SECONDS)

    def look(self) -> None:
        """Tell what has happened since the last time; after a failure later, and less and less often."""
        school = self._read_school()
        if school.notify_file is None or not Journal.exists(school.home) or self._clock() < self._not_before:
            return
        with closing(Journal(school.home)) as journal, closing(Store(school.home)) as store:
            told = store.fact(_FACT)
            if told is None:  # what was before somebody has asked for it is no news
                newest = journal.events(limit=1)
                store.note(_FACT, float(newest[0]["id"]) if newest else 0.0)
                return
            for event in reversed(journal.events(after=int(told))):
                self._tell(school, event)
                if self._clock() < self._not_before:
                    return
                store.note(_FACT, float(event["id"]))

    def _tell(self, school: School, event: dict[str, Any]) -> None:
        if event["type"] not in TITLES or event["at"] < self._clock() - _TOO_OLD:
            return
        try:
            self._send(Path(str(school.notify_file)), f"{school.title}: {TITLES[event['type']]}", event["message"])
            self._failures = 0
        except ClmsError as error:
            self._failures += 1
            self._not_before = self._clock() + pause(self._failures, None, first=_FIRST_PAUSE)
            log.warning("%s", error)
            if self._failures == 1:
                tell(school.home, error.code, str(error))
