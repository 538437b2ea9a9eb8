# SPDX-License-Identifier: GPL-3.0-or-later
"""Every address that the page has, taken from the page itself: one that is added is protected, or named here."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import itsdangerous
import pytest
from flask import Flask

from webui.school.app import create_app
from webui.school.config import SESSION, parse_settings

from .conftest import PASSWORD, Browser, FakeAgent

VALUES = {
    "version": "1.0.1", "number": 7, "run": 8, "backup": "20261124T101112Z-1.0.0-r1", "repair": "backup",
    "update_id": "run-7", "filename": "style.css",
}  # fmt: skip
"""what stands in an address"""
OPEN = {
    "static": "holds nothing of the school",
    "signing_in.sign_in": "is how a session begins",
    "signing_in.set_up": "is how the first account is made, with a code of the server",
    "signing_in.sign_out": "ends what there is not",
    "language.choose": "is for the page on which people sign in, too",
    "metrics.metrics": "has a protection of its own; see test_metrics.py",
    "api-docs.openapi_json": "describes what there is, and says nothing of the school",
}
"""endpoint without a session -> why; all others refuse"""
CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
READ_ONLY = {"accounts", "school", "status", "release"}
"""what the agent may be asked by a request that is refused"""


def _app(agent: FakeAgent, folder: Path) -> Flask:
    secret = folder / "key"
    secret.touch(mode=0o600)
    secret.write_bytes(b"k" * 32)
    return create_app(parse_settings({"hosts": ["school.test"], "secret_key_file": str(secret)}), agent)


def _routes() -> Iterator[tuple[str, str, str]]:
    """Method, address and endpoint of everything that can be asked."""
    with tempfile.TemporaryDirectory() as folder:
        app = _app(FakeAgent(), Path(folder))
    places = app.url_map.bind("school.test")
    for rule in app.url_map.iter_rules():
        values = {name: VALUES[name] for name in rule.arguments}
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
            yield method, places.build(rule.endpoint, values, method=method), rule.endpoint


ROUTES = list(_routes())
PROTECTED = [(method, path) for method, path, endpoint in ROUTES if endpoint not in OPEN]
FORMS = [(method, path) for method, path, _ in ROUTES if method in CHANGING]


def token_on(browser: Browser, path: str) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', browser.get(path))
    assert found, "there is no form"
    return found.group(1)


def asked_since(agent: FakeAgent, before: int) -> set[str]:
    return {request["verb"] for request in agent.asked[before:]}


def test_these_are_all() -> None:
    """The lists above are not empty for some other reason."""
    assert len(PROTECTED) > 40
    assert len(FORMS) > 20
    assert OPEN.keys() <= {endpoint for _, _, endpoint in ROUTES}


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_nobody_gets_through_without_a_session(browser: Browser, agent: FakeAgent, method: str, path: str) -> None:
    """Not with the token of a form either, which everybody gets who looks at the page for signing in."""
    token, before = token_on(browser, "/sign-in"), len(agent.asked)
    headers = {"Referer": f"{browser.base}/", "X-CSRFToken": token}
    answer = browser.client.open(path, method=method, base_url=browser.base, headers=headers)
    if path.startswith("/api/"):
        assert (answer.status_code, answer.json["code"]) == (401, "SESSION_MISSING")
    else:
        assert answer.status_code == 302, answer.text
        assert answer.location.startswith("/sign-in")
    assert asked_since(agent, before) <= {"accounts"}


@pytest.mark.parametrize("token", [None, "", "forged"])
@pytest.mark.parametrize(("method", "path"), FORMS)
def test_nothing_is_done_without_the_token_of_the_session(
    signed_in: Browser, agent: FakeAgent, tmp_path: Path, method: str, path: str, token: str | None
) -> None:
    """Whatever else the request has: where it comes from, and the session's cookie."""
    agent.folder, before = tmp_path, len(agent.asked)
    fields = {} if token is None else {"csrf_token": token}
    headers = {"Referer": f"{signed_in.base}/", **({} if token is None else {"X-CSRFToken": token})}
    answer = signed_in.client.open(
        path,
        method=method,
        base_url=signed_in.base,
        headers=headers,
        data={**fields, "password": PASSWORD},
        content_type="multipart/form-data" if path.endswith("/files") else None,
    )
    assert answer.status_code == 400, answer.text
    assert "FORM_EXPIRED" in answer.text
    assert asked_since(agent, before) <= READ_ONLY | ({"list"} if path.endswith("/files") else set())


@pytest.mark.parametrize("token", ["sign-in", "another session"])
def test_a_token_of_another_session_is_none(signed_in: Browser, make_browser: object, token: str) -> None:
    other = make_browser()  # type: ignore[operator]
    if token == "another session":
        other.sign_in()
    foreign = token_on(other, "/sign-in" if token == "sign-in" else "/")
    assert signed_in.send("/check", page="/", token=foreign).status_code == 400


# how long a session lasts


class Clock:
    """Of sessions, and nothing else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        signer = itsdangerous.timed.TimestampSigner
        monkeypatch.setattr(signer, "get_timestamp", lambda _: int(time.time() + self.ahead))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_session_ends_after_eight_hours(signed_in: Browser, agent: FakeAgent, clock: Clock) -> None:
    assert SESSION.total_seconds() == 8 * 3600
    kept = signed_in.client.get_cookie("__Host-clms-update", domain="school.test")
    assert kept is not None
    for ahead, code in ((-60, 200), (60, 302)):
        clock.ahead = SESSION.total_seconds() + ahead
        signed_in.client.set_cookie("__Host-clms-update", kept.value, domain="school.test", secure=True)
        assert signed_in.look("/").status_code == code, ahead
    before = len(agent.asked)
    answer = signed_in.client.get("/api/updates/history", base_url=signed_in.base)
    assert (answer.status_code, answer.json["code"]) == (401, "SESSION_MISSING")
    assert asked_since(agent, before) <= {"accounts"}


def test_whoever_does_something_stays_signed_in(signed_in: Browser, clock: Clock) -> None:
    for hours in (7, 14, 21):
        clock.ahead = hours * 3600
        signed_in.get("/")
    clock.ahead = 30 * 3600
    signed_in.get("/", code=302)


def test_a_window_that_was_left_open_does_not_lengthen_it(signed_in: Browser, clock: Clock) -> None:
    """It asks for news again and again, and nobody may be there any more."""
    for hours in (7, 9):
        clock.ahead = hours * 3600
        answer = signed_in.look("/progress/stream")
        assert answer.status_code == (200 if hours == 7 else 302)
        answer.close()
    signed_in.get("/", code=302)
