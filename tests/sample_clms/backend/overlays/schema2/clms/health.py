# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the backend is well, since CLMS 1.0.1."""

from __future__ import annotations

from typing import Any

import pymysql
from flask import Blueprint, g, jsonify

from . import answers
from .database import connect

blueprint = Blueprint("health", __name__)


@blueprint.get("/api/health")
def health() -> Any:
    """200 when the database answers, 503 when not; a database that is frozen is given up after five to ten seconds."""
    try:
        with connect(g.config.database, timeout=5) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except pymysql.Error:
        return jsonify(success=False, error="The database does not answer."), 503
    return answers.data({"status": "healthy", "database": "connected"})
