# SPDX-License-Identifier: GPL-3.0-or-later
"""An update that only brings images, at a school whose Redis keeps data: what the release leaves alone goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.phases import container_replace, drain
from ansible_collections.clms.update.plugins.module_utils.phases.clean_up import free_slot
from ansible_collections.clms.update.plugins.module_utils.release import parse_release
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.school import School, parse_school
from ansible_collections.clms.update.plugins.module_utils.slots import Slot, plan_slot

Begin = Callable[..., Context]
Make = Callable[..., dict[str, Any]]
REDIS = "linden-redis-r1"


def described(describe: Make, role: str, on_update: str) -> School:
    description = describe()
    description["services"][1].update(
        role=role, volumes=[{"name": "redis-data", "path": "/data", "on_update": on_update}]
    )
    return parse_school(description)


@pytest.fixture
def school(describe: Make) -> School:
    """The school, whose Redis is no cache: its data are copied by an update."""
    return described(describe, "application", "copy")


@pytest.mark.parametrize(
    ("role", "on_update", "brought", "migration", "container", "volume"),
    [
        pytest.param("application", "copy", False, False, "r1", "r1", id="left alone: goes on"),
        pytest.param("application", "share", False, False, "r1", "r1", id="left alone, shared volume: goes on"),
        pytest.param("application", "copy", True, False, "r2", "r1", id="another image: a new one on the same data"),
        pytest.param("application", "copy", False, True, "r2", "r2", id="migration: everything is new"),
        pytest.param("application", "copy", True, True, "r2", "r2", id="migration and another image"),
        pytest.param("cache", "empty", False, False, "r2", "r2", id="cache: flushed at every switch"),
        pytest.param("cache", "empty", True, False, "r2", "r2", id="cache with another image"),
        pytest.param("cache", "empty", False, True, "r2", "r2", id="cache and a migration"),
    ],
)
def test_what_the_new_slot_keeps(
    describe: Make,
    make_school_release: Make,
    role: str,
    on_update: str,
    brought: bool,
    migration: bool,
    container: str,
    volume: str,
) -> None:
    school = described(describe, role, on_update)
    first = parse_release(make_school_release("1.0.0", 1))
    old = plan_slot(school, first, run=1, architecture="amd64", current=None)
    release = make_school_release(**({} if migration else {"migration": "none"}))
    if brought:
        digest = "sha256:" + "e" * 64
        image = {"repository": "redis", "digest": digest, "config": digest, "layers": [digest], "size": 1}
        release["services"]["redis"] = {"images": {"amd64": image}}
    slot = plan_slot(school, parse_release(release), run=2, architecture="amd64", current=old)
    assert slot.services["redis"].container == f"linden-redis-{container}"
    assert slot.volumes["redis-data"] == f"linden-redis-data-{volume}"
    assert (slot.services["redis"] == old.services["redis"]) is (container == "r1")
    assert slot.services["mysql"].container == ("linden-mysql-r2" if migration else "linden-mysql-r1")
    assert slot.services["backend"].container == "linden-backend-r2"


class Gate:
    def __init__(self, *_: Any) -> None: ...

    def hold(self) -> None: ...

    def wait_drained(self, seconds: float) -> bool:
        return True


def test_it_is_never_stopped(begin: Begin, engine: Any, new_images: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "GateControl", Gate)
    context = begin("update_images", phase="drain")
    engine.calls.clear()
    drain.work(context)
    assert [call[1] for call in engine.did("set_restart")] == ["linden-backend-r1", "linden-frontend-r1"]
    assert [call[1] for call in engine.did("stop")] == ["linden-frontend-r1", "linden-backend-r1"]
    assert engine.running() == {"linden-mysql-r1", REDIS}
    assert engine.containers[REDIS].restart_policy == "always"


def test_the_new_version_reaches_it_by_its_name(begin: Begin, engine: Any, secrets: Any) -> None:
    context = begin("update_images", phase="container_replace")
    before = engine.containers[REDIS]
    engine.calls.clear()
    assert REDIS in container_replace.work(context)["containers"]
    assert engine.did("connect_as") == [
        ("connect_as", "linden-mysql-r1", "linden-r2", "mysql"),
        ("connect_as", REDIS, "linden-r2", "redis"),
    ]
    assert [call[1] for call in engine.did("create")] == ["linden-backend-r2", "linden-frontend-r2"]
    assert engine.did("remove", "remove_volume", "ensure_volume", "stop") == []
    assert engine.containers[REDIS].started_at == before.started_at
    assert engine.connected("linden-r2") == {"linden-mysql-r1", REDIS, "linden-backend-r2", "linden-frontend-r2"}


def test_it_outlives_a_slot_that_is_given_up(begin: Begin, engine: Any, old: Slot, new_images: Slot) -> None:
    context = begin("update_images")
    engine.set_up(new_images, "linden")
    free_slot(context, new_images)
    assert engine.running() == {service.container for service in old.services.values()}
    assert set(engine.volumes) == set(old.volumes.values())
    assert engine.connected("linden-r2") == set()


def test_it_outlives_the_slot_that_made_it(begin: Begin, engine: Any, old: Slot, new_images: Slot) -> None:
    context = begin("update_images")
    engine.set_up(new_images, "linden")
    context.run.commit(new_images)
    later = Context(context.journal, context.run, "preflight")
    later.engine = engine
    free_slot(later, old)
    assert engine.running() == {service.container for service in new_images.services.values()}
    assert REDIS in engine.running()
    assert set(engine.volumes) == set(new_images.volumes.values())
    assert engine.connected("linden-r1") == set()
