# SPDX-License-Identifier: GPL-3.0-or-later
"""Every failure is answered: a page for people, a problem document (RFC 9457) below ``/api/``."""

from __future__ import annotations

import logging
import secrets

from flask import Flask, after_this_request, g, make_response, render_template, request
from flask_login import AnonymousUserMixin, current_user
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.wrappers import Response

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.common import problems

from . import kept
from .language import gettext

STATUSES: dict[str, tuple[int, str]] = {
    "ACCOUNT_EXISTS": (409, "There is an account"),
    "ACCOUNT_UNKNOWN": (409, "No such account"),
    "ACCOUNTS_BROKEN": (500, "Accounts not usable"),
    "AGENT_BUSY": (503, "Too many watch"),
    "AGENT_CALLER": (503, "The agent refuses this page"),
    "AGENT_REQUEST": (400, "Request not understood"),
    "AGENT_SILENT": (503, "The agent does not answer"),
    "BACKUP_BUSY": (409, "Another backup comes first"),
    "BACKUP_LOCATION": (422, "No external drive"),
    "BACKUP_PLACE": (409, "External drive not usable"),
    "BACKUP_TAMPERED": (409, "Backup not whole"),
    "BACKUP_UNKNOWN": (404, "No such backup"),
    "BUNDLE_OLD": (422, "File out of date"),
    "BUNDLE_REFUSED": (422, "File refused"),
    "CONFIRMATION_MISSING": (409, "Confirmation needed"),
    "DISK_TOO_SMALL": (507, "No room on the disk"),
    "FORCED_LAST": (409, "Not to be put off again"),
    "FORCED_NONE": (409, "Nothing is forced"),
    "FORM_EXPIRED": (400, "Form out of date"),
    "JOURNAL_UNREADABLE": (503, "Journal not readable"),
    "NOT_INSTALLED": (409, "Not installed"),
    "KEYS_STORE": (503, "Keys not usable"),
    "KEY_ACTIVE": (409, "Request goes on"),
    "KEY_REUSED": (422, "Key of another request"),
    "NOTIFY_FAILED": (502, "Not everybody was reached"),
    "NOTIFY_NOBODY": (409, "Nobody is to be told"),
    "RELEASE_MIN_VERSION": (409, "Another version comes first"),
    "RELEASE_OLDER": (409, "Version too old"),
    "RELEASE_SAME": (409, "Installed already"),
    "RELEASE_UNKNOWN": (404, "No such version"),
    "RELEASE_UPDATER_TOO_OLD": (409, "CLMS Update too old"),
    "ROLLBACK_UNAVAILABLE": (409, "Nothing to go back to"),
    "RUN_ACTIVE": (409, "Something is going on"),
    "RUN_CLOSED": (409, "Too late to stop it"),
    "RUN_UNKNOWN": (404, "No such run"),
    "SCHEDULE_PAST": (422, "Time not usable"),
    "SCHEDULE_STORE": (503, "Schedule not usable"),
    "SCHEDULE_TIME": (422, "Time not usable"),
    "SCHEDULE_TWICE": (409, "Scheduled already"),
    "SCHEDULE_UNKNOWN": (404, "Nothing scheduled"),
    "SESSION_MISSING": (401, "Not signed in"),
    "SETTINGS_CHANGED": (409, "Changed meanwhile"),
    "SETTINGS_UNWRITABLE": (409, "To be changed by hand"),
    "SETTING_WRONG": (422, "Setting not usable"),
    "SIGN_IN_REFUSED": (401, "Sign-in refused"),
    "SIGN_IN_WAIT": (429, "Too many attempts"),
    "TOKEN_REFUSED": (401, "Token refused"),
    "UPLOAD_FOLDER": (507, "File cannot be kept"),
    "UPLOAD_NONE": (422, "No file came"),
}
"""Code -> HTTP status and title, beside those of :mod:`webui.common.problems`."""
_AWAY = ("TRUST_", "SERVER_", "REGISTRY_", "RELEASE_", "FILE_SERVER", "CLOCK_WRONG", "CA_FILE")
"""beginnings of codes that say what is wrong beyond this server; a check is answered with them"""
_KEEP = ("AGENT_SILENT", "FORM_EXPIRED", "SESSION_MISSING")
"""codes of failures with which nobody has looked at what was typed"""
UNAVAILABLE = (502, "The vendor cannot be believed or reached")

_log = logging.getLogger(__name__)


def install(app: Flask) -> None:
    """Answer every error of ``app``."""

    def on_known(error: ClmsError) -> Response:
        status, title = status_of(error)
        if status >= 500:
            _log.error("%s", error, extra={"code": error.code})
        if request.path.startswith("/api/") or error.code == "REQUEST_HOST":  # of another host there is no page
            return problems.answer(error, {**STATUSES, error.code: (status, title)})
        typed = kept.typed() if error.code in _KEEP else []
        how = _how_to_go_on(error) if typed else ""
        if how == "sign in" and request.blueprint == "signing_in":  # that is what comes next anyway
            typed = []
        g._login_user = AnonymousUserMixin()  # who is signed in would be asked for of an agent that may be down
        page = render_template("failure.html", error=error, title=gettext(title), typed=typed, how=how)
        response = make_response(page, status)
        _say_when(error, response)
        return response

    def on_http(error: HTTPException) -> Response:
        if isinstance(error, CSRFError):
            return on_known(ClmsError("FORM_EXPIRED"))
        response = on_known(problems.of_http(error, request.method))
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
        return response

    def on_unknown(error: Exception) -> Response:
        number = secrets.token_hex(8)
        _log.error("request %s failed", number, exc_info=error, extra={"request": number})
        return on_known(ClmsError("SERVER_FAILED", request=number))

    app.register_error_handler(ClmsError, on_known)
    app.register_error_handler(HTTPException, on_http)
    app.register_error_handler(Exception, on_unknown)


def answer_as(error: ClmsError) -> None:
    """Give the page that is the answer to this request, and says what went wrong, the status that goes with it."""
    status = status_of(error)[0]
    if status >= 500:
        _log.error("%s", error, extra={"code": error.code})

    @after_this_request
    def with_status(response: Response) -> Response:
        if response.status_code == 200:  # else something else has gone wrong since
            response.status_code = status
            _say_when(error, response)
        return response


def _how_to_go_on(error: ClmsError) -> str:
    """What becomes of a form whose content is kept: it is sent once more, shown again, or somebody signs in first."""
    if error.code == "AGENT_SILENT" or kept.handed_on():
        return "send"
    try:
        return "show" if current_user.is_authenticated else "sign in"
    except ClmsError:  # the agent is down, too: whether they are signed in turns out with the next press
        return "show"


def _say_when(error: ClmsError, response: Response) -> None:
    """Tell whoever asks when to ask again, where that is known."""
    if "seconds" in error.values:
        response.headers["Retry-After"] = str(error.values["seconds"])


def status_of(error: ClmsError) -> tuple[int, str]:
    """HTTP status and title."""
    known = {**problems.STATUSES, **STATUSES}
    if error.code in known:
        return known[error.code]
    if error.code.startswith(_AWAY):
        return UNAVAILABLE
    return problems.STATUSES["SERVER_FAILED"]
