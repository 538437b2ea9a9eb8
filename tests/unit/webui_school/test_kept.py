# SPDX-License-Identifier: GPL-3.0-or-later
"""What was typed is not lost where nobody could take it: the agent is down, or whoever has typed it is signed out."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import unquote

import pytest
from werkzeug.test import TestResponse
from wtforms import PasswordField

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.school import forms, kept

from .conftest import BACKUP, PASSWORD, Browser, FakeAgent

DOWN = ClmsError("AGENT_SILENT", path="/run/agent.sock", detail="Connection refused")
OWN = {"when": "own", "at": "2026-12-01T20:00", "more": '<b>"&'}
FROM_HERE = {"Origin": "https://school.test", "Sec-Fetch-Site": "same-origin"}


def kept_in(text: str, path: str) -> dict[str, str]:
    """The hidden fields of the form that goes to an address."""
    form = text.partition(f'<form method="post" action="{path}">')[2].partition("</form>")[0]
    return {name: unescape(value) for name, value in re.findall(r'type="hidden" name="([\w.]+)" value="([^"]*)"', form)}


@pytest.mark.parametrize(
    ("path", "typed"),
    [
        (f"/backups/{BACKUP}/restore", {"confirm": "1.0.0", "password": PASSWORD}),
        ("/schedule/1.0.1", {"when": "own", "at": "2026-12-01T20:00", "more": '<b>"&'}),
    ],
    ids=["restore", "schedule"],
)
def test_what_was_typed_is_sent_once_more_when_the_agent_is_there_again(
    signed_in: Browser, agent: FakeAgent, path: str, typed: dict[str, str]
) -> None:
    """Not even the form can be shown again without it."""
    token = signed_in.token_in(signed_in.get(path))
    agent.refuses = dict.fromkeys(("accounts", "school", "list", "release"), DOWN)
    answer = signed_in.post(path, csrf_token=token, **typed)
    assert (answer.status_code, "AGENT_SILENT" in answer.text) == (503, True)
    assert PASSWORD not in answer.text
    kept = kept_in(answer.text, path)
    assert kept == {"csrf_token": kept["csrf_token"], **{name: typed[name] for name in typed if name != "password"}}
    agent.refuses.clear()
    again = signed_in.post(path, **kept)
    if "password" in typed:
        assert (again.status_code, f'value="{typed["confirm"]}"' in again.text) == (200, True)
    else:
        assert again.status_code == 302
        assert agent.did("schedule")[0]["at"] == typed["at"]


def test_what_another_site_has_sent_is_not_shown(signed_in: Browser, agent: FakeAgent) -> None:
    agent.refuses = dict.fromkeys(("accounts", "school", "list", "release"), DOWN)
    answer = signed_in.post("/schedule/1.0.1", csrf_token="forged", when="own", at="2026-12-01T20:00")
    assert "2026-12-01" not in answer.text


def go_to_sign_in(answer: TestResponse, browser: Browser, status: int) -> tuple[str, dict[str, str]]:
    """Press the button of the page on which something is kept; returns the address of the page that comes, and what is
    hidden in its form.
    """
    assert answer.status_code == status
    found = re.search(r'<form method="post" action="(/sign-in[^"]*)">', answer.text)
    assert found, "nothing is kept"
    address = unescape(found[1])
    shown = browser.post(address, **kept_in(answer.text, address))
    assert shown.status_code == 200
    assert 'class="error"' not in shown.text, "it complains of what nobody was asked for"
    form = shown.text.replace('<form method="post" novalidate>', f'<form method="post" action="{address}">')
    return address, {"csrf_token": browser.token_in(form), **kept_in(form, address)}


def gone(browser: Browser) -> None:
    """The session is over."""
    browser.client.delete_cookie("__Host-clms-update", domain="school.test")


def test_whoever_is_signed_out_meanwhile_signs_in_and_goes_on(signed_in: Browser, agent: FakeAgent) -> None:
    token = signed_in.token_in(signed_in.get("/schedule/1.0.1"))
    gone(signed_in)
    answer = signed_in.post("/schedule/1.0.1", headers=FROM_HERE, csrf_token=token, **OWN)
    assert "What you have filled in is kept" in answer.text
    address, fields = go_to_sign_in(answer, signed_in, 400)
    assert unquote(address) == "/sign-in?next=/schedule/1.0.1"
    wrong = signed_in.post(address, name="anna", password="wrong", **fields)
    assert 'value="2026-12-01T20:00"' in wrong.text, "it is lost with a wrong password"
    answer = signed_in.post(address, name="anna", password=PASSWORD, **fields)
    found = kept_in(answer.text, "/schedule/1.0.1")
    assert found == {"csrf_token": found["csrf_token"], **OWN, "kept": "yes"}
    shown = signed_in.post("/schedule/1.0.1", **found)
    assert (shown.status_code, 'value="2026-12-01T20:00"' in shown.text) == (200, True)
    assert not agent.did("schedule"), "nobody has pressed the button of that form"
    assert signed_in.post("/schedule/1.0.1", csrf_token=signed_in.token_in(shown.text), **OWN).status_code == 302
    assert agent.did("schedule")[0]["at"] == OWN["at"]


def test_whoever_has_another_password_meanwhile(signed_in: Browser, agent: FakeAgent) -> None:
    """The session is still there, and counts no more."""
    token = signed_in.token_in(signed_in.get("/schedule/1.0.1"))
    agent.accounts["anna"] += 1
    go_to_sign_in(signed_in.post("/schedule/1.0.1", csrf_token=token, **OWN), signed_in, 401)


def test_whoever_has_signed_in_anew_meanwhile_is_shown_it_again(signed_in: Browser, agent: FakeAgent) -> None:
    token = signed_in.token_in(signed_in.get("/schedule/1.0.1"))
    gone(signed_in)
    signed_in.sign_in()
    answer = signed_in.post("/schedule/1.0.1", headers=FROM_HERE, csrf_token=token, **OWN | {"when": "now"})
    assert answer.status_code == 400
    shown = signed_in.post("/schedule/1.0.1", **kept_in(answer.text, "/schedule/1.0.1"))
    assert (shown.status_code, 'value="2026-12-01T20:00"' in shown.text) == (200, True)
    assert not agent.did("update"), "a button that only shows has begun an update"


def test_settings_that_are_shown_again_undo_nothing(signed_in: Browser, agent: FakeAgent) -> None:
    """Somebody else has changed them while whoever had filled them in was signed out."""
    text = signed_in.get("/settings")
    seen = re.search(r'name="seen"[^>]* value="([^"]+)"', text)
    assert seen
    agent.settings["settings"]["tonight"] = "23:45"
    fields = {"seen": seen[1], "contact": "Herr Maier", "kept": "yes"}
    shown = signed_in.post("/settings", csrf_token=signed_in.token_in(text), **fields).text
    assert f'value="{seen[1]}"' in shown
    assert 'value="Herr Maier"' in shown
    assert not agent.did("change")


@pytest.mark.parametrize(
    ("page", "path", "fields"),
    [
        ("/", "/postpone", {"deadline": "2026-12-01T20:00:00Z"}),
        ("/", "/language", {"language": "de", "next": "/"}),
        ("/password", "/password", {"submit": "Change the password", "password": PASSWORD}),
    ],
)
def test_where_nothing_was_typed_nothing_is_kept(
    signed_in: Browser, page: str, path: str, fields: dict[str, str]
) -> None:
    gone(signed_in)
    answer = signed_in.post(path, headers=FROM_HERE, csrf_token="old", **fields)
    assert (answer.status_code, "is kept on this page" in answer.text) == (400, False)


def test_it_is_still_there_when_the_page_to_sign_in_is_out_of_date_too(browser: Browser) -> None:
    address = "/sign-in?next=/schedule/1.0.1"
    fields = {"kept.at": "2026-12-01T20:00", "name": "anna", "password": PASSWORD}
    answer = browser.post(address, headers=FROM_HERE, csrf_token="old", **fields)
    found = kept_in(answer.text, address)
    assert found == {"csrf_token": found["csrf_token"], "kept.at": "2026-12-01T20:00", "name": "anna"}
    shown = browser.post(address, **found)
    assert 'name="kept.at" value="2026-12-01T20:00"' in shown.text


def test_whoever_is_signed_in_already_goes_on_at_once(signed_in: Browser) -> None:
    answer = signed_in.send("/sign-in?next=/schedule/1.0.1", page="/password", **{"kept.at": "2026-12-01T20:00"})
    assert kept_in(answer.text, "/schedule/1.0.1")["at"] == "2026-12-01T20:00"


def test_a_form_to_sign_in_that_is_out_of_date_is_opened_again(browser: Browser) -> None:
    answer = browser.post("/sign-in", headers=FROM_HERE, csrf_token="old", name="anna", password=PASSWORD)
    assert (answer.status_code, "is kept on this page" in answer.text) == (400, False)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://elsewhere.test"},
        {"Origin": "null"},
        {"Origin": "https://school.test:8443"},
        FROM_HERE | {"Sec-Fetch-Site": "cross-site"},
        FROM_HERE | {"Sec-Fetch-Site": "same-site"},
        FROM_HERE | {"Origin": "https://elsewhere.test"},
    ],
)
def test_what_came_from_elsewhere_is_not_kept(browser: Browser, headers: dict[str, str]) -> None:
    """Else a site could lay it before somebody who presses what a page of their own shows."""
    answer = browser.post("/schedule/1.0.1", headers=headers, csrf_token="forged", **OWN)
    assert answer.status_code == 400
    assert "2026-12-01" not in answer.text


def test_no_secret_is_handed_on(browser: Browser) -> None:
    fields = {f"kept.{name}": "canary" for name in (*kept.SECRETS, "csrf_token")}
    answer = browser.send("/sign-in?next=//elsewhere.test", **fields, **{"kept.at": "x"})
    assert 'name="kept.at" value="x"' in answer.text
    assert "canary" not in answer.text
    answer = browser.send("/sign-in?next=//elsewhere.test", **{"kept.at": "x"}, name="anna", password=PASSWORD)
    assert kept_in(answer.text, "/")["at"] == "x"
    assert 'action="//' not in answer.text


def test_no_secret_field_is_forgotten() -> None:
    fields = [field for form in vars(forms).values() if isinstance(form, type) for field in vars(form).items()]
    found = {name for name, field in fields if getattr(field, "field_class", None) is PasswordField}
    assert found | {"code", "notify"} == set(kept.SECRETS)
