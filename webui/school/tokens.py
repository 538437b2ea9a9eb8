# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that show a token in place of a session: ``Authorization: Bearer clms_…``, below ``/api/`` only."""

from __future__ import annotations

import re

from flask import g, request

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .agent import agent
from .people import Person

_TOKEN = re.compile(r"clms_[0-9a-f]{8}_[0-9a-f]{64}")


def sent() -> str | None:
    """What came as a token, whatever it is, or None where none came; a session counts only then.

    No other site can make a browser send this header, so nothing else has to be shown with it.
    """
    if not request.path.startswith("/api/"):
        return None
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def whose(token: str) -> Person:
    """The account of a token; the log names the token by its number.

    :raises ClmsError: TOKEN_REFUSED, LIMIT_REACHED, AGENT_SILENT
    """
    if _TOKEN.fullmatch(token) is None:
        raise ClmsError("TOKEN_REFUSED")
    found = agent().ask_token(token)
    g.key = found["id"]
    return Person(found["name"], found["generation"])
