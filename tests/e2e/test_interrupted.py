# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time; and a run that is killed while CLMS is closed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import lock
from tests.e2e.observe import School, wait_for
from tests.sample_clms.releases import INITIAL


@pytest.fixture(scope="module")
def school(school_named: Callable[[str], School]) -> School:
    return school_named("birch")


def test_kill_while_closed(school: School, tmp_path: Path) -> None:
    """kill -9 of ansible-playbook; then the old version, with every write that was acknowledged."""
    before, seeded, run = school.picture(), school.seeded(), school.last_run()["id"] + 1
    with school.writing(tmp_path) as written:
        process = school.stand.start(
            "ansible-playbook", "playbooks/update.yml", "-i", f"inventories/{school.inventory}", "--limit", school.name,
            "-e", "clms_version=1.0.1", "-e", '{"clms_rehearse": false}',
        )  # fmt: skip
        with process:
            wait_for(lambda: "slot" in school.phases_begun(run), seconds=120, what="a phase in which CLMS is closed")
            process.kill()
            process.communicate()
        assert process.returncode == -9

        refused = school.clms_update("update", "--version", "1.0.1", "--json")
        assert refused.code == 2, refused.output
        assert refused.json()["error_code"] in ("RUN_INTERRUPTED", "RUN_ACTIVE")
        wait_for(lambda: not lock.is_held(school.home), seconds=10, what="the end of the lock")

        done = school.clms_update("recover", "--json")
        assert done.code == 0, done.output + done.errors
        written.wait_acknowledged()
    assert (done.json()["outcome"], school.last_run()["outcome"]) == ("ROLLED_BACK", "ROLLED_BACK")
    written.assert_nothing_lost()
    after = school.picture()
    assert after.serving == before.serving
    assert after.names - school.kept() == before.names
    school.assert_serves("1.0.0")
    assert school.schema() == [INITIAL]
    assert school.seeded() == seeded


def test_nothing_to_recover(school: School) -> None:
    with school.untouched():
        done = school.clms_update("recover", "--json")
    assert done.code == 0, done.output + done.errors
    assert done.json()["id"] is None


def test_several_updates_at_once(school: School, tmp_path: Path) -> None:
    """Exactly one runs; the others are told which run goes on, at which step."""
    config = school.folder / "etc"
    with school.writing(tmp_path) as written:
        started = [
            school.stand.start("clms-update", "--config", config, "update", "--version", "1.0.1", "--json"),
            school.stand.start("clms-update", "--config", config, "update", "--version", "1.0.1", "--json"),
        ]
        wait_for(lambda: running(school) is not None, seconds=60, what="a run")
        now = running(school)
        # both at once: on a slow day the run would be over before the second one asks
        backup = school.stand.start("clms-update", "--config", config, "backup", "--json")
        late = school.stand.start(
            "ansible-playbook", "playbooks/update.yml", "-i", f"inventories/{school.inventory}", "--limit", school.name,
            "-e", "clms_version=1.0.1",
        )  # fmt: skip
        refused_backup, late_output = (process.communicate()[0] for process in (backup, late))
        ended = []
        for process in started:
            with process:
                output, _ = process.communicate()
            ended.append((process.returncode, json.loads(output)))
        written.wait_acknowledged()

    assert now is not None
    assert now.keys() >= {"id", "version", "phase", "percent", "seconds_left"}
    assert late.returncode != 0
    assert "RUN_ACTIVE" in late_output
    assert (backup.returncode, json.loads(refused_backup)["error_code"]) == (2, "RUN_ACTIVE")

    codes = sorted(code for code, _ in ended)
    assert codes == [0, 2], [(code, answer["error_code"], answer["message"]) for code, answer in ended]
    (done,) = (run for code, run in ended if code == 0)
    (refused,) = (run for code, run in ended if code == 2)
    assert (done["status"], refused["error_code"]) == ("COMPLETED", "RUN_ACTIVE")
    assert f"number {done['id']}" in refused["message"]
    assert "Wait" in refused["remedy"]
    written.assert_nothing_lost()
    school.assert_serves("1.0.1")


def running(school: School) -> dict[str, Any] | None:
    """The run that goes on, as ``status`` shows it."""
    time.sleep(0.2)  # starting the command over and over would slow down what is waited for
    status: dict[str, Any] = school.clms_update("status", "--json").json()
    run: dict[str, Any] | None = status["running"]
    return run
