# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the time goes, out of the journal of a run and out of the moments of the script."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from ansible_collections.clms.update.plugins.module_utils.journal import Record
from ansible_collections.clms.update.plugins.module_utils.plan import PHASES

BETWEEN = "between the phases"

_BY_HAND = {
    "stop the application": ("created", "app_stopped"),
    "stop the database": ("app_stopped", "db_stopped"),
    "copy the data": ("db_stopped", "copied"),
    "start the database": ("copied", "db_started"),
    "migrate": ("db_started", "migrated"),
    "start the containers": ("migrated", "started"),
    "health and smoke test": ("started", "smoked"),
    "open": ("smoked", "opened"),
}
_PHASES = {
    "migrate": "migrate",
    "container_replace": "start the containers",
    "health_check": "health and smoke test",
    "commit": "commit (all of the copy on the disk)",
}


def between_phases(records: Sequence[Record]) -> float:
    """Seconds between the end of a phase and the beginning of the next while CLMS is closed."""
    total, left = 0.0, None
    for record in records:
        if record.event == "leave":
            left = record.at if PHASES[record.phase].closed else None
        elif record.event == "enter" and left is not None:
            total += record.at - left if PHASES[record.phase].closed else 0.0
    return total


def ours(records: Sequence[Record]) -> dict[str, float]:
    """Part of the closed time -> seconds, of an update with a slot."""
    enter = {record.phase: record.at for record in records if record.event == "enter"}
    leave = {record.phase: record.at for record in records if record.event == "leave"}
    intent = {(record.phase, record.step): record.at for record in records if record.event == "intent"}
    closed = next(record.names["closed_at"] for record in records if "closed_at" in record.names)
    opened = next(record.names["opened_at"] for record in records if "opened_at" in record.names)
    copy, start = intent["slot", "copy"], intent["slot", "start"]
    return {
        "stop the application": leave["drain"] - closed,
        "stop the database": copy - enter["slot"],
        "copy the data": start - copy,
        "start the database": leave["slot"] - start,
        **{part: leave[phase] - enter[phase] for phase, part in _PHASES.items()},
        "open": opened - enter["open"],
        BETWEEN: between_phases(records),
    }


def by_hand(moments: Mapping[str, float]) -> dict[str, float]:
    """Part of the closed time -> seconds, of the script."""
    return {part: moments[end] - moments[begin] for part, (begin, end) in _BY_HAND.items()}


def rows(mine: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]]) -> list[tuple[str, str, str, str]]:
    """A table of medians: part, seconds of ours, seconds of the script, difference; the sum last."""
    lines = [("while CLMS is closed", "update [s]", "script [s]", "difference")]
    sums = [0.0, 0.0]
    for part in mine[0]:
        pair = [statistics.median(run.get(part, 0.0) for run in side) for side in (mine, theirs)]
        sums = [total + seconds for total, seconds in zip(sums, pair, strict=True)]
        lines.append(_line(part, *pair))
    return [*lines, _line("sum", *sums)]


def _line(part: str, first: float, second: float) -> tuple[str, str, str, str]:
    return part, f"{first:.3f}", f"{second:.3f}", f"{first - second:+.3f}"
