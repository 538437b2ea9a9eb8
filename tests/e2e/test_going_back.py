# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup, going back after an update was committed, and the restore of what was given up by that."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from tests.e2e.observe import School, wait_for
from tests.sample_clms.releases import EVENTS, INITIAL
from tests.sample_clms.writer import Judgement, Writer, judge

UNTIL_CLOSED = "until-closed.log"


@pytest.fixture(scope="module")
def school(school_named: Callable[[str], School]) -> School:
    return school_named("cedar")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the log of the writes that are given up and come back."""
    return tmp_path_factory.mktemp("given-up")


def judged(school: School, log: Path) -> list[Judgement]:
    """What became of the writes before the rollback, and of those until CLMS was closed for it."""
    with closing(school.connection()) as connection:
        return [judge(log / name, connection) for name in (f"writer-{school.name}.log", UNTIL_CLOSED)]


def test_backup_with_the_images(school: School) -> None:
    place = {**school.description()["clms_backup"], "images": True}
    with school.untouched(), school.described(clms_backup=place):
        done = school.clms_update("backup", "--json")
    assert done.code == 0, done.output + done.errors
    assert [phase["name"] for phase in done.json()["phases"]] == list(KINDS["backup"])
    backups = school.clms_update("list", "--backups", "--json").json()["backups"]
    assert [backup["version"] for backup in backups] == ["1.0.0"]
    images = {path.name.split(".")[0].removeprefix("sha256-") for path in (school.folder / "backups/images").iterdir()}
    configs = [service.config for service in school.slot().services.values()]
    gate = school.picture().containers[f"{school.project}-gate"].image
    assert images == {config.removeprefix("sha256:") for config in (*configs, gate)}


def test_rollback_where_there_is_nothing_to_go_back_to(school: School) -> None:
    school.assert_refused("ROLLBACK_UNAVAILABLE", "rollback")


def test_restore_of_a_backup_that_does_not_exist(school: School) -> None:
    school.assert_refused("BACKUP_UNKNOWN", "restore", "20200101T000000Z-1.0.0-r1")


def test_rollback_right_after_an_update(school: School) -> None:
    """Rows that were only changed cannot be counted: so it has to be confirmed whenever data are given up."""
    done = school.clms_update("update", "--version", "1.0.1", "--json")
    assert done.code == 0, done.output + done.errors
    message = school.assert_refused("CONFIRMATION_MISSING", "rollback")
    assert "no new rows" in message


def test_rollback_that_loses_writes_has_to_be_confirmed(school: School, log: Path) -> None:
    with school.writing(log):
        pass
    message = school.assert_refused("CONFIRMATION_MISSING", "rollback")
    assert "borrows" in message
    school.assert_refused("CONFIRMATION_MISSING", "rollback", "--confirm", "1.0.1")


def test_confirmed_rollback(school: School, log: Path) -> None:
    """People write until CLMS is closed: all that was acknowledged is given up, and is in the backup."""
    seeded, uploads = school.seeded(), school.uploads()
    login = school.stand.librarian(school.name)
    writer = Writer(school.stand.url(school.name), login["username"], login["password"], 20, log / UNTIL_CLOSED)
    writer.start()
    try:
        process = school.stand.start(
            "clms-update", "--config", school.folder / "etc", "rollback", "--confirm", "1.0.0", "--json"
        )
        wait_for(lambda: writer.log.counts["refused"] > 0, seconds=120, what="the closing of CLMS")
    finally:
        writer.stop()
    with process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    run = json.loads(output)
    assert [phase["name"] for phase in run["phases"]] == list(KINDS["rollback"])
    assert (run["kind"], run["status"], run["version"]) == ("rollback", "COMPLETED", "1.0.0")
    school.assert_serves("1.0.0")
    assert school.schema() == [INITIAL]
    assert (school.seeded(), school.uploads(), school.version_row()) == (seeded, uploads, "1.0.0")
    for judgement in judged(school, log):
        # given up, as was confirmed
        assert judgement.lost == judgement.acknowledged > 0


def test_restore_brings_back_what_the_rollback_gave_up(school: School, log: Path, tmp_path: Path) -> None:
    uploads = school.uploads()
    backups = school.clms_update("list", "--backups", "--json").json()["backups"]
    backup = next(backup["id"] for backup in backups if backup["version"] == "1.0.1")
    message = school.assert_refused("CONFIRMATION_MISSING", "restore", backup)
    assert "since the backup was made on" in message
    school.assert_refused("CONFIRMATION_MISSING", "restore", backup, "--confirm", "1.0.0")
    with school.writing(tmp_path) as written:
        done = school.clms_update("restore", backup, "--confirm", "1.0.1", "--json")
        written.wait_acknowledged()
    assert done.code == 0, done.output + done.errors
    assert (done.json()["kind"], done.json()["status"]) == ("restore", "COMPLETED")
    school.assert_serves("1.0.1")
    assert school.schema() == [INITIAL, EVENTS]
    assert school.uploads() == uploads
    for judgement in judged(school, log):
        assert judgement.good, judgement.examples
    # what was written since is in the backup that the restore made first
    newest = school.clms_update("list", "--backups", "--json").json()["backups"][0]
    assert newest["version"] == "1.0.0"
