# SPDX-License-Identifier: GPL-3.0-or-later
"""Phases `rehearse` and `migrate`: nothing of the live school is within reach, and failures are explained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.phases import migrate, proof, rehearse
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.slots import Slot
from ansible_collections.clms.update.plugins.module_utils.smoke import SmokeError

Begin = Callable[..., Context]
MIGRATION = "linden-rehearsal-backend-migrate-r2"


@pytest.fixture
def smoke(engine: Any, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Exception]:
    """Smoke tests and health checks that only tell the engine's list of calls; version -> what its test raises."""
    problems: dict[str, Exception] = {}

    def run_smoke(_: Any, __: Any, place: Any, release: Any, *, writes: bool) -> Any:
        engine.calls.append(("smoke", release.version.text, place.network, "writes" if writes else "reads"))
        if release.version.text in problems:
            raise problems[release.version.text]
        return [], {}

    monkeypatch.setattr(rehearse, "run_smoke", run_smoke)
    monkeypatch.setattr(
        rehearse, "wait_healthy", lambda _, place, name, __: engine.calls.append(("healthy", place.containers[name]))
    )
    return problems


def test_the_order_of_a_rehearsal(begin: Begin, engine: Any, smoke: Any) -> None:
    context = begin(phase="rehearse")
    engine.calls.clear()
    assert set(rehearse.work(context)) == {"migration_seconds"}
    network = "linden-rehearsal-r2"
    assert engine.did("start", "smoke", "run_once", "healthy") == [
        *(("start", f"linden-rehearsal-{service}-old-r2") for service in ("redis", "backend", "frontend")),
        ("healthy", "linden-rehearsal-backend-old-r2"),
        ("healthy", "linden-rehearsal-frontend-old-r2"),
        ("smoke", "1.0.0", network, "writes"),
        ("run_once", MIGRATION, "600"),
        *(("start", f"linden-rehearsal-{service}-new-r2") for service in ("redis", "backend", "frontend")),
        ("healthy", "linden-rehearsal-backend-new-r2"),
        ("healthy", "linden-rehearsal-frontend-new-r2"),
        ("smoke", "1.0.1", network, "writes"),
    ]
    assert engine.by_label(run="2", purpose="rehearsal") == []


def test_an_engine_that_was_killed_does_not_wait_for_a_rehearsal(begin: Begin, engine: Any, smoke: Any) -> None:
    """It waits for each container that still runs when it starts again; the database may take 300 seconds."""
    context = begin(phase="rehearse")
    rehearse.work(context)
    throwaway, _ = proof._throwaway(context, context.school.service("mysql"))
    assert {spec.stop_grace for spec in (*engine.specs.values(), throwaway)} == {5}
    assert context.school.service("mysql").stop_grace == 300


def test_without_a_migration_none_is_rehearsed(begin: Begin, engine: Any, smoke: Any) -> None:
    assert rehearse.work(begin("update_images", phase="rehearse")) == {"migration_seconds": 0.0}
    assert engine.did("run_once") == []
    assert len(engine.did("smoke")) == 2


def test_nothing_of_the_live_school_is_within_reach(
    begin: Begin, engine: Any, smoke: Any, old: Slot, new: Slot
) -> None:
    context = begin(phase="rehearse")
    # settings that are not secret stand in the description
    context.school.service("backend").environment["SESSION_URL"] = "redis://redis:6379/1"
    rehearse.work(context)
    assert len(engine.specs) == 7
    live = {*old.volumes.values(), *new.volumes.values()}
    containers = {service.container for slot in (old, new) for service in slot.services.values()}
    for spec in engine.specs.values():
        assert spec.network == "linden-rehearsal-r2"
        assert spec.name not in containers
        assert not [bind for bind in spec.binds if bind.split(":")[0] in live]
        assert all(bind.endswith(":ro") for bind in spec.binds)
        assert spec.labels["clms.run"] == "2"
        assert "mysql" not in spec.aliases  # the name of the live database
    for what in ("old", "migrate", "new"):
        environment = engine.specs[f"linden-rehearsal-backend-{what}-r2"].environment
        assert environment["DATABASE_URL"] == "mysql://clms:canary-db@linden-rehearsal-mysql-r2:3306/clms"
        assert environment["REDIS_URL"] == f"redis://linden-rehearsal-redis-{what}-r2:6379/0"
        assert environment["SESSION_URL"] == f"redis://linden-rehearsal-redis-{what}-r2:6379/1"


def test_each_version_runs_its_own_images(begin: Begin, engine: Any, smoke: Any, old: Slot, new: Slot) -> None:
    rehearse.work(begin(phase="rehearse"))
    for service in ("backend", "frontend", "redis"):
        assert engine.specs[f"linden-rehearsal-{service}-old-r2"].image == old.services[service].image
        assert engine.specs[f"linden-rehearsal-{service}-new-r2"].image == new.services[service].image
    assert engine.specs[MIGRATION].image == new.services["backend"].image


HEALTH = ClmsError("HEALTH_FAILED", detail="'backend' gave no answer")


@pytest.mark.parametrize(
    ("version", "problem", "code", "happened"),
    [
        pytest.param(
            "1.0.0",
            SmokeError("step 'login' answered 500"),
            "REHEARSAL_BASELINE",
            "The running version failed the rehearsal on a copy of the data: step 'login' answered 500.",
            id="the old version's test",
        ),
        pytest.param(
            "1.0.0",
            HEALTH,
            "REHEARSAL_BASELINE",
            "The running version failed the rehearsal on a copy of the data: 'backend' gave no answer.",
            id="the old version does not come up",
        ),
        pytest.param(
            "1.0.1",
            SmokeError("step 'login' answered 500"),
            "REHEARSAL_SMOKE",
            "Version 1.0.1 failed the rehearsal on a copy of the data: step 'login' answered 500.",
            id="the new version's test",
        ),
        pytest.param(
            "1.0.1",
            HEALTH,
            "REHEARSAL_SMOKE",
            "Version 1.0.1 failed the rehearsal on a copy of the data: 'backend' gave no answer.",
            id="the new version does not come up",
        ),
        pytest.param(
            "1.0.1",
            docker.errors.APIError("no such image"),
            "REHEARSAL_SMOKE",
            "Version 1.0.1 failed the rehearsal on a copy of the data: no such image.",
            id="the engine with the new version",
        ),
        pytest.param(
            "1.0.1",
            ClmsError("SECRET_FILE", path="/x", detail="y"),
            "SECRET_FILE",
            "The file /x cannot be used: y.",
            id="another cause keeps its code",
        ),
    ],
)
def test_failures(
    begin: Begin, smoke: dict[str, Exception], version: str, problem: Exception, code: str, happened: str
) -> None:
    smoke[version] = problem
    with pytest.raises(ClmsError) as caught:
        rehearse.work(begin(phase="rehearse"))
    assert (caught.value.code, caught.value.happened) == (code, happened)


def test_an_engine_that_cannot_run_the_rehearsed_migration(begin: Begin, engine: Any, smoke: Any) -> None:
    engine.fails["run_once", MIGRATION] = docker.errors.APIError("no such image")
    with pytest.raises(ClmsError) as caught:
        rehearse.work(begin(phase="rehearse"))
    assert caught.value.code == "REHEARSAL_MIGRATION"
    assert caught.value.happened == "Version 1.0.1 cannot convert this school's data: no such image."


# the migration itself


@pytest.mark.parametrize(
    ("exit_code", "output", "detail"),
    [
        pytest.param(1, "Error: P3018\n\nno such column: x\n", "Error: P3018 no such column: x", id="says why"),
        pytest.param(1, "1\n2\n3\n4\n5\n", "3 4 5", id="the last three lines"),
        pytest.param(137, "", "it ended with code 137", id="silent"),
        pytest.param(1, "  \n\n", "it ended with code 1", id="blank"),
        pytest.param(None, "still converting\n", "it did not end within 600 seconds", id="takes too long"),
        pytest.param(1, "x" * 10_000, "x" * 500, id="very long"),
    ],
)
@pytest.mark.parametrize("phase", ["rehearse", "migrate"])
def test_a_migration_that_fails(
    begin: Begin, engine: Any, smoke: Any, phase: str, exit_code: int | None, output: str, detail: str
) -> None:
    context = begin(phase=phase)
    name = MIGRATION if phase == "rehearse" else "linden-migrate-r2"
    engine.exit_codes[name], engine.outputs[name] = exit_code, output
    work, code = {
        "rehearse": (rehearse.work, "REHEARSAL_MIGRATION"),
        "migrate": (migrate.work, "MIGRATION_FAILED"),
    }[phase]
    with pytest.raises(ClmsError) as caught:
        work(context)
    assert (caught.value.code, caught.value.values["detail"]) == (code, detail)
    assert str(caught.value.values["version"]) == "1.0.1"
    done = [record.names for record in context.journal.records(context.run.id) if record.event == "done"]
    assert done[-1]["exit_code"] == exit_code
    log = Path(done[-1]["log"])
    assert log.parent == context.folder
    assert (log.read_text(), log.stat().st_mode & 0o777) == (output, 0o600)


@pytest.mark.parametrize("exit_code", [0, 1])
@pytest.mark.parametrize("phase", ["rehearse", "migrate"])
def test_what_a_migration_says_of_people_is_for_root_only(
    begin: Begin, engine: Any, smoke: Any, phase: str, exit_code: int
) -> None:
    context = begin(phase=phase)
    name = MIGRATION if phase == "rehearse" else "linden-migrate-r2"
    engine.exit_codes[name] = exit_code
    engine.outputs[name] = "converting student Anna Muster\nDuplicate entry 'Anna Muster' for key 'name'\n"
    engine.outputs[name] += "at 1\nat 2\n"
    messages: list[str] = []
    try:
        {"rehearse": rehearse.work, "migrate": migrate.work}[phase](context)
    except ClmsError as error:
        messages.append(str(error))
    assert len(messages) == exit_code
    journalled = [json.dumps(record.names) for record in context.journal.records(context.run.id)]
    assert not [text for text in (*messages, *journalled) if "Anna" in text or "converting" in text]
    assert "student Anna Muster" in (context.folder / f"{name}.log").read_text()


def test_an_engine_that_cannot_run_the_migration(begin: Begin, engine: Any, secrets: Path) -> None:
    engine.fails["run_once", "linden-migrate-r2"] = docker.errors.APIError("no such image")
    with pytest.raises(ClmsError) as caught:
        migrate.work(begin(phase="migrate"))
    assert caught.value.happened == "Converting the data for version 1.0.1 failed: no such image."


def test_the_container_of_a_migration(begin: Begin, engine: Any, secrets: Path, new: Slot) -> None:
    assert migrate.work(begin(phase="migrate"))["seconds"] >= 0
    spec = engine.specs["linden-migrate-r2"]
    assert spec.image == new.services["backend"].image
    assert spec.command == ("npx", "prisma", "migrate", "deploy")
    assert (spec.network, spec.aliases) == ("linden-r2", ())  # it does not answer to the backend's name
    assert spec.labels["clms.purpose"] == "migrate"
    assert spec.environment["DATABASE_URL"] == "mysql://clms:canary-db@mysql:3306/clms"


def test_a_release_without_migration_has_nothing_to_migrate(begin: Begin, engine: Any) -> None:
    context = begin("update_images", phase="commit")
    engine.calls.clear()
    assert migrate.work(context) == {"seconds": 0.0}
    assert engine.calls == []
