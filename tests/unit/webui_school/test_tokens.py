# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that use the API with a token in place of a session."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from werkzeug.test import TestResponse

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .conftest import PASSWORD, Browser, FakeAgent

TOKEN = f"clms_0a1b2c3d_{'5' * 64}"
WRONG = f"clms_0a1b2c3d_{'6' * 64}"


@pytest.fixture(autouse=True)
def token(agent: FakeAgent) -> None:
    agent.accounts["bert"] = 4
    agent.tokens[TOKEN] = "bert"


def ask(browser: Browser, method: str, path: str, authorization: str = f"Bearer {TOKEN}", **more: Any) -> TestResponse:
    headers = {"Authorization": authorization}
    return browser.client.open(path, method=method, base_url=browser.base, headers=headers, **more)


@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"bearer   {TOKEN} "])
def test_a_program_asks_and_changes_without_a_session(browser: Browser, agent: FakeAgent, authorization: str) -> None:
    assert ask(browser, "GET", "/api/backups", authorization).status_code == 200
    answer = ask(browser, "POST", "/api/backups", authorization)
    assert (answer.status_code, agent.did("backup")) == (202, [{}])
    assert "Set-Cookie" not in answer.headers
    assert ask(browser, "DELETE", "/api/updates/cancel/run-8", authorization).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    ["", " ", " x", f" {WRONG}", f" {TOKEN}0", f" {TOKEN.upper()}", f" {TOKEN} x", f" {TOKEN}, {TOKEN}"],
)
def test_what_is_no_token(browser: Browser, agent: FakeAgent, wrong: str) -> None:
    for method, path in (("GET", "/api/backups"), ("POST", "/api/backups"), ("DELETE", "/api/updates/cancel/run-8")):
        answer = ask(browser, method, path, f"Bearer{wrong}")
        assert (answer.status_code, answer.json["code"]) == (401, "TOKEN_REFUSED")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert {request["verb"] for request in agent.asked} <= {"token"}
    assert bool(agent.asked) == (WRONG in wrong), "the agent is asked only for what can be one"


@pytest.mark.parametrize("authorization", ["", "Basic YW5uYTp4", TOKEN, f"Token {TOKEN}"])
def test_anything_else_is_nobody(browser: Browser, authorization: str) -> None:
    for method in ("GET", "POST"):
        answer = ask(browser, method, "/api/backups", authorization)
        assert (answer.status_code, answer.json["code"]) == (401, "SESSION_MISSING")


@pytest.mark.parametrize("path", ["/", "/backups", "/password", "/progress/stream"])
def test_it_opens_no_page(browser: Browser, agent: FakeAgent, path: str) -> None:
    assert ask(browser, "GET", path).status_code == 302
    assert agent.did("token") == []


def test_it_spares_no_page_its_protection(signed_in: Browser, agent: FakeAgent) -> None:
    answer = ask(signed_in, "POST", "/backups")
    assert (answer.status_code, agent.did("backup")) == (400, [])


def test_of_a_request_with_both_the_token_counts(signed_in: Browser, agent: FakeAgent) -> None:
    body = {"confirm": "0.9.0", "password": PASSWORD}
    assert ask(signed_in, "POST", "/api/updates/rollback", json=body).status_code == 202
    assert agent.did("rollback")[0]["name"] == "bert"
    assert ask(signed_in, "GET", "/api/backups", f"Bearer {WRONG}").json["code"] == "TOKEN_REFUSED"
    assert signed_in.client.get("/api/backups", base_url=signed_in.base).status_code == 200


def test_with_a_session_alone_each_change_wants_the_token_of_the_page(signed_in: Browser, agent: FakeAgent) -> None:
    for authorization in ("", "Basic YW5uYTp4"):
        answer = ask(signed_in, "POST", "/api/backups", authorization)
        assert (answer.status_code, answer.json["code"]) == (400, "FORM_EXPIRED")
    assert agent.did("backup") == []


def test_going_back_wants_the_password_all_the_same(browser: Browser, agent: FakeAgent) -> None:
    assert ask(browser, "POST", "/api/updates/rollback", json={"confirm": "0.9.0"}).status_code == 422
    body = {"confirm": "0.9.0", "password": "x"}
    agent.refuses["rollback"] = ClmsError("SIGN_IN_REFUSED")
    answer = ask(browser, "POST", "/api/updates/rollback", json=body)
    assert (answer.status_code, answer.json["code"]) == (401, "SIGN_IN_REFUSED")
    agent.refuses["rollback"] = ClmsError("SIGN_IN_WAIT", seconds=17)
    answer = ask(browser, "POST", "/api/updates/rollback", json=body)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "17")


def test_the_agent_is_asked_every_few_seconds(browser: Browser, agent: FakeAgent) -> None:
    agent._kept_seconds = 5
    for _ in range(3):
        assert ask(browser, "GET", "/api/backups").status_code == 200
    assert agent.did("token") == [{"token": TOKEN}]
    assert TOKEN not in str(agent._kept)
    del agent.tokens[TOKEN]
    agent._kept_seconds = 0
    assert ask(browser, "GET", "/api/backups").status_code == 401


def test_another_password_ends_it_at_once(signed_in: Browser, agent: FakeAgent) -> None:
    """Where it is set on the page: what is kept is forgotten then."""
    agent._kept_seconds = 5
    assert ask(signed_in, "GET", "/api/backups").status_code == 200
    signed_in.send("/password", password=PASSWORD, new="x" * 12, again="x" * 12)
    del agent.tokens[TOKEN]
    assert ask(signed_in, "GET", "/api/backups").status_code == 401


def test_who_guesses_keeps_nobody_waiting(browser: Browser, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(token: str) -> dict[str, Any]:
        if token == WRONG:
            asked.set()
            assert go_on.wait(10)
            raise ClmsError("TOKEN_REFUSED")
        return {"name": "bert", "generation": 4, "id": "0a1b2c3d"}

    monkeypatch.setattr(agent, "_token", slow)
    other = Browser(browser.client.application.test_client())
    guess = threading.Thread(target=ask, args=(other, "GET", "/api/backups", f"Bearer {WRONG}"))
    guess.start()
    assert asked.wait(10)
    try:
        assert ask(browser, "GET", "/api/backups").status_code == 200
        assert browser.sign_in().status_code == 302
    finally:
        go_on.set()
        guess.join()


@pytest.mark.parametrize(("code", "status"), [("LIMIT_REACHED", 429), ("ACCOUNTS_BROKEN", 500), ("AGENT_SILENT", 503)])
def test_what_the_agent_refuses(browser: Browser, agent: FakeAgent, code: str, status: int) -> None:
    agent.refuses["token"] = ClmsError(code, seconds=1, path="/x", detail="y")
    answer = ask(browser, "GET", "/api/backups")
    assert (answer.status_code, answer.json["code"]) == (status, code)


def test_the_log_names_the_token_by_its_number(browser: Browser, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ask(browser, "GET", "/api/backups")
        ask(browser, "GET", "/api/backups", f"Bearer {WRONG}")
    keys = [vars(record).get("key") for record in caplog.records if record.getMessage() == "request"]
    assert keys == ["0a1b2c3d", None]
    assert "5555" not in caplog.text
    assert "6666" not in caplog.text
