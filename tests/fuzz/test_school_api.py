# SPDX-License-Identifier: GPL-3.0-or-later
"""The API against its own description: schemathesis makes requests out of the OpenAPI document, right and wrong ones.

Page, socket, protocol, accounts, schedule, journal and executor are real; made up are the vendor and the playbooks,
which only write into the journal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST

from agent import accounts as accounts_module
from agent import agent as agent_module
from agent import protocol, tokens
from agent.accounts import Accounts
from agent.config import load
from agent.executor import Executor, Job
from agent.planner import Planner
from agent.runner import Play
from ansible_collections.clms.update.plugins.module_utils import overview
from ansible_collections.clms.update.plugins.module_utils.adapters.backup_store import BackupSummary
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from tests.unit.agent.conftest import FakeRunner, description, ended, write_config
from tests.unit.agent.stage import FakeInhibitor
from tests.unit.webui_school.conftest import PASSWORD, check_of, forced, release_of
from tests.unit.webui_school.served import ROOT, Served, serve

REQUESTS = 5000
EXAMPLES = 220
"""for each address and phase"""
BACKUP = "20261124T101112Z-1.0.0-r1"
SETTINGS = f"""
hooks = '{Path(__file__).with_name("school_checks.py")}'
[auth.openapi.token]
bearer = "${{TOKEN}}"
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "404", "409", "422", "429"]
[dictionaries]
versions = {{ values = ["1.0.1", "1.0.0", "1.0.2"] }}
times = {{ values = ["now", "tonight", "weekend", "2026-01-01T10:00", "2199-01-01T10:00:00Z"] }}
passwords = {{ values = ["{PASSWORD}"] }}
backups = {{ values = ["{BACKUP}"] }}
updates = {{ values = ["run-1", "run-2", "run-3", "schedule-1", "schedule-2", "schedule-3", "schedule-4"] }}
[parameters]
"body.updateId" = {{ dictionary = "versions", probability = 0.7 }}
"body.scheduledFor" = {{ dictionary = "times", probability = 0.7 }}
"body.confirm" = {{ dictionary = "versions", probability = 0.7 }}
"body.password" = {{ dictionary = "passwords", probability = 0.7 }}
"path.backup" = {{ dictionary = "backups", probability = 0.7 }}
"path.update_id" = {{ dictionary = "updates", probability = 0.7 }}
"""
"""what chance would not come upon, or nothing but refusals would be seen"""


class Stranger(agent_module.Agent):
    """Takes nobody for root: the page of a school is not."""

    def begin(self, request: protocol.Request, *, as_root: bool) -> Job:
        return super().begin(request, as_root=False)


class School:
    """Playbooks that only write into the journal, and a vendor with one release."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.etc = write_config(folder / "etc", description(self.home))
        with closing(Journal(self.home, create=True)) as journal:
            self._open(journal, "install", "1.0.0").close("COMPLETED")

    def _open(self, journal: Journal, kind: str, version: str) -> Run:
        return journal.begin(kind, phases=KINDS[kind], school=load(self.etc).school.raw, version=version)

    def start(self, what: Play, **_given: Any) -> FakeRunner:
        """A playbook; long enough for its run to be seen."""

        def run() -> None:
            with closing(Journal(self.home)) as journal:
                opened = self._open(journal, what.playbook, what.variables.get("clms_version", "1.0.0"))
                time.sleep(0.1)
                opened.close("COMPLETED")

        return FakeRunner(run, ending=ended())

    def check(self, _school: Any) -> dict[str, Any]:
        """What the vendor says."""
        return {
            "updateAvailable": True, "currentVersion": "1.0.0", "latestVersion": "1.0.1",
            "updateInfo": release_of()["info"], "message": "Version 1.0.1 is available.", "blocked": None,
        }  # fmt: skip

    def release(self, _school: Any, version: str | None) -> dict[str, Any]:
        """What is known of a release."""
        if version not in (None, "1.0.1"):
            raise ClmsError("RELEASE_UNKNOWN", version=version)
        return release_of()


class Enforcer:
    """A release that is forced, and can be put off three times."""

    def __init__(self) -> None:
        self.left = 3

    def answer(self) -> dict[str, Any]:
        """What is forced."""
        return {"forced": forced(postponements_left=self.left), "blocked": False}

    def postpone(self, shown: str | None) -> dict[str, Any]:
        """Once more."""
        assert shown is None, "the API does not say it"
        if not self.left:
            raise ClmsError("FORCED_LAST", version="1.0.1", count=3)
        self.left -= 1
        return self.answer()


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Served, str]]:
    """The page, and a token for it."""
    school = School(tmp_path)
    summary = BackupSummary(BACKUP, "2026-11-24T10:11:12Z", "1.0.0", 12_000_000, "2026-11-24T10:12:12Z", "/nowhere")
    monkeypatch.setattr(accounts_module, "PasswordHasher", lambda: PasswordHasher.from_parameters(CHEAPEST))
    monkeypatch.setattr(tokens, "PAUSE", 0.01)
    monkeypatch.setattr(agent_module, "_known_versions", lambda _: {"1.0.1"})
    monkeypatch.setattr(agent_module, "backups_in", lambda _: [summary])
    monkeypatch.setattr(overview, "release", school.release)
    monkeypatch.setattr(agent_module.doctor, "examine", lambda _: {"ok": False, "checks": [check_of("gate", ok=None)]})
    accounts = Accounts(school.home)
    accounts.set_password("anna", PASSWORD)
    _, token = accounts.make_token("anna")
    load(school.etc).school.upload_folder.mkdir()
    executor = Executor(school.etc, school.start, group=lambda _: None, inhibitor=FakeInhibitor([]))
    planner = Planner(school.etc, executor, check=school.check)
    with ExitStack() as stack:
        yield serve(stack, tmp_path, Stranger(school.etc, executor, planner, accounts, Enforcer())), token  # type: ignore[arg-type]
        executor.stop()
        executor.wait_for_end()


def test_the_api_does_what_its_description_says(page: tuple[Served, str], tmp_path: Path) -> None:
    served, token = page
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(tmp_path / "schemathesis.toml"), "run",
        f"{served.url}/api/openapi.json", "--tls-verify", str(served.certificate), "--no-color", "--seed", "1",
        "--checks", "all", "--phases", "examples,coverage,fuzzing,stateful", "--mode", "all",
        "--max-examples", str(EXAMPLES), "--exclude-path", "/api/updates/progress",
        "--generation-database", "none", "--continue-on-failure", "--no-shrink", "--suppress-health-check", "all",
        "--request-timeout", "60",
    ]  # fmt: skip
    environment = {**os.environ, "TOKEN": token, "NO_PROXY": "127.0.0.1", "COLUMNS": "120"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    answered = Counter(
        line["status"]
        for line in map(json.loads, served.log.read_bytes().splitlines())
        if line["message"] == "request" and line["path"].startswith("/api/")
    )
    out = ROOT / "build" / "tests"
    out.mkdir(parents=True, exist_ok=True)
    (out / "fuzzed.log").write_text(f"{done.stdout}\n{done.stderr}\n{dict(answered)}\n")
    assert done.returncode == 0, f"{done.stdout[-6000:]}{done.stderr[-2000:]}"
    assert answered.total() >= REQUESTS
    assert {status for status in answered if status >= 500} <= {503}
    assert not answered[503], "the agent was there all the time"
