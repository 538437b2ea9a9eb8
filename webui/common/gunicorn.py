# SPDX-License-Identifier: GPL-3.0-or-later
"""What gunicorn gets from each of our servers."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from .logs import configuration
from .settings import Tls


def options(
    app: str, listen: str, tls: Tls | None, *, workers: int, threads: int, patience: int = 30
) -> dict[str, Any]:
    """The names and values of gunicorn's settings.

    :param patience: seconds for which requests are waited for at the end
    """
    found: dict[str, Any] = {
        "wsgi_app": app,
        "bind": listen,
        "worker_class": "gthread",
        "workers": workers,
        "threads": threads,
        "timeout": 60,
        "graceful_timeout": patience,
        "keepalive": 15,
        "limit_request_line": 2048,
        "limit_request_fields": 50,
        "accesslog": None,
        "logconfig_dict": configuration(),
        "ssl_context": _context,
    }
    if tls is not None:
        found |= {"certfile": str(tls.certificate), "keyfile": str(tls.key)}
    return found


def _context(_config: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """What gunicorn would take, without versions of TLS that are broken."""
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
