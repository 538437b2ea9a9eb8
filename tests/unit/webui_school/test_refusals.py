# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused and fits no field is said above the form; what was typed stays, and the status says what it is."""

from __future__ import annotations

import re

import pytest
from markupsafe import escape

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .conftest import BACKUP, PASSWORD, Browser, FakeAgent
from .test_settings import fill_in

ACCOUNT = {"name": "bert", "new": PASSWORD, "again": PASSWORD}

FORMS = [
    pytest.param(f"/backups/{BACKUP}/restore", "restore", {"confirm": "1.0.0", "password": PASSWORD}, id="restore"),
    pytest.param("/rollback", "rollback", {"confirm": "0.9.0", "password": PASSWORD}, id="rollback"),
    pytest.param("/schedule/1.0.1", "schedule", {"when": "own", "at": "2026-12-01T20:00"}, id="schedule"),
    pytest.param("/password", "password", {"password": PASSWORD, "new": PASSWORD, "again": PASSWORD}, id="password"),
    pytest.param("/set-up", "set_up", {"code": "0a1b2c3d", **ACCOUNT}, id="set-up"),
]
SHOWN = ("confirm", "at", "code", "name")
"""fields whose content is shown again; that of passwords never is"""
REFUSALS = [
    (ClmsError("AGENT_SILENT", path="/run/agent.sock", detail="Connection refused"), 503),
    (ClmsError("SERVER_FAILED", request="abc"), 500),
    (ClmsError("BACKUP_BUSY"), 409),
    (ClmsError("SETTINGS_UNWRITABLE", path="<b>no</b>"), 409),
]


def said_above(text: str) -> str:
    found = re.search(r'<p class="note error" id="form-error" role="alert" tabindex="-1" autofocus>(.*?)</p>', text)
    assert found, "it is not said above the form"
    return found[1]


@pytest.mark.parametrize(("refusal", "status"), REFUSALS, ids=lambda value: getattr(value, "code", str(value)))
@pytest.mark.parametrize(("path", "verb", "typed"), FORMS)
def test_it_is_said_above_the_form(
    browser: Browser,
    agent: FakeAgent,
    path: str,
    verb: str,
    typed: dict[str, str],
    refusal: ClmsError,
    status: int,
) -> None:
    if verb == "set_up":
        agent.accounts = {}
    else:
        browser.sign_in()
    agent.refuses[verb] = refusal
    answer = browser.send(path, **typed)
    assert answer.status_code == status
    assert str(escape(refusal.happened)) in said_above(answer.text)
    for name in typed.keys() & set(SHOWN):
        assert f'value="{typed[name]}"' in answer.text, f"{name} is lost"
    assert PASSWORD not in answer.text
    # and it is not there any more with the next try
    del agent.refuses[verb]
    assert browser.send(path, **typed).status_code == 302


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        *REFUSALS,
        (ClmsError("SETTINGS_CHANGED"), 409),
        (ClmsError("SCHOOL_INCOMPLETE", detail="clms_title is missing"), 500),
    ],
)
def test_settings_that_were_typed_stay(signed_in: Browser, agent: FakeAgent, refusal: ClmsError, status: int) -> None:
    agent.refuses["change"] = refusal
    answer = fill_in(signed_in, contact="Herr Maier", notify="json://chat.test", tonight="21:15")
    assert answer.status_code == status
    assert said_above(answer.text)
    for typed in ('value="Herr Maier"', "json://chat.test", 'value="21:15"'):
        assert typed in answer.text, typed


def test_what_goes_wrong_after_that_has_a_page_of_its_own(signed_in: Browser, agent: FakeAgent) -> None:
    """The agent does not answer any more while the form is made."""
    agent.refuses["schedule"] = ClmsError("BACKUP_BUSY")
    agent.refuses["list"] = ClmsError("AGENT_SILENT", path="/run/agent.sock", detail="Connection refused")
    answer = signed_in.send("/schedule/1.0.1", page="/settings", when="tonight")
    assert answer.status_code == 503
    assert "AGENT_SILENT" in answer.text


def test_who_has_to_wait_is_told_how_long(signed_in: Browser, agent: FakeAgent) -> None:
    agent.refuses["change"] = ClmsError("LIMIT_REACHED", seconds=30)
    answer = fill_in(signed_in)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "30")
    assert said_above(answer.text)


DOWN = ClmsError("AGENT_SILENT", path="/run/agent.sock", detail="Connection refused")


def test_who_helps_is_said_when_the_agent_is_down(signed_in: Browser, agent: FakeAgent) -> None:
    """As the agent has last said it: to ask for it is to wait for what does not answer."""
    assert "Help: " not in signed_in.get("/nowhere", code=404), "nobody has said it yet"
    signed_in.get("/")
    agent.forget()
    agent.refuses = dict.fromkeys(("accounts", "school", "status"), DOWN)
    asked = len(agent.did("school"))
    assert "Help: Frau Vogt, room 12" in signed_in.get("/", code=503)
    assert len(agent.did("school")) == asked
