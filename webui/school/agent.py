# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent, as the page asks it; what it understands is in ``agent/protocol.py``."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from flask import Flask, current_app

from ansible_collections.clms.update.plugins.module_utils.agent_client import Conversation
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

_NAME = "clms_agent"
_SECONDS = 30.0
_LONG_SECONDS = 900.0
"""a check may have to fetch a file from a server of the school's network; a change looks at addresses with Apprise"""
_LONG = ("change", "check", "copy", "health", "import", "loss", "notify", "schedule", "update", "verify")
_READS = (
    "accounts",
    "enforcement",
    "events",
    "health",
    "list",
    "loss",
    "release",
    "school",
    "settings",
    "status",
    "token",
)
"""verbs after which all is as it was"""

Ask = Callable[..., dict[str, Any]]


class Agent:
    """Asks the agent of this server."""

    def __init__(self, socket: Path, *, kept_seconds: float = 5.0) -> None:
        """
        :param socket: on which it listens
        :param kept_seconds: for which an answer that changes seldom is kept
        """
        self._socket = socket
        self._kept_seconds = kept_seconds
        self._kept: dict[str, tuple[float, dict[str, Any]]] = {}
        self._asking: dict[str, threading.Lock] = {}
        self._changes = 0
        self._version: str | None = None
        self._lock = threading.Lock()

    def ask(self, verb: str, **fields: Any) -> dict[str, Any]:
        """The first answer to a request; a run goes on after it. Where that may have changed anything, and where
        another version runs than the last time, nothing that is kept counts any more.

        :param fields: of the verb; None leaves one out
        :raises ClmsError: AGENT_SILENT, or why the agent refuses
        """
        try:
            answer = self._ask({"verb": verb, **{name: value for name, value in fields.items() if value is not None}})
        finally:
            if verb not in _READS:
                self.forget()
        if verb == "status" and answer["current_version"] != self._version:
            self._version = answer["current_version"]
            self.forget()
        return answer

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        seconds = _LONG_SECONDS if request["verb"] in _LONG else _SECONDS
        with closing(Conversation(self._socket, request)) as conversation:
            return self._answer(conversation, seconds)

    def fetch(self, verb: str, **fields: Any) -> tuple[dict[str, Any], Iterator[bytes]]:
        """The answer to a request, and what the agent hands over after it.

        :raises ClmsError: as :meth:`ask`
        """
        conversation = Conversation(self._socket, {"verb": verb, **fields})
        try:
            answer = self._answer(conversation, _SECONDS)
        except ClmsError:
            conversation.close()
            raise

        def content() -> Iterator[bytes]:
            with closing(conversation):
                yield from conversation.rest()

        return answer, content()

    def _answer(self, conversation: Conversation, seconds: float) -> dict[str, Any]:
        answer = conversation.wait(seconds)
        if answer is None:
            detail = f"it has not answered within {seconds:.0f} seconds"
            raise ClmsError("AGENT_SILENT", path=self._socket, detail=detail)
        return answer

    def ask_kept(self, verb: str) -> dict[str, Any]:
        """As :meth:`ask`; the answer may be some seconds old."""
        with self._lock:
            asking = self._asking.setdefault(verb, threading.Lock())
        with asking:  # one asks, and who wants the same waits for that
            at, answer = self._kept.get(verb, (0.0, {}))
            if not answer or time.monotonic() - at >= self._kept_seconds:
                changes, answer = self._changes, self.ask(verb)
                self._keep(verb, answer, changes)
            return answer

    def _keep(self, name: str, answer: dict[str, Any], changes: int) -> None:
        """Keep an answer, unless something has changed since it was asked for."""
        with self._lock:
            self._kept[name] = (time.monotonic() if changes == self._changes else -math.inf, answer)

    def ask_token(self, token: str) -> dict[str, Any]:
        """Whose token it is, see ``token`` in ``agent/protocol.py``; the answer may be some seconds old.

        :raises ClmsError: TOKEN_REFUSED, LIMIT_REACHED, AGENT_SILENT
        """
        kept = f"token {hashlib.sha256(token.encode()).hexdigest()}"  # not the token itself
        at, answer = self._kept.get(kept, (0.0, {}))
        if not answer or time.monotonic() - at >= self._kept_seconds:
            # others need not wait: a wrong one is refused late
            changes, answer = self._changes, self.ask("token", token=token)
            self._keep(kept, answer, changes)
        return answer

    def kept(self, verb: str) -> dict[str, Any]:
        """What :meth:`ask_kept` was answered last, however long ago; nothing is asked, and nobody is waited for."""
        return self._kept.get(verb, (0.0, {}))[1]

    def forget(self) -> None:
        """Nothing that is kept counts any more: somebody has changed it."""
        with self._lock:
            self._changes += 1
            self._kept = {verb: (-math.inf, answer) for verb, (_, answer) in self._kept.items()}


def attach(app: Flask, agent: Agent) -> None:
    """Make an agent that of ``app``."""
    app.extensions[_NAME] = agent


def agent() -> Agent:
    """That of the app that answers right now."""
    found = current_app.extensions[_NAME]
    assert isinstance(found, Agent)  # noqa: S101 - for the type checker
    return found
