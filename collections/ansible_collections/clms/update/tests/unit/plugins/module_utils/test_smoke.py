# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import smoke
from ansible_collections.clms.update.plugins.module_utils.release import SmokeStep
from ansible_collections.clms.update.plugins.module_utils.smoke import SmokeError

VARIABLES = {"username": "smoke", "password": "canary", "id": 7, "flag": False, "list": [1, 2], "text": "a%b'c"}
STEP = SmokeStep("find a book", "GET", "/api/books/${id}", None, (200, 204), {}, False)


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        pytest.param("/books/${id}", "/books/7", id="in-a-path"),
        pytest.param("${id}", 7, id="alone-it-keeps-its-type"),
        pytest.param("${flag}", False, id="false"),
        pytest.param("${list}", [1, 2], id="a-list"),
        pytest.param("${id} ${id}", "7 7", id="twice"),
        pytest.param("${id}${flag}", "7False", id="beside-each-other"),
        pytest.param({"a": {"b": ["${id}", "x ${id}"]}}, {"a": {"b": [7, "x 7"]}}, id="deep-inside"),
        pytest.param({"${id}": 1}, {"${id}": 1}, id="keys-are-left-alone"),
        pytest.param(3, 3, id="a-number"),
        pytest.param(None, None, id="null"),
        pytest.param("$id {id} $ {id}", "$id {id} $ {id}", id="no-variable"),
    ],
)
def test_fill(template: Any, filled: Any) -> None:
    found = smoke.fill(template, VARIABLES)
    assert found == filled
    assert type(found) is type(filled)


def test_what_is_filled_in_is_not_filled_again() -> None:
    assert smoke.fill("x ${text}", {"text": "${password}", "password": "canary"}) == "x ${password}"


@pytest.mark.parametrize("template", ["${unknown}", "/${unknown}/x", {"a": ["${unknown}"]}])
def test_a_variable_that_nobody_saved(template: Any) -> None:
    with pytest.raises(SmokeError, match="'unknown' was not saved by an earlier step"):
        smoke.fill(template, VARIABLES)


@pytest.mark.parametrize(
    ("variables", "headers"),
    [
        pytest.param({}, {}, id="before-the-login"),
        pytest.param({"token": "t"}, {"Authorization": "Bearer t"}, id="after-it"),
    ],
)
def test_request(variables: dict[str, Any], headers: dict[str, str]) -> None:
    step = replace(STEP, method="POST", json={"name": "${username}"})
    sent = smoke.request(step, {**VARIABLES, **variables})
    assert sent == smoke.Request("POST", "/api/books/7", {"name": "smoke"}, headers)


def test_a_request_that_cannot_be_made_names_its_step() -> None:
    with pytest.raises(SmokeError, match="step 'find a book': the variable 'id' was not saved"):
        smoke.request(STEP, {})


@pytest.mark.parametrize(
    ("template", "text", "values"),
    [
        pytest.param("DELETE FROM a WHERE id = ${id}", "DELETE FROM a WHERE id = %s", [7], id="one"),
        pytest.param("x ${id} ${text} ${id}", "x %s %s %s", [7, "a%b'c", 7], id="several"),
        pytest.param("x LIKE '50%' AND id = ${id}", "x LIKE '50%%' AND id = %s", [7], id="percent-sign"),
        pytest.param("x LIKE '50%'", "x LIKE '50%'", [], id="no-variable"),
    ],
)
def test_values_go_beside_a_statement_and_never_into_it(template: str, text: str, values: list[Any]) -> None:
    assert smoke.statement(template, VARIABLES) == (text, values)
    if values:
        assert text % tuple("?" for _ in values)  # as many placeholders as values, and nothing else with a %


def test_a_statement_whose_variable_nobody_saved() -> None:
    with pytest.raises(SmokeError, match="'unknown' was not saved by any step"):
        smoke.statement("DELETE FROM a WHERE id = ${unknown} OR id = ${id}", VARIABLES)


ANSWER = {"data": {"id": 7, "flag": False, "zero": 0, "null": None, "list": [{"id": 1}]}, "token": "t"}


@pytest.mark.parametrize(
    ("save", "saved"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"token": "token"}, {"token": "t"}, id="at-the-top"),
        pytest.param({"book": "data.id"}, {"book": 7}, id="below"),
        pytest.param({"book": ".data.id"}, {"book": 7}, id="with-a-leading-dot"),
        pytest.param({"a": "data.flag", "b": "data.zero"}, {"a": False, "b": 0}, id="false-and-zero-are-values"),
        pytest.param({"all": "data.list"}, {"all": [{"id": 1}]}, id="a-list"),
    ],
)
def test_what_a_step_saves(save: dict[str, str], saved: dict[str, Any]) -> None:
    assert smoke.check(replace(STEP, save=save), 200, ANSWER) == saved


@pytest.mark.parametrize(
    ("status", "answer", "save", "complaint"),
    [
        pytest.param(500, ANSWER, {}, "answered 500", id="wrong-status"),
        pytest.param(201, ANSWER, {}, "answered 201", id="success-but-not-this-one"),
        pytest.param(302, None, {}, "answered 302", id="redirect"),
        pytest.param(200, ANSWER, {"x": "data.no"}, "gave no 'data.no'", id="missing"),
        pytest.param(200, ANSWER, {"x": "data.null"}, "gave no 'data.null'", id="null"),
        pytest.param(200, ANSWER, {"x": "token.id"}, "gave no 'token.id'", id="below-a-text"),
        pytest.param(200, ANSWER, {"x": "data.list.id"}, "gave no 'data.list.id'", id="below-a-list"),
        pytest.param(200, None, {"x": "token"}, "gave no 'token'", id="no-json"),
        pytest.param(200, "text", {"x": "token"}, "gave no 'token'", id="json-that-is-no-mapping"),
    ],
)
def test_a_step_that_fails_says_which_and_how(status: int, answer: Any, save: dict[str, str], complaint: str) -> None:
    with pytest.raises(SmokeError) as caught:
        smoke.check(replace(STEP, save=save), status, answer)
    assert str(caught.value) == f"step 'find a book' (GET /api/books/${{id}}) {complaint}"
