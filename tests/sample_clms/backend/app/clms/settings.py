# SPDX-License-Identifier: GPL-3.0-or-later
"""The school's settings, and the version that the product believes to be."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, g

from . import answers
from .database import transaction

blueprint = Blueprint("settings", __name__)


@blueprint.get("/api/settings")
def settings() -> Any:
    """All settings by key."""
    with transaction(g.config.database) as cursor:
        cursor.execute("SELECT `key`, `value` FROM SystemSettings ORDER BY `key`")
        return answers.data({row["key"]: row["value"] for row in cursor.fetchall()})


@blueprint.get("/api/version")
def version() -> Any:
    """The version that nobody remembers to raise: the same in several releases, as in the real product."""
    return answers.data({"version": "1.0.0"})
