# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollback and restore: what there has to be, what would be lost, and what a person has to type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.phases import preflight
from ansible_collections.clms.update.plugins.module_utils.phases import restore as going_back
from ansible_collections.clms.update.plugins.module_utils.phases.preflight import Request
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

Begin = Callable[..., Context]
NOT_CONFIRMED = [None, "", "yes", "1.0.1", "1.0.0 "]


def refused(context: Context, request: Request) -> ClmsError:
    with pytest.raises(ClmsError) as caught:
        preflight.examine(context, request)
    return caught.value


def test_there_is_nothing_to_go_back_to(begin: Begin, world: Any) -> None:
    assert refused(begin("update"), Request("rollback")).code == "ROLLBACK_UNAVAILABLE"


@pytest.mark.parametrize("typed", NOT_CONFIRMED)
def test_going_back_that_loses_writes_is_confirmed_by_typing_the_version(
    begin: Begin, world: Any, typed: str | None
) -> None:
    world.lost = {"borrows": 5}
    context = begin("rollback")
    error = refused(context, Request("rollback", confirm=typed))
    assert error.code == "CONFIRMATION_MISSING"
    assert error.values == {
        "writes": "at least 5 writes (5 in borrows)",
        "since": "version 1.0.1 was opened to users",
        "word": "1.0.0",
    }
    findings = preflight.examine(context, Request("rollback", confirm="1.0.0"))
    assert (findings.slot, findings.lost) == (context.journal.slot("previous"), {"borrows": 5})


def test_going_back_to_other_data_is_confirmed_even_where_no_write_was_counted(begin: Begin, world: Any) -> None:
    assert refused(begin("rollback"), Request("rollback")).code == "CONFIRMATION_MISSING"


def test_going_back_to_the_same_data_needs_no_confirmation(
    begin: Begin, world: Any, engine: Any, school: School, old: Slot, new_images: Slot
) -> None:
    context = begin("update_images")
    context.run.commit(new_images)
    engine.set_up(new_images, school.project)
    # the cache of the old slot is another one, and lost all the same
    assert new_images.own_volumes(old) == ["linden-redis-data-r2"]
    later = Context(context.journal, context.run, "preflight")
    later.engine = engine
    assert preflight.examine(later, Request("rollback")).slot == old


# a backup


def restore(world: Any, confirm: str | None = "1.0.0") -> Request:
    return Request("restore", backup=world.backup.id, confirm=confirm)


def test_what_a_restore_is_given(begin: Begin, world: Any, old: Slot) -> None:
    world.lost = {"books": 2}
    context = begin("restore")
    findings = preflight.examine(context, restore(world))
    assert (findings.kind, findings.lost, findings.backup) == ("restore", {"books": 2}, world.backup.id)
    assert findings.slot is not None
    assert (findings.slot.name, findings.slot.version) == (f"r{context.run.id}", "1.0.0")
    assert findings.slot.own_containers(old) == findings.slot.own_containers(None)


@pytest.mark.parametrize("typed", NOT_CONFIRMED)
def test_a_restore_is_confirmed_by_typing_the_version_of_the_backup(
    begin: Begin, world: Any, typed: str | None
) -> None:
    world.lost = {"borrows": 5, "books": 1}
    error = refused(begin("restore"), restore(world, typed))
    assert error.code == "CONFIRMATION_MISSING"
    assert error.happened == (
        "Going back would lose at least 6 writes (1 in books, 5 in borrows) since the backup was made on 2026-11-24 "
        "at 10:11 UTC."
    )
    assert error.remedy == "To go back all the same, repeat the command with --confirm 1.0.0."


def test_a_restore_is_confirmed_even_where_no_write_was_counted(begin: Begin, world: Any) -> None:
    error = refused(begin("restore"), restore(world, None))
    assert error.code == "CONFIRMATION_MISSING"
    assert "lose what was changed, although no new rows were found, since the backup" in error.happened


def test_a_backup_of_another_version_is_confirmed_by_its_own(begin: Begin, world: Any) -> None:
    world.backup = replace(world.backup, version="0.9.0", slot=replace(world.backup.slot, version="0.9.0"))
    context = begin("restore")
    assert refused(context, restore(world, "1.0.0")).values["word"] == "0.9.0"
    assert preflight.examine(context, restore(world, "0.9.0")).slot.version == "0.9.0"  # type: ignore[union-attr]


def test_images_are_looked_for_where_the_backup_lies(
    begin: Begin, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = (tmp_path / "drive" / world.backup.id, world.backup)
    asked: list[Path] = []

    def load_saved_images(_: Context, slot: Slot, place: Path) -> Slot:
        asked.append(place)
        return slot

    for module in (preflight, going_back):
        monkeypatch.setattr(module, "find_backup", lambda *_: found)
        monkeypatch.setattr(module, "load_saved_images", load_saved_images)
    context = begin("restore")
    preflight.examine(context, restore(world))
    context.__dict__["slot"] = None
    going_back.to_reinstall(context, world.backup.id)
    assert asked == [tmp_path / "drive"] * 2


def test_an_image_that_is_nowhere(begin: Begin, world: Any, engine: Any, old: Slot) -> None:
    context = begin("restore")
    image = old.services["backend"].image
    del engine.images[image]
    error = refused(context, restore(world))
    assert (error.code, error.values) == ("IMAGE_MISSING", {"image": image, "backup": world.backup.id})


@pytest.mark.parametrize("backup", [None, "", "20261124T101112Z-1.0.0-r9"])
def test_a_backup_that_is_not_there(begin: Begin, world: Any, backup: str | None) -> None:
    error = refused(begin("restore"), Request("restore", backup=backup, confirm="1.0.0"))
    assert (error.code, error.values) == ("BACKUP_UNKNOWN", {"backup": backup or ""})


def test_a_backup_that_was_tampered_with_does_not_cost_the_way_back(
    begin: Begin, world: Any, old: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is brought here from the drive before anything is freed."""
    context = begin("restore")
    findings = preflight.examine(context, restore(world))
    freed: list[Slot] = []

    def tampered(_: Context, backup: str) -> None:
        raise ClmsError("BACKUP_TAMPERED", backup=backup, detail="database.sql.zst.age has changed")

    monkeypatch.setattr(preflight, "bring_here", tampered)
    monkeypatch.setattr(preflight, "free_slot", lambda _, slot: freed.append(slot))
    before = context.journal.slots("previous", "candidate", "kept")
    with pytest.raises(ClmsError, match="has changed"):
        preflight._settle(context, findings)
    assert freed == []
    assert context.journal.slots("previous", "candidate", "kept") == before
