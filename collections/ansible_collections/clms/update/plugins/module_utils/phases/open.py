# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `open`: the committed slot gets its way out, its restart policies and the users."""

from __future__ import annotations

import time
from typing import Any

from ..adapters.database import Database, database_of
from ..adapters.engine import Engine, engine_errors
from ..adapters.files import write_atomically
from ..adapters.gate import GateControl
from ..adapters.probe import wait_healthy
from ..adapters.slot_files import keep_serving
from ..containers import outside_network
from ..run import Context
from ..school import School
from ..slots import Slot
from .health_check import place_of
from .prepare import event_switch
from .salvage import end_others

_START_SECONDS = 300


def work(context: Context) -> dict[str, Any]:
    """Do the phase; returns whether CLMS has a place for its version and it was written."""
    slot = context.new
    recovering = context.run.row.kind == "recover"
    again = recovering or context.run.intended("gate_open")  # after a crash: users may have been in since then
    if recovering:
        end_others(context, slot)
    bring_up(context, slot)
    database = database_of(context, slot, wait_seconds=10)
    # what a rollback asked for later is compared with: the rows as they are before anybody is let in
    database.begin_snapshot()
    keep_serving(context.school.home, slot)
    with context.step("gate_open", slot=slot.name) as outcome, engine_errors("CONTAINER_FAILED"):
        allow_egress(context.engine, context.school, slot)
        GateControl(context.school, context.engine).open(slot)
        outcome["opened_at"] = time.time()
    with context.step("restart_policy"):
        restore_restart(context.engine, context.school, slot)
    try:
        rows = database.row_counts()
        database.end_snapshot()
        if context.run.row.kind != "update_images":  # there, the database never stopped
            with context.step("event_scheduler"):
                _restore_events(context, database)
        with context.step("version_row", version=slot.version):
            written = database.set_version_row(slot.version)
    finally:
        database.close()
    return {"version_row": written, "rows": {} if again else rows, "rows_at": None if again else outcome["opened_at"]}


def bring_up(context: Context, slot: Slot) -> None:
    """Start what does not run of a slot, and wait until it is healthy: after a power cut, nothing does.

    :raises ClmsError: CONTAINER_FAILED, HEALTH_FAILED or a DATABASE_ code
    """
    engine, school = context.engine, context.school
    stopped = [name for name, service in slot.services.items() if not engine.is_running(service.container)]
    if not stopped:
        return
    with context.step("bring_up", services=stopped), engine_errors("CONTAINER_FAILED"):
        engine.start(slot.services[school.database.service].container)
        database_of(context, slot, wait_seconds=_START_SECONDS).close()
        for service in school.application:
            engine.start(slot.services[service.name].container)
    for name, health in slot.parsed_release().health.items():
        wait_healthy(engine, place_of(slot), name, health)


def allow_egress(engine: Engine, school: School, slot: Slot) -> None:
    """Let the services of ``slot`` that may do so reach other hosts."""
    engine.ensure_network(outside_network(school), internal=False, labels={"clms.project": school.project})
    for service in school.services:
        if service.egress:
            engine.connect(slot.services[service.name].container, outside_network(school))


def restore_restart(engine: Engine, school: School, slot: Slot) -> None:
    """Give the containers of ``slot`` the restart policies of normal operation."""
    for service in school.services:
        engine.set_restart(slot.services[service.name].container, service.restart)


def _restore_events(context: Context, database: Database) -> None:
    setting = context.run.result("preflight").get("event_scheduler", "OFF")
    write_atomically(event_switch(context, context.new), f"[mysqld]\nevent_scheduler={setting}\n", mode=0o644)
    database.set_event_scheduler(setting)
