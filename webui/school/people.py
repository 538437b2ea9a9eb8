# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is signed in. A session names an account and how often its password was set: with another one, it has ended. It
counts in the browser in which it began, and nowhere else.
"""

from __future__ import annotations

import hashlib

from flask import Flask, redirect, request, session, url_for
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from flask_login import LoginManager, UserMixin, login_user
from werkzeug.wrappers import Response

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .agent import Agent, agent
from .language import clear_session

_BROWSER = "browser"
"""in the session: where it began"""
BY_ITSELF = ("pages.stream", "updates.progress")
"""endpoints that a window asks again and again, also when nobody is there any more"""


class Person(UserMixin):  # type: ignore[misc]
    """Somebody who has signed in."""

    def __init__(self, name: str, generation: int) -> None:
        self.name = name
        self.generation = generation

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
    manager = LoginManager(app)
    manager.session_protection = None  # it spares sessions that outlive the window; see _browser
    manager.user_loader(_load)
    manager.unauthorized_handler(_unauthorized)


def _load(kept: str) -> Person | None:
    generation, _, name = kept.partition(" ")
    if session.get(_BROWSER) != _browser():
        return None
    if not generation.isdecimal() or agent().ask_kept("accounts")["accounts"].get(name) != int(generation):
        return None
    return Person(name, int(generation))


def _browser() -> str:
    """What can be seen of a browser, without saying it: a cookie that was stolen is of no use in another one."""
    return hashlib.sha256(f"{request.remote_addr} {request.user_agent.string}".encode()).hexdigest()


def counts(asked: Agent, name: str, generation: int) -> bool:
    """Whether somebody is still who they were when they signed in, as far as the agent can be asked right now."""
    try:
        return bool(asked.ask_kept("accounts")["accounts"].get(name) == generation)
    except ClmsError:
        return True


def _unauthorized() -> Response:
    if request.path.startswith("/api/"):
        raise ClmsError("SESSION_MISSING")
    there = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for("signing_in.sign_in", next=there if there != "/" else None))


def begin_session(name: str, generation: int) -> None:
    """Sign somebody in, with a session that has nothing of the one before but its language."""
    clear_session()
    session.permanent = True
    session[_BROWSER] = _browser()
    login_user(Person(name, generation))
