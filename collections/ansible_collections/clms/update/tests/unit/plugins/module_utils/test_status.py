# SPDX-License-Identifier: GPL-3.0-or-later
"""What users see of a run: its status, how long CLMS was closed, how far it has come."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Record, RunRow
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.status import (
    EXIT_CODES,
    closed_seconds,
    describe_run,
    done_phases,
    iso,
    progress_of,
    rehearsed_durations,
    status_of,
)

OUTCOMES = ["COMPLETED", "REFUSED", "ABORTED", "ROLLED_BACK", "NEEDS_OPERATOR"]
UPDATE = KINDS["update"]


def row(outcome: str | None = None, kind: str = "update", **values: Any) -> RunRow:
    fixed = {
        "id": 7,
        "kind": kind,
        "phases": KINDS[kind],
        "school": {},
        "version": "1.0.1",
        "from_version": "1.0.0",
        "opened_at": 1_795_442_709.9,
        "closed_at": 1_795_442_809.0 if outcome else None,
        "outcome": outcome,
        "error": None,
    }
    return RunRow(**{**fixed, **values})


def did(*phases: str, begin: float = 100.0, each: float = 10.0) -> list[Record]:
    """Records of phases that were entered and left, one after the other."""
    records = []
    for position, phase in enumerate(phases):
        at = begin + position * each
        records += [Record(at, phase, "", "enter", {}), Record(at + each, phase, "", "leave", {})]
    return records


CLOSE, OPEN = "closed_at", "opened_at"
"""what the phases record once the gate is closed or open"""


def gate(event: str, at: float) -> Record:
    return Record(at, "drain", "gate", "done", {event: at})


@pytest.mark.parametrize(
    ("outcome", "status", "exit_code"),
    [
        ("COMPLETED", "COMPLETED", 0),
        ("REFUSED", "FAILED", 2),
        ("ABORTED", "FAILED", 1),
        ("ROLLED_BACK", "ROLLED_BACK", 1),
        ("NEEDS_OPERATOR", "FAILED", 3),
    ],
)
def test_a_run_that_has_ended(outcome: str, status: str, exit_code: int) -> None:
    assert status_of(row(outcome), did(*UPDATE)) == status
    assert EXIT_CODES[outcome] == exit_code
    assert set(EXIT_CODES) == set(OUTCOMES)


@pytest.mark.parametrize(
    ("kind", "done", "status"),
    [
        pytest.param("update", 0, "DOWNLOADING", id="before-preflight"),
        pytest.param("update", 2, "DOWNLOADING", id="before-image_pull"),
        pytest.param("update", 3, "UPDATING", id="before-backup"),
        pytest.param("update", 12, "UPDATING", id="before-clean_up"),
        pytest.param("update", 13, "UPDATING", id="all-done-but-not-closed"),
        pytest.param("backup", 1, "UPDATING", id="a-backup-downloads-nothing"),
    ],
)
def test_a_run_that_is_open(kind: str, done: int, status: str) -> None:
    assert status_of(row(kind=kind), did(*KINDS[kind][:done])) == status


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param([], {}, id="none"),
        pytest.param(did("preflight", "release"), {"preflight": 10.0, "release": 10.0}, id="two"),
        pytest.param([Record(1, "preflight", "", "enter", {})], {}, id="entered-only"),
        pytest.param([Record(1, "preflight", "", "leave", {})], {}, id="left-only"),
        pytest.param(
            [
                Record(1, "open", "", "enter", {}),
                Record(50, "open", "", "enter", {}),
                Record(51.5, "open", "", "leave", {}),
            ],
            {"open": 1.5},
            id="taken-up-again-after-a-crash",
        ),
        pytest.param(
            [Record(1, "open", "", "enter", {}), Record(2, "open", "gate_open", "done", {}), *did("clean_up")],
            {"clean_up": 10.0},
            id="steps-are-not-phases",
        ),
        pytest.param(
            [Record(100, "open", "", "enter", {}), Record(40, "open", "", "leave", {})],
            {"open": 0.0},
            id="the-clock-was-put-back",
        ),
    ],
)
def test_seconds_of_phases(records: list[Record], expected: dict[str, float]) -> None:
    assert done_phases(records) == expected
    assert list(done_phases(records)) == list(expected)


@pytest.mark.parametrize(
    ("records", "seconds"),
    [
        pytest.param([], None, id="never-closed"),
        pytest.param([gate(CLOSE, 10.0)], None, id="still-closed"),
        pytest.param([gate(CLOSE, 10.0), gate(OPEN, 12.3456)], 2.346, id="closed-and-opened"),
        pytest.param([gate(OPEN, 12.0)], None, id="an-installation-only-opens"),
        pytest.param(
            [gate(CLOSE, 10.0), gate(OPEN, 12.0), gate(OPEN, 300.0)], 2.0, id="opened-once-more-after-a-crash"
        ),
        pytest.param([gate(CLOSE, 10.0), gate(CLOSE, 11.0), gate(OPEN, 14.0)], 4.0, id="the-first-closing-counts"),
    ],
)
def test_closed_seconds(records: list[Record], seconds: float | None) -> None:
    assert closed_seconds(records) == seconds


@pytest.mark.parametrize(
    ("moment", "text"),
    [(None, None), (0.0, "1970-01-01T00:00:00Z"), (1_795_442_709.9, "2026-11-23T14:05:09Z")],
)
def test_iso(moment: float | None, text: str | None) -> None:
    assert iso(moment) == text


def test_a_completed_update() -> None:
    records = [*did(*UPDATE), gate(CLOSE, 150.0), gate(OPEN, 152.0)]
    assert describe_run(row("COMPLETED"), records) == {
        "id": 7,
        "kind": "update",
        "version": "1.0.1",
        "from_version": "1.0.0",
        "status": "COMPLETED",
        "outcome": "COMPLETED",
        "started_at": "2026-11-23T14:05:09Z",
        "finished_at": "2026-11-23T14:06:49Z",
        "closed_seconds": 2.0,
        "error_code": None,
        "message": "CLMS was updated to version 1.0.1.",
        "remedy": None,
        "error_values": None,
        "failed_phase": None,
        "phases": [{"name": name, "seconds": 10.0} for name in UPDATE],
        "backup_path": None,
        "restored": None,
    }


@pytest.mark.parametrize("outcome", OUTCOMES[1:])
def test_a_run_that_failed_says_why(outcome: str) -> None:
    error = ClmsError("SMOKE_FAILED", detail="login answered 500")
    described = describe_run(row(outcome, error={"phase": "health_check", **error.as_dict()}), [])
    assert described["error_code"] == "SMOKE_FAILED"
    assert described["message"] == error.happened
    assert described["remedy"] == error.remedy
    assert described["failed_phase"] == "health_check"
    assert described["error_values"] == {"detail": "login answered 500"}
    older = {"phase": "health_check", "code": error.code, "message": error.happened, "remedy": error.remedy}
    assert describe_run(row(outcome, error=older), [])["error_values"] is None


@pytest.mark.parametrize(
    ("kind", "word", "message"),
    [
        ("install", "install", "CLMS 1.0.1 was installed."),
        ("update", "update", "CLMS was updated to version 1.0.1."),
        ("update_images", "update", "CLMS was updated to version 1.0.1."),
        ("rollback", "rollback", "CLMS went back to version 1.0.1."),
        ("restore", "restore", "The backup was restored."),
        ("backup", "backup", "The backup was made and proven."),
    ],
)
def test_what_each_kind_says_at_its_end(kind: str, word: str, message: str) -> None:
    described = describe_run(row("COMPLETED", kind), [])
    assert (described["kind"], described["message"]) == (word, message)


def test_every_kind_has_such_a_sentence() -> None:
    for kind in KINDS:
        assert describe_run(row("COMPLETED", kind), [])["message"] != "Done."


def test_a_run_that_goes_on() -> None:
    described = describe_run(row(), did("preflight"))
    assert (described["status"], described["outcome"], described["finished_at"]) == ("DOWNLOADING", None, None)
    assert described["message"] == ""


@pytest.mark.parametrize(
    ("records", "now", "phase", "percent"),
    [
        pytest.param([], 100.0, "preflight", 0, id="not-even-entered"),
        pytest.param([Record(100, "preflight", "", "enter", {})], 101.5, "preflight", 1, id="first"),
        pytest.param([*did(*UPDATE[:3]), Record(130, "backup", "", "enter", {})], 130.0, "backup", 21, id="fourth"),
        pytest.param([*did(*UPDATE[:3]), Record(130, "backup", "", "enter", {})], 135.0, "backup", 26, id="later"),
        pytest.param(
            [*did(*UPDATE[:3]), Record(130, "backup", "", "enter", {}), Record(500, "backup", "", "enter", {})],
            505.0,
            "backup",
            26,
            id="since-it-was-taken-up-again",
        ),
        pytest.param(did(*UPDATE), 500.0, None, 100, id="all-done"),
    ],
)
def test_progress(records: list[Record], now: float, phase: str | None, percent: int) -> None:
    found, progress = progress_of(row(), records, now=now, history={})
    assert (found, progress.percent, progress.seconds_left) == (phase, percent, None)


def test_a_phase_of_another_version_in_the_history_is_ignored() -> None:
    history = {**dict.fromkeys(UPDATE, 1.0), "phase_that_was_renamed": 1000.0}
    _, progress = progress_of(row(), did(*UPDATE[:3]), now=130.0, history=history)
    assert (progress.percent, progress.seconds_left) == (23, 10)


def test_the_rehearsal_says_how_long_the_migration_takes() -> None:
    done = [*did(*UPDATE[:4]), Record(140.0, "rehearse", "", "enter", {})]
    history = dict.fromkeys(UPDATE, 1.0)
    before = progress_of(row(), done, now=145.0, history=history)[1]
    done.append(Record(150.0, "rehearse", "", "leave", {"migration_seconds": 60.0}))
    after = progress_of(row(), done, now=150.0, history=history)[1]
    assert before.seconds_left is not None
    assert after.seconds_left is not None
    assert after.seconds_left - before.seconds_left >= 58
    assert rehearsed_durations(did(*UPDATE)) == {}
