# SPDX-License-Identifier: GPL-3.0-or-later
"""Phases `drain` and `slot`: in which order CLMS is closed and stopped, and when a database may be copied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import ContainerState
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.phases import drain, restore, slot
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.slots import Slot, restored_slot

Begin = Callable[..., Context]


@pytest.fixture
def gate(engine: Any, monkeypatch: pytest.MonkeyPatch) -> type:
    """A gate that tells the engine's list of calls what it was asked to do."""

    class Gate:
        drained = True

        def __init__(self, *_: Any) -> None: ...

        def hold(self) -> None:
            engine.calls.append(("gate hold",))

        def close(self) -> None:
            engine.calls.append(("gate close",))

        def cut_connections(self) -> None:
            engine.calls.append(("gate cut",))

        def wait_drained(self, seconds: float) -> bool:
            engine.calls.append(("gate wait", str(seconds)))
            return self.drained

    monkeypatch.setattr(drain, "GateControl", Gate)
    monkeypatch.setattr(drain, "prepare", lambda context: engine.calls.append(("prepare",)))
    monkeypatch.setattr(drain, "mirror", lambda context, volume: engine.calls.append(("mirror", volume.name)))
    return Gate


STOP = [("stop", "linden-frontend-r1", "30"), ("stop", "linden-backend-r1", "30"), ("stop", "linden-redis-r1", "30")]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param(
            "update",
            [
                # all that takes time while the old version serves
                ("prepare",),
                ("mirror", "uploads"),
                ("gate close",),
                ("gate wait", "30"),
                ("gate cut",),
                ("set_restart", "linden-mysql-r1", "no"),
                ("set_restart", "linden-redis-r1", "no"),
                ("set_restart", "linden-backend-r1", "no"),
                ("set_restart", "linden-frontend-r1", "no"),
                *STOP,
            ],
            id="update: closed, the database's connections cut, everything stays down after a restart of the engine",
        ),
        pytest.param(
            "update_images",
            [
                ("gate hold",),
                ("gate wait", "30"),
                # the database goes on and keeps its restart policy
                ("set_restart", "linden-redis-r1", "no"),
                ("set_restart", "linden-backend-r1", "no"),
                ("set_restart", "linden-frontend-r1", "no"),
                *STOP,
            ],
            id="without a migration: requests wait",
        ),
    ],
)
def test_closing_clms(begin: Begin, engine: Any, gate: Any, kind: str, expected: list[tuple[str, ...]]) -> None:
    context = begin(kind, phase="drain")
    engine.calls.clear()
    assert drain.work(context) == {"drained": True}
    assert engine.calls == expected
    assert engine.running() == {"linden-mysql-r1"}


def test_a_rollback_prepares_nothing_and_stops_the_newer_version(begin: Begin, engine: Any, gate: Any) -> None:
    context = begin("rollback", phase="drain")
    engine.calls.clear()
    drain.work(context)
    assert engine.calls[0] == ("gate close",)
    assert [call[1] for call in engine.did("stop")] == ["linden-frontend-r2", "linden-backend-r2", "linden-redis-r2"]


def test_a_restore_prepares_nothing_while_the_old_version_serves(
    begin: Begin, engine: Any, gate: Any, school: School, old: Slot
) -> None:
    context = begin("restore", phase="drain", slot=restored_slot(school, old, run=2, current=old).as_dict())
    engine.calls.clear()
    drain.work(context)
    assert engine.did("prepare", "mirror", "gate hold") == []
    assert engine.calls[:3] == [("gate close",), ("gate wait", "30"), ("gate cut",)]
    assert engine.did("stop") == STOP


@pytest.mark.parametrize(("kind", "prepares"), [("install", True), ("restore", True), ("update", False)])
def test_what_drain_has_not_prepared_is_prepared_in_slot(
    begin: Begin, engine: Any, monkeypatch: pytest.MonkeyPatch, kind: str, prepares: bool
) -> None:
    context = begin(kind, phase="slot")
    engine.calls.clear()
    for name in ("prepare", "stop_database", "_copy", "start_database"):
        monkeypatch.setattr(slot, name, lambda context, name=name: engine.calls.append((name,)))
    monkeypatch.setattr(restore, "fill_slot_from_backup", lambda context: engine.calls.append(("fill",)))
    slot.work(context)
    filled = {
        "install": [("start_database",)],
        "restore": [("fill",)],
        "update": [("_copy",), ("start_database",)],
    }[kind]
    assert engine.calls == [*([("prepare",)] if prepares else []), ("stop_database",), *filled]


def test_the_journal_knows_that_the_gate_is_being_closed_before_it_is(begin: Begin, engine: Any, gate: Any) -> None:
    context = begin(phase="drain")

    def crash(_: Any) -> None:
        raise SystemExit

    gate.close = crash
    with pytest.raises(SystemExit):
        drain.work(context)
    assert context.run.intended("gate_close")
    assert not engine.did("stop")


def test_requests_that_do_not_end_in_time_do_not_stop_the_update(begin: Begin, engine: Any, gate: Any) -> None:
    gate.drained = False
    assert drain.work(begin(phase="drain")) == {"drained": False}
    assert len(engine.did("stop")) == 3


def test_an_application_that_cannot_be_stopped(begin: Begin, engine: Any, gate: Any) -> None:
    engine.fails["stop", "linden-backend-r1"] = docker.errors.APIError("cannot kill container")
    with pytest.raises(ClmsError, match="cannot kill container") as caught:
        drain.work(begin(phase="drain"))
    assert caught.value.code == "DRAIN_FAILED"


def test_the_exit_code_is_kept(begin: Begin, engine: Any, gate: Any) -> None:
    context = begin(phase="drain")
    engine.exit_codes["linden-backend-r1"] = 137
    drain.work(context)
    codes = {
        record.names["container"]: record.names["exit_code"]
        for record in context.journal.records(context.run.id)
        if record.step == "stop" and record.event == "done"
    }
    assert codes == {"linden-frontend-r1": 0, "linden-backend-r1": 137, "linden-redis-r1": 0}


# the database


def state(exit_code: int = 0, *, out_of_memory: bool = False) -> ContainerState:
    return ContainerState("linden-mysql-r1", False, exit_code, out_of_memory, "", None, "", "no")


MARIADB = "2026-01-02 3:04:05 0 [Note] /usr/sbin/mariadbd: Shutdown complete"
MYSQL = "2026-01-02T03:04:05Z 0 [System] [MY-010910] [Server] /usr/sbin/mysqld: Shutdown complete (mysqld 8.0.40)."


@pytest.mark.parametrize("log", [pytest.param(MARIADB, id="MariaDB"), pytest.param(MYSQL, id="MySQL")])
def test_a_database_that_says_so_was_shut_down(begin: Begin, engine: Any, log: str) -> None:
    context = begin(phase="slot")
    engine.outputs["linden-mysql-r1"] = f"starting\n{log}\n"
    slot.stop_database(context)
    assert engine.did("stop") == [("stop", "linden-mysql-r1", "300")]


def test_its_last_words_are_heard_where_the_log_cannot_be_read(begin: Begin, engine: Any) -> None:
    """After a power cut, the engine's file may end in the middle of a line, and is not read behind it."""
    context = begin(phase="slot")
    engine.heard["linden-mysql-r1"] = [b"InnoDB: Starting shut", b"down...\n", MARIADB.encode()]
    slot.stop_database(context)


@pytest.mark.parametrize(
    ("after", "log", "detail"),
    [
        pytest.param(state(137), MARIADB, "it ended with code 137", id="killed"),
        pytest.param(state(0, out_of_memory=True), MARIADB, "it ended with code 0", id="out-of-memory"),
        pytest.param(state(1), MARIADB, "it ended with code 1", id="failed"),
        pytest.param(None, MARIADB, "it ended with code unknown", id="gone"),
        pytest.param(state(), "InnoDB: Starting shutdown...", "no 'Shutdown complete'", id="not-complete"),
        pytest.param(state(), "", "no 'Shutdown complete'", id="silent"),
    ],
)
def test_a_database_that_was_not_shut_down_cleanly_is_never_copied(
    begin: Begin, engine: Any, monkeypatch: pytest.MonkeyPatch, after: ContainerState | None, log: str, detail: str
) -> None:
    copied: list[Path] = []
    monkeypatch.setattr(slot, "copy_folder", lambda source, target: copied.append(source))
    context = begin(phase="slot")
    engine.outputs["linden-mysql-r1"] = log
    engine.stop = lambda name, grace: after
    with pytest.raises(ClmsError, match=detail) as caught:
        slot.work(context)
    assert caught.value.code == "DATABASE_UNCLEAN"
    assert copied == []


def test_an_earlier_shutdown_does_not_count(begin: Begin, engine: Any) -> None:
    context = begin(phase="slot")
    asked: list[float] = []

    def logs(name: str, *, lines: int = 200, since: float | None = None) -> str:
        asked.append(since or 0)
        return MARIADB if not since else ""

    engine.logs = logs
    with pytest.raises(ClmsError):
        slot.stop_database(context)
    stopped_at = next(r.at for r in context.journal.records(context.run.id) if r.step == "stop")
    assert asked[0] == pytest.approx(stopped_at - 1, abs=0.5)


def test_what_is_copied(begin: Begin, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    context = begin(phase="slot")
    engine.set_up(context.new, context.school.project, running=False)
    engine.outputs["linden-mysql-r1"] = MARIADB
    monkeypatch.setattr(slot, "copy_folder", lambda *paths: engine.calls.append(("copy", *(p.name for p in paths))))
    monkeypatch.setattr(slot, "mirror", lambda context, volume: engine.calls.append(("mirror", volume.name)))

    class Closable:
        def close(self) -> None:
            engine.calls.append(("database answers",))

    monkeypatch.setattr(slot, "database_of", lambda *_, **__: Closable())
    answer = slot.work(context)
    assert engine.calls == [
        ("stop", "linden-mysql-r1", "300"),
        ("copy", "linden-mysql-data-r1", "linden-mysql-data-r2"),
        ("mirror", "uploads"),
        ("start", "linden-mysql-r2"),
        ("database answers",),
    ]
    assert set(answer["seconds"]) == {"stop", "copy", "start"}


def test_a_volume_that_is_missing(begin: Begin, engine: Any) -> None:
    context = begin(phase="slot")
    engine.outputs["linden-mysql-r1"] = MARIADB  # and nobody has prepared the new slot
    with pytest.raises(ClmsError, match="the volume 'mysql-data' is missing") as caught:
        slot.work(context)
    assert caught.value.code == "SLOT_FAILED"
