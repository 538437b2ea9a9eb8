# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody has typed into a form of this page that nobody could take: it waits on a page of its own until the
agent is there again, or until they have signed in again.

It is on that page and nowhere else, and goes on with a press of theirs: so another site can have nothing done with it.
"""

from __future__ import annotations

from flask import render_template, request
from flask_wtf.csrf import validate_csrf
from wtforms import ValidationError

SECRETS = ("again", "api_key", "code", "new", "notify", "password", "registry_password")
"""names of fields in which secrets are typed: no page has in it what was typed there"""
HANDED_ON = "kept."
"""what the names of such fields begin with in the form of another page, here that to sign in"""
AGAIN = "kept"
"""name of a field that says: show this form as it was filled in, and do nothing yet"""
_LEFT_OUT = (*SECRETS, "csrf_token", AGAIN)
_NOT_TYPED = ("deadline", "language", "next", "seen", "submit")
"""names of fields that come by themselves with a press"""

Typed = list[tuple[str, str]]
"""names and values of fields"""


def typed() -> Typed:
    """What was typed into the form that has come, where it is one of a page of this server."""
    if request.method != "POST" or request.mimetype != "application/x-www-form-urlencoded":
        return []
    if not (_is_of_this_session() or _is_of_this_server()):
        return []
    found = [(name, value) for name, value in request.form.items(multi=True) if name not in _LEFT_OUT]
    return found if {name for name, _ in found} - {*_NOT_TYPED} else []


def _is_of_this_session() -> bool:
    try:
        validate_csrf(request.form.get("csrf_token"))
    except ValidationError:
        return False
    return True


def _is_of_this_server() -> bool:
    """Whether the browser says so: what a session knew is gone with it (Fetch Metadata; RFC 6454, section 7)."""
    sites = request.headers.get("Sec-Fetch-Site", "same-origin"), request.headers.get("Origin")
    return sites == ("same-origin", request.host_url.rstrip("/"))


def handed_on() -> Typed:
    """What was typed into the form before this one."""
    fields = ((name.removeprefix(HANDED_ON), value) for name, value in request.form.items(multi=True)
              if name.startswith(HANDED_ON))  # fmt: skip
    return [(name, value) for name, value in fields if name not in _LEFT_OUT]


def go_on(where: str, found: Typed) -> str:
    """The page with which somebody goes on who has signed in again: to the form, as they have filled it in.

    :param where: the form was to be sent
    """
    return render_template("go_on.html", where=where, typed=found)
