# SPDX-License-Identifier: GPL-3.0-or-later
"""Going back to a backup, with a real database."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters.accounts import read_accounts
from ansible_collections.clms.update.plugins.module_utils.adapters.backup_store import (
    backups_in,
    find_backup,
)
from ansible_collections.clms.update.plugins.module_utils.adapters.database import database_of
from ansible_collections.clms.update.plugins.module_utils.backup_manifest import MANIFEST, SIGNATURE
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.phases import clean_up, loss, prepare, restore
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.school import parse_school
from ansible_collections.clms.update.plugins.module_utils.slots import SlotService, restored_slot
from tests.integration.backup.stage import Stage, flip_a_byte


@pytest.fixture
def restoring(stage: Stage) -> Iterator[Callable[[str], Context]]:
    """Opens a run that restores the backup of this name, with slot B prepared."""
    opened: list[Context] = []

    def open_run(name: str) -> Context:
        school = parse_school(stage.description())
        number = stage.journal.rows(limit=1)[0].id + 1
        slot = restored_slot(school, stage.live.slot, run=number, current=stage.live.slot)
        context = stage.open("restore", preflight={"slot": slot.as_dict(), "backup": name})
        opened.append(context)
        prepare.prepare(context)
        return context

    yield open_run
    for context in opened:
        clean_up.free_slot(context, context.new)


def volume_path(stage: Stage, volume: str) -> Path:
    """The folder of a volume of the live slot."""
    path = stage.engine.volume_path(stage.live.slot.volumes[volume])
    assert path is not None
    return path


def test_a_slot_is_filled_from_a_backup(
    stage: Stage, made: dict[str, Any], restoring: Callable[[str], Context]
) -> None:
    stage.take_over(made)
    later = volume_path(stage, "uploads") / "later.txt"
    later.write_text("after the backup")
    stage.live.database.query("INSERT INTO clms_database.pages (words) VALUES ('after the backup')")
    context = restoring(made["backup"])
    restore.fill_slot_from_backup(context)
    with database_of(context, context.new) as database:
        assert sum(database.row_counts().values()) == made["rows"]
        assert database.schema_fingerprint() == stage.live.database.schema_fingerprint()
        assert database.event_scheduler() == "OFF"
        assert read_accounts(database) == read_accounts(stage.live.database)
        select = "SELECT MD5(picture) AS picture, words, at FROM clms_database.oddities WHERE id = 1"
        assert database.query(select) == stage.live.database.query(select)
    uploads = context.engine.volume_path(context.new.volumes["uploads"])
    assert uploads is not None
    assert [path.name for path in uploads.iterdir()] == ["cover.txt"]
    later.unlink()


def test_a_backup_on_a_drive_is_brought_here_first(
    stage: Stage, made: dict[str, Any], restoring: Callable[[str], Context], other_disk: Path
) -> None:
    """Whatever becomes of the drive then, is nothing to the restore."""
    name = made["backup"]
    shutil.copytree(made["path"], other_disk / name)
    context = stage.open("restore", external_path=str(other_disk))
    restore.bring_here(context, name)
    context.run.close("ABORTED")
    for file in (other_disk / name).iterdir():
        file.write_bytes(b"of somebody else")
    assert [path.name for path in stage.backups.iterdir()] == [name]
    context = restoring(name)
    restore.bring_here(context, name)  # a second time there is nothing to do
    restore.fill_slot_from_backup(context)
    with database_of(context, context.new) as database:
        assert sum(database.row_counts().values()) == made["rows"]


def test_a_backup_that_changes_while_it_is_brought_here_is_refused(
    stage: Stage, made: dict[str, Any], other_disk: Path
) -> None:
    name = made["backup"]
    shutil.copytree(made["path"], other_disk / name)
    flip_a_byte(other_disk / name, "database.sql.zst.age")
    context = stage.open("restore", external_path=str(other_disk))
    with pytest.raises(ClmsError) as caught:
        restore.bring_here(context, name)
    context.run.close("ABORTED")
    assert (caught.value.code, list(stage.backups.iterdir())) == ("BACKUP_TAMPERED", [])
    with pytest.raises(ClmsError) as caught:  # what is not here is not restored from there
        restore.fill_slot_from_backup(stage.open("restore", preflight={"backup": name}, external_path=str(other_disk)))
    assert caught.value.code == "BACKUP_UNKNOWN"


def _change_manifest(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace("Grundschule", "Hauptschule"))


@pytest.mark.parametrize(
    ("spoil", "code", "detail"),
    [
        pytest.param(
            lambda folder: flip_a_byte(folder, "database.sql.zst.age"), "BACKUP_TAMPERED", "has changed", id="flipped"
        ),
        pytest.param(
            lambda folder: (folder / "volume-uploads.tar.zst.age").unlink(), "BACKUP_TAMPERED", "No such", id="missing"
        ),
        pytest.param(_change_manifest, "BACKUP_TAMPERED", "not signed by this school", id="manifest"),
        pytest.param(
            lambda folder: (folder / SIGNATURE).unlink(), "BACKUP_TAMPERED", "manifest.sig", id="no-signature"
        ),
        pytest.param(
            lambda folder: (folder / SIGNATURE).write_bytes(bytes(64)), "BACKUP_TAMPERED", "not signed", id="signature"
        ),
        pytest.param(shutil.rmtree, "BACKUP_UNKNOWN", "no backup named", id="gone"),
    ],
)
def test_a_backup_that_changed_is_not_restored(
    stage: Stage, made: dict[str, Any], spoil: Callable[[Path], None], code: str, detail: str
) -> None:
    spoil(stage.take_over(made))
    context = stage.open("restore", preflight={"backup": made["backup"]})
    with pytest.raises(ClmsError) as caught:
        restore.fill_slot_from_backup(context)
    assert caught.value.code == code
    assert detail in caught.value.happened


def test_an_older_backup_cannot_pass_for_a_newer_one(stage: Stage, made: dict[str, Any]) -> None:
    newer = "20990101T000000Z-1.0.0-r9"
    stage.take_over(made, newer)
    with pytest.raises(ClmsError, match="it was written as"):
        find_backup(stage.open().school, newer)
    assert backups_in(stage.backups) == []


@pytest.mark.parametrize("name", ["", "..", "../../etc", "20990101T000000Z-1.0.0-r9", "images"])
def test_a_backup_that_is_not_there_is_named(stage: Stage, name: str) -> None:
    with pytest.raises(ClmsError) as caught:
        find_backup(stage.open().school, name)
    assert caught.value.code == "BACKUP_UNKNOWN"


def test_what_a_rollback_would_lose_is_counted(stage: Stage) -> None:
    database = stage.live.database
    run = stage.journal.run(1)
    before = database.row_counts()
    run.record("open", "", "leave", rows=before, rows_at=time.time())
    context = stage.open("rollback")
    earlier = replace(
        stage.live.slot,
        name="r0",
        services={**stage.live.slot.services, "mysql": SlotService("earlier", "image", "config")},
    )
    time.sleep(1.1)  # the server remembers whole seconds
    assert loss.lost_writes(context, earlier) == {}
    database.query("INSERT INTO clms_database.pages (words) VALUES ('one'), ('two')")
    database.query("UPDATE clms_database.oddities SET words = 'changed' WHERE id = 2")
    database.query("UPDATE clms_database.SystemSettings SET value = '1.0.0' WHERE `key` = 'version'")
    assert loss.lost_writes(context, earlier) == {"oddities": 1, "pages": 2}
    assert loss.lost_writes(context, stage.live.slot) == {}
