# SPDX-License-Identifier: GPL-3.0-or-later
"""The web application: who may come in, what answers look like, and where it writes down what it does."""

from __future__ import annotations

import json
import logging
import logging.handlers
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pymysql
from flask import Flask, Response, g, jsonify, request
from flask.json.provider import DefaultJSONProvider
from pymysql.constants import CR, ER
from werkzeug.exceptions import HTTPException

from . import auth, borrows, catalogue, health, settings, uploads
from .config import Config
from .database import OutcomeUnknown
from .security import read_token
from .tables import Invalid

log = logging.getLogger("clms")

_OPEN_PATHS = {"/health", "/api/health", "/api/version", "/api/auth/login"}
_UNREACHABLE = {CR.CR_CONNECTION_ERROR, CR.CR_CONN_HOST_ERROR, CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST,
                ER.SERVER_SHUTDOWN, ER.CON_COUNT_ERROR}  # fmt: skip
_BUSY = {ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT}


class _Json(DefaultJSONProvider):
    @staticmethod
    def default(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat(timespec="milliseconds") + "Z"
        return DefaultJSONProvider.default(value)


def _write_log_to(folder: Path) -> None:
    # "watched": a log that was moved away by logrotate, or by a restore, is opened anew
    handler = logging.handlers.WatchedFileHandler(folder / "app.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def _failure(status: int, text: str) -> tuple[Response, int]:
    return jsonify(success=False, error=text), status


def _let_in() -> tuple[Response, int] | None:
    g.started = time.monotonic()
    if request.path in _OPEN_PATHS:
        return None
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    claims = read_token(g.config.jwt_secret, token) if scheme == "Bearer" else None
    if claims is None:
        return _failure(401, "Please log in.")
    g.username = claims["username"]
    return None


def _note_down(response: Response) -> Response:
    seconds = time.monotonic() - g.started
    log.info("%s %s %s %.3fs", request.method, request.path, response.status_code, seconds)
    return response


def _on_database_error(error: pymysql.Error) -> tuple[Response, int]:
    code = error.args[0] if error.args else 0
    if code in _UNREACHABLE or isinstance(error, pymysql.InterfaceError):
        log.error("database: %s", error)
        return _failure(503, "The database cannot be reached.")
    if code in _BUSY:
        return _failure(503, "Somebody else is changing this; please try again.")
    if isinstance(error, pymysql.DataError):
        return _failure(400, "A value does not fit.")
    if isinstance(error, pymysql.IntegrityError):
        return _failure(409, "This exists already.")
    return _on_error(error)


def _on_outcome_unknown(error: OutcomeUnknown) -> tuple[Response, int]:
    log.error("connection lost during COMMIT: %s", error)
    return _failure(504, "It is not known whether this was saved; please look before you try again.")


def _on_error(error: Exception) -> tuple[Response, int]:
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return _failure(500, "Something went wrong on the server.")


def _on_http_error(error: HTTPException) -> tuple[Response, int]:
    return _failure(error.code or 500, error.description or error.name)


def create_app() -> Flask:
    """The application as gunicorn serves it.

    :raises ConfigError: when a required setting is missing
    """
    config = Config.from_environment()
    _write_log_to(config.logs)
    release = json.loads(Path("/app/release.json").read_text())
    log.info("CLMS %s starts", release["version"])

    app = Flask("clms", static_folder=None)
    app.config.update(CLMS=config, MAX_CONTENT_LENGTH=16 * 1024 * 1024)
    app.json = _Json(app)

    def take_config() -> None:
        g.config = config

    app.before_request(take_config)
    app.before_request(_let_in)
    app.after_request(_note_down)
    handlers: list[tuple[type[Exception], Callable[[Any], Any]]] = [
        (Invalid, lambda error: _failure(400, str(error))),
        (OutcomeUnknown, _on_outcome_unknown),
        (pymysql.Error, _on_database_error),
        (HTTPException, _on_http_error),
        (Exception, _on_error),
    ]
    for kind, handler in handlers:
        app.register_error_handler(kind, handler)
    for part in (auth, borrows, catalogue, health, settings, uploads):
        app.register_blueprint(part.blueprint)
    return app
