# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the vendor is left alone."""

from __future__ import annotations

import pytest

from agent.backoff import LONGEST_PAUSE, MOST_ASKED, pause


@pytest.mark.parametrize(
    ("failures", "least", "most"), [(1, 30, 60), (2, 60, 120), (5, 480, 960), (50, LONGEST_PAUSE / 2, LONGEST_PAUSE)]
)
def test_pauses_grow_and_differ(failures: int, least: float, most: float) -> None:
    drawn = {pause(failures, None, first=60) for _ in range(50)}
    assert len(drawn) == 50
    assert min(drawn) >= least
    assert max(drawn) <= most


@pytest.mark.parametrize(("asked", "expected"), [(7200, 7200), (20 * 3600, 20 * 3600), (10.0**9, MOST_ASKED)])
def test_what_the_server_asks_for_counts_but_not_for_ever(asked: float, expected: float) -> None:
    assert pause(1, asked, first=60) == expected


def test_it_may_ask_for_less_and_gets_more() -> None:
    assert pause(1, 0, first=60) >= 30
