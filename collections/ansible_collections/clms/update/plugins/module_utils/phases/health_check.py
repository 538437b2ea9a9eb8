# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `health_check`: container health, database connectivity, and the smoke steps that only read."""

from __future__ import annotations

from typing import Any

from .. import smoke
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
        if _must_write(context):
            steps = _write_and_clean_up(context, place)
        else:
            steps, _ = run_smoke(context.engine, context.school, place, context.release, writes=False)
    except SmokeError as error:
        raise ClmsError("SMOKE_FAILED", detail=error) from None
    return {"healthy": healthy, "smoke": steps}


def _must_write(context: Context) -> bool:
    """Whether nothing has shown yet that the new version can write: on slot B, and if the release can undo it."""
    rehearsed = "rehearse" in context.run.row.phases
    return context.run.row.kind == "update" and not rehearsed and bool(context.release.smoke_clean_up)


def _write_and_clean_up(context: Context, place: Place) -> list[dict[str, Any]]:
    """Run all smoke steps on slot B, undo what they wrote, and see that no row more or less is left.

    :raises ClmsError: SMOKE_FAILED
    """
    with database_of(context, context.new) as database, context.step("smoke_writes"):
        before = database.row_counts()
        steps, saved = run_smoke(context.engine, context.school, place, context.release, writes=True)
        for statement in context.release.smoke_clean_up:
            # the same variables as in the steps; values of the answers go in as parameters, never as SQL
            text, values = smoke.statement(statement, saved)
            database.execute(text, *values)
        after = database.row_counts()
    differing = sorted(table for table in before.keys() | after.keys() if before.get(table) != after.get(table))
    if differing:
        raise ClmsError("SMOKE_FAILED", detail=f"the test left rows behind in {', '.join(differing)}")
    return steps
