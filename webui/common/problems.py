# SPDX-License-Identifier: GPL-3.0-or-later
"""Every failure is answered with a problem document (RFC 9457), never with a page or a traceback."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, SecurityError

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:clms-update:problem:"

STATUSES: dict[str, tuple[int, str]] = {
    "REQUEST_INVALID": (400, "Request not understood"),
    "REQUEST_HOST": (400, "Unknown host"),
    "REQUEST_PATH": (404, "Not found"),
    "REQUEST_METHOD": (405, "Method not allowed"),
    "REQUEST_TOO_LARGE": (413, "Request too large"),
    "REQUEST_TYPE": (415, "Content of another type"),
    "REQUEST_RANGE": (416, "No such part"),
    "REQUEST_CONTENT": (422, "Content not usable"),
    "LIMIT_REACHED": (429, "Too many requests"),
    "SERVER_FAILED": (500, "Server failure"),
}
"""Code -> HTTP status and title; a title is the same for every occurrence."""

_MEMBERS = ("difference_seconds", "server_time")
"""Values of an error that programs want too."""

_log = logging.getLogger(__name__)


def problem(error: ClmsError, status: int, title: str) -> dict[str, Any]:
    """The document for an error."""
    return {
        "type": TYPE_PREFIX + error.code.lower().replace("_", "-"),
        "title": title,
        "status": status,
        "detail": error.happened,
        "code": error.code,
        "remedy": error.remedy,
        **{name: error.values[name] for name in _MEMBERS if name in error.values},
    }


def answer(error: ClmsError, statuses: Mapping[str, tuple[int, str]]) -> Response:
    """The answer for an error; one whose code has no status there is a failure of the server."""
    status, title = {**STATUSES, **statuses}.get(error.code, STATUSES["SERVER_FAILED"])
    response = Response(json.dumps(problem(error, status, title)), status, content_type=MEDIA_TYPE)
    # a cache in front that remembers "not found" would hide a file that is published a moment later
    response.headers["Cache-Control"] = "no-store"
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if "seconds" in error.values:
        response.headers["Retry-After"] = str(error.values["seconds"])
    elif status == 503:
        response.headers["Retry-After"] = "60"
    return response


def install(app: Flask, statuses: Mapping[str, tuple[int, str]]) -> None:
    """Answer every error of ``app`` with a problem document.

    :param statuses: the app's own codes, as in :data:`STATUSES`
    """

    def on_known(error: ClmsError) -> Response:
        response = answer(error, statuses)
        if response.status_code >= 500:
            _log.error("%s", error, extra={"code": error.code})
        return response

    def on_http(error: HTTPException) -> Response:
        response = answer(of_http(error, request.method), statuses)
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
        return response

    def on_unknown(error: Exception) -> Response:
        number = secrets.token_hex(8)
        _log.error("request %s failed", number, exc_info=error, extra={"request": number})
        return answer(ClmsError("SERVER_FAILED", request=number), statuses)

    app.register_error_handler(ClmsError, on_known)
    app.register_error_handler(HTTPException, on_http)
    app.register_error_handler(Exception, on_unknown)


def of_http(error: HTTPException, method: str) -> ClmsError:
    """What Flask refuses by itself, in our words."""
    if isinstance(error, SecurityError):
        return ClmsError("REQUEST_HOST")
    if error.code == 405:
        return ClmsError("REQUEST_METHOD", method=method)
    if error.code == 404:
        return ClmsError("REQUEST_PATH")
    if error.code == 413:
        return ClmsError("REQUEST_TOO_LARGE")
    if error.code == 416:
        return ClmsError("REQUEST_RANGE")
    messages = (getattr(error, "data", None) or {}).get("messages") or {}
    detail = _first(messages) or error.name.lower()
    if error.code == 422 and "json" in messages:
        return ClmsError("REQUEST_CONTENT", detail=detail)
    return ClmsError("REQUEST_INVALID", detail=detail)


def _first(messages: Any, path: str = "") -> str:
    """The first complaint of a schema, with the place that it is about."""
    while isinstance(messages, dict) and messages:
        name = min(messages, key=str)
        messages = messages[name]
        if name not in ("json", "query", "_schema"):
            path = f"{path}.{name}" if path else str(name)
    text = messages[0] if isinstance(messages, list) and messages else messages
    return f"{path}: {text}".removeprefix(": ").rstrip(".")[:300] if text else ""
