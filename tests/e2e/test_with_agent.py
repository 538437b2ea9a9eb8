# SPDX-License-Identifier: GPL-3.0-or-later
"""A school whose agent does the runs: it outlives controllers, and puts in order what another agent has left."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.school import parse_school
from tests.e2e.observe import School, wait_for


class AgentProcess:
    """The agent of a school, which can be killed and started."""

    def __init__(self, school: School, log: Path) -> None:
        self._school = school
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        variables = {name.removeprefix("clms_"): value for name, value in school.description().items()}
        self.socket = parse_school(variables).agent_socket

    def command(self) -> list[str]:
        return [sys.executable, "-m", "agent.service", "--config", str(self._school.folder / "etc")]

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self.answers, seconds=30, what="an agent that answers")

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.socket))
            except OSError:
                return False
            return True

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=120)

    def resident_mb(self) -> float:
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def ask(self, line: bytes) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.socket))
            connection.sendall(line)
            with connection.makefile("rb") as answers:
                answer: dict[str, Any] = json.loads(answers.readline())
                return answer


@pytest.fixture(scope="module")
def school(school_named: Callable[[str], School]) -> School:
    school = school_named("linden")
    if school.versions() == {"1.0.0"}:
        done = school.clms_update("update", "--version", "1.0.1", "--json")
        assert done.code == 0, done.output
    return school


@pytest.fixture(scope="module")
def agent(school: School, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    school.stand.enrol(school.name)
    process = AgentProcess(school, tmp_path_factory.mktemp("agent") / "agent.log")
    process.start()
    yield process
    process.stop()
    assert not process.socket.exists()


def test_at_rest_it_is_small(agent: AgentProcess) -> None:
    assert agent.ask(b'{"verb": "status"}\n')["ok"] is True
    assert agent.resident_mb() < 100


@pytest.mark.parametrize(
    ("line", "code", "word"),
    [
        (b"update\n", "AGENT_REQUEST", "no JSON"),
        (b"[1]\n", "AGENT_REQUEST", "mapping"),
        (b'{"verb": "shell"}\n', "AGENT_REQUEST", "shell"),
        (b'{"verb": "backup", "path": "/etc"}\n', "AGENT_REQUEST", "path"),
        (b'{"verb": "update", "version": "{{ 1 }}"}\n', "AGENT_REQUEST", "version"),
        (b'{"verb": "update", "version": "9.9.9"}\n', "RELEASE_UNKNOWN", "9.9.9"),
        (b'{"verb": "update", "backup_location": "external"}\n', "BACKUP_LOCATION", "drive"),
        (b'{"verb": "restore", "backup": "../etc"}\n', "AGENT_REQUEST", "backup"),
        (b'{"verb": "status", "x": "' + b"x" * 70_000 + b'"}\n', "AGENT_REQUEST", "too large"),
        (b'{"verb":' * 20_000 + b"\n", "AGENT_REQUEST", "too large"),
    ],
    ids=["no JSON", "no object", "verb", "field", "template", "never published", "no drive", "path", "large", "deep"],
)
def test_what_it_does_not_understand(school: School, agent: AgentProcess, line: bytes, code: str, word: str) -> None:
    with school.untouched():
        answer = agent.ask(line)
    assert (answer["ok"], answer["error"]["code"]) == (False, code)
    assert word in answer["error"]["message"]


def test_nobody_else_reaches_it(agent: AgentProcess) -> None:
    assert agent.socket.stat().st_mode & 0o777 == 0o660


def test_second_agent(agent: AgentProcess) -> None:
    done = subprocess.run(agent.command(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "AGENT_TWICE" in done.stderr
    assert agent.answers()


def test_lost_controller_changes_nothing(school: School, agent: AgentProcess, tmp_path: Path) -> None:
    run = school.last_run()["id"] + 1
    with school.writing(tmp_path) as written:
        process = school.stand.start(
            "ansible-playbook", "playbooks/update.yml", "-i", f"inventories/{school.inventory}", "--limit", school.name,
            "-e", "clms_version=1.1.0",
        )  # fmt: skip
        with process:
            wait_for(lambda: "backup" in school.phases_begun(run), seconds=120, what="the backup")
            process.kill()
            process.communicate()
        late = school.clms_update("backup", "--json")
        wait_for(lambda: school.last_run()["outcome"] is not None, seconds=180, what="the end of the run")
        written.wait_acknowledged()
    assert (late.code, late.json()["error_code"]) == (2, "RUN_ACTIVE")
    assert (school.last_run()["id"], school.last_run()["outcome"]) == (run, "COMPLETED")
    written.assert_nothing_lost()
    school.assert_serves("1.1.0")


def test_agent_killed_while_closed(school: School, agent: AgentProcess, tmp_path: Path) -> None:
    """Its playbook and what that has started are ended by the next agent, and the old version serves again."""
    before, run = school.picture(), school.last_run()["id"] + 1
    config = school.folder / "etc"
    with school.journal() as journal:
        (earlier,) = (slot.version for slot in journal.slots("previous"))
    with school.writing(tmp_path) as written:
        process = school.stand.start(
            "clms-update", "--config", config, "rollback", "--confirm", earlier, "--json"
        )  # fmt: skip
        with process:
            wait_for(lambda: "container_replace" in school.phases_begun(run), seconds=120, what="the new version")
            agent.kill()
            time.sleep(0.3)  # the playbook goes on without its agent
            agent.start()
            output, _ = process.communicate()
        written.wait_acknowledged()
    answer = json.loads(output)
    # whoever watched learns how it ended
    assert (process.returncode, answer["outcome"]) in ((1, "ROLLED_BACK"), (0, "COMPLETED")), output
    assert school.last_run()["outcome"] == answer["outcome"]
    if answer["outcome"] == "ROLLED_BACK":
        written.assert_nothing_lost()
        assert school.picture().serving == before.serving
        school.assert_serves("1.1.0")
    else:
        school.assert_serves(earlier)


def test_scheduled_by_command(school: School, agent: AgentProcess) -> None:
    """It begins by itself at its time; until then it is shown and can be called off."""
    called_off = school.clms_update("schedule", "--tonight", "--json").json()["schedule"]
    assert school.clms_update("schedule", "--weekend", "--json").json()["error"]["code"] == "SCHEDULE_TWICE"
    assert school.clms_update("schedule", "--cancel", str(called_off["id"]), "--json").code == 0
    school.clms_update("update", "--json")  # where the test before has left it at an earlier version
    (version,), run = school.versions(), school.last_run()["id"]
    refused = school.clms_update("schedule", "--tonight", "--version", version, "--json")
    assert refused.json()["error"]["code"] == "RELEASE_SAME", refused.output
    at = datetime.fromtimestamp(time.time() + 3, UTC).isoformat(timespec="seconds")
    planned = school.clms_update("schedule", "--at", at, "--json")
    assert planned.code == 0, planned.output
    listed = school.clms_update("list", "--schedule", "--json").json()["schedules"]
    assert [entry["state"] for entry in listed][:2] == ["SCHEDULED", "CANCELLED"]

    def entry() -> dict[str, Any]:
        found: dict[str, Any] = school.clms_update("list", "--schedule", "--json").json()["schedules"][0]
        return found

    wait_for(lambda: entry()["state"] == "DONE", seconds=60, what="the end of what was scheduled")
    # the newest version runs already: nothing was to be done, and no run was opened
    assert entry()["code"] is None
    assert school.last_run()["id"] == run


def test_the_vendor_was_told(school: School, agent: AgentProcess) -> None:
    def told() -> list[tuple[str, str]]:
        reports = school.stand.release_server("reports", "list", "--school", school.name)["reports"]
        return [(report["run_id"].split("-")[1], report["status"]) for report in reversed(reports)]

    wait_for(lambda: told() and told()[-1][0] == str(school.last_run()["id"]), seconds=150, what="the last report")
    history = school.clms_update("list", "--history", "--json").json()["history"]
    assert told() == [(str(run["id"]), run["status"]) for run in reversed(history)]
