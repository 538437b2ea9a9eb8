# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs as one JSON object a line on standard error, without keys: no headers, no bodies, no query strings."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from flask import Flask, Response, g, request

_FIELDS = ("code", "request", "method", "path", "status", "milliseconds", "address", "school", "key")

_access = logging.getLogger("webui.access")


class JsonFormatter(logging.Formatter):
    """One line of JSON for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, with the extra fields that are ours."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        line = {"time": moment, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        line |= {name: vars(record)[name] for name in _FIELDS if name in vars(record)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configuration() -> dict[str, Any]:
    """For ``logging.config.dictConfig`` and for gunicorn, which would otherwise write in its own format."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "webui.common.logs.JsonFormatter"}},
        "handlers": {"error": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"level": "INFO", "handlers": ["error"]},
        "loggers": {
            "gunicorn.error": {"level": "INFO", "handlers": ["error"], "propagate": False},
            "alembic": {"level": "WARNING"},
        },
    }


def install(app: Flask) -> None:
    """Log one line for each request; who asked is told by ``g.school`` and ``g.key``, where they are set."""

    def begin() -> None:
        g.began = time.monotonic()

    def end(response: Response) -> Response:
        fields = {
            "method": request.method,
            "path": request.path,
            "status": response.status_code,
            "milliseconds": round((time.monotonic() - g.get("began", time.monotonic())) * 1000),
            "address": request.remote_addr,
            **{name: g.get(name) for name in ("school", "key") if name in g},
        }
        _access.info("request", extra=fields)
        return response

    app.before_request(begin)
    app.after_request(end)
