# SPDX-License-Identifier: GPL-3.0-or-later
"""``/healthz``: for what watches over this server."""

from __future__ import annotations

from flask_smorest import Blueprint
from sqlalchemy import text

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .documented import problems
from .schemas import HealthAnswer
from .services import services

blueprint = Blueprint("health", __name__, description="Whether this server works")


@blueprint.route("/healthz")
@blueprint.response(200, HealthAnswer)
@problems(blueprint, 503)
def healthz() -> dict[str, str]:
    """Whether this server works. Releases that cannot be used are named; the files are still served then."""
    with services().database.transaction() as session:
        session.execute(text("SELECT 1"))
    try:
        services().catalogue.check()
    except ClmsError as error:
        return {"status": "ok", "releases": error.code}
    return {"status": "ok", "releases": "ok"}
