# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs of a server, see :mod:`.json_log`: one line for each request, without keys: no headers, no bodies, no query
strings.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from flask import Flask, Response, g, request

from ansible_collections.clms.update.plugins.module_utils.json_log import JsonFormatter

_access = logging.getLogger("webui.access")


def configuration() -> dict[str, Any]:
    """For ``logging.config.dictConfig`` and for gunicorn, which would otherwise write in its own format."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": f"{JsonFormatter.__module__}.{JsonFormatter.__name__}"}},
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
