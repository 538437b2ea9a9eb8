# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures: what each is called, what it should reach, and how they are shown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """What is known of a figure before it is measured."""

    unit: str
    reach: float | None
    """the value that it must not exceed (architecture.md, "Figures to reach"); None where it only explains others"""
    worst: bool = False
    """the value is the worst run instead of the median: a median would hide a failed request"""


KINDS: dict[str, Kind] = {
    "closed_ratio": Kind("x", 1.25),
    "closed_seconds": Kind("s", None),
    "by_hand_closed_seconds": Kind("s", None),
    "bare_ansible_seconds": Kind("s", None),
    "update_ratio": Kind("x", 1.5),
    "update_seconds": Kind("s", None),
    "by_hand_seconds": Kind("s", None),
    "restore_test_seconds": Kind("s", None),
    "rehearse_seconds": Kind("s", None),
    "journal_overhead_percent": Kind("%", 2),
    "failed_requests": Kind("requests", 0, worst=True),
    "longest_wait_seconds": Kind("s", 3, worst=True),
    "rollback_seconds": Kind("s", 10),
    "check_seconds": Kind("s", 0.5),
    "verification_seconds": Kind("s", 0.1),
    "idle_memory_mb": Kind("MB", 100, worst=True),
    "page_and_agent_memory_mb": Kind("MB", 200, worst=True),
    "watching_percent": Kind("%", 10),
    "page_seconds": Kind("s", 0.1),
    "bundle_ratio": Kind("x", 1.3),
    "bundle_seconds": Kind("s", None),
    "by_hand_load_seconds": Kind("s", None),
    "bundle_memory_mb": Kind("MB", 200, worst=True),
}


@dataclass(frozen=True)
class Figure:
    """A figure as it was measured."""

    name: str
    value: float
    unit: str
    reach: float | None
    runs: tuple[float, ...]

    @property
    def verdict(self) -> str:
        """``yes``, ``missed``, or nothing where there is nothing to reach."""
        if self.reach is None:
            return ""
        return "yes" if self.value <= self.reach else "missed"

    def as_dict(self) -> dict[str, Any]:
        """The figure as ``build/bench.json`` has it."""
        return {
            "name": self.name, "value": self.value, "unit": self.unit, "reach": self.reach, "runs": list(self.runs)
        }  # fmt: skip


def figure(name: str, runs: Sequence[float]) -> Figure:
    """The figure ``name`` out of its runs: their median, or the worst of them where that is what counts."""
    kind = KINDS[name]
    rounded = tuple(round(run, 4) for run in runs)
    value = max(rounded) if kind.worst else round(statistics.median(rounded), 4)
    return Figure(name, value, kind.unit, kind.reach, rounded)


def in_order(measured: Mapping[str, Sequence[float]]) -> list[Figure]:
    """The figures that were measured, in the order of :data:`KINDS`."""
    return [figure(name, measured[name]) for name in KINDS if measured.get(name)]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns, the first row being the heading; all but the first column are aligned to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def figures_table(figures: Sequence[Figure]) -> str:
    """The table that the bench ends with."""
    rows = [("figure", "value", "unit", "reach", "ok", "runs")]
    for each in figures:
        reach = "" if each.reach is None else f"<= {each.reach:g}"
        rows.append((each.name, f"{each.value:.3f}", each.unit, reach, each.verdict, _runs(each.runs)))
    return table(rows)


def _runs(runs: Sequence[float]) -> str:
    if len(runs) > 7:
        return f"{len(runs)} of {min(runs):.3f} to {max(runs):.3f}"
    return " ".join(f"{run:.3f}" for run in runs)
