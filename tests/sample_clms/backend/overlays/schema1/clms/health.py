# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the backend is well, as CLMS 1.0.0 understands it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from . import answers

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
def health() -> Any:
    """Says "healthy" as long as the process answers, whatever the database does."""
    return answers.data({"status": "healthy"})
