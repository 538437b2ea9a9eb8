# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening a slot of which nothing runs: after its commit record, the power was cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.phases import open as open_phase
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

Begin = Callable[..., Context]


@pytest.fixture
def said(engine: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The engine's calls, and with them what else is done."""

    class Database:
        def close(self) -> None:
            engine.calls.append(("database answers",))

    def wait_healthy(_: Any, place: Any, service: str, __: Any) -> float:
        if engine.fails.get(("healthy", service)):
            raise engine.fails["healthy", service]
        engine.calls.append(("healthy", place.containers[service]))
        return 0.0

    monkeypatch.setattr(open_phase, "database_of", lambda *_, **__: Database())
    monkeypatch.setattr(open_phase, "wait_healthy", wait_healthy)
    calls: list[tuple[str, ...]] = engine.calls
    return calls


def test_after_a_power_cut_everything_is_started_in_its_order(
    begin: Begin, engine: Any, said: list[tuple[str, ...]], new: Slot
) -> None:
    context = begin(phase="open")
    engine.set_up(new, "linden", running=False)
    open_phase.bring_up(context, new)
    assert said == [
        ("start", "linden-mysql-r2"),
        ("database answers",),
        ("start", "linden-redis-r2"),
        ("start", "linden-backend-r2"),
        ("start", "linden-frontend-r2"),
        ("healthy", "linden-backend-r2"),
        ("healthy", "linden-frontend-r2"),
    ]


def test_what_runs_is_left_alone(begin: Begin, engine: Any, said: list[tuple[str, ...]], new: Slot) -> None:
    context = begin(phase="open")
    engine.set_up(new, "linden")
    open_phase.bring_up(context, new)
    assert said == []
    assert not context.run.intended("bring_up")


def test_one_container_that_does_not_run_is_enough(
    begin: Begin, engine: Any, said: list[tuple[str, ...]], new: Slot
) -> None:
    context = begin(phase="open")
    engine.set_up(new, "linden")
    engine.stop("linden-frontend-r2", 1)
    said.clear()
    open_phase.bring_up(context, new)
    assert ("healthy", "linden-frontend-r2") in said
    (record,) = (r for r in context.journal.records(context.run.id) if (r.step, r.event) == ("bring_up", "intent"))
    assert record.names == {"services": ["frontend"]}


def test_nobody_is_let_in_to_a_version_that_is_not_healthy(
    begin: Begin, engine: Any, said: list[tuple[str, ...]], new: Slot
) -> None:
    context = begin(phase="open")
    engine.set_up(new, "linden", running=False)
    engine.fails["healthy", "backend"] = ClmsError("HEALTH_FAILED", detail="x")
    with pytest.raises(ClmsError) as caught:
        open_phase.work(context)
    assert caught.value.code == "HEALTH_FAILED"
    assert not context.run.intended("gate_open")
