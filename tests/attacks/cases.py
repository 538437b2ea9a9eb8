# SPDX-License-Identifier: GPL-3.0-or-later
"""One case of the catalogue, and how it is tried on a school."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from .bench import Bench

REFUSED, HELD = "refused, unchanged", "held"


@dataclass(frozen=True)
class Case:
    """An attack, and what a school (or its vendor) has to make of it."""

    name: str
    """the row of the threat table, a colon, and what is special"""
    injected: str
    """what was done, in a sentence"""
    act: Callable[[Bench, Result], str]
    """does it, judges it and gives the end state; raises AssertionError where the defence has failed"""
    slow: bool = False
    """whether it needs an update or much time, and is left out of ``make test``"""
    last: bool = False
    """whether it comes after all others: it leaves the school on another version"""

    @property
    def row(self) -> str:
        """The row of the threat table."""
        return self.name.partition(":")[0]


@dataclass
class Result:
    """What came of a case; the fields are those of ``build/attacks.json``."""

    name: str
    injected: str
    end_state: str = "unknown"
    acknowledged: int = 0
    lost: int = 0
    invented: int = 0
    seconds: float = 0.0
    passed: bool = False
    detail: str = field(default="")

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        return vars(self)


def attempt(case: Case, bench: Bench, *, ends_row: bool = True) -> Result:
    """Try a case; what it has put in anybody's way is taken away again.

    :param ends_row: whether the next one is of another row
    """
    result = Result(case.name, case.injected)
    began = time.monotonic()
    try:
        with bench.put_back():
            try:
                result.end_state = case.act(bench, result)
            finally:
                if ends_row:
                    bench.end_row()
            bench.assert_nothing_left()
        result.passed = True
    except (Exception, pytest.fail.Exception) as error:  # the next case goes on
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{result.detail}\n" if result.detail else ""
        result.detail = f"{said}{type(error).__name__}: {error} ({place.name}, line {place.lineno})"[:3000]
    result.seconds = round(time.monotonic() - began, 2)
    return result
