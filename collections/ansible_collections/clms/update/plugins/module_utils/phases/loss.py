# SPDX-License-Identifier: GPL-3.0-or-later
"""What users have written and would lose by going back. No phase of its own."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from typing import Any

from ..adapters.backup_store import find_backup
from ..adapters.database import database_of
from ..backup_manifest import Manifest
from ..errors import ClmsError
from ..journal import Journal
from ..run import Context, looking
from ..school import School, parse_school
from ..slots import Slot

_MIGRATIONS = "_prisma_migrations"
"""which migrations were done; no user writes into it"""


def would_lose(description: dict[str, Any], backup: str | None) -> dict[str, Any]:
    """What going back would lose right now.

    :param description: the school's variables, without their prefix
    :param backup: the name of the backup to restore; None is a rollback
    :returns: ``version`` to which it leads, ``loses``: whether data are given up at all, and ``tables``: see
        :func:`lost_writes`
    :raises ClmsError: ROLLBACK_UNAVAILABLE, BACKUP_UNKNOWN, NOT_INSTALLED, DATABASE_LOGIN or DATABASE_UNREACHABLE
    """
    school = parse_school(description)
    with closing(Journal(school.home)) as journal:
        context = looking(journal, description, "restore" if backup else "rollback")
        if backup is not None:
            manifest = find_backup(school, backup)[1]
            return {"version": manifest.slot.version, "loses": True, "tables": written_since(context, manifest)}
        slot = slot_before(context)
        loses = not shares_data(school, slot, context.old)
        return {"version": slot.version, "loses": loses, "tables": lost_writes(context, slot)}


def slot_before(context: Context) -> Slot:
    """The slot to which a rollback goes back.

    :raises ClmsError: ROLLBACK_UNAVAILABLE
    """
    slot = context.journal.slot("previous")
    if slot is None:
        raise ClmsError("ROLLBACK_UNAVAILABLE", detail="no earlier slot is kept on this server")
    return slot


def shares_data(school: School, one: Slot, other: Slot) -> bool:
    """Whether two slots have the same data; a cache, which is empty in each new slot, does not count."""
    names = [volume.name for service in school.services for volume in service.volumes if volume.on_update == "copy"]
    return all(one.volumes.get(name) == other.volumes.get(name) for name in names)


def lost_writes(context: Context, slot: Slot) -> dict[str, int]:
    """What users have written since the current version was opened, and would lose by going back to ``slot``.

    Table -> rows that came or went since then; 1 for a table in which rows were only changed, as far as the database
    server remembers that (it forgets when it restarts). Where nothing was recorded at the opening, the rows of the
    backup that was made just before are compared instead, so that the number is too high rather than too low.

    :raises ClmsError: DATABASE_LOGIN or DATABASE_UNREACHABLE
    """
    current = context.old
    database = context.school.database.service
    if slot.services[database].container == current.services[database].container:
        return {}  # both versions use the same data: nothing is lost
    run = context.journal.opening_run(current)
    opened = context.journal.run(run).result("open")
    before: dict[str, int] = opened.get("rows") or _rows_of_backup(context, run)
    at = float(opened.get("rows_at") or _opened_at(context, run))
    return _changed(context, before, at)


def written_since(context: Context, manifest: Manifest) -> dict[str, int]:
    """What users have written since a backup was made, and would lose by its restore; as :func:`lost_writes`."""
    made = datetime.fromisoformat(manifest.created).timestamp()
    return _changed(context, manifest.database.tables, made)


def _changed(context: Context, before: dict[str, int], at: float) -> dict[str, int]:
    """Table -> rows that the serving slot has more or fewer than ``before``; 1 for one touched since ``at``."""
    with database_of(context, context.old) as now:
        rows = now.row_counts()
        touched = now.touched_since(at)
    lost = {table: abs(rows.get(table, 0) - before.get(table, 0)) for table in rows.keys() | before.keys()}
    for table in touched:
        # the version that CLMS shows is written by us, after the opening
        if table != "SystemSettings":
            lost[table] = max(lost.get(table, 0), 1)
    lost.pop(_MIGRATIONS, None)
    return {table: count for table, count in sorted(lost.items()) if count}


def _rows_of_backup(context: Context, run: int) -> dict[str, int]:
    name = context.journal.run(run).result("backup").get("backup")
    try:
        return find_backup(context.school, str(name))[1].database.tables
    except ClmsError:
        return {}  # then every row counts as written since


def _opened_at(context: Context, run: int) -> float:
    """When a run let users in, in seconds since 1970."""
    for record in context.journal.records(run):
        if "opened_at" in record.names:
            return float(record.names["opened_at"])
    return context.journal.row(run).opened_at
