# SPDX-License-Identifier: GPL-3.0-or-later
"""What people do with a backup that is there: it is looked at, copied to a drive, and taken away."""

from __future__ import annotations

import io
import os
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent import backups
from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.adapters.backup_store import check_files, find_backup
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.school import parse_school
from tests.integration.backup.stage import Stage, flip_a_byte, new_age_key


def told(stage: Stage, kind: str) -> list[str]:
    return [event["message"] for event in stage.journal.events() if event["type"] == kind]


def test_a_backup_that_is_whole(stage: Stage, made: dict[str, Any]) -> None:
    folder = stage.take_over(made)
    answer = backups.verify(parse_school(stage.description()), folder.name)
    assert answer["backup"] == folder.name
    assert answer["files"] == len([path for path in folder.iterdir() if path.suffix == ".age"])
    assert len(told(stage, "BACKUP_VERIFIED")) == 1


@pytest.mark.parametrize(("name", "detail"), [("database.sql.zst.age", "has changed"), ("manifest.json", "signed")])
def test_a_backup_that_changed(stage: Stage, made: dict[str, Any], name: str, detail: str) -> None:
    folder = stage.take_over(made)
    flip_a_byte(folder, name)
    with pytest.raises(ClmsError, match=detail) as caught:
        backups.verify(parse_school(stage.description()), folder.name)
    assert caught.value.code == "BACKUP_TAMPERED"
    assert told(stage, "BACKUP_TAMPERED") == [str(caught.value)]


def test_a_backup_that_this_server_cannot_open_any_more(stage: Stage, made: dict[str, Any], tmp_path: Path) -> None:
    folder = stage.take_over(made)
    new_age_key(tmp_path / "other.age")
    school = parse_school(stage.description(host_key_file=str(tmp_path / "other.age")))
    with pytest.raises(ClmsError) as caught:
        backups.verify(school, folder.name)
    assert caught.value.code == "BACKUP_TAMPERED"


def test_it_is_copied_to_the_drive(stage: Stage, made: dict[str, Any], other_disk: Path) -> None:
    folder = stage.take_over(made)
    school = parse_school(stage.description(external_path=str(other_disk)))
    for _ in range(2):  # what is there already stays
        assert backups.copy_out(school, folder.name) == {"path": f"{other_disk}/{folder.name}"}
    check_files(other_disk / folder.name, find_backup(school, folder.name)[1])
    (other_disk / folder.name / "manifest.json").unlink()


@pytest.mark.parametrize(("place", "code"), [(None, "BACKUP_LOCATION"), ("here", "BACKUP_PLACE")])
def test_where_there_is_no_drive(
    stage: Stage, made: dict[str, Any], tmp_path: Path, place: str | None, code: str
) -> None:
    folder = stage.take_over(made)
    school = parse_school(stage.description(external_path=str(tmp_path / place) if place else None))
    with pytest.raises(ClmsError) as caught:
        backups.copy_out(school, folder.name)
    assert caught.value.code == code


def test_one_at_a_time_and_beside_runs(stage: Stage, made: dict[str, Any]) -> None:
    folder = stage.take_over(made)
    school = parse_school(stage.description())
    held = lock.acquire(stage.home)
    assert held is not None
    try:
        backups.verify(school, folder.name)  # a run goes on, and is not kept waiting by anybody's looking
    finally:
        os.close(held)
    with backups._one_at_a_time(), pytest.raises(ClmsError) as caught:
        backups.verify(school, folder.name)
    assert caught.value.code == "BACKUP_BUSY"


def test_it_is_taken_away_as_it_is(stage: Stage, made: dict[str, Any]) -> None:
    folder = stage.take_over(made)
    parcel = backups.Parcel(parse_school(stage.description()), folder.name)
    sink = io.BytesIO()
    parcel.write(sink)
    assert len(sink.getvalue()) == parcel.size
    with closing(tarfile.open(fileobj=io.BytesIO(sink.getvalue()))) as archive:
        content = {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]
    assert content == {f"{folder.name}/{path.name}": path.read_bytes() for path in folder.iterdir()}
    assert parcel.name == f"{folder.name}.tar"


def test_no_other_file_is_taken_away(stage: Stage) -> None:
    for name in ("../home", "20261124T101112Z-1.0.0-r9", ""):
        with pytest.raises(ClmsError) as caught:
            backups.Parcel(parse_school(stage.description()), name)
        assert caught.value.code == "BACKUP_UNKNOWN"
