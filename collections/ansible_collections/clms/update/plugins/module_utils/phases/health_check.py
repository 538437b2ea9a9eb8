# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `health_check`: container health, database connectivity, and the smoke steps that only read."""

from __future__ import annotations

from typing import Any

from ..adapters.database import database_of
from ..adapters.probe import Place, run_smoke, wait_healthy
from ..errors import ClmsError
from ..run import Context
from ..slots import Slot
from ..smoke import SmokeError


def place_of(slot: Slot) -> Place:
    """Where the services of a slot can be reached."""
    return Place(slot.network, {name: service.container for name, service in slot.services.items()})


def work(context: Context) -> dict[str, Any]:
    """Do the phase; returns the seconds each service and each step took."""
    place = place_of(context.new)
    database_of(context, context.new, wait_seconds=10).close()
    healthy = {
        name: round(wait_healthy(context.engine, place, name, health), 3)
        for name, health in context.release.health.items()
    }
    if context.run.row.kind == "install":
        return {"healthy": healthy, "smoke": []}  # there is no smoke user before the first installation
    try:
        steps = run_smoke(context.engine, context.school, place, context.release, writes=False)
    except SmokeError as error:
        raise ClmsError("SMOKE_FAILED", detail=error) from None
    return {"healthy": healthy, "smoke": steps}
