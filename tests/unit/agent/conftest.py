# SPDX-License-Identifier: GPL-3.0-or-later
"""A school server on paper: a configuration folder, a journal, and a runner that writes to it without Ansible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.config import Config, load
from agent.runner import Ending, Play
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS


def description(home: Path) -> dict[str, Any]:
    """A complete description of a school, without the prefix of its variables."""
    secrets = home.parent / "secrets"
    return {
        "title": "Linden School",
        "home": str(home),
        "upload_folder": str(home.parent / "uploads"),
        "services": [
            {"name": "mysql", "role": "database", "image": f"sha256:{'a' * 64}", "env_file": f"{secrets}/mysql.env"},
            {"name": "backend", "env_file": f"{secrets}/backend.env"},
        ],
        "database": {"service": "mysql", "name": "clms", "credentials_file": f"{secrets}/root.cnf"},
        "entry_service": "backend",
        "gate": {"image": "clms-gate:1", "ports": [{"listen": 3000, "service": "backend", "port": 3001}]},
        "trust": {
            "url": "https://releases.test",
            "root_file": f"{secrets}/root.json",
        },
        "registry": "registry.test:5000",
        "backup": {
            "path": str(home.parent / "backups"),
            "host_key_file": f"{secrets}/host.key",
            "recovery_recipient": f"age1{'q' * 58}",
            "signing_key_file": f"{secrets}/signing.pem",
        },
        "smoke_credentials_file": f"{secrets}/smoke.json",
    }


def write_config(folder: Path, described: dict[str, Any], *, hosts: object = None) -> Path:
    """Write a configuration folder."""
    (folder / "host_vars").mkdir(parents=True, exist_ok=True)
    inventory = hosts or {"schools": {"hosts": {"school": {"ansible_connection": "local"}}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    variables = {f"clms_{name}": value for name, value in described.items()}
    (folder / "host_vars" / "school.yml").write_text(yaml.safe_dump({**variables, "ansible_user": "root"}))
    return folder


class FakeRunner:
    """In place of ansible-runner: each step of a playbook is a function, called when the watcher has looked once."""

    def __init__(self, *steps: Callable[[], object], ending: Ending | None = None) -> None:
        self.plays: list[Play] = []
        self._steps = list(steps)
        self._ending = ending

    def __call__(self, what: Play) -> FakeRunner:
        self.plays.append(what)
        return self

    def wait(self, seconds: float) -> bool:
        if self._steps:
            self._steps.pop(0)()
            return False
        return True

    def ending(self) -> Ending | None:
        return self._ending


def ended(exit_code: int | None = 0, code: str = "", **values: object) -> Ending:
    """An ending, with the failure of that code if one is named."""
    return Ending(exit_code, ClmsError(code, **values).as_dict() if code else None, "/log")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    return write_config(tmp_path / "etc", description(home))


@pytest.fixture
def settings(folder: Path) -> Config:
    return load(folder)


@pytest.fixture
def journal(home: Path, settings: Config) -> Any:
    opened = Journal(home, create=True)
    yield opened
    opened.close()


@pytest.fixture
def begin(journal: Journal, settings: Config) -> Callable[..., Run]:
    """Open a run, as the preflight would."""

    def open_run(kind: str = "update", version: str = "1.0.1") -> Run:
        return journal.begin(
            kind, phases=KINDS[kind], school=settings.school.raw, version=version, from_version="1.0.0"
        )

    return open_run
