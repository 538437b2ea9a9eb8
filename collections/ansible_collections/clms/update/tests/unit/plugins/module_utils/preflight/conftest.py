# SPDX-License-Identifier: GPL-3.0-or-later
"""A school where everything is as it should be, and in which anything can be made to be in the way."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils import run as run_module
from ansible_collections.clms.update.plugins.module_utils.adapters.supply import Supply
from ansible_collections.clms.update.plugins.module_utils.backup_manifest import Manifest
from ansible_collections.clms.update.plugins.module_utils.disk import Mount
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.gate_config import DEFINITION, definition
from ansible_collections.clms.update.plugins.module_utils.phases import preflight, preflight_checks, restore
from ansible_collections.clms.update.plugins.module_utils.release import parse_release
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.school import School

GB = 10**9


@dataclass
class World:
    """What preflight looks at beside the engine: release, database, gate, smoke test, backup, disks."""

    release: dict[str, Any]
    backup: Manifest
    problems: list[str] = field(default_factory=list)
    mode: str = "open"
    smoke: Exception | None = None
    """what the smoke test of the serving version raises"""
    tested: list[tuple[str, str]] = field(default_factory=list)
    """version and network of each smoke test"""
    lost: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """folder's name -> bytes"""
    free: dict[str, int] = field(default_factory=lambda: {"docker": 100 * GB, "backups": 100 * GB})
    closed: int = 0
    bundle: Path | None = None
    """the file on this server that has the release"""
    away: ClmsError | None = None
    """why the release server cannot be asked"""
    registry: ClmsError | None = None
    """why the registry cannot be asked"""
    asked: list[str] = field(default_factory=list)
    """where a release was looked for: ``files``, ``vendor``"""


@pytest.fixture
def world(
    engine: Any,
    school: School,
    manifest: Manifest,
    make_school_release: Callable[..., dict[str, Any]],
    secrets: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    """A school where everything is as it should be."""
    found = World(make_school_release(), manifest)

    class Database:
        def settings_problems(self) -> list[str]:
            return found.problems

        def event_scheduler(self) -> str:
            return "ON"

        def close(self) -> None:
            found.closed += 1

    class Gate:
        def __init__(self, school: School, engine: Any) -> None:
            self.gate, self.engine = school.gate, engine

        def mode(self) -> str:
            return found.mode

    def run_smoke(_: Any, __: Any, place: Any, release: Any, *, writes: bool) -> Any:
        assert writes is False  # it is the data of the school
        found.tested.append((release.version.text, place.network))
        if found.smoke:
            raise found.smoke
        return [], {}

    def find_backup(school: School, backup: str) -> tuple[Path, Manifest]:
        if backup != found.backup.id:
            raise ClmsError("BACKUP_UNKNOWN", backup=backup)
        return Path(school.backup.path) / backup, found.backup

    def mount_of(path: Path) -> Mount:
        return Mount(0 if path.name == "docker" else 1, f"/{path.name}", found.free[path.name])

    engine.add("linden-gate", labels={DEFINITION: json.dumps(definition(school.gate))})
    monkeypatch.setattr(run_module, "Engine", lambda: engine)

    def take_in_files(_: School, __: Any) -> None:
        found.asked.append("files")

    class Registry:
        def __init__(self, _: School) -> None:
            pass

        def check_answers(self) -> None:
            if found.registry:
                raise found.registry

    def supply(*_: Any) -> Supply:
        found.asked.append("vendor")
        return Supply(parse_release(found.release), found.bundle, found.away)

    monkeypatch.setattr(preflight, "take_in_files", take_in_files)
    monkeypatch.setattr(preflight, "registry_of", Registry)
    monkeypatch.setattr(preflight, "supply", supply)
    monkeypatch.setattr(preflight_checks, "database_of", lambda *_, **__: Database())
    monkeypatch.setattr(preflight_checks, "GateControl", Gate)
    monkeypatch.setattr(preflight_checks, "run_smoke", run_smoke)
    monkeypatch.setattr(preflight, "find_backup", find_backup)
    monkeypatch.setattr(restore, "find_backup", find_backup)
    monkeypatch.setattr(preflight, "load_saved_images", lambda context, slot, place: slot)
    monkeypatch.setattr(preflight, "lost_writes", lambda context, slot: found.lost)
    monkeypatch.setattr(preflight, "written_since", lambda context, backup: found.lost)
    monkeypatch.setattr(preflight_checks, "mount_of", mount_of)
    monkeypatch.setattr(preflight_checks, "folder_bytes", lambda path: found.sizes.get(path.name, 0))
    return found


@pytest.fixture
def installed(begin: Callable[..., Context], world: World) -> Context:
    """1.0.0 is installed and no run is open."""
    context = begin()
    context.run.close("ABORTED")
    context.journal.set_slot(context.journal.slots("candidate")[0], "freed")
    return context


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Descriptors of the lock that were handed to the guard; they stay with this process here."""
    found: list[int] = []

    def release(home: Path) -> None:
        while found:
            os.close(found.pop())

    monkeypatch.setattr(lock, "hand_to_guard", lambda home, descriptor: found.append(descriptor))
    monkeypatch.setattr(lock, "release", release)
    return found
