# SPDX-License-Identifier: GPL-3.0-or-later
"""A school is updated while its librarians work: scenario 1 of the original design, section 9.3."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from tests.e2e.observe import School
from tests.sample_clms.releases import EVENTS, INITIAL
from tests.stand.stand import Stand

STATUS = {"current_version", "latest_version", "news_age_seconds", "news_expired", "running", "last_update", "backups"}
LAST_UPDATE = {
    "id",
    "version",
    "status",
    "started_at",
    "finished_at",
    "closed_seconds",
    "error_code",
    "message",
}


@pytest.fixture
def school(school_named: Callable[[str], School]) -> School:
    return school_named("linden")


def test_check_mode_changes_nothing(school: School) -> None:
    before, rows, runs = school.picture(), school.rows(), school.last_run()
    done = school.playbook("update", "--check", "-e", "clms_version=1.0.1")
    assert done.code == 0, done.output
    assert school.picture() == before
    assert school.rows() == rows
    assert school.last_run() == runs


def test_check_finds_the_newest_version(school: School) -> None:
    done = school.clms_update("check", "--json")
    assert done.code == 0, done.errors
    found = done.json()
    # 1.1.0 is newer, and says itself that it cannot be installed over 1.0.0
    assert (found["updateAvailable"], found["currentVersion"], found["latestVersion"]) == (True, "1.0.0", "1.1.0")
    assert found["blocked"]["code"] == "RELEASE_MIN_VERSION"


def test_update_with_a_migration(school: School, tmp_path: Path) -> None:
    seeded, uploads, before = school.seeded(), school.uploads(), school.picture()
    with school.writing(tmp_path) as written:
        done = school.clms_update("update", "--version", "1.0.1", "--json")
        written.wait_acknowledged()
    assert done.code == 0, done.output + done.errors
    written.assert_nothing_lost()
    assert written.counts["unknown"] == 0
    # closed, so some were told to come back later
    assert written.counts["refused"] > 0

    school.assert_serves("1.0.1")
    assert not school.picture().serving.keys() & before.serving.keys()
    assert school.schema() == [INITIAL, EVENTS]
    assert (school.seeded(), school.uploads()) == (seeded, uploads)
    assert school.version_row() == "1.0.1"

    run = done.json()
    assert (run["status"], run["version"], run["error_code"]) == ("COMPLETED", "1.0.1", None)
    assert 0 < run["closed_seconds"] < 120
    assert [phase["name"] for phase in run["phases"]] == list(KINDS["update"])
    print(f"closed for {run['closed_seconds']} s; {written.counts}")


def test_status_afterwards(school: School) -> None:
    done = school.clms_update("status", "--json")
    assert done.code == 0, done.errors
    assert done.output.count("\n") == 1
    status = json.loads(done.output)
    assert status.keys() == STATUS
    assert status["last_update"].keys() >= LAST_UPDATE
    assert (status["current_version"], status["latest_version"], status["running"]) == ("1.0.1", "1.1.0", None)
    assert status["last_update"]["closed_seconds"] > 0
    assert status["backups"] == 1


def test_second_update_to_the_same_version_does_nothing(school: School) -> None:
    before, rows = school.picture(), school.rows()
    done = school.clms_update("update", "--version", "1.0.1", "--json")
    assert done.code == 0, done.output
    assert done.json()["error_code"] in (None, "RELEASE_SAME")
    assert (school.picture(), school.rows()) == (before, rows)
    assert school.clms_update("status", "--json").json()["last_update"]["status"] == "COMPLETED"


def test_update_without_a_migration_refuses_nobody(school: School, tmp_path: Path) -> None:
    """Requests wait at the gate for a moment; none is refused, and none remains without an answer."""
    seeded, before = school.seeded(), school.picture()
    with school.writing(tmp_path, rate=50) as written:
        done = school.clms_update("update", "--version", "1.0.2", "--json")
        written.wait_acknowledged()
    assert done.code == 0, done.output + done.errors
    written.assert_nothing_lost()
    assert (written.counts["refused"], written.counts["unknown"]) == (0, 0)
    school.assert_serves("1.0.2")
    assert [phase["name"] for phase in done.json()["phases"]] == list(KINDS["update_images"])
    # the database went on in its own container
    database = school.slot().services["mysql"].container
    assert school.picture().containers[database] == before.containers[database]
    assert (school.version_row(), school.seeded()) == ("1.0.2", seeded)
    print(f"longest wait {written.longest_wait} s; {written.counts}")


def test_rollback_of_an_update_without_migration_loses_nothing(school: School, tmp_path: Path) -> None:
    """Both versions use the same data, so nothing has to be confirmed."""
    seeded = school.seeded()
    with school.writing(tmp_path) as written:
        done = school.clms_update("rollback", "--json")
        written.wait_acknowledged()
    assert done.code == 0, done.output + done.errors
    written.assert_nothing_lost()
    school.assert_serves("1.0.1")
    assert (school.version_row(), school.seeded()) == ("1.0.1", seeded)
    assert (done.json()["status"], done.json()["version"]) == ("COMPLETED", "1.0.1")


def test_build_without_what_the_school_has_to_say(school: School) -> None:
    with school.untouched(), school.described(clms_build_arguments={}):
        message = school.assert_refused("BUILD_ARGUMENT", "update", "--version", "1.0.3")
    assert "'api_url'" in message


def test_release_with_source_is_built_without_a_network(school: School, stand: Stand, tmp_path: Path) -> None:
    """Its file was put into the folder; neither the release server nor the registry can be reached."""
    seeded, address = school.seeded(), "https://library.linden.test"
    shutil.copy(stand.bundle("1.0.3"), school.folder / "updates/of the vendor.zip")
    trust = {**school.description()["clms_trust"], "url": "https://127.0.0.1:1"}
    away = {"clms_trust": trust, "clms_registry": "127.0.0.1:1", "clms_build_arguments": {"api_url": address}}
    with school.writing(tmp_path) as written, school.described(**away):
        done = school.clms_update("update", "--version", "1.0.3", "--json")
        written.wait_acknowledged()
    assert done.code == 0, done.output + done.errors
    written.assert_nothing_lost()
    school.assert_serves("1.0.3")
    assert (school.version_row(), school.seeded()) == ("1.0.3", seeded)
    with school.journal() as journal:
        built = journal.run(school.last_run()["id"]).result("image_pull")["built"]
        told = {event["type"]: event["message"] for event in journal.events(limit=50)}
    assert told["FILE_IMPORTED"] == "Version 1.0.3 was taken in with the file clms-1.0.3-amd64.zip."
    assert told["UPDATE_OFFLINE"].endswith("The update goes on with the file clms-1.0.3-amd64.zip.")
    assert [name.partition(":")[0] for name in built] == ["clms-build/frontend"]
    page = requests.get(f"{stand.url(school.name)}/config.js", timeout=10)
    assert page.text == f'window.CLMS_API = "{address}";\n'
