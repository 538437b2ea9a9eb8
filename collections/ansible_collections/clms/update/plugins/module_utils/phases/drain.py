# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `drain`: CLMS is closed, requests in flight end, the old application stops cleanly.

With a slot, the maintenance page stays up until `open`. Without one (images only) requests wait at the gate: by
then the new version runs and has been tested, so the wait is short.
"""

from __future__ import annotations

import time
from typing import Any

from ..adapters.engine import engine_errors
from ..adapters.gate import GateControl
from ..run import Context
from .prepare import file_volumes, mirror, prepare


def work(context: Context) -> dict[str, Any]:
    """Do the phase; returns whether all requests had ended in time."""
    holds = context.run.row.kind == "update_images"
    if context.run.row.kind == "update":
        with engine_errors("DRAIN_FAILED"):
            prepare(context)
        for volume in file_volumes(context):
            mirror(context, volume)
    gate = GateControl(context.school, context.engine)
    with context.step("gate_close", mode="held" if holds else "closed") as outcome:
        if holds:
            gate.hold()
        else:
            gate.close()
        outcome["closed_at"] = time.time()
    drained = gate.wait_drained(context.school.gate.drain_seconds)
    if not holds:
        gate.cut_connections()
    stop_application(context)
    return {"drained": drained}


def stop_application(context: Context) -> None:
    """Stop slot A's application, the service that users reach first."""
    engine, slot = context.engine, context.old
    goes_on = {service.container for service in context.new.services.values()}
    with context.step("restart_policy", policy="no"), engine_errors("DRAIN_FAILED"):
        for service in context.school.services:
            if slot.services[service.name].container not in goes_on:
                engine.set_restart(slot.services[service.name].container, "no")
    for service in reversed(context.school.application):
        name = slot.services[service.name].container
        if name in goes_on:
            continue
        with context.step("stop", container=name) as outcome, engine_errors("DRAIN_FAILED"):
            state = engine.stop(name, service.stop_grace)
            outcome["exit_code"] = state.exit_code if state else None
