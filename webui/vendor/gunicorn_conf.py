# SPDX-License-Identifier: GPL-3.0-or-later
"""gunicorn's own settings, out of ours: ``gunicorn -c python:webui.vendor.gunicorn_conf``."""

import ssl
from collections.abc import Callable
from typing import Any

from webui.common.logs import configuration
from webui.vendor.config import from_environment

_settings = from_environment()

wsgi_app = "webui.vendor.wsgi:app"
bind = _settings.listen
worker_class = "gthread"
workers = _settings.workers
threads = _settings.threads
timeout = 60
graceful_timeout = 30
keepalive = 15
limit_request_line = 2048
limit_request_fields = 50
accesslog = None
logconfig_dict = configuration()

if _settings.tls is not None:
    certfile = str(_settings.tls.certificate)
    keyfile = str(_settings.tls.key)


def ssl_context(_config: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """What gunicorn would take, without versions of TLS that are broken."""
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
