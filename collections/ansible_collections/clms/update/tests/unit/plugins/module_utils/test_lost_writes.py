# SPDX-License-Identifier: GPL-3.0-or-later
"""What going back would lose, counted since users were let in to the version that serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.backup_manifest import Manifest
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.phases import loss
from ansible_collections.clms.update.plugins.module_utils.phases import open as open_phase
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

Begin = Callable[..., Context]
BEFORE = {"books": 10, "students": 5, "SystemSettings": 3}
MADE = datetime(2026, 11, 24, 10, 11, 12, tzinfo=UTC).timestamp()
"""when the backup was made"""


@dataclass
class Database:
    """A database with so many rows, which has been written to."""

    rows: dict[str, int] = field(default_factory=lambda: dict(BEFORE))
    touched: dict[str, float] = field(default_factory=dict)
    """table -> when"""
    snapshot: dict[str, int] | None = None

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None: ...

    def begin_snapshot(self) -> None:
        self.snapshot = dict(self.rows)

    def end_snapshot(self) -> None:
        self.snapshot = None

    def row_counts(self) -> dict[str, int]:
        return dict(self.rows if self.snapshot is None else self.snapshot)

    def touched_since(self, at: float) -> list[str]:
        return [table for table, moment in self.touched.items() if moment > at]

    def set_version_row(self, version: str) -> bool:
        return True

    def set_event_scheduler(self, setting: str) -> None: ...


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    found = Database()
    for module in (loss, open_phase):
        monkeypatch.setattr(module, "database_of", lambda *_, **__: found)
    monkeypatch.setattr(loss, "_rows_of_backup", lambda context, run: {"books": 1})
    return found


def opened(context: Context, run: int, **result: Any) -> None:
    """The run has opened its slot at 100 seconds after 1970."""
    context.journal.run(run).record("open", "gate_open", "done", opened_at=100.0)
    context.journal.run(run).record("open", "", "leave", **result)


@pytest.mark.parametrize(
    ("rows", "touched", "lost"),
    [
        pytest.param({}, {}, {}, id="nothing"),
        pytest.param({"books": 12}, {"books": 150}, {"books": 2}, id="two more"),
        pytest.param({"books": 7}, {"books": 150}, {"books": 3}, id="three fewer"),
        pytest.param({"loans": 4}, {"loans": 150}, {"loans": 4}, id="a new table"),
        pytest.param({}, {"students": 150}, {"students": 1}, id="only changed"),
        pytest.param({"books": 11}, {}, {"books": 1}, id="the server has been restarted since"),
        pytest.param({}, {"students": 99}, {}, id="changed before the opening"),
        pytest.param({}, {"SystemSettings": 150}, {}, id="the version row is written by us"),
        pytest.param({"_prisma_migrations": 1}, {"_prisma_migrations": 150}, {}, id="no user writes into it"),
        pytest.param({"SystemSettings": 4}, {"SystemSettings": 150}, {"SystemSettings": 1}, id="a setting is not"),
        pytest.param({"students": 9, "books": 11}, {}, {"books": 1, "students": 4}, id="several, by name"),
    ],
)
def test_counted(
    begin: Begin, database: Database, rows: dict[str, int], touched: dict[str, float], lost: dict[str, int], old: Slot
) -> None:
    context = begin("rollback")
    opened(context, 2, rows=BEFORE, rows_at=100.0)
    database.rows.update(rows)
    database.touched = touched
    assert loss.lost_writes(context, old) == lost
    assert list(loss.lost_writes(context, old)) == sorted(lost)


def test_a_table_that_is_gone(begin: Begin, database: Database, old: Slot) -> None:
    context = begin("rollback")
    opened(context, 2, rows=BEFORE, rows_at=100.0)
    del database.rows["books"]
    assert loss.lost_writes(context, old) == {"books": 10}


def test_two_versions_with_the_same_database(begin: Begin, new_images: Slot) -> None:
    context = begin("update_images")
    assert loss.lost_writes(context, new_images) == {}  # and nobody is asked


def test_where_nothing_was_recorded_the_backup_is_compared(begin: Begin, database: Database, old: Slot) -> None:
    context = begin("rollback")
    opened(context, 2)
    database.touched = {"students": 101.0, "SystemSettings": 101.0}
    assert loss.lost_writes(context, old) == {"SystemSettings": 3, "books": 9, "students": 5}


def test_after_going_back_the_writes_since_then_count(begin: Begin, database: Database, old: Slot, new: Slot) -> None:
    context = begin("rollback")
    opened(context, 1, rows={"books": 0}, rows_at=50.0)
    opened(context, 2, rows=BEFORE, rows_at=100.0)
    context.run.commit(old)
    opened(context, context.run.id, rows=BEFORE, rows_at=200.0)
    context.run.close("COMPLETED")
    again = context.journal.begin("rollback", phases=KINDS["rollback"], school=context.run.row.school)
    database.rows["books"] = 11
    database.touched = {"books": 250.0, "students": 150.0}
    later = Context(context.journal, again, "preflight")
    assert later.old == old
    assert loss.lost_writes(later, new) == {"books": 1}


# a restore


@pytest.mark.parametrize(
    ("rows", "touched", "lost"),
    [
        pytest.param({}, {}, {}, id="nothing"),
        pytest.param({"books": 12}, {}, {"books": 2}, id="two more"),
        pytest.param({"books": 7}, {}, {"books": 3}, id="three fewer"),
        pytest.param({"loans": 4}, {}, {"loans": 4}, id="a new table"),
        pytest.param({}, {"students": MADE + 1}, {"students": 1}, id="only changed"),
        pytest.param({}, {"students": MADE - 1}, {}, id="changed before the backup"),
        pytest.param({}, {"SystemSettings": MADE + 1}, {}, id="the version row is written by us"),
        pytest.param({"books": 12}, {"books": MADE + 1}, {"books": 2}, id="more and changed"),
    ],
)
def test_written_since_a_backup(
    begin: Begin,
    database: Database,
    manifest: Manifest,
    rows: dict[str, int],
    touched: dict[str, float],
    lost: dict[str, int],
) -> None:
    database.rows.update(rows)
    database.touched = touched
    facts = replace(manifest.database, tables=BEFORE)
    assert loss.written_since(begin("restore"), replace(manifest, database=facts)) == lost


# what `open` records for it


@pytest.fixture
def gate(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """A gate that opens; users write a book at once. Holds what it raises first."""
    problems: list[Exception] = []

    class Gate:
        def __init__(self, *_: Any) -> None: ...

        def open(self, slot: Slot) -> None:
            database.rows["books"] += 1
            if problems:
                raise problems.pop()

    monkeypatch.setattr(open_phase, "GateControl", Gate)
    return problems


def test_the_rows_are_those_before_users_are_let_in(begin: Begin, database: Database, gate: Any, new: Slot) -> None:
    context = begin(phase="open")
    context.engine.set_up(new, "linden")  # type: ignore[attr-defined]
    context.run.commit(new)
    result = open_phase.work(context)
    assert result["rows"] == BEFORE
    record = next(r for r in context.journal.records(context.run.id) if "opened_at" in r.names)
    assert result["rows_at"] == record.names["opened_at"]
    assert database.snapshot is None


def test_after_a_crash_in_open_nobody_knows_the_rows_before(
    begin: Begin, database: Database, gate: list[Exception], new: Slot, old: Slot
) -> None:
    context = begin(phase="open")
    context.engine.set_up(new, "linden")  # type: ignore[attr-defined]
    context.run.commit(new)
    gate.append(ClmsError("GATE_UNREACHABLE", detail="x", container="y"))
    with pytest.raises(ClmsError):
        open_phase.work(context)
    result = open_phase.work(context)  # by `recover`, maybe days later
    context.run.leave("open", **result)
    assert loss.lost_writes(Context(context.journal, context.run, "x"), old)["books"] >= 2


# asked for by the page, before anybody has decided


@pytest.mark.parametrize("shared", [True, False])
def test_what_a_rollback_would_lose(begin: Begin, database: Database, old: Slot, new: Slot, shared: bool) -> None:
    context = begin("backup")
    context.run.close("COMPLETED")
    before = replace(old, volumes=new.volumes) if shared else old
    context.journal.set_slot(new, "current")
    context.journal.set_slot(before, "previous")
    opened(context, new.run, rows=BEFORE, rows_at=100.0)
    database.rows["books"] = 12
    rows = context.journal.rows()
    answer = loss.would_lose(context.run.row.school, None)
    assert answer == {"version": old.version, "loses": not shared, "tables": {"books": 2}}
    assert context.journal.rows() == rows, "looking has opened a run"


def test_nothing_to_roll_back_to(begin: Begin) -> None:
    context = begin("backup")
    with pytest.raises(ClmsError) as caught:
        loss.would_lose(context.run.row.school, None)
    assert caught.value.code == "ROLLBACK_UNAVAILABLE"
    with pytest.raises(ClmsError) as caught:
        loss.would_lose(context.run.row.school, "20260101T000000Z-1.0.0-r9")
    assert caught.value.code == "BACKUP_UNKNOWN"
