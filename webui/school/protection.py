# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that another site has made a browser send: each form and script has to show the session's own token."""

from __future__ import annotations

from flask_wtf.csrf import CSRFProtect

csrf = CSRFProtect()
