# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be in the way of an update, beside its release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.smoke import SmokeError

Spoil = Callable[[Any, Any], None]
"""of the world and the engine"""


def image_store(world: Any, engine: Any) -> None:
    engine.by_manifest = True


def application_stopped(world: Any, engine: Any) -> None:
    engine.stop("linden-backend-r1", 1)


def application_gone(world: Any, engine: Any) -> None:
    engine.remove("linden-redis-r1")


def database_stopped(world: Any, engine: Any) -> None:
    engine.stop("linden-mysql-r1", 1)


def database_settings(world: Any, engine: Any) -> None:
    world.problems = ["innodb_flush_log_at_trx_commit is not 1", "it is set up as a replica"]


def smoke_test(world: Any, engine: Any) -> None:
    world.smoke = SmokeError("step 'login' (POST /api/auth/login) answered 401")


def no_answer(world: Any, engine: Any) -> None:
    world.smoke = ClmsError("HEALTH_FAILED", detail="the container of 'frontend' is not running")


def gate_closed(world: Any, engine: Any) -> None:
    world.mode = "closed"


def gate_held(world: Any, engine: Any) -> None:
    world.mode = "held"


def gate_gone(world: Any, engine: Any) -> None:
    engine.remove("linden-gate")


def gate_differs(world: Any, engine: Any) -> None:
    engine.containers["linden-gate"] = replace(engine.containers["linden-gate"], labels={})


def docker_full(world: Any, engine: Any) -> None:
    world.free["docker"] = 100


def backups_full(world: Any, engine: Any) -> None:
    world.free["backups"] = 100
    world.sizes["linden-uploads-r1"] = 1000


def secret(name: str) -> Spoil:
    def open_to_all(world: Any, engine: Any) -> None:
        (engine.folder.parent / "secrets" / name).chmod(0o644)

    return open_to_all


def no_env_file(world: Any, engine: Any) -> None:
    (engine.folder.parent / "secrets" / "backend.env").write_text("canary\n")


def backups_are_a_file(world: Any, engine: Any) -> None:
    (engine.folder.parent / "backups").write_text("")


REASONS = [
    pytest.param(
        application_stopped, "SCHOOL_NOT_RUNNING", "linden-backend-r1 of 'backend' does not run", id="stopped"
    ),
    pytest.param(application_gone, "SCHOOL_NOT_RUNNING", "linden-redis-r1 of 'redis' is gone", id="container gone"),
    pytest.param(
        database_stopped, "SCHOOL_NOT_RUNNING", "linden-mysql-r1 of 'mysql' does not run", id="database stopped"
    ),
    pytest.param(database_settings, "DATABASE_SETTINGS", "is not 1; it is set up as a replica", id="database"),
    pytest.param(
        smoke_test,
        "SCHOOL_NOT_RUNNING",
        "its smoke test fails: step 'login' (POST /api/auth/login) answered 401.",
        id="smoke test",
    ),
    pytest.param(
        no_answer,
        "SCHOOL_NOT_RUNNING",
        "is not running as it should: its smoke test fails: the container of 'frontend' is not running.",
        id="no answer",
    ),
    pytest.param(image_store, "ENGINE_IMAGE_STORE", "in containerd's store", id="image store"),
    pytest.param(gate_closed, "SCHOOL_NOT_RUNNING", "the gate is closed", id="gate closed"),
    pytest.param(gate_held, "SCHOOL_NOT_RUNNING", "the gate is closed", id="gate held"),
    pytest.param(gate_gone, "GATE_DIFFERS", "container is absent instead of present", id="gate gone"),
    pytest.param(gate_differs, "GATE_DIFFERS", "image is unknown instead of clms-gate:1; address", id="another gate"),
    pytest.param(docker_full, "DISK_TOO_SMALL", "on /docker: images 3 MB", id="no room for images"),
    pytest.param(backups_full, "DISK_TOO_SMALL", "on /backups: backup 1 kB", id="no room for a backup"),
    *(
        pytest.param(secret(name), "SECRET_FILE", name, id=f"{name} can be read by all")
        for name in ("mysql.env", "backend.env", "root.cnf", "host.key", "signing.pem", "smoke.json")
    ),
    pytest.param(no_env_file, "SECRET_FILE", "line 1", id="environment file that is none"),
    pytest.param(backups_are_a_file, "BACKUP_PLACE", "it is not a folder", id="backup place"),
]
"""what spoils it, code, and what is said"""
