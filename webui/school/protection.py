# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that another site has made a browser send: each form and script has to show the session's own token."""

from __future__ import annotations

from flask import request
from flask_login import current_user
from flask_wtf.csrf import CSRFProtect

from . import tokens


class _Protect(CSRFProtect):  # type: ignore[misc]
    """Asks for nothing where no session can count: programs learn that they are not signed in instead."""

    def protect(self, apply_exemptions: bool = False) -> None:
        """:raises CSRFError: without the token of the session"""
        api = request.path.startswith("/api/")
        if api and (tokens.sent() is not None or not current_user.is_authenticated):
            return
        super().protect(apply_exemptions)


csrf = _Protect()
