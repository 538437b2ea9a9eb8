# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing in and out, the first account, sessions and forged requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.school.app import create_app
from webui.school.config import parse_settings

from .conftest import PASSWORD, Browser, FakeAgent

PLACES = [
    *("/", "/progress", "/progress/stream", "/history", "/history/7", "/events", "/backups", "/rollback"),
    *("/password", "/release/1.0.1", "/schedule/1.0.1", "/backups/20261124T101112Z-1.0.0-r1/restore"),
]
ACTIONS = ["/check", "/hide/1.0.1", "/schedule/3/cancel", "/progress/cancel/8", "/backups", "/rollback"]


@pytest.mark.parametrize("path", PLACES)
def test_nobody_sees_anything_before(browser: Browser, agent: FakeAgent, path: str) -> None:
    answer = browser.client.get(path, base_url=browser.base)
    assert answer.status_code == 302
    assert answer.location.startswith("/sign-in")
    assert {request["verb"] for request in agent.asked} <= {"accounts"}


def test_somebody_signs_in_and_out(browser: Browser) -> None:
    answer = browser.sign_in()
    assert (answer.status_code, answer.location) == (302, "/")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-clms-update=")
    assert all(word in cookie for word in ("Secure", "HttpOnly", "SameSite=Strict", "Path=/"))
    assert "Linden School" in browser.get("/")
    assert browser.send("/sign-out", page="/").status_code == 302
    browser.get("/", code=302)


def test_the_session_is_another_one_afterwards(browser: Browser) -> None:
    """Whoever has put a session into somebody's browser has nothing of it."""
    browser.get("/sign-in")
    before = browser.client.get_cookie("__Host-clms-update", domain="school.test")
    browser.sign_in()
    after = browser.client.get_cookie("__Host-clms-update", domain="school.test")
    assert before is not None
    assert after is not None
    assert before.value != after.value
    browser.client.set_cookie("__Host-clms-update", before.value, domain="school.test", secure=True)
    browser.get("/", code=302)


@pytest.mark.parametrize(
    "other", [{"User-Agent": "another browser"}, {"REMOTE_ADDR": "192.0.2.7"}], ids=["browser", "address"]
)
def test_a_stolen_session_is_of_no_use_elsewhere(signed_in: Browser, other: dict[str, str]) -> None:
    address = {name: value for name, value in other.items() if name == "REMOTE_ADDR"}
    headers = {name: value for name, value in other.items() if name not in address}
    answer = signed_in.client.get("/", base_url=signed_in.base, headers=headers, environ_overrides=address)
    assert (answer.status_code, answer.location) == (302, "/sign-in")
    assert "Linden School" in signed_in.get("/"), "it has ended where it began"


def test_who_signs_out_ends_copies_of_the_session_too(signed_in: Browser) -> None:
    copied = signed_in.client.get_cookie("__Host-clms-update", domain="school.test")
    assert copied is not None
    assert "Linden School" in signed_in.get("/")
    signed_in.send("/sign-out", page="/")
    signed_in.client.set_cookie("__Host-clms-update", copied.value, domain="school.test", secure=True)
    assert signed_in.look("/").location == "/sign-in"
    with signed_in.client.session_transaction(base_url=signed_in.base) as kept:
        assert "_user_id" not in kept, "its cookie was made anew, and could outlive what is known of its end"
    signed_in.sign_in()
    assert "Linden School" in signed_in.get("/"), "the same person cannot sign in again"


def test_an_account_that_was_made_a_moment_ago(browser: Browser, agent: FakeAgent) -> None:
    """The page had asked just before who may sign in, and keeps the answer for some seconds."""
    browser.get("/sign-in")
    agent.accounts["bert"] = 1
    assert browser.send("/sign-in", name="bert", password=PASSWORD).location == "/"
    assert "Linden School" in browser.get("/")


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (ClmsError("SIGN_IN_REFUSED"), "do not belong together"),
        (ClmsError("SIGN_IN_WAIT", seconds=40), "Wait 40 seconds"),
    ],
)
def test_a_refusal_stands_beside_the_field(browser: Browser, agent: FakeAgent, refusal: ClmsError, words: str) -> None:
    agent.refuses["sign_in"] = refusal
    text = browser.sign_in("canary").text
    assert words in text
    assert 'aria-invalid="true"' in text
    assert "canary" not in text, "the password is in the page"
    browser.get("/", code=302)


def test_an_empty_form_asks_nobody(browser: Browser, agent: FakeAgent) -> None:
    assert browser.send("/sign-in", name="", password="").text.count("Please fill this in.") == 2
    assert agent.did("sign_in") == []


def test_another_password_ends_all_sessions_but_this_one(make_browser: Callable[[], Browser], agent: FakeAgent) -> None:
    here, there = make_browser(), make_browser()
    here.sign_in()
    there.sign_in()
    wrong = here.send("/password", password=PASSWORD, new="a green whale", again="a grey whale")
    assert "not the same as above" in wrong.text
    assert agent.did("password") == []
    answer = here.send("/password", password=PASSWORD, new="a green whale", again="a green whale")
    assert answer.location == "/"
    assert "password was changed" in here.get("/")
    there.get("/", code=302)


def test_an_account_that_was_removed(signed_in: Browser, agent: FakeAgent) -> None:
    agent.accounts = {"bert": 1}
    signed_in.get("/", code=302)


def test_the_first_account(browser: Browser, agent: FakeAgent) -> None:
    agent.accounts = {}
    assert browser.client.get("/sign-in", base_url=browser.base).location == "/set-up"
    typed = {"name": "bert", "new": PASSWORD, "again": PASSWORD}
    assert "not the set-up code" in browser.send("/set-up", code="guessed", **typed).text
    assert browser.send("/set-up", code="0a1b2c3d", **typed).location == "/"
    assert "bert" in browser.get("/")
    assert browser.client.get("/set-up", base_url=browser.base).location == "/sign-in"


def test_the_first_account_was_made_a_moment_ago(browser: Browser, agent: FakeAgent) -> None:
    """Pressed twice, or somebody else was faster."""
    agent.accounts = {}
    browser.get("/set-up")
    agent.refuses["set_up"] = ClmsError("ACCOUNT_EXISTS")
    answer = browser.send("/set-up", code="0a1b2c3d", name="bert", new=PASSWORD, again=PASSWORD)
    assert (answer.status_code, answer.location) == (302, "/sign-in")
    agent.accounts = {"bert": 1}
    assert "was set up already" in browser.get("/sign-in")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("/backups", "/backups"),
        ("/history?x=1", "/history?x=1"),
        ("https://evil.test/", "/"),
        ("//evil.test", "/"),
        ("/\\evil.test", "/"),
        ("javascript:alert(1)", "/"),
        ("/\r\nSet-Cookie: x", "/"),
    ],
)
def test_afterwards_it_goes_on_here_and_nowhere_else(browser: Browser, wanted: str, expected: str) -> None:
    page = f"/sign-in?next={quote(wanted, safe='')}"
    assert browser.send(page, name="anna", password=PASSWORD).location == expected


@pytest.mark.parametrize("path", ACTIONS)
@pytest.mark.parametrize("token", ["", "forged"])
def test_a_request_from_another_site_does_nothing(signed_in: Browser, agent: FakeAgent, path: str, token: str) -> None:
    before = len(agent.asked)
    answer = signed_in.client.post(
        path, base_url=signed_in.base, data={"csrf_token": token, "confirm": "0.9.0", "password": PASSWORD},
        headers={"Referer": "https://evil.test/"},
    )  # fmt: skip
    assert answer.status_code == 400
    assert "out of date" in answer.text
    assert {request["verb"] for request in agent.asked[before:]} <= {"accounts", "school", "status"}


@pytest.mark.parametrize("host", ["evil.test", "school.test.evil.test"])
def test_another_host_name_is_not_answered(browser: Browser, host: str) -> None:
    assert browser.client.get("/sign-in", base_url=f"https://{host}").status_code == 400


def test_headers_against_frames_and_foreign_scripts(signed_in: Browser) -> None:
    answer = signed_in.client.get("/", base_url=signed_in.base)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Strict-Transport-Security"]


def test_an_agent_that_is_down_is_told_on_a_page(browser: Browser, agent: FakeAgent) -> None:
    agent.refuses["accounts"] = ClmsError("AGENT_SILENT", path="/run/agent.sock", detail="Connection refused")
    text = browser.get("/sign-in", code=503)
    assert "systemctl start clms-update-agent" in text
    assert "AGENT_SILENT" in text


def test_who_signs_out_is_signed_out_also_when_the_agent_is_down(signed_in: Browser, agent: FakeAgent) -> None:
    token = signed_in.token_in(signed_in.get("/backups"))
    copied = signed_in.client.get_cookie("__Host-clms-update", domain="school.test")
    assert copied
    agent.refuses["accounts"] = ClmsError("AGENT_SILENT", path="/run/agent.sock", detail="Connection refused")
    assert signed_in.post("/sign-out", csrf_token=token).location == "/sign-in"
    agent.refuses.clear()
    assert signed_in.look("/").location == "/sign-in"
    signed_in.client.set_cookie("__Host-clms-update", copied.value, domain="school.test", secure=True)
    assert signed_in.look("/").location == "/sign-in"


def test_who_is_signed_in_is_told_as_well(signed_in: Browser, agent: FakeAgent) -> None:
    agent.refuses["accounts"] = ClmsError("AGENT_SILENT", path="/run/agent.sock", detail="Connection refused")
    assert "systemctl start clms-update-agent" in signed_in.get("/", code=503)


@pytest.mark.parametrize("content", [b"", b"changeme"])
def test_a_secret_that_can_be_guessed(agent: FakeAgent, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").touch(mode=0o600)
    (tmp_path / "secret").write_bytes(content)
    settings = parse_settings({"hosts": ["school.test"], "secret_key_file": f"{tmp_path}/secret"})
    with pytest.raises(ClmsError) as caught:
        create_app(settings, agent)
    assert caught.value.code == "SECRET_FILE"
