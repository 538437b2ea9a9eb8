# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that come twice, with an idempotency key."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from agent.once import Once
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .conftest import PASSWORD, Browser, FakeAgent, running

TOKENS = {f"clms_{name * 8}_{'5' * 64}": account for name, account in (("a", "anna"), ("b", "bert"))}
ANNA, BERT = TOKENS
TONIGHT = {"updateId": "1.0.1", "scheduledFor": "tonight"}
BACK = {"confirm": "0.9.0", "password": PASSWORD}
POSTS: list[tuple[str, str, dict[str, str] | None]] = [
    ("schedule", "/api/updates/schedule", TONIGHT),
    ("update", "/api/updates/schedule", {**TONIGHT, "scheduledFor": "now"}),
    ("rollback", "/api/updates/rollback", BACK),
    ("backup", "/api/backups", None),
    ("restore", "/api/backups/20261124T101112Z-1.0.0-r1/restore", BACK),
]


@pytest.fixture(autouse=True)
def keys(agent: FakeAgent, tmp_path: Path) -> None:
    agent.accounts["bert"] = 1
    agent.tokens.update(TOKENS)
    agent.once = Once(tmp_path)


def post(browser: Browser, path: str, body: Any = None, key: str = "key-1", token: str = ANNA) -> TestResponse:
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
    return browser.client.post(path, base_url=browser.base, json=body, headers=headers)


def code(answer: TestResponse) -> tuple[int, str]:
    assert answer.mimetype == "application/problem+json"
    return answer.status_code, answer.json["code"]


@pytest.mark.parametrize(("verb", "path", "body"), POSTS, ids=[verb for verb, _, _ in POSTS])
def test_the_second_one_does_nothing_and_is_answered_alike(
    browser: Browser, agent: FakeAgent, verb: str, path: str, body: Any
) -> None:
    agent.running = running()
    first = post(browser, path, body)
    agent.running = running(id=99)
    second = post(browser, path, body)
    assert (first.status_code, first.json) == (second.status_code, second.json) == (202, first.json)
    assert len(agent.did(verb)) == 1
    assert post(browser, path, body, key="key-2").status_code == 202
    assert len(agent.did(verb)) == 2


def test_another_request_with_the_same_key(browser: Browser, agent: FakeAgent) -> None:
    post(browser, "/api/updates/schedule", TONIGHT)
    for path, body in (("/api/updates/schedule", {**TONIGHT, "scheduledFor": "weekend"}), ("/api/backups", None)):
        assert code(post(browser, path, body)) == (422, "KEY_REUSED")
    assert (len(agent.did("schedule")), agent.did("backup")) == (1, [])


def test_the_same_content_may_be_written_otherwise(browser: Browser, agent: FakeAgent) -> None:
    post(browser, "/api/updates/schedule", TONIGHT)
    again = {"createBackup": True, **dict(reversed(TONIGHT.items()))}
    assert post(browser, "/api/updates/schedule", again).status_code == 202
    assert len(agent.did("schedule")) == 1


def test_another_account_has_its_own_keys(browser: Browser, agent: FakeAgent) -> None:
    for token in (ANNA, BERT):
        assert post(browser, "/api/backups", token=token).status_code == 202
    assert len(agent.did("backup")) == 2


def test_while_the_first_goes_on(browser: Browser, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> dict[str, Any]:
        begun.set()
        assert go_on.wait(10)
        return {"begun": "backup"}

    monkeypatch.setattr(agent, "_backup", slow, raising=False)
    answers: list[TestResponse] = []
    other = Browser(browser.client.application.test_client())
    first = threading.Thread(target=lambda: answers.append(post(other, "/api/backups")))
    first.start()
    assert begun.wait(10)
    assert code(post(browser, "/api/backups")) == (409, "KEY_ACTIVE")
    go_on.set()
    first.join()
    assert answers[0].status_code == post(browser, "/api/backups").status_code == 202
    assert len(agent.did("backup")) == 1


def test_what_was_refused_can_be_asked_for_again(browser: Browser, agent: FakeAgent) -> None:
    agent.refuses["backup"] = ClmsError("RUN_ACTIVE", kind="update", run=8, phase="backup")
    assert code(post(browser, "/api/backups")) == (409, "RUN_ACTIVE")
    del agent.refuses["backup"]
    assert post(browser, "/api/backups").status_code == 202
    agent.refuses["rollback"] = ClmsError("SIGN_IN_REFUSED")
    assert code(post(browser, "/api/updates/rollback", {**BACK, "password": "x"}, key="k")) == (401, "SIGN_IN_REFUSED")
    del agent.refuses["rollback"]
    assert post(browser, "/api/updates/rollback", BACK, key="k").status_code == 202


@pytest.mark.parametrize("failure", ["AGENT_SILENT", "INTERNAL"])
def test_of_a_failure_nobody_knows_what_it_has_begun(browser: Browser, agent: FakeAgent, failure: str) -> None:
    agent.refuses["backup"] = ClmsError(failure, path="/x", phase="y", detail="z")
    assert post(browser, "/api/backups").status_code >= 500
    del agent.refuses["backup"]
    assert code(post(browser, "/api/backups")) == (409, "KEY_ACTIVE")
    assert len(agent.did("backup")) == 1


def test_where_keys_cannot_be_kept_nothing_is_begun(browser: Browser, agent: FakeAgent) -> None:
    agent.refuses["once"] = ClmsError("KEYS_STORE", path="/x", detail="disk full")
    assert code(post(browser, "/api/backups")) == (503, "KEYS_STORE")
    assert agent.did("backup") == []


@pytest.mark.parametrize(
    "key", ["k", "k" * 128, '"with space"', f'"{"k" * 128}"', "8e03978e-40d5-43dd-bc93-6894a57f9324"]
)
def test_keys(browser: Browser, agent: FakeAgent, key: str) -> None:
    assert post(browser, "/api/backups", key=key).status_code == 202
    assert len(agent.did("backup")) == 1


def test_quotation_marks_are_those_of_the_header(browser: Browser, agent: FakeAgent) -> None:
    for key in ("key", '"key"'):
        assert post(browser, "/api/backups", key=key).status_code == 202
    assert len(agent.did("backup")) == 1


@pytest.mark.parametrize("key", ["", "k" * 129, '""', f'"{"k" * 129}"', '"k', "two words", "a, b", "k\u00e9", '"a"b"'])
def test_what_is_no_key(browser: Browser, agent: FakeAgent, key: str) -> None:
    assert code(post(browser, "/api/backups", key=key)) == (400, "REQUEST_INVALID")
    assert agent.did("backup") == []


def test_content_that_is_refused_takes_no_key(browser: Browser, agent: FakeAgent) -> None:
    assert code(post(browser, "/api/updates/schedule", {})) == (422, "REQUEST_CONTENT")
    assert agent.did("once") == []


def test_the_agent_is_not_told_what_was_typed(browser: Browser, agent: FakeAgent) -> None:
    post(browser, "/api/updates/rollback", BACK)
    asked = agent.did("once")
    assert PASSWORD not in str(asked)
    assert set(asked[0]) == {"name", "key", "body"}
