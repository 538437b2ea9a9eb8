# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `container_replace`: the containers of the new version start, reachable by nobody outside the server."""

from __future__ import annotations

from typing import Any

from ..adapters.database import database_of
from ..adapters.engine import engine_errors
from ..run import Context
from .prepare import prepare
from .slot import stop_database


def work(context: Context) -> dict[str, Any]:
    """Do the phase; returns the names of the containers that were started."""
    engine, slot = context.engine, context.new
    if context.run.row.kind == "update_images":
        with engine_errors("CONTAINER_FAILED"):
            prepare(context)
    started = []
    if context.run.row.kind == "rollback":
        name = slot.services[context.school.database.service].container
        if name != context.old.services[context.school.database.service].container:
            stop_database(context)
        # the earlier slot's database lies as it was stopped
        with context.step("start", container=name), engine_errors("CONTAINER_FAILED"):
            engine.start(name)
        database_of(context, slot, wait_seconds=300).close()
        started.append(name)
    for service in context.school.application:
        name = slot.services[service.name].container
        with context.step("start", container=name), engine_errors("CONTAINER_FAILED"):
            engine.start(name)
        started.append(name)
    return {"containers": started}
