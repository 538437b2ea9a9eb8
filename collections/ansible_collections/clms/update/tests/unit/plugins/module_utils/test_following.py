# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a run that the agent does, to somebody who looks at it now and then."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.following import (
    SILENT_SECONDS,
    Look,
    News,
    Seen,
    lines_of,
    news,
)
from ansible_collections.clms.update.plugins.module_utils.journal import Record, RunRow
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS

PREFLIGHT = "preflight               1.0 s  Checking this server and all that is needed"
RELEASE = "release                 1.0 s  Fetching the release and checking its signature"
BROKEN = "release                failed  It broke."


def record(at: float, phase: str, event: str, step: str = "", message: str = "It broke.") -> Record:
    return Record(at, phase, step, event, {"message": message} if event == "failed" else {})


def did(*phases: str) -> list[Record]:
    return [
        record(at + after, phase, event)
        for at, phase in enumerate(phases)
        for after, event in ((0, "enter"), (1, "leave"))
    ]


LINES = [
    pytest.param([], [], id="nothing yet"),
    pytest.param([record(0, "preflight", "enter")], [], id="a phase that goes on"),
    pytest.param(did("preflight", "release"), [PREFLIGHT, RELEASE], id="phases"),
    pytest.param([*did("preflight"), record(1, "preflight", "done", "x")], [PREFLIGHT], id="steps are not shown"),
    pytest.param(
        [*did("preflight"), record(1, "release", "enter"), record(2, "release", "failed")],
        [PREFLIGHT, BROKEN],
        id="a failure",
    ),
    pytest.param(
        [record(2, "release", "failed"), record(3, "open", "failed", message="That too.")],
        [BROKEN],
        id="its cause only",
    ),
    pytest.param([record(2, "rollback", "failed")], [], id="putting back is no phase"),
    pytest.param(
        [record(0, "release", "enter"), record(2, "release", "failed"), *did("release"), *did("preflight")],
        [BROKEN, RELEASE, PREFLIGHT],
        id="finished at the second try",
    ),
    pytest.param([record(2, "release", "leave")], [], id="never entered"),
]


@pytest.mark.parametrize(("records", "lines"), LINES)
def test_lines(records: list[Record], lines: list[str]) -> None:
    assert lines_of(records) == lines


@pytest.mark.parametrize("records", [parameters.values[0] for parameters in LINES])
def test_lines_are_only_added(records: list[Record]) -> None:
    said: list[str] = []
    for end in range(len(records) + 1):
        lines = lines_of(records[:end])
        assert lines[: len(said)] == said
        said = lines


def row(outcome: str | None = None) -> RunRow:
    closed_at = 20.0 if outcome else None
    error = {"code": "DRAIN_FAILED", "message": "x", "remedy": "y"} if outcome not in (None, "COMPLETED") else None
    return RunRow(7, "update", KINDS["update"], {}, "1.0.1", "1.0.0", 0.0, closed_at, outcome, error)


def look(outcome: str | None = None, *, held: bool = True, answers: bool = False, vanished: bool = False) -> Look:
    return Look(None if vanished else row(outcome), [] if vanished else did("preflight"), "1.0.1", held, answers)


def said_of(moment: Look, seen: Seen | None = None) -> News:
    return news(moment, seen or Seen(7), kind="update", version=None, path="/agent.sock")


def test_each_line_is_said_once() -> None:
    first = said_of(look())
    assert (first.lines, first.seen) == ([PREFLIGHT], Seen(7, 1))
    assert said_of(look(), first.seen) == News([], Seen(7, 1))


@pytest.mark.parametrize(
    ("moment", "outcome", "code", "exit_code"),
    [
        pytest.param(look("COMPLETED"), "COMPLETED", None, 0, id="completed"),
        pytest.param(look("COMPLETED", held=False), "COMPLETED", None, 0, id="completed, and the lock is free"),
        pytest.param(look("REFUSED"), "REFUSED", "DRAIN_FAILED", 2, id="refused"),
        pytest.param(look("ROLLED_BACK"), "ROLLED_BACK", "DRAIN_FAILED", 1, id="put back"),
        pytest.param(look("NEEDS_OPERATOR"), "NEEDS_OPERATOR", "DRAIN_FAILED", 3, id="given up"),
        pytest.param(look(held=False, answers=True), None, "RUN_INTERRUPTED", 3, id="left open by a living agent"),
        pytest.param(look(vanished=True), "COMPLETED", None, 0, id="nothing to do"),
    ],
)
def test_the_end(moment: Look, outcome: str | None, code: str | None, exit_code: int) -> None:
    ending = said_of(moment).ending
    assert ending is not None
    assert (ending[0]["outcome"], ending[0]["error_code"], ending[1]) == (outcome, code, exit_code)


def test_nothing_to_do() -> None:
    new = said_of(look(vanished=True), Seen(7, 1))
    assert (new.lines, new.seen.lines) == ([], 1)
    assert new.ending is not None
    assert new.ending[0]["id"] is None
    assert new.ending[0]["message"] == "Version 1.0.1 is already running; there was nothing to do."


@pytest.mark.parametrize(
    ("moment", "before", "after"),
    [
        pytest.param({"held": True}, 250.0, 0.0, id="somebody is at work"),
        pytest.param({"held": False}, 250.0, 250.0, id="nobody yet"),
        pytest.param({"held": True}, SILENT_SECONDS + 1.0, 0.0, id="at work again in the last moment"),
    ],
)
def test_an_agent_that_comes_back(moment: dict[str, Any], before: float, after: float) -> None:
    new = said_of(look(**moment), Seen(7, 1, before))
    assert (new.ending, new.seen) == (None, Seen(7, 1, after))


def test_an_agent_that_does_not_come_back() -> None:
    with pytest.raises(ClmsError) as caught:
        said_of(look(held=False), Seen(7, 1, SILENT_SECONDS + 1.0))
    assert caught.value.code == "AGENT_SILENT"
    assert "run number 7 is open, and nobody has been at work on it for 5 min 1 s" in caught.value.happened


def test_an_end_that_is_seen_late() -> None:
    """The agent has finished, and then been ended itself."""
    assert said_of(look("COMPLETED", held=False), Seen(7, 1, SILENT_SECONDS + 1.0)).ending is not None
