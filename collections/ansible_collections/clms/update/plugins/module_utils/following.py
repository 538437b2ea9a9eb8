# SPDX-License-Identifier: GPL-3.0-or-later
"""What to say next of a run that the agent does, to somebody who looks at it now and then through the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .errors import ClmsError
from .journal import Record, RunRow
from .plan import PHASES
from .status import done_phases, duration, judge, nothing_to_do

SILENT_SECONDS = 300
"""within which an agent that was killed is started again and is at work on the school"""


@dataclass(frozen=True)
class Seen:
    """How far somebody has followed a run."""

    run: int
    lines: int = 0
    """how many lines were said already"""
    silent: float = 0.0
    """for how many seconds nobody has been at work on the run"""


@dataclass(frozen=True)
class Look:
    """A run and its agent at one moment. Agent and lock were looked at first: an end is written down before."""

    row: RunRow | None
    """None: the run has found nothing to do, and was forgotten"""
    records: Sequence[Record]
    current: str | None
    """the version that is open to users"""
    held: bool
    """somebody holds the school's lock"""
    answers: bool
    """an agent listens; it has begun to put in order what it found before"""


@dataclass(frozen=True)
class News:
    """What is new of a run."""

    lines: list[str]
    seen: Seen
    ending: tuple[dict[str, Any], int] | None = None
    """how the run has ended, as :func:`.status.judge` says it; None while it goes on"""


def phase_line(phase: str, seconds: float) -> str:
    """The line for a phase that has ended."""
    return f"{phase:<18} {duration(seconds):>10}  {PHASES[phase].text}"


def failed_line(phase: str, message: str) -> str:
    """The line for what went wrong."""
    return f"{phase:<18} {'failed':>10}  {message}"


def lines_of(records: Sequence[Record]) -> list[str]:
    """The lines of a run up to now; none changes or moves when others come."""
    seconds = done_phases(records)
    said: dict[str, str] = {}
    for record in records:
        if record.phase not in PHASES:
            continue
        if record.event == "leave" and record.phase in seconds:
            said.setdefault(record.phase, phase_line(record.phase, seconds[record.phase]))
        elif record.event == "failed":
            # the first failure is the cause; others come of putting the run back
            said.setdefault("", failed_line(record.phase, str(record.names["message"])))
    return list(said.values())


def news(look: Look, seen: Seen, *, kind: str, version: str | None, path: str) -> News:
    """What is to be said next, and whether that is the end.

    :param seen: what was said before; its ``silent`` counts up to this look
    :param kind: what was asked for, and ``version`` of it
    :param path: where the agent listens
    :raises ClmsError: AGENT_SILENT when nobody has been at work on an open run for too long
    """
    lines = lines_of(look.records)
    silent = 0.0 if look.held or look.answers else seen.silent
    new = News(lines[seen.lines :], Seen(seen.run, max(seen.lines, len(lines)), silent))
    if look.row is None:
        return News(new.lines, new.seen, (nothing_to_do(kind, version, look.current), 0))
    # an agent that answers and does nothing about an open run has given it up
    if look.row.outcome is not None or (look.answers and not look.held):
        return News(new.lines, new.seen, judge(look.row, look.records))
    if silent > SILENT_SECONDS:
        detail = f"run number {seen.run} is open, and nobody has been at work on it for {duration(silent)}"
        raise ClmsError("AGENT_SILENT", path=path, detail=detail)
    return new
