# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is signed in. A session names an account and how often its password was set: with another one, it has ended. It
counts in the browser in which it began, and nowhere else; who signs out ends it, and with it every copy of its cookie.
"""

from __future__ import annotations

import hashlib
import secrets
import time

from flask import Flask, current_app, g, redirect, request, session, url_for
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from flask_login import LoginManager, UserMixin, login_user
from werkzeug.wrappers import Response

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from . import kept
from .agent import Agent, agent
from .language import clear_session

_BROWSER = "browser"
"""in the session: where it began"""
_NUMBER = "number"
"""in the session: tells it from the others of the same account"""
_ENDED = "clms_ended_sessions"
"""of the app: number of a session that somebody has signed out of -> when its cookies are too old anyway. It is kept in
memory: the page is one process and writes nothing, and after it has started anew a copy lasts as long as any session.
"""
BY_ITSELF = ("pages.stream", "updates.progress")
"""endpoints that a window asks again and again, also when nobody is there any more"""


class Person(UserMixin):  # type: ignore[misc]
    """Somebody who has signed in."""

    def __init__(self, name: str, generation: int, number: str | None = None) -> None:
        """
        :param number: of the session; a program with a token has none
        """
        self.name = name
        self.generation = generation
        self.number = number

    def get_id(self) -> str:
        """What the session keeps of them."""
        return f"{self.generation} {self.name}"


class _Sessions(SecureCookieSessionInterface):
    """Each request of somebody puts the end of their session off; what a window asks by itself does not."""

    def should_set_cookie(self, app: Flask, session: SessionMixin) -> bool:
        """As Flask wants it."""
        return super().should_set_cookie(app, session) and (session.modified or request.endpoint not in BY_ITSELF)


def install(app: Flask) -> None:
    """Know people by their sessions."""
    app.session_interface = _Sessions()
    app.extensions[_ENDED] = {}
    manager = LoginManager(app)
    manager.session_protection = None  # it spares sessions that outlive the window; see _browser
    manager.user_loader(_load)
    manager.unauthorized_handler(_unauthorized)


def _load(kept: str) -> Person | None:
    generation, _, name = kept.partition(" ")
    number = session.get(_NUMBER)
    if number is None or number in current_app.extensions[_ENDED]:
        clear_session()  # else its cookie would be made anew with every answer, and outlive what is known of its end
        return None
    if session.get(_BROWSER) != _browser():
        return None
    if not generation.isdecimal() or agent().ask_kept("accounts")["accounts"].get(name) != int(generation):
        return None
    return Person(name, int(generation), number)


def _browser() -> str:
    """What can be seen of a browser, without saying it: a cookie that was stolen is of no use in another one."""
    return hashlib.sha256(f"{request.remote_addr} {request.user_agent.string}".encode()).hexdigest()


def counts(app: Flask, asked: Agent, person: Person) -> bool:
    """Whether somebody is still who they were when they signed in, as far as the agent can be asked right now."""
    if person.number in app.extensions[_ENDED]:
        return False
    try:
        return bool(asked.ask_kept("accounts")["accounts"].get(person.name) == person.generation)
    except ClmsError:
        return True


def _unauthorized() -> Response:
    if request.path.startswith("/api/"):
        raise ClmsError("SESSION_MISSING")
    if kept.typed():
        raise ClmsError("SESSION_MISSING")
    there = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for("signing_in.sign_in", next=there if there != "/" else None))


def begin_session(name: str, generation: int) -> None:
    """Sign somebody in, with a session that has nothing of the one before but its language."""
    clear_session()
    g.pop("csrf_token", None)  # that of the session before is of no use to the page that is the answer
    session.permanent = True
    session[_BROWSER] = _browser()
    session[_NUMBER] = secrets.token_hex(16)
    login_user(Person(name, generation))


def end_session() -> None:
    """Sign somebody out."""
    ended, now = current_app.extensions[_ENDED], time.monotonic()
    for number in [number for number, over in list(ended.items()) if over < now]:
        ended.pop(number, None)
    # only a session that began here has a number; the agent is not asked for it, as it may be down
    if (number := session.get(_NUMBER)) is not None:
        ended[number] = now + current_app.permanent_session_lifetime.total_seconds()
    clear_session()
