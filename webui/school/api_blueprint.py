# SPDX-License-Identifier: GPL-3.0-or-later
"""What all of the API has in common: who may ask, what may come, and how failures are told."""

from __future__ import annotations

from typing import Any

from flask import g, request
from flask_login import current_user
from flask_smorest import Blueprint

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.common import openapi

from . import tokens

SECURITY_SCHEMES = {
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-clms-update",
        "description": "of who is signed in; what changes something needs the header X-CSRFToken too",
    },
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "made on the server with 'clms-update account --token NAME'; counts before a session",
    },
}
FORM = "multipart/form-data"
_ALWAYS = (400, 401, 429, 500, 503)
_WITH_FILES = ("updates.upload",)
"""endpoints to which files are sent, as forms send them"""

blueprint = Blueprint("updates", __name__, url_prefix="/api", description="Updates of CLMS at this school")


def problems(*statuses: int) -> Any:
    """Name the problem documents with which a view may answer."""
    return openapi.problems(blueprint, *statuses, always=_ALWAYS)


@blueprint.before_request
def _signed_in() -> None:
    """For programs with a token and people who are signed in; of a request with both, the token counts."""
    token = tokens.sent()
    if token is not None:
        g._login_user = tokens.whose(token)
    elif not current_user.is_authenticated:
        raise ClmsError("SESSION_MISSING")


@blueprint.before_request
def _json() -> None:
    """What comes as content is JSON, but for files; what is wrong in it is for the schemas to say."""
    if request.endpoint in _WITH_FILES:
        if request.mimetype != FORM:
            raise ClmsError("REQUEST_TYPE", wanted=FORM)
    elif request.method in ("POST", "PATCH") and (request.content_length or request.mimetype):
        if not request.is_json:
            raise ClmsError("REQUEST_TYPE", wanted="application/json")
        try:
            request.get_json(silent=True)
        except RecursionError:
            raise ClmsError("REQUEST_INVALID", detail="its content is nested too deep") from None
