# SPDX-License-Identifier: GPL-3.0-or-later
"""Live progress: one thread asks the agent, and however many browsers watch are told what has changed."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask, Response, current_app, flash, redirect, url_for
from flask_login import current_user
from werkzeug.wrappers import Response as AnyResponse

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from . import people
from .agent import agent
from .said import said

BEGIN_SECONDS = 30
"""within which a run that was asked for is in the journal, or was refused"""

PAUSE = 1.0
"""seconds between two questions to the agent"""
EVENT_STREAM = "text/event-stream"
_STREAM_SECONDS = 600.0
"""after which who watches has to ask anew; a browser does so by itself"""
_NAME = "clms_watch"
_log = logging.getLogger(__name__)

_ALIVE = 5.0
"""seconds after which something is sent, so that who is gone is noticed"""


def progress(status: dict[str, Any]) -> dict[str, Any]:
    """What a page shows of the agent's ``status``.

    :returns: ``running``: see :func:`.overview.running`, with ``stoppable``: whether it can be stopped; and
        ``last``: the last run that changed the version, or None
    """
    running = status["running"]
    if running is not None:
        running = {**running, "stoppable": not (running["closed"] or running["over"] or running["failure"])}
    return {"running": running, "last": status["last_update"], "version": status["current_version"]}


def current() -> dict[str, Any]:
    """What a page shows right now; see :func:`progress`."""
    return progress(agent().ask("status"))


def begin(verb: str, **fields: Any) -> AnyResponse:
    """Ask for a run, and go to where people watch it.

    :raises ClmsError: why the agent refuses
    """
    since = int(time.time())
    try:
        agent().ask(verb, **fields)
    except ClmsError as error:
        if error.code != "RUN_ACTIVE":
            raise
        flash(said(error).happened, "warning")  # pressed twice, or somebody else was faster
        return redirect(url_for("pages.watch"))
    return redirect(url_for("pages.watch", since=since))


class Watch:
    """Asks only while somebody watches."""

    def __init__(self, ask: Callable[[str], dict[str, Any]], *, pause: float = PAUSE, most: int = 50) -> None:
        """
        :param ask: answers ``status``; see :meth:`.agent.Agent.ask`
        :param most: how many may watch at the same time; each takes a thread of the server
        """
        self.most = most
        self.places = threading.BoundedSemaphore(most)
        self._ask = ask
        self._pause = pause
        self._failure = secrets.token_hex(8)  # one for all, or each failure would be news
        self._changed = threading.Condition()
        self._watching = 0
        self._looking = False
        self._number = 0
        self._asked = self._answered = self._awaited = 0
        self._now: dict[str, Any] | None = None
        self._making = threading.Lock()
        self._made: dict[str, tuple[dict[str, Any], str]] = {}

    def follow(self) -> Iterator[dict[str, Any] | None]:
        """What goes on right now, and then whatever has changed; None from time to time, so that the other side shows
        that it is there. A failure to ask is told as ``error``.

        Who comes is told an answer to a question that was asked since: the one before can be older than what brought
        them here.
        """
        with self._changed:
            self._watching += 1
            fresh = self._awaited = self._asked + 1
            self._changed.notify_all()
            if not self._looking:
                self._looking, self._now = True, None
                threading.Thread(target=self._look, name="watch", daemon=True).start()
        seen = 0
        try:
            while True:
                seen, now = self._next(seen, fresh)
                yield now
        finally:
            with self._changed:
                self._watching -= 1
                self._changed.notify_all()

    def _next(self, seen: int, fresh: int) -> tuple[int, dict[str, Any] | None]:
        with self._changed:
            news = self._changed.wait_for(lambda: self._answered >= fresh and self._number > seen, timeout=_ALIVE)
            return (self._number, self._now) if news else (seen, None)

    def as_text(self, view: str, now: dict[str, Any], piece: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
        """The JSON of a piece of what :meth:`follow` has told, made once for all who see the same.

        :param view: names what they see; one piece belongs to it
        """
        with self._making:
            known, text = self._made.get(view, ({}, ""))
            if known is not now:
                text = json.dumps(piece(now))
                self._made[view] = (now, text)
            return text

    def _look(self) -> None:
        while True:
            with self._changed:
                self._asked += 1
            try:
                now = progress(self._ask("status"))
            except ClmsError as error:
                now = {"error": error.as_dict()}
            except Exception:  # whoever watches must not wait for ever
                _log.exception("what goes on cannot be asked for (%s)", self._failure)
                now = {"error": ClmsError("SERVER_FAILED", request=self._failure).as_dict()}
            with self._changed:
                awaited, self._answered = self._awaited > self._answered, self._asked
                if now != self._now:
                    self._now = now
                    self._number += 1
                    awaited = True
                if awaited:  # else everybody would wake for nothing
                    self._changed.notify_all()
                self._changed.wait_for(lambda: self._awaited > self._asked or not self._watching, timeout=self._pause)
                if not self._watching:
                    self._looking = False
                    return


def attach(app: Flask, watch: Watch) -> None:
    """Make a watch that of ``app``."""
    app.extensions[_NAME] = watch


def event_stream(view: str, piece: Callable[[dict[str, Any]], dict[str, Any]]) -> Response:
    """Server-sent events (WHATWG HTML, section 9.2) for who asks: what goes on, whenever it has changed.

    :param view: who asks for the same one sees the same
    :param piece: makes of what :meth:`Watch.follow` says the JSON that is sent; it is called in the context of the app
    :raises ClmsError: AGENT_BUSY where too many watch
    """
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    seen: Watch = app.extensions[_NAME]
    asked, person = agent(), current_user._get_current_object()
    over = time.monotonic() + _STREAM_SECONDS
    if not seen.places.acquire(blocking=False):
        raise ClmsError("AGENT_BUSY", limit=seen.most)

    def events() -> Iterator[str]:
        for now in seen.follow():
            # whoever is signed out sees no more, and a window that is left open makes room now and then
            if time.monotonic() > over or not people.counts(app, asked, person):
                return
            if now is None:
                yield ": still there\n\n"
                continue
            with app.app_context():
                data = seen.as_text(view, now, piece)
            yield f"data: {data}\n\n"

    answer = Response(events(), mimetype=EVENT_STREAM, headers={"X-Accel-Buffering": "no"})
    answer.call_on_close(seen.places.release)
    return answer
