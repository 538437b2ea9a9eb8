# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from tests.bench.__main__ import MEASUREMENTS
from tests.bench.figures import KINDS, figure, figures_table, in_order, table


@pytest.mark.parametrize(
    ("name", "runs", "value", "verdict"),
    [
        pytest.param("closed_ratio", [1.0, 9.0, 1.2], 1.2, "yes", id="median of an odd number"),
        pytest.param("closed_ratio", [1.2, 1.4], 1.3, "missed", id="median of an even number"),
        pytest.param("closed_ratio", [1.25], 1.25, "yes", id="just reached"),
        pytest.param("failed_requests", [0, 0, 2], 2, "missed", id="the worst counts"),
        pytest.param("failed_requests", [0, 0, 0], 0, "yes", id="none failed"),
        pytest.param("closed_seconds", [99.0], 99.0, "", id="nothing to reach"),
    ],
)
def test_figure(name: str, runs: list[float], value: float, verdict: str) -> None:
    found = figure(name, runs)
    assert found.value == pytest.approx(value)
    assert found.verdict == verdict
    assert found.runs == tuple(runs)


def test_as_dict() -> None:
    assert figure("rollback_seconds", [2.123456, 3.0, 1.0]).as_dict() == {
        "name": "rollback_seconds",
        "value": 2.1235,
        "unit": "s",
        "reach": 10,
        "runs": [2.1235, 3.0, 1.0],
    }


def test_in_order() -> None:
    found = in_order({"check_seconds": [0.1], "closed_ratio": [1.0], "rollback_seconds": []})
    assert [each.name for each in found] == ["closed_ratio", "check_seconds"]


def test_every_figure_is_measured() -> None:
    assert sorted(name for names in MEASUREMENTS.values() for name in names) == sorted(KINDS)


def test_table() -> None:
    assert table([("figure", "value"), ("a", "1.0"), ("long name", "12.0")]) == (
        "figure     value\n----------------\na            1.0\nlong name   12.0"
    )


def test_figures_table() -> None:
    lines = figures_table(in_order({"closed_ratio": [2.0, 1.0, 3.0], "check_seconds": [0.1] * 20})).splitlines()
    assert lines[0].split() == ["figure", "value", "unit", "reach", "ok", "runs"]
    assert lines[2].split() == ["closed_ratio", "2.000", "x", "<=", "1.25", "missed", "2.000", "1.000", "3.000"]
    assert lines[3].endswith("20 of 0.100 to 0.100")
