# SPDX-License-Identifier: GPL-3.0-or-later
"""May a run be done? Every reason why not, for each kind of run, and what a run that may be done is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.phases import preflight
from ansible_collections.clms.update.plugins.module_utils.phases.preflight import Request
from ansible_collections.clms.update.plugins.module_utils.run import Context

from . import reasons
from .reasons import REASONS, Spoil

Begin = Callable[..., Context]
Make = Callable[..., dict[str, Any]]
UPDATE = Request("update")


@pytest.mark.parametrize(
    ("asked", "migration", "kind", "slot"),
    [
        pytest.param("update", {}, "update", "r2", id="update"),
        pytest.param("update", {"migration": "none"}, "update_images", "r2", id="without migration"),
        pytest.param("backup", {}, "backup", None, id="backup"),
    ],
)
def test_what_a_run_is_given(
    begin: Begin, world: Any, make_school_release: Make, asked: str, migration: dict[str, Any], kind: str, slot: Any
) -> None:
    world.release = make_school_release(**migration)
    context = begin(asked)
    findings = preflight.examine(context, Request(asked))
    assert findings.kind == kind
    assert (findings.slot.name if findings.slot else None) == slot
    assert findings.event_scheduler == "ON"
    assert world.closed == 1


def test_looking_changes_nothing(begin: Begin, world: Any, engine: Any) -> None:
    context = begin()
    before = (context.journal.records(context.run.id), context.journal.events(), context.run.row)
    engine.calls.clear()
    preflight.examine(context, UPDATE)
    assert engine.calls == []
    assert (context.journal.records(context.run.id), context.journal.events(), context.run.row) == before


@pytest.mark.parametrize(("spoil", "expected", "detail"), REASONS)
def test_reasons_to_refuse(begin: Begin, world: Any, engine: Any, spoil: Spoil, expected: str, detail: str) -> None:
    context = begin()
    spoil(world, engine)
    with pytest.raises(ClmsError) as caught:
        preflight.examine(context, UPDATE)
    assert caught.value.code == expected
    assert detail in caught.value.happened
    assert "canary" not in str(caught.value)


def test_the_database_is_let_go_when_its_settings_are_wrong(begin: Begin, world: Any) -> None:
    world.problems = ["x"]
    with pytest.raises(ClmsError):
        preflight.examine(begin(), UPDATE)
    assert world.closed == 1


# what keeps which kind of run from being done


def asked(kind: str, world: Any) -> Request:
    """The request for a run of that kind, with all that a person has to type."""
    return Request(kind, backup=world.backup.id if kind == "restore" else None, confirm="1.0.0")


@pytest.mark.parametrize(
    ("spoil", "kept"),
    [
        pytest.param(lambda *_: None, "", id="nothing"),
        pytest.param(reasons.image_store, "update rollback restore backup", id="image store"),
        # to go back from a version that does not work must be possible
        pytest.param(reasons.application_stopped, "update", id="application stopped"),
        # but not where there is nothing to be started again
        pytest.param(reasons.application_gone, "update rollback restore backup", id="application gone"),
        pytest.param(reasons.smoke_test, "update", id="smoke test"),
        pytest.param(reasons.no_answer, "update", id="no answer"),
        pytest.param(reasons.database_stopped, "update rollback restore backup", id="database"),
        pytest.param(reasons.database_settings, "update rollback restore backup", id="settings"),
        # a person has to look at this school, who may want to restore a backup or to go back
        pytest.param(reasons.gate_closed, "update", id="gate closed"),
        pytest.param(reasons.gate_held, "update", id="gate held"),
        # a backup does not move it
        pytest.param(reasons.gate_differs, "update rollback restore", id="another gate"),
        pytest.param(reasons.backups_are_a_file, "update rollback restore backup", id="backup place"),
        pytest.param(reasons.secret("root.cnf"), "update rollback restore backup", id="secret"),
    ],
)
@pytest.mark.parametrize("kind", ["update", "rollback", "restore", "backup"])
def test_what_keeps_which_run_from_being_done(
    begin: Begin, world: Any, engine: Any, make_school_release: Make, kind: str, spoil: Spoil, kept: str
) -> None:
    context = begin("rollback")  # 1.0.1 serves, and 1.0.0 is kept
    world.release = make_school_release("1.0.2", 3)
    rename = {f"linden-{service}-r1": f"linden-{service}-r2" for service in ("backend", "mysql", "redis")}
    stop, remove = engine.stop, engine.remove
    engine.stop = lambda name, grace: stop(rename.get(name, name), grace)
    engine.remove = lambda name: remove(rename.get(name, name))
    spoil(world, engine)
    if kind in kept.split():
        with pytest.raises(ClmsError):
            preflight.examine(context, asked(kind, world))
    else:
        assert preflight.examine(context, asked(kind, world)).kind == kind
        assert world.closed == 1


@pytest.mark.parametrize("kind", ["update", "rollback", "restore", "backup"])
def test_only_before_an_update_the_serving_version_is_tested(begin: Begin, world: Any, kind: str) -> None:
    context = begin("rollback" if kind == "rollback" else "update")
    preflight.examine(context, asked(kind, world))
    assert world.tested == ([("1.0.0", "linden-r1")] if kind == "update" else [])


def service_more(services: list[dict[str, Any]]) -> None:
    services.append({"name": "search", "image": "sha256:" + "e" * 64, "order": 9})


def volume_more(services: list[dict[str, Any]]) -> None:
    services[2]["volumes"].append({"name": "covers", "path": "/app/covers"})


def volume_fewer(services: list[dict[str, Any]]) -> None:
    services[2]["volumes"].pop(0)


@pytest.mark.parametrize("migration", [{}, {"migration": "none"}], ids=["migration", "none"])
@pytest.mark.parametrize("change", [service_more, volume_more, volume_fewer])
@pytest.mark.parametrize("kind", ["install", "update", "rollback", "restore", "backup"])
def test_a_description_that_does_not_fit_what_serves(
    begin: Begin,
    world: Any,
    engine: Any,
    make_school_release: Make,
    kind: str,
    change: Callable[[list[dict[str, Any]]], None],
    migration: dict[str, Any],
) -> None:
    world.release = make_school_release(**migration)
    context = begin("rollback" if kind == "rollback" else "update")
    change(context.run.row.school["services"])
    engine.calls.clear()
    with pytest.raises(ClmsError) as caught:
        preflight.examine(context, asked(kind, world))
    assert caught.value.code == "SCHOOL_CHANGED"
    assert caught.value.values["version"] == context.old.version
    assert "Put the description back" in caught.value.remedy
    assert engine.calls == []


@pytest.mark.parametrize("kind", ["rollback", "restore"])
def test_a_description_that_does_not_fit_what_is_gone_back_to(begin: Begin, world: Any, kind: str) -> None:
    context = begin("rollback")
    target = context.journal.slots("previous")[0]
    services = {name: service for name, service in target.services.items() if name != "redis"}
    smaller = replace(target, services=services)  # that version had no Redis
    context.journal.set_slot(smaller, "previous")
    world.backup = replace(world.backup, slot=smaller)
    with pytest.raises(ClmsError) as caught:
        preflight.examine(context, asked(kind, world))
    assert caught.value.code == "SCHOOL_CHANGED"
    assert caught.value.values == {"version": "1.0.0", "detail": "names the service 'redis'"}
