# SPDX-License-Identifier: GPL-3.0-or-later
"""Typed reading of what comes from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.fields import FieldError, Fields

DATA = {"text": "abc", "number": 3, "truth": True, "list": ["a", "b"], "map": {"inner": {"deep": 1}}, "null": None}


def test_values() -> None:
    fields = Fields(DATA)
    assert fields.text("text") == "abc"
    assert fields.number("number") == 3
    assert fields.get("number", float) == 3.0
    assert fields.get("truth", bool) is True
    assert fields.texts("list") == ["a", "b"]
    assert fields.sub("map").sub("inner").number("deep") == 1
    assert fields.any("null") is None
    fields.done()


@pytest.mark.parametrize("name", ["null", "absent"])
def test_defaults_stand_for_absent_and_null(name: str) -> None:
    fields = Fields(DATA)
    assert fields.text(name, default="x") == "x"
    assert fields.text(name, default=None) is None
    assert fields.number(name, default=0) == 0
    assert fields.texts(name, default=[]) == []
    assert fields.each(name, []) == []
    assert fields.sub(name, {}).names() == []


@pytest.mark.parametrize(
    ("read", "where"),
    [
        pytest.param(lambda f: f.text("absent"), "absent is missing", id="missing"),
        pytest.param(lambda f: f.text("null"), "null is missing", id="null"),
        pytest.param(lambda f: f.text("number"), "number must be of type str", id="number for text"),
        pytest.param(lambda f: f.number("text"), "text must be of type int", id="text for number"),
        pytest.param(lambda f: f.number("truth"), "truth must be of type int", id="truth for number"),
        pytest.param(lambda f: f.get("number", bool), "number must be of type bool", id="number for truth"),
        pytest.param(lambda f: f.number("number", low=4), "number must be from 4", id="too low"),
        pytest.param(lambda f: f.number("number", high=2), "number must be from 0 to 2", id="too high"),
        pytest.param(lambda f: f.text("text", pattern="ab"), "text has a value", id="pattern must match all"),
        pytest.param(lambda f: f.text("text", limit=2), "text has a value", id="too long"),
        pytest.param(lambda f: f.texts("list", pattern="a"), "list must be a list", id="list with a bad item"),
        pytest.param(lambda f: f.texts("map"), "map must be of type list", id="map for list"),
        pytest.param(lambda f: f.each("list"), "list\\[0\\] must be a mapping", id="list of texts for mappings"),
        pytest.param(lambda f: f.sub("text"), "text must be of type dict", id="text for mapping"),
        pytest.param(lambda f: f.sub("map").sub("inner").text("no"), "map.inner.no is missing", id="dotted path"),
        pytest.param(lambda f: f.done(), "list is not known", id="nobody asked"),
    ],
)
def test_complaints_name_the_place(read: Callable[[Fields], Any], where: str) -> None:
    with pytest.raises(FieldError, match=where):
        read(Fields(DATA))


@pytest.mark.parametrize("data", [None, [], "text", 1, {1: 2}])
def test_only_mappings_with_text_keys(data: Any) -> None:
    with pytest.raises(FieldError, match="it must be a mapping"):
        Fields(data)
