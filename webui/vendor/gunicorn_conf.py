# SPDX-License-Identifier: GPL-3.0-or-later
"""gunicorn's own settings, out of ours: ``gunicorn -c python:webui.vendor.gunicorn_conf``."""

from webui.common.gunicorn import options
from webui.vendor.config import from_environment

_settings = from_environment()

globals().update(
    options(
        "webui.vendor.wsgi:app",
        _settings.listen,
        _settings.tls,
        workers=_settings.workers,
        threads=_settings.threads,
    )
)
