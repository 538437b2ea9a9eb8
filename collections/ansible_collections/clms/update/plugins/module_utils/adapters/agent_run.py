# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that this server's agent does: how it is begun, and how it is followed through the journal."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from .. import lock
from ..agent_client import Conversation
from ..errors import ClmsError
from ..following import Look, News, Seen, news
from ..journal import Journal

_POLL = 0.5
_AT_LEAST = 2.0
"""seconds for which a call looks on, so that there are not too many calls"""
_AT_MOST = 15.0
_LET_GO = 30.0
"""seconds within which the agent lets go of the lock after the end of a run"""


class AgentRun:
    """What the agent is asked to do."""

    def __init__(self, home: Path, path: Path, kind: str, version: str | None) -> None:
        """:param path: the agent's socket"""
        self._home = home
        self._path = path
        self._kind = kind
        self._version = version

    def begin(self, **fields: str) -> News:
        """Have the agent begin.

        :param fields: of the request
        :returns: how it has ended, or the run to follow; the agent goes on with it, whoever listens
        :raises ClmsError: AGENT_SILENT, RUN_ACTIVE, or why the agent refuses
        """
        before = self._newest()
        conversation = Conversation(self._path, {"verb": self._kind, **fields})
        try:
            conversation.wait(None)
            while True:
                ended = None
                try:
                    answer = conversation.wait(_POLL)
                except ClmsError as error:  # the next agent puts in order what this one has begun
                    answer, ended = None, error
                run = self._opened(before) if answer is None else None
                if run is not None:
                    return News([], Seen(run))
                if ended is not None:
                    raise ended
                if answer is not None:
                    return News([], Seen(0), (answer["run"], int(answer["exit_code"])))
        finally:
            conversation.close()

    def follow(self, seen: Seen) -> News:
        """Look on until there is something new, or for a while.

        :raises ClmsError: AGENT_SILENT, or what is wrong with the journal
        """
        begin = last = time.monotonic()
        ended_at: float | None = None
        with closing(Journal(self._home)) as journal:
            while True:
                look = self._look(journal, seen.run)
                now = time.monotonic()
                counted = replace(seen, silent=seen.silent + now - last)
                last = now
                new = news(look, counted, kind=self._kind, version=self._version, path=str(self._path))
                seen = replace(seen, silent=new.seen.silent)
                if new.ending is not None:
                    # whoever asks for the next run at once must not be refused because of this one
                    ended_at = ended_at or now
                    if not look.held or now - ended_at > _LET_GO:
                        return new
                elif now - begin >= (_AT_LEAST if new.lines else _AT_MOST):
                    return new
                time.sleep(_POLL)

    def _newest(self) -> int | None:
        """The number of the newest run, None where the run is not to be followed through the journal."""
        # putting in order says how it went in its answer only, and has no phases to speak of
        if self._kind == "recover" or not Journal.exists(self._home):
            return None
        with closing(Journal(self._home)) as journal:
            rows = journal.rows(limit=1)
        return rows[0].id if rows else 0

    def _opened(self, before: int | None) -> int | None:
        if before is None:
            return None
        with closing(Journal(self._home)) as journal:
            return next((row.id for row in reversed(journal.rows(limit=20)) if row.id > before), None)

    def _look(self, journal: Journal, run: int) -> Look:
        held = lock.is_held(self._home)
        answers = False
        if not held:
            # an agent listens once its recovery holds the lock: so that is looked at after it
            answers = self._answers()
            held = lock.is_held(self._home)
        slot = journal.slot("current")
        current = slot.version if slot else None
        try:
            row = journal.row(run)
        except ClmsError:
            return Look(None, [], current, held, answers)
        return Look(row, journal.records(run), current, held, answers)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_POLL)
            try:
                connection.connect(str(self._path))
            except OSError:
                return False
            return True
