# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup, going back after an update was committed, and the restore of what was given up by that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests

from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from tests.e2e.observe import School, wait_for
from tests.sample_clms.releases import EVENTS, INITIAL
from tests.sample_clms.writer import Judgement, Writer, judge

UNTIL_CLOSED = "until-closed.log"
ADDRESS = "https://library.cedar.test"


@pytest.fixture(scope="module")
def school(school_named: Callable[[str], School]) -> Iterator[School]:
    """A school whose backups hold the images, and whose next version has a frontend that is built."""
    school = school_named("cedar")
    place = {**school.description()["clms_backup"], "images": True}
    with school.described(clms_backup=place, clms_build_arguments={"api_url": ADDRESS}):
        yield school


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the log of the writes that are given up and come back."""
    return tmp_path_factory.mktemp("given-up")


def judged(school: School, log: Path) -> list[Judgement]:
    """What became of the writes before the rollback, and of those until CLMS was closed for it."""
    with closing(school.connection()) as connection:
        return [judge(log / name, connection) for name in (f"writer-{school.name}.log", UNTIL_CLOSED)]


def api_address(school: School) -> str:
    """What the page was built with."""
    return requests.get(f"{school.stand.url(school.name)}/config.js", timeout=30).text


def lose_built_image(school: School) -> str:
    """Have the engine lose the image of the version that was given up, as by `docker system prune --all`.

    :returns: its id
    """
    with school.journal() as journal:
        slot = journal.slot("previous")
    assert slot is not None
    assert slot.version == "1.0.3"
    frontend = slot.services["frontend"]
    school.engine.remove(frontend.container)
    assert school.engine.remove_image(frontend.config, force=True)
    assert school.engine.image(frontend.config) is None
    return frontend.config


def test_backup_with_the_images(school: School) -> None:
    with school.untouched():
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
    """Rows that were only changed cannot be counted: so it has to be confirmed whenever data are given up.

    What the version is built from comes from the registry.
    """
    base = f"{school.stand.settings['vendor']['registry']}/clms/frontend/base_image"
    for image in school.engine.client.images.list(base):  # the vendor works on the same engine
        for name in image.attrs["RepoDigests"]:
            if name.startswith(f"{base}@"):
                school.engine.client.images.remove(name)
    done = school.clms_update("update", "--version", "1.0.3", "--json")
    assert done.code == 0, done.output + done.errors
    with school.journal() as journal:
        got = journal.run(done.json()["id"]).result("image_pull")
    assert [name.partition(":")[0] for name in got["built"]] == ["clms-build/frontend"]
    assert any(name.startswith(f"{base}@") for name in got["pulled"])
    assert api_address(school) == f'window.CLMS_API = "{ADDRESS}";\n'
    message = school.assert_refused("CONFIRMATION_MISSING", "rollback")
    assert "no new rows" in message


def test_rollback_that_loses_writes_has_to_be_confirmed(school: School, log: Path) -> None:
    with school.writing(log):
        pass
    message = school.assert_refused("CONFIRMATION_MISSING", "rollback")
    assert "borrows" in message
    school.assert_refused("CONFIRMATION_MISSING", "rollback", "--confirm", "1.0.3")


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
    backup = next(backup["id"] for backup in backups if backup["version"] == "1.0.3")
    message = school.assert_refused("CONFIRMATION_MISSING", "restore", backup)
    assert "since the backup was made on" in message
    school.assert_refused("CONFIRMATION_MISSING", "restore", backup, "--confirm", "1.0.0")
    built = lose_built_image(school)
    with school.writing(tmp_path) as written:
        done = school.clms_update("restore", backup, "--confirm", "1.0.3", "--json")
        written.wait_acknowledged()
    assert done.code == 0, done.output + done.errors
    assert (done.json()["kind"], done.json()["status"]) == ("restore", "COMPLETED")
    school.assert_serves("1.0.3")
    frontend = school.slot().services["frontend"]
    assert (frontend.config, school.picture().containers[frontend.container].image) == (built, built)
    assert api_address(school) == f'window.CLMS_API = "{ADDRESS}";\n'
    assert school.schema() == [INITIAL, EVENTS]
    assert school.uploads() == uploads
    for judgement in judged(school, log):
        assert judgement.good, judgement.examples
    # what was written since is in the backup that the restore made first
    newest = school.clms_update("list", "--backups", "--json").json()["backups"][0]
    assert newest["version"] == "1.0.0"
