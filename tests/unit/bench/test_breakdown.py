# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.journal import Record
from tests.bench import breakdown
from tests.bench.measure import replay_seconds
from tests.bench.ours import Run


def _record(at: float, phase: str, event: str, step: str = "", **names: Any) -> Record:
    return Record(at, phase, step, event, names)


RECORDS = [
    _record(0.0, "backup", "enter"),
    _record(8.0, "backup", "leave"),
    _record(9.0, "drain", "enter"),
    _record(10.1, "drain", "done", "gate_close", closed_at=10.0),
    _record(11.0, "drain", "leave"),
    _record(11.5, "slot", "enter"),
    _record(11.6, "slot", "intent", "stop"),
    _record(12.5, "slot", "intent", "copy"),
    _record(14.5, "slot", "intent", "start"),
    _record(15.0, "slot", "leave"),
    _record(15.1, "migrate", "enter"),
    _record(16.1, "migrate", "leave"),
    _record(16.1, "container_replace", "enter"),
    _record(16.6, "container_replace", "leave"),
    _record(16.6, "health_check", "enter"),
    _record(17.6, "health_check", "leave"),
    _record(17.6, "commit", "enter"),
    _record(18.6, "commit", "leave"),
    _record(18.6, "open", "enter"),
    _record(19.0, "open", "done", "gate_open", opened_at=18.9),
    _record(19.5, "open", "leave"),
    _record(25.0, "clean_up", "enter"),
]
MOMENTS = {
    name: float(number)
    for number, name in enumerate(
        ("created", "app_stopped", "db_stopped", "copied", "db_started", "migrated", "started", "smoked", "opened")
    )
}


def test_ours() -> None:
    found = breakdown.ours(RECORDS)
    assert {part: round(seconds, 3) for part, seconds in found.items()} == {
        "stop the application": 1.0,
        "stop the database": 1.0,
        "copy the data": 2.0,
        "start the database": 0.5,
        "migrate": 1.0,
        "start the containers": 0.5,
        "health and smoke test": 1.0,
        "commit (all of the copy on the disk)": 1.0,
        "open": 0.3,
        breakdown.BETWEEN: 0.6,  # neither the way into the closed time nor out of it
    }
    assert sum(found.values()) == pytest.approx(18.9 - 10.0)


def test_by_hand_has_the_same_parts() -> None:
    found = breakdown.by_hand(MOMENTS)
    assert set(found) < set(breakdown.ours(RECORDS))
    assert sum(found.values()) == MOMENTS["opened"] - MOMENTS["created"]


def test_whole() -> None:
    seconds = {"start": 0.5, "dump": 3.0, "files": 0.5, "restore": 2.0}
    records = [
        _record(0.0, "preflight", "enter"),
        _record(0.5, "preflight", "leave"),
        _record(0.6, "release", "enter"),
        _record(0.7, "release", "leave"),
        _record(0.7, "image_pull", "enter"),
        _record(0.8, "image_pull", "leave"),
        _record(1.0, "backup", "enter"),
        _record(8.0, "backup", "leave", seconds=seconds),
        _record(8.1, "rehearse", "enter"),
        _record(9.0, "rehearse", "leave"),
        *RECORDS[2:],
    ]
    found = breakdown.whole_ours(Run(-2.0, 28.0, tuple(records), "COMPLETED"))
    assert {part: round(seconds, 3) for part, seconds in found.items()} == {
        "start the command": 2.0,
        "check, fetch and pull": 0.7,
        "dump": 3.0,
        "the rest of the backup": 1.5,
        "prepare": 1.0,
        breakdown.CLOSED: 8.9,
        "after it opened": 6.1,
        "end the command": 1.0,
        breakdown.BETWEEN: 0.4,
    }
    assert sum(found.values()) == pytest.approx(28.0 - 2.0 - 0.5 - 0.9)  # without restore test and rehearsal
    moments = MOMENTS | {"began": -9.0, "dumped": -5.0, "packed": -4.0, "pulled": -1.0, "ended": 12.0}
    by_hand = breakdown.whole_by_hand(moments)
    assert set(by_hand) < set(found)
    assert sum(by_hand.values()) == 12.0 + 9.0


def test_rows() -> None:
    rows = breakdown.rows("where", [{"a": 3.0, "b": 1.0}, {"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 1.0}], [{"a": 0.5}])
    assert rows[1:] == [
        ("a", "2.000", "0.500", "+1.500"),
        ("b", "1.000", "0.000", "+1.000"),
        ("sum", "3.000", "0.500", "+2.500"),
    ]


def test_replay(tmp_path: Any) -> None:
    assert 0 < replay_seconds(RECORDS, tmp_path) < 60
    assert list(tmp_path.iterdir()) == []
