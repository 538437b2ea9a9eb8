# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `container_replace`: the new version starts; an earlier slot first becomes like one that was never open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.phases import container_replace
from ansible_collections.clms.update.plugins.module_utils.phases.prepare import EVENTS_OFF, event_switch
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

Begin = Callable[..., Context]
EVENTS_ON = "[mysqld]\nevent_scheduler=ON\n"


@pytest.fixture(autouse=True)
def database(engine: Any, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that answers at once."""

    class Closable:
        def close(self) -> None:
            engine.calls.append(("database answers",))

    monkeypatch.setattr(container_replace, "database_of", lambda *_, **__: Closable())


def was_open(context: Context, slot: Slot) -> None:
    """``slot`` has served: its cache is full, its events are on, and its backend reaches other hosts."""
    engine: Any = context.engine
    for volume in slot.volumes.values():
        (engine.volumes[volume] / "file").write_text("x")
    event_switch(context, slot).write_text(EVENTS_ON)
    engine.ensure_network("linden-outside", internal=False, labels={})
    engine.connect("linden-backend-r1", "linden-outside")
    engine.calls.clear()


@pytest.fixture
def going_back(begin: Begin, engine: Any, old: Slot) -> Context:
    """1.0.1 serves on data of its own, is closed, and 1.0.0 is to come back."""
    context = begin("rollback", phase="container_replace")
    engine.outputs["linden-mysql-r2"] = "mysqld: Shutdown complete"
    was_open(context, old)
    return context


@pytest.fixture
def going_back_to_the_same_data(begin: Begin, engine: Any, old: Slot, new_images: Slot) -> Context:
    """1.0.1 came without a migration, so both versions use one database, which may reach other hosts here."""
    update = begin("update_images")
    engine.set_up(new_images, "linden")
    update.run.commit(new_images)
    update.run.close("COMPLETED")
    run = update.journal.begin("rollback", phases=KINDS["rollback"], school=update.run.row.school, version="1.0.0")
    for phase in ("preflight", "drain", "backup"):
        run.leave(phase, **({"slot": old.as_dict()} if phase == "preflight" else {}))
    run.row.school["services"][0]["egress"] = True
    context = Context(update.journal, run, "container_replace")
    context.engine = engine
    was_open(context, old)
    engine.connect("linden-mysql-r1", "linden-outside")
    for service in ("redis", "backend", "frontend"):
        engine.stop(f"linden-{service}-r1", 1)
    engine.calls.clear()
    return context


def test_the_order_of_going_back(going_back: Context, engine: Any) -> None:
    assert container_replace.work(going_back) == {
        "containers": ["linden-mysql-r1", "linden-redis-r1", "linden-backend-r1", "linden-frontend-r1"]
    }
    names = ("remove", "remove_volume", "disconnect", "create", "stop", "start", "database answers")
    made = [call for call in engine.did(*names) if call[0] != "create" or call[1] in engine.specs]
    assert made == [
        ("remove", "linden-redis-r1"),
        ("remove_volume", "linden-redis-data-r1"),
        ("disconnect", "linden-backend-r1", "linden-outside"),
        ("create", "linden-redis-r1"),
        # the database that is left, once the earlier slot is ready
        ("stop", "linden-mysql-r2", "300"),
        ("start", "linden-mysql-r1"),
        ("database answers",),
        ("start", "linden-redis-r1"),
        ("start", "linden-backend-r1"),
        ("start", "linden-frontend-r1"),
    ]


def test_an_earlier_slot_is_as_if_it_had_never_been_open(going_back: Context, engine: Any, old: Slot) -> None:
    container_replace.work(going_back)
    assert event_switch(going_back, old).read_text() == EVENTS_OFF
    assert engine.connected("linden-outside") == set()
    assert engine.connected("linden-r1") == {service.container for service in old.services.values()}
    # made anew: the cache, which is empty now
    assert list(engine.specs) == ["linden-redis-r1"]
    assert list(engine.volumes["linden-redis-data-r1"].iterdir()) == []
    # and nothing else
    for volume in ("linden-mysql-data-r1", "linden-uploads-r1", "linden-logs-r1"):
        assert (engine.volumes[volume] / "file").is_file()


def test_a_cache_that_is_made_anew_is_like_the_first_one(going_back: Context, engine: Any, old: Slot) -> None:
    container_replace.work(going_back)
    spec = engine.specs["linden-redis-r1"]
    assert (spec.image, spec.network, spec.aliases) == (old.services["redis"].image, "linden-r1", ("redis",))
    assert spec.binds == ("linden-redis-data-r1:/data:rw",)
    assert (spec.labels["clms.run"], spec.labels["clms.slot"]) == ("1", "r1")


def test_whatever_keeps_something_that_is_to_be_empty_is_made_anew(going_back: Context, engine: Any, old: Slot) -> None:
    backend = going_back.run.row.school["services"][2]
    backend["volumes"][0]["on_update"] = "empty"  # no cache, but what it keeps here does not outlive a switch
    del going_back.school  # it is read once
    container_replace.work(going_back)
    assert engine.did("remove", "remove_volume") == [
        ("remove", "linden-redis-r1"),
        ("remove_volume", "linden-redis-data-r1"),
        ("remove", "linden-backend-r1"),
        ("remove_volume", "linden-uploads-r1"),
    ]
    assert list(engine.specs) == ["linden-redis-r1", "linden-backend-r1"]
    spec = engine.specs["linden-backend-r1"]
    assert (spec.image, spec.network) == (old.services["backend"].image, "linden-r1")
    assert list(engine.volumes["linden-uploads-r1"].iterdir()) == []
    assert (engine.volumes["linden-logs-r1"] / "file").is_file()
    assert engine.connected("linden-outside") == set()  # before the commit
    assert "linden-backend-r1" in engine.running()


def test_a_cache_without_a_volume_is_made_anew(going_back: Context, engine: Any) -> None:
    going_back.run.row.school["services"][1]["volumes"] = []
    del going_back.school  # it is read once
    container_replace.work(going_back)
    assert engine.did("remove", "remove_volume") == [("remove", "linden-redis-r1")]
    assert list(engine.specs) == ["linden-redis-r1"]


def test_what_both_versions_use_goes_on(going_back_to_the_same_data: Context, engine: Any, old: Slot) -> None:
    before = engine.containers["linden-mysql-r1"]
    container_replace.work(going_back_to_the_same_data)
    assert engine.did("stop") == []
    assert engine.containers["linden-mysql-r1"] == before  # with its way out
    assert event_switch(going_back_to_the_same_data, old).read_text() == EVENTS_ON  # the database did not stop
    assert engine.connected("linden-outside") == {"linden-mysql-r1"}
    assert list(engine.specs) == ["linden-redis-r1"]
    assert list(engine.volumes["linden-redis-data-r1"].iterdir()) == []
    assert engine.running() >= {service.container for service in old.services.values()}


@pytest.mark.parametrize("call", [("remove", "linden-redis-r1"), ("disconnect", "linden-backend-r1")])
def test_an_engine_that_refuses_stops_nothing_that_runs(
    going_back: Context, engine: Any, new: Slot, call: tuple[str, str]
) -> None:
    engine.fails[call] = docker.errors.APIError("no")
    with pytest.raises(ClmsError) as caught:
        container_replace.work(going_back)
    assert caught.value.code == "CONTAINER_FAILED"
    assert engine.did("stop", "start") == []


@pytest.mark.parametrize("kind", ["update", "update_images"])
def test_a_new_slot_has_nothing_to_be_made_ready(begin: Begin, engine: Any, kind: str) -> None:
    context = begin(kind, phase="container_replace")
    engine.set_up(context.new, "linden", running=False)
    container_replace.work(context)
    assert engine.did("remove", "remove_volume", "disconnect", "stop") == []
    assert not context.run.intended("make_ready")
    assert engine.running() >= {f"linden-{service}-r2" for service in ("redis", "backend", "frontend")}
