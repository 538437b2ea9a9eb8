# SPDX-License-Identifier: GPL-3.0-or-later
"""The application for gunicorn; its settings file is named by the environment variable CLMS_UPDATE_PAGE_CONFIG."""

from .app import create_app
from .config import from_environment

app = create_app(from_environment())
