# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `container_replace`: the containers of the new version start, reachable by nobody outside the server."""

from __future__ import annotations

from typing import Any

from ..adapters.database import database_of
from ..adapters.engine import engine_errors
from ..containers import outside_network
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
        with engine_errors("CONTAINER_FAILED"):
            _make_ready(context)
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


def _make_ready(context: Context) -> None:
    """Bring the earlier slot, which was open once, to the state of one that is not open yet.

    Its caches are empty, its events are off, and nobody outside can be reached before the commit.
    """
    engine, school, slot = context.engine, context.school, context.new
    own = slot.own_containers(context.slot)
    with context.step("make_ready", slot=slot.name):
        for service in school.services:
            container = slot.services[service.name].container
            if container not in own:
                continue
            emptied = [volume.name for volume in service.volumes if volume.on_update == "empty"]
            if service.role == "cache" or emptied:
                engine.remove(container)
                for volume in emptied:
                    engine.remove_volume(slot.volumes[volume])
            elif service.egress:
                engine.disconnect(container, outside_network(school))
    prepare(context)
