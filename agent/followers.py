# SPDX-License-Identifier: GPL-3.0-or-later
"""Those who follow the events of this server as they come: pages and programs that watch."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal

from .output import events_for_json

MOST = 50
"""who may follow at the same time; each is a thread"""
PAUSE = 0.5
"""seconds between two looks into the journal"""


class Followers:
    """Counts them, and serves each until it is gone."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._free = threading.BoundedSemaphore(most)

    def serve(self, connection: socket.socket, home: Path, after: int, say: Callable[[dict[str, Any]], None]) -> None:
        """Send the events after number ``after``, if only an empty list, and then each new batch, the newest first.

        It ends when the other side has closed its direction of the connection, sends more, or does not read.

        :param say: sends one answer
        :raises ClmsError: AGENT_BUSY, or what is wrong with the journal
        :raises OSError: the other side is gone, or has not read for too long
        """
        if not self._free.acquire(blocking=False):
            raise ClmsError("AGENT_BUSY", limit=self._most)
        try:
            other_side = select.poll()  # select() ends at descriptor 1023
            other_side.register(connection, select.POLLIN)
            with closing(Journal(home)) as journal:
                first = True
                while True:
                    events = journal.events(after=after)
                    if events or first:
                        say({"events": events_for_json(events)})
                        after = max(after, *(event["id"] for event in events)) if events else after
                        first = False
                    # nothing is expected from there any more, so whatever comes is the end
                    if other_side.poll(PAUSE * 1000):
                        return
        finally:
            self._free.release()
