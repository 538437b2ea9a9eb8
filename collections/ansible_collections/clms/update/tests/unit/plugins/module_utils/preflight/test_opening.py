# SPDX-License-Identifier: GPL-3.0-or-later
"""A run is opened, or refused with nothing touched; looking says the same and opens nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.phases import preflight
from ansible_collections.clms.update.plugins.module_utils.phases.preflight import Request
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

from .reasons import REASONS, Spoil

Begin = Callable[..., Context]
Make = Callable[..., dict[str, Any]]
UPDATE = Request("update")


def code(action: Callable[[], Any]) -> str:
    with pytest.raises(ClmsError) as caught:
        action()
    return caught.value.code


def test_a_run_is_opened(
    installed: Context, world: Any, handed: list[int], describe: Make, journal: Journal, school: School
) -> None:
    answer = preflight.begin(describe(), UPDATE)
    row = journal.open_run()
    assert row is not None
    assert answer == {
        "run": row.id,
        "kind": "update",
        "version": "1.0.1",
        "phases": list(KINDS["update"]),
        "arithmetic": ["on /docker: images 3 MB + reserve 537 MB = 540 MB needed, 100.0 GB free"],
    }
    assert (row.version, row.from_version, row.phases) == ("1.0.1", "1.0.0", KINDS["update"])
    assert journal.run(row.id).phase() == "release"
    candidate = journal.slot("candidate")
    assert candidate is not None
    assert journal.run(row.id).result("preflight")["slot"] == candidate.as_dict()
    assert candidate.run == row.id
    assert lock.is_held(school.home)
    assert journal.events(limit=1)[0]["message"] == "A run of kind update to version 1.0.1 has begun."


@pytest.mark.parametrize("location", [None, "local"])
def test_where_the_backup_is_to_go_is_kept_for_its_phase(
    installed: Context, world: Any, handed: list[int], describe: Make, journal: Journal, location: str | None
) -> None:
    run = preflight.begin(describe(), Request("update", backup_location=location))["run"]
    assert journal.run(run).result("preflight")["backup_location"] == location


def test_a_drive_for_the_backup_that_nobody_has_named(
    installed: Context, world: Any, handed: list[int], describe: Make, journal: Journal
) -> None:
    assert code(lambda: preflight.begin(describe(), Request("update", backup_location="external"))) == "BACKUP_LOCATION"
    assert journal.rows(limit=1)[0].outcome == "REFUSED"


def test_the_same_version_again_is_no_failure(
    installed: Context, world: Any, handed: list[int], describe: Make, make_school_release: Make, journal: Journal
) -> None:
    world.release = make_school_release("1.0.0", 1)
    rows = journal.rows()
    answer = preflight.begin(describe(), UPDATE)
    assert answer == {"run": 0, "kind": "update", "version": "1.0.0", "phases": [], "arithmetic": []}
    assert journal.rows() == rows
    assert not lock.is_held(journal.path.parent)
    assert preflight.look(describe(), UPDATE) == {name: value for name, value in answer.items() if name != "run"}


@pytest.mark.parametrize(("spoil", "expected", "detail"), REASONS[:10])
def test_a_refusal_is_recorded_and_leaves_no_run_open(
    installed: Context,
    world: Any,
    engine: Any,
    handed: list[int],
    describe: Make,
    journal: Journal,
    spoil: Spoil,
    expected: str,
    detail: str,
) -> None:
    spoil(world, engine)
    engine.calls.clear()
    assert code(lambda: preflight.begin(describe(), UPDATE)) == expected
    row = journal.rows(limit=1)[0]
    assert row.outcome == "REFUSED"
    assert row.error is not None
    assert (row.error["code"], row.error["phase"]) == (expected, "preflight")
    assert detail in row.error["message"]
    assert not lock.is_held(journal.path.parent)
    assert engine.calls == []
    assert journal.slots("candidate") == []
    assert journal.events(limit=1)[0]["type"] == "UPDATE_FAILED"


def test_what_nobody_expected_is_recorded_too(
    installed: Context, world: Any, handed: list[int], describe: Make, journal: Journal, monkeypatch: Any
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(preflight, "check_serving", fail)
    assert code(lambda: preflight.begin(describe(), UPDATE)) == "INTERNAL"
    assert journal.rows(limit=1)[0].outcome == "REFUSED"
    assert not lock.is_held(journal.path.parent)


def test_while_a_run_goes_on_there_is_no_other(
    begin: Begin, world: Any, handed: list[int], describe: Make, journal: Journal
) -> None:
    context = begin("update_images", phase="backup")
    descriptor = lock.acquire(journal.path.parent)
    assert descriptor is not None
    with pytest.raises(ClmsError) as caught:
        preflight.begin(describe(), UPDATE)
    os.close(descriptor)
    assert caught.value.code == "RUN_ACTIVE"
    assert caught.value.values == {"kind": "update", "run": context.run.id, "phase": "backup"}
    assert [row.id for row in journal.rows(limit=1)] == [context.run.id]
    assert journal.open_run() is not None


def test_while_a_run_is_about_to_begin_there_is_no_other(
    installed: Context, handed: list[int], describe: Make, journal: Journal
) -> None:
    descriptor = lock.acquire(journal.path.parent)
    assert descriptor is not None
    assert code(lambda: preflight.begin(describe(), UPDATE)) == "RUN_ACTIVE"
    os.close(descriptor)


def test_after_an_interruption_the_school_is_put_in_order_first(
    begin: Begin, world: Any, handed: list[int], describe: Make, journal: Journal
) -> None:
    context = begin("update_images", phase="backup")
    with pytest.raises(ClmsError) as caught:
        preflight.begin(describe(), UPDATE)
    assert caught.value.code == "RUN_INTERRUPTED"
    assert caught.value.values == {"kind": "update", "run": context.run.id, "phase": "backup"}
    assert journal.row(context.run.id).outcome is None
    assert not lock.is_held(journal.path.parent)


def test_a_server_without_installation(describe: Make, tmp_path: Path) -> None:
    assert code(lambda: preflight.begin(describe(), UPDATE)) == "NOT_INSTALLED"
    assert not (tmp_path / "home").exists()


def test_an_incomplete_description_opens_nothing(installed: Context, describe: Make, journal: Journal) -> None:
    rows = journal.rows()
    assert code(lambda: preflight.begin(describe(title=""), UPDATE)) == "SCHOOL_INCOMPLETE"
    assert journal.rows() == rows


def test_earlier_slots_make_room(
    installed: Context, world: Any, engine: Any, handed: list[int], describe: Make, journal: Journal, new: Slot
) -> None:
    journal.set_slot(new, "kept")  # of an update whose migration failed
    engine.set_up(new, "linden", running=False)
    assert preflight.begin(describe(), UPDATE)["run"] > 0
    assert "linden-mysql-data-r2" not in engine.volumes
    assert [slot.name for slot in journal.slots("freed")] == ["r2"]
    assert "linden-mysql-r1" in engine.running()


@pytest.mark.parametrize(
    ("kind", "kept"),
    [pytest.param("backup", True, id="a backup keeps the earlier slot"), pytest.param("update", False, id="update")],
)
def test_the_slot_of_the_version_before(
    begin: Begin,
    world: Any,
    engine: Any,
    handed: list[int],
    describe: Make,
    make_school_release: Make,
    kind: str,
    kept: bool,
) -> None:
    context = begin("rollback")  # 1.0.1 serves, 1.0.0 is there
    context.run.close("ABORTED")
    world.release = make_school_release("1.0.2", 3)
    preflight.begin(describe(), Request(kind))
    assert (context.journal.slot("previous") is not None) is kept
    assert ("linden-mysql-data-r1" in engine.volumes) is kept
    assert "linden-logs-r1" in engine.volumes  # the serving slot uses it


def test_looking_says_the_same_and_opens_nothing(
    installed: Context, world: Any, engine: Any, handed: list[int], describe: Make, journal: Journal
) -> None:
    rows, events = journal.rows(), journal.events()
    engine.calls.clear()
    seen = preflight.look(describe(), UPDATE)
    assert engine.calls == []
    assert (journal.rows(), journal.events()) == (rows, events)
    assert not lock.is_held(journal.path.parent)
    begun = preflight.begin(describe(), UPDATE)
    assert seen == {name: value for name, value in begun.items() if name != "run"}


@pytest.mark.parametrize(
    ("held", "expected"), [(True, "RUN_ACTIVE"), (False, "RUN_INTERRUPTED")], ids=["going on", "interrupted"]
)
def test_looking_where_a_run_is_open(
    begin: Begin, world: Any, describe: Make, school: School, held: bool, expected: str
) -> None:
    context = begin("update_images", phase="backup")
    descriptor = lock.acquire(school.home) if held else None
    try:
        with pytest.raises(ClmsError) as caught:
            preflight.look(describe(), UPDATE)
    finally:
        if descriptor is not None:
            os.close(descriptor)
    assert caught.value.code == expected
    assert caught.value.values == {"kind": "update", "run": context.run.id, "phase": "backup"}


# before the first installation


def test_looking_before_there_is_a_journal(world: Any, engine: Any, describe: Make, tmp_path: Path) -> None:
    seen = preflight.look(describe(), Request("install"))
    assert seen == {
        "kind": "install",
        "version": "1.0.1",
        "phases": list(KINDS["install"]),
        "arithmetic": ["on /docker: images 3 MB + reserve 537 MB = 540 MB needed, 100.0 GB free"],
    }
    assert not (tmp_path / "home").exists()
    assert engine.calls == []


def test_an_installation_is_refused_for_the_same_reasons_when_it_is_looked_at(
    world: Any, describe: Make, tmp_path: Path
) -> None:
    world.free["docker"] = 100
    assert code(lambda: preflight.look(describe(), Request("install"))) == "DISK_TOO_SMALL"
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("kind", ["update", "rollback", "backup"])
def test_only_an_installation_needs_no_journal(world: Any, describe: Make, kind: str) -> None:
    assert code(lambda: preflight.look(describe(), Request(kind))) == "NOT_INSTALLED"


def test_looking_at_an_installation_where_there_is_one(installed: Context, describe: Make) -> None:
    answer = preflight.look(describe(), Request("install"))
    assert answer == {"kind": "install", "version": "1.0.0", "phases": [], "arithmetic": []}
