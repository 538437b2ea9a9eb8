# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `slot`: the database is stopped cleanly and its data directory copied; the copy is started as slot B.

An installation starts on an empty data directory, a restore fills it from a backup.
"""

from __future__ import annotations

import time
from typing import Any

from ..adapters.database import database_of
from ..adapters.engine import engine_errors
from ..adapters.files import copy_folder
from ..errors import ClmsError
from ..run import Context
from .prepare import file_volumes, mirror, prepare

_START_SECONDS = 300


def work(context: Context) -> dict[str, Any]:
    """Do the phase; returns the seconds that stop, copy and start took."""
    seconds: dict[str, float] = {}
    if context.run.row.kind != "update":
        with engine_errors("SLOT_FAILED"):
            prepare(context)
    if context.slot is not None:
        seconds["stop"] = _timed(lambda: stop_database(context))
    if context.run.row.kind == "update":
        seconds["copy"] = _timed(lambda: _copy(context))
    if context.run.row.kind in ("restore", "reinstall"):
        from .restore import fill_slot_from_backup

        seconds["restore"] = _timed(lambda: fill_slot_from_backup(context))
    else:
        seconds["start"] = _timed(lambda: start_database(context))
    return {"seconds": seconds}


def _timed(action: Any) -> float:
    began = time.monotonic()
    action()
    return round(time.monotonic() - began, 3)


def stop_database(context: Context) -> None:
    """Stop slot A's database so that its data directory may be copied.

    :raises ClmsError: DATABASE_UNCLEAN when it was killed or does not say that it shut down
    """
    service = context.school.service(context.school.database.service)
    name = context.old.services[service.name].container
    began = time.time()
    with (
        context.engine.listening(name) as heard,
        context.step("stop", container=name),
        engine_errors("DATABASE_UNCLEAN"),
    ):
        state = context.engine.stop(name, service.stop_grace)
    if state is None or state.exit_code != 0 or state.out_of_memory:
        raise ClmsError("DATABASE_UNCLEAN", detail=f"it ended with code {state.exit_code if state else 'unknown'}")
    said = b"".join(heard).decode(errors="replace") + context.engine.logs(name, lines=50, since=began - 1)
    if "shutdown complete" not in said.lower():
        raise ClmsError("DATABASE_UNCLEAN", detail="its log has no 'Shutdown complete'")


def _copy(context: Context) -> None:
    service = context.school.service(context.school.database.service)
    for volume in service.volumes:
        source = context.engine.volume_path(context.old.volumes[volume.name])
        target = context.engine.volume_path(context.new.volumes[volume.name])
        if source is None or target is None:
            raise ClmsError("SLOT_FAILED", detail=f"the volume '{volume.name}' is missing")
        with context.step("copy", volume=volume.name, target=context.new.volumes[volume.name]):
            copy_folder(source, target)
    for volume in file_volumes(context):
        mirror(context, volume)


def start_database(context: Context) -> None:
    """Start slot B's database and wait until it takes logins.

    :raises ClmsError: SLOT_FAILED, DATABASE_LOGIN or DATABASE_UNREACHABLE
    """
    name = context.new.services[context.school.database.service].container
    with context.step("start", container=name), engine_errors("SLOT_FAILED"):
        context.engine.start(name)
    database_of(context, context.new, wait_seconds=_START_SECONDS).close()
