# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that may come twice: with the same ``Idempotency-Key``, the second one does nothing (IETF httpapi draft).

What was accepted is answered again for 24 hours. A refusal is not kept: nothing was begun, and what was in the way may
be gone. The agent keeps it (``agent/once.py`` says why); of the request it gets a keyed hash, because there may be a
password in it.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import current_app, request
from flask_login import current_user
from flask_smorest import Blueprint
from marshmallow import EXCLUDE, Schema, fields

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.common.schemas import Whole

from .agent import agent
from .failures import status_of

_KEY = r'^("[ !#-\[\]-~]{1,128}"|[A-Za-z0-9._:~+/=-]{1,128})$'
"""a String of RFC 8941 without escapes, or a plain word"""
_SAID = "Names this request; the same key and content again within 24 hours is answered with what was accepted before."
_View = Callable[..., dict[str, Any]]
_log = logging.getLogger(__name__)


class KeyHeader(Schema):
    """The header."""

    class Meta:
        """As marshmallow wants it."""

        unknown = EXCLUDE

    key = fields.String(data_key="Idempotency-Key", validate=Whole(_KEY), metadata={"description": _SAID})


def once(blueprint: Blueprint) -> Callable[[_View], _View]:
    """Let a view do nothing a second time; it comes right before the view."""

    def decorate(view: _View) -> _View:
        @wraps(view)
        def guarded(*args: Any, **path: Any) -> dict[str, Any]:
            *content, headers = args
            if "key" not in headers:
                return view(*content, **path)
            return _once(headers["key"].strip('"'), content, lambda: view(*content, **path))

        found: _View = blueprint.arguments(KeyHeader, location="headers")(guarded)
        return found

    return decorate


def _once(key: str, content: list[Any], do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """:raises ClmsError: KEY_REUSED, KEY_ACTIVE, LIMIT_REACHED, KEYS_STORE, or as ``do``"""
    text = json.dumps([request.method, request.path, content], sort_keys=True).encode()
    secret = current_app.config["SECRET_KEY"]
    named = {"name": current_user.name, "key": key, "body": hmac.new(secret, text, "sha256").hexdigest()}
    before: dict[str, Any] | None = agent().ask("once", **named)["answer"]
    if before is not None:
        return before
    try:
        answer = do()
    except ClmsError as error:
        # of a failure nobody knows what it has left behind: then the key stays taken, so that nothing is begun twice
        if status_of(error)[0] < 500:
            _note(named, free=True)
        raise
    _note(named, answer=json.dumps(answer))
    return answer


def _note(named: dict[str, str], **what: Any) -> None:
    """Tell the agent what it has come to; where that fails, the key stays taken."""
    try:
        agent().ask("once", **named, **what)
    except ClmsError as error:
        _log.error("%s", error, extra={"code": error.code})
