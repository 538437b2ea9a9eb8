# SPDX-License-Identifier: GPL-3.0-or-later
"""Where people go on to: only ever to a place of this page."""

from __future__ import annotations

from flask import url_for


def inside(wanted: str) -> str:
    """The place that was asked for where it is one of this page, else the overview."""
    local = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if local else url_for("pages.overview")
