# SPDX-License-Identifier: GPL-3.0-or-later
"""gunicorn's own settings, out of ours: ``gunicorn -c python:webui.school.gunicorn_conf``."""

from webui.common.gunicorn import options
from webui.school.config import from_environment

_settings = from_environment()

# one process: what it keeps for a moment, and who watches, is in its memory; who watches would watch for ever
globals().update(
    options(
        "webui.school.wsgi:app",
        _settings.listen,
        _settings.tls,
        workers=1,
        threads=_settings.threads,
        patience=3,
    )
)
