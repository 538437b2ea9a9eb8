# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase `backup` where all goes well, with a real database."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters import archive
from ansible_collections.clms.update.plugins.module_utils.adapters.accounts import read_accounts
from ansible_collections.clms.update.plugins.module_utils.adapters.backup_store import (
    backups_in,
    check_files,
    find_backup,
    image_file,
)
from ansible_collections.clms.update.plugins.module_utils.adapters.database import database_in
from ansible_collections.clms.update.plugins.module_utils.adapters.image_archive import load_image
from ansible_collections.clms.update.plugins.module_utils.adapters.pipes import ArchiveError
from ansible_collections.clms.update.plugins.module_utils.backup_manifest import MANIFEST, SIGNATURE
from ansible_collections.clms.update.plugins.module_utils.phases import backup
from ansible_collections.clms.update.plugins.module_utils.phases.rehearse import (
    rehearsal_container,
    rehearsal_network,
    remove_rehearsal,
)
from ansible_collections.clms.update.plugins.module_utils.school import parse_school
from tests.integration.backup.stage import ROOT_PASSWORD, STUDENT, Stage, containing, leftovers, mount


def test_a_backup_is_made_and_proven_while_users_go_on_writing(
    stage: Stage, engine: docker.DockerClient, writers: list[int]
) -> None:
    before = len(writers)
    result = stage.back_up()
    assert len(writers) > before + 20
    assert result["locked_seconds"] < 1
    folder, manifest = find_backup(parse_school(stage.description()), result["backup"])
    check_files(folder, manifest)
    assert manifest.slot == stage.live.slot
    assert manifest.database.tables["oddities"] == 2
    assert manifest.database.tables["pages"] > 20_000
    assert "borrowed" not in manifest.database.tables
    assert result["rows"] == sum(manifest.database.tables.values())
    assert {file.name: file.kind for file in manifest.files} == {
        "database.sql.zst.age": "database",
        "accounts.sql.zst.age": "accounts",
        "volume-uploads.tar.zst.age": "volume",
        "configuration.tar.zst.age": "configuration",
    }
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [MANIFEST, SIGNATURE, *(file.name for file in manifest.files)]
    )
    assert [summary.id for summary in backups_in(stage.backups)] == [result["backup"]]
    assert [path.stat().st_mode & 0o077 for path in [folder, *folder.iterdir()]] == [0] * 7
    assert leftovers(engine, stage.live.project) == []


def test_no_secret_and_no_name_lies_on_the_disk_in_the_clear(stage: Stage) -> None:
    stage.back_up()
    for needle in (b"canary", b"Canary-Student", ROOT_PASSWORD.encode()):
        assert containing(stage.home, needle) == []
        assert containing(stage.backups, needle) == []


def test_the_recovery_key_alone_reads_everything(stage: Stage, made: dict[str, Any], tmp_path: Path) -> None:
    target, folder = tmp_path, Path(made["path"])
    identity = stage.live.folder / "recovery.age"
    with archive.decrypted(folder / "database.sql.zst.age", identity) as stream:
        assert STUDENT.encode() in stream.read()
    with archive.decrypted(folder / "configuration.tar.zst.age", identity) as stream:
        archive.unpack_folder(stream, target)
    environment = stage.live.folder / "mysql.env"
    assert (target / f"files{environment}").read_text() == environment.read_text()
    assert json.loads((target / "school.json").read_text())["title"] == "Grundschule Süd"
    definition = json.loads((target / "containers/mysql.json").read_text())
    assert definition["Name"] == f"/{stage.live.slot.services['mysql'].container}"
    assert not list(target.rglob("*.age"))
    assert not list(target.rglob("signing.pem"))


def test_where_the_run_rehearses_the_restored_copy_stays(stage: Stage, engine: docker.DockerClient) -> None:
    context = stage.open("update")
    result = backup.work(context)
    name, network = rehearsal_container(context, "mysql"), rehearsal_network(context)
    try:
        with database_in(context, name, network) as database:
            assert sum(database.row_counts().values()) == result["rows"]
            assert database.event_scheduler() == "OFF"
            assert database.variable("innodb_flush_log_at_trx_commit") == "1"
            assert read_accounts(database) == read_accounts(stage.live.database)
        container = engine.containers.get(name)
        assert list(container.attrs["NetworkSettings"]["Networks"]) == [network]
        assert container.image.id == stage.live.slot.services["mysql"].image
        assert engine.networks.get(network).attrs["Internal"]
        live_volumes = set(stage.live.slot.volumes.values())
        assert not {mount.get("Name") for mount in container.attrs["Mounts"]} & live_volumes
    finally:
        remove_rehearsal(context)
    assert leftovers(engine, stage.live.project) == []


def test_a_phase_that_was_interrupted_is_done_again(stage: Stage, engine: docker.DockerClient) -> None:
    context = stage.open("update")
    first = backup.work(context)
    half = stage.backups / f"20200101T000000Z-1.0.0-r{context.run.id}.partial"
    half.mkdir()
    (half / "database.sql.zst.age").write_text("half")
    time.sleep(1.1)  # the name has the second in it
    second = backup.work(context)
    remove_rehearsal(context)
    assert first["backup"] != second["backup"]
    assert not half.exists()
    assert leftovers(engine, stage.live.project) == []


def test_a_second_copy_is_made_on_another_disk(
    stage: Stage, other_disk: Path, make_image: Callable[..., str], engine: docker.DockerClient
) -> None:
    reference = make_image("saved")
    image = engine.images.get(reference).id
    services = {"backend": replace(stage.live.slot.services["backend"], image=image, config=image)}
    # the database's image would take its time
    image_file(stage.backups, stage.live.slot.services["mysql"].config).parent.mkdir(parents=True)
    image_file(stage.backups, stage.live.slot.services["mysql"].config).write_bytes(b"kept before")
    stage.journal.set_slot(replace(stage.live.slot, services={**stage.live.slot.services, **services}), "current")
    made = stage.back_up(external_path=str(other_disk), images=True)
    assert made["external"] == str(other_disk / made["backup"])
    assert made["warnings"] == []
    assert [summary.id for summary in backups_in(other_disk)] == [made["backup"]]
    assert image_file(other_disk, image).read_bytes() == image_file(stage.backups, image).read_bytes()
    engine.images.remove(image, force=True)
    with pytest.raises(ArchiveError, match="holds another image"):
        load_image(image_file(other_disk, image), f"sha256:{0:064}", most=10**10)
    assert not engine.images.list(filters={"reference": reference})
    load_image(image_file(other_disk, image), image, most=10**10)
    assert engine.images.get(image).id == image
    engine.api.tag(image, *reference.split(":"))  # so that it is removed again
    # a restore finds the copy when the first is gone
    shutil.rmtree(made["path"])
    school = stage.open(external_path=str(other_disk)).school
    assert find_backup(school, made["backup"])[1].slot.run == 1


def test_no_second_copy_where_nobody_wants_it(stage: Stage, other_disk: Path) -> None:
    made = stage.back_up(external_path=str(other_disk), preflight={"backup_location": "local"})
    assert (made["external"], made["warnings"]) == (None, [])
    assert list(other_disk.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        pytest.param("{tmp}/same-disk", "the drive is not mounted", id="not-mounted"),
        pytest.param("/proc/sys/external", "cannot be written", id="not-writable"),
    ],
)
def test_a_second_copy_that_cannot_be_made_is_a_warning(stage: Stage, tmp_path: Path, path: str, detail: str) -> None:
    made = stage.back_up(external_path=path.format(tmp=tmp_path))
    assert made["external"] is None
    assert detail in made["warnings"][0]
    assert stage.journal.events()[1]["message"] == made["warnings"][0]
    assert [summary.id for summary in backups_in(stage.backups)] == [made["backup"]]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        pytest.param("read-only", "cannot be written to {drive}: Read-only file system", id="read-only"),
        pytest.param("full", "There is not enough free space: on {drive}: a copy of the backup", id="full"),
        pytest.param("no room left at all", "cannot be written to {drive}: No space left", id="no room left at all"),
    ],
)
def test_a_drive_in_a_bad_state(stage: Stage, other_disk: Path, state: str, words: str) -> None:
    """The backup itself is good; that there is no second copy is told, and nothing is left of it."""
    if state == "read-only":
        mount(other_disk, "-o", "remount,ro")
    else:
        mount(other_disk, "-o", f"remount,size={'4k' if state == 'full' else '8k'}")
        if state != "full":
            (other_disk / "films").write_bytes(bytes(8192))
    made = stage.back_up(external_path=str(other_disk))
    assert made["external"] is None
    (warning,) = made["warnings"]
    assert words.format(drive=other_disk) in warning
    assert ("BACKUP_EXTERNAL_MISSING", warning) in [
        (event["type"], event["message"]) for event in stage.journal.events()
    ]
    assert [path.name for path in other_disk.iterdir() if path.name != "films"] == []
    assert [summary.id for summary in backups_in(stage.backups)] == [made["backup"]]


def test_old_backups_and_their_images_go(stage: Stage, made: dict[str, Any]) -> None:
    newest = stage.take_over(made)
    names = [f"2020010{day}T000000Z-1.0.0-r{day}" for day in range(1, 4)]
    for name in names:
        manifest = stage.take_over(made, name) / MANIFEST
        manifest.write_text(manifest.read_text().replace(made["backup"], name))
    unused = image_file(stage.backups, "sha256:" + "0" * 64)
    unused.parent.mkdir()
    unused.touch()
    context = stage.open("restore", preflight={"backup": names[0]})
    removed, problems = backup.remove_old_backups(context)
    assert removed == [str(stage.backups / names[1])]
    assert problems == []
    assert [summary.id for summary in backups_in(stage.backups)] == [newest.name, names[2], names[0]]
    assert not unused.exists()
