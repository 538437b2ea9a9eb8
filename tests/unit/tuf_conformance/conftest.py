# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository that is simulated, and a school that pins its first root."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from tuf.ngclient._internal import trusted_metadata_set

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .client import Client
from .simulator import ROLES, Repository


class School:
    """What the suite's runner asks of a client, in this process; each call begins with a new client."""

    def __init__(self, folder: Path, repository: Repository) -> None:
        self.folder = folder
        self._repository = repository

    def pin(self, root: bytes) -> None:
        """Install the school with this root."""
        path = self.folder / "root.json"
        path.write_bytes(root)
        Client(self.folder, self._repository).pin(path)

    def refresh(self) -> str:
        """The code of the refusal, or nothing."""
        return self._code(lambda client: client.refresh())

    def download(self, *paths: str) -> str:
        """The code of the refusal, or nothing."""
        return self._code(lambda client: client.download(*paths))

    def _code(self, do: Callable[[Client], None]) -> str:
        try:
            do(Client(self.folder, self._repository))
        except ClmsError as error:
            return error.code
        return ""

    def stored(self, role: str) -> bytes | None:
        """What the school believes of a role."""
        path = self.folder / "metadata" / f"{role}.json"
        return path.read_bytes() if path.exists() else None

    def versions(self) -> dict[str, int]:
        """The versions of all roles that the school believes something of."""
        stored = {role: self.stored(role) for role in ROLES}
        return {role: json.loads(data)["signed"]["version"] for role, data in stored.items() if data is not None}

    def downloaded(self) -> set[bytes]:
        """The contents of all targets that were kept."""
        return {path.read_bytes() for path in (self.folder / "targets").rglob("*") if path.is_file()}


@pytest.fixture
def repository() -> Repository:
    return Repository()


@pytest.fixture
def school(repository: Repository, tmp_path: Path) -> School:
    """A school that has seen nothing but the first root."""
    made = School(tmp_path, repository)
    made.pin(repository.served["root"][0])
    return made


@pytest.fixture
def days_later(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes it so many days later for everything that expires."""

    def pass_by(days: int) -> None:
        now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        clock = SimpleNamespace(datetime=SimpleNamespace(now=lambda _: now), timezone=datetime.timezone)
        monkeypatch.setattr(trusted_metadata_set, "datetime", clock)

    return pass_by
