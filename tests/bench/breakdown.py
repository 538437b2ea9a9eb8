# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the time goes, out of the journal of a run and out of the moments of the script."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from ansible_collections.clms.update.plugins.module_utils.journal import Record
from ansible_collections.clms.update.plugins.module_utils.plan import PHASES

from .ours import Run

BETWEEN = "between the phases"
CLOSED = "closed"

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
_WHOLE_BY_HAND = {
    "dump": ("began", "dumped"),
    "the rest of the backup": ("dumped", "packed"),
    "check, fetch and pull": ("packed", "pulled"),
    "prepare": ("pulled", "created"),
    CLOSED: ("created", "opened"),
    "after it opened": ("opened", "ended"),
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
    closed, opened = _moment(records, "closed_at"), _moment(records, "opened_at")
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


def _moment(records: Sequence[Record], name: str) -> float:
    return next(float(record.names[name]) for record in records if name in record.names)


def by_hand(moments: Mapping[str, float]) -> dict[str, float]:
    """Part of the closed time -> seconds, of the script."""
    return {part: moments[end] - moments[begin] for part, (begin, end) in _BY_HAND.items()}


def whole_ours(run: Run) -> dict[str, float]:
    """Part of the whole update -> seconds, without the restore test and the rehearsal."""
    enter = {record.phase: record.at for record in run.records if record.event == "enter"}
    leave = {record.phase: record.at for record in run.records if record.event == "leave"}
    closed, opened = _moment(run.records, "closed_at"), _moment(run.records, "opened_at")
    seconds = run.result("backup")["seconds"]
    backup = leave["backup"] - enter["backup"]
    fetched = sum(leave[phase] - enter[phase] for phase in ("preflight", "release", "image_pull"))
    last = run.records[-1].at
    return {
        "start the command": enter["preflight"] - run.began,
        "check, fetch and pull": fetched,
        "dump": seconds["dump"],
        "the rest of the backup": backup - sum(seconds[part] for part in ("start", "dump", "restore")),
        "prepare": closed - enter["drain"],
        CLOSED: opened - closed,
        "after it opened": last - opened,
        "end the command": run.began + run.seconds - last,
        BETWEEN: enter["drain"] - enter["preflight"] - fetched - backup - (leave["rehearse"] - enter["rehearse"]),
    }


def whole_by_hand(moments: Mapping[str, float]) -> dict[str, float]:
    """Part of the whole update -> seconds, of the script."""
    return {part: moments[end] - moments[begin] for part, (begin, end) in _WHOLE_BY_HAND.items()}


def rows(
    title: str, mine: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]]
) -> list[tuple[str, str, str, str]]:
    """A table of medians: part, seconds of ours, seconds of the script, difference; the sum last."""
    lines = [(title, "update [s]", "script [s]", "difference")]
    sums = [0.0, 0.0]
    for part in mine[0]:
        pair = [statistics.median(run.get(part, 0.0) for run in side) for side in (mine, theirs)]
        sums = [total + seconds for total, seconds in zip(sums, pair, strict=True)]
        lines.append(_line(part, *pair))
    return [*lines, _line("sum", *sums)]


def _line(part: str, first: float, second: float) -> tuple[str, str, str, str]:
    return part, f"{first:.3f}", f"{second:.3f}", f"{first - second:+.3f}"
