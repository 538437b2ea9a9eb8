# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs that nobody would write, near good ones and far from them, and a parser that gets many of them.

The same seed makes the same inputs; what fails is made as small as it can be.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**53 + 1, 2**70, -(2**70), 0.5, 1e308, float("nan"), float("inf"), "", " ", "x", "0",
    "x" * 5000, "\ud800", "\0", "\x1b[31m", "é" * 90, "{{ 7 * 7 }}", "${user}", "../../etc/passwd", "/etc/passwd",
    "1.0.0", "1.0.0-x", "01.0.0", "999999999999.0.0", "sha256:" + "0" * 64, "sha256:" + "G" * 64, "none",
    "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "2026-01-01T24:60:60Z", "\u0662026-01-01T00:00:00Z",
    "2099-01-01T00:00:00Z\n",
    [], {}, [[]], [None], [0], [""], [{}], {"": ""}, {"x": {"x": {}}}, {"\ud800": 1}, {"build": None}, {"a\nb": []},
)  # fmt: skip
"""what a field may be replaced by"""
RAW = (
    b"", b"\0", b"null", b"[]", b"{}", b"1", b'"x"', b"[" * 60_000, b'{"a":' * 60_000, b"\xff\xfe", b"\xef\xbb\xbf{}",
    b"1" * 5000, b"-" , b"NaN", b'{"a":1,"a":2}', b'"\\ud800"', b"{" + b" " * 70_000 + b"}",
)  # fmt: skip
"""whole inputs"""


@dataclass
class Tried:
    """How often a parser was called, and with what at last."""

    inputs: int = 0
    last: bytes = b""


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where something could be changed in decoded JSON."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(data: Any, where: tuple[str | int, ...], how: int, odd: Any) -> Any:
    """Decoded JSON with one change: a value replaced, taken away, added or renamed."""
    if not where:
        return copy.deepcopy(odd) if how == 0 else data
    parent = data
    try:
        for key in where[:-1]:
            parent = parent[key]
        key = where[-1]
        if how == 0:
            parent[key] = copy.deepcopy(odd)
        elif how == 1:
            del parent[key]
        elif how == 2 and isinstance(parent, dict):
            parent[odd if isinstance(odd, str) else "more"] = parent[key]
        elif how == 3 and isinstance(parent, list):
            parent.append(copy.deepcopy(odd))
        elif isinstance(parent, dict):
            parent[odd if isinstance(odd, str) else "other"] = parent.pop(key)
    except (KeyError, IndexError, TypeError):
        pass  # an earlier change has taken the place away
    return data


CHANGES = st.tuples(st.integers(0, 10**6), st.integers(0, 4), st.integers(0, len(ODD) - 1))
FLIPS = st.tuples(st.integers(0, 10**6), st.integers(0, 3), st.binary(min_size=1, max_size=3))


def spoilt(data: bytes, flips: list[tuple[int, int, bytes]], zone: tuple[int, int] | None = None) -> bytes:
    """Bytes written over, put in between, taken away or said twice.

    :param zone: where; all of it, if it is not said
    """
    for number, how, some in flips:
        begin, end = zone or (0, len(data))
        at = begin + number % max(1, end - begin)
        if how == 0:
            data = data[:at] + some + data[at + len(some) :]
        elif how == 1:
            data = data[:at] + some + data[at:]
        elif how == 2:
            data = data[:at] + data[at + len(some) :]
        else:
            data = data[:at] + data[at : at + 40] + data[at:]
    return data


def of_json(base: Any) -> st.SearchStrategy[bytes]:
    """Encoded JSON near a good document, and some that is far from it."""
    where = list(places(base))

    def make(changes: list[tuple[int, int, int]], flips: list[tuple[int, int, bytes]]) -> bytes:
        data = copy.deepcopy(base)
        for place, how, odd in changes:
            data = changed(data, where[place % len(where)], how, ODD[odd])
        return spoilt(json.dumps(data).encode(), flips)

    near = st.builds(make, st.lists(CHANGES, max_size=3), st.lists(FLIPS, max_size=1))
    return st.one_of(near, near, near, near, st.sampled_from(RAW), st.binary(max_size=200))


def fuzz(strategy: st.SearchStrategy[bytes], parse: Callable[[bytes], None], count: int, number: int) -> Tried:
    """Try inputs; ``parse`` raises what must not be raised.

    :raises AssertionError: with the smallest input that was found to fail
    """
    tried = Tried()

    @seed(number)
    @settings(
        max_examples=count, database=None, deadline=None, print_blob=False, report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def one(data: bytes) -> None:
        tried.inputs += 1
        tried.last = data
        parse(data)

    try:
        one()
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error} for {tried.last[:600]!r} (seed {number})") from error
    return tried
