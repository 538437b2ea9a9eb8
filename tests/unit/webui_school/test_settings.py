# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of settings and health, and what they ask of the agent."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .conftest import PASSWORD, SETTINGS, Browser, FakeAgent


def fill_in(browser: Browser, **changes: str) -> Any:
    """Send the form as it is shown, but for ``changes``."""
    seen = re.search(r'name="seen"[^>]*value="([^"]+)"', browser.get("/settings"))
    assert seen
    shown = {
        **{name: str(value or "") for name, value in SETTINGS.items() if not isinstance(value, bool | list)},
        "school_hours": "mon-fri 07:30-17:00", "quiet_days": "", "password": PASSWORD, "seen": seen[1],
        "registry_user": "school-42",
    }  # fmt: skip
    return browser.send("/settings", **(shown | changes))


def test_a_time_zone_with_an_old_name_stays(signed_in: Browser, agent: FakeAgent) -> None:
    """Else the first one of the list would be saved, and every schedule be moved."""
    agent.settings["settings"]["time_zone"] = "CET"
    assert '<option selected value="CET">CET</option>' in signed_in.get("/settings")
    fill_in(signed_in, time_zone="CET")
    assert agent.did("change")[0]["settings"]["time_zone"] == "CET"


def test_what_is_set_is_shown_and_no_secret(signed_in: Browser, agent: FakeAgent) -> None:
    text = signed_in.get("/settings")
    for words in ("Europe/Berlin", "mon-fri 07:30-17:00", "https://updates.test", "registry.test", "/srv/backups"):
        assert words in text, words
    assert 'selected value="Europe/Berlin"' in text
    assert "Nobody is told" in text
    assert "Send a test" not in text


def test_what_is_another_is_saved_with_the_password(signed_in: Browser, agent: FakeAgent) -> None:
    answer = fill_in(
        signed_in, quiet_days="2026-12-21..2027-01-06\r\n\r\n 2027-03-15 ", check_on_startup="y",
        notify="json://chat.test", registry_user="anna", registry_password="geheim", max_backups="7",
    )  # fmt: skip
    assert (answer.status_code, answer.location) == (302, "/settings")
    (asked,) = agent.did("change")
    assert (asked["name"], asked["password"]) == ("anna", PASSWORD)
    assert asked["settings"] == SETTINGS | {
        "quiet_days": ["2026-12-21..2027-01-06", "2027-03-15"], "check_on_startup": True, "max_backups": 7,
        "notify": "json://chat.test", "registry_login": {"username": "anna", "password": "geheim"},
    }  # fmt: skip
    assert "The settings were saved" in signed_in.get("/settings")


def test_what_was_left_empty_stays(signed_in: Browser, agent: FakeAgent) -> None:
    fill_in(signed_in)
    (asked,) = agent.did("change")
    assert asked["settings"] == SETTINGS
    fill_in(signed_in, notify_nobody="y", notify="json://x.test")
    assert agent.did("change")[1]["settings"]["notify"] == ""


def test_another_name_at_the_registry_needs_its_password(signed_in: Browser, agent: FakeAgent) -> None:
    """It is not dropped in silence: the agent is asked, and refuses what is only half of a login."""
    fill_in(signed_in, registry_user="school-43")
    (asked,) = agent.did("change")
    assert asked["settings"]["registry_login"] == {"username": "school-43", "password": ""}


@pytest.mark.parametrize(
    ("refusal", "field"),
    [
        (ClmsError("SIGN_IN_REFUSED"), "password"),
        (ClmsError("SETTING_WRONG", setting="tonight", detail="it must be written as '22:00'"), "tonight"),
        (ClmsError("SETTING_WRONG", setting="registry_login", detail="it needs both"), "registry_password"),
    ],
)
def test_a_refusal_is_shown_beside_its_field(
    signed_in: Browser, agent: FakeAgent, refusal: ClmsError, field: str
) -> None:
    agent.refuses["change"] = refusal
    text = fill_in(signed_in, contact="Herr Maier").text
    assert f'id="{field}-error"' in text
    assert 'value="Herr Maier"' in text, "what was typed is lost"


@pytest.mark.parametrize(
    "changes",
    [
        {"check_interval_days": "often"},
        {"check_interval_days": "-1"},
        {"max_backups": "1"},
        {"time_zone": "Mars"},
        {"missed": "x"},
        {"password": ""},
        {"contact": "x" * 300},
    ],
)
def test_what_is_wrong_is_not_even_asked_for(signed_in: Browser, agent: FakeAgent, changes: dict[str, str]) -> None:
    (name,) = changes
    assert f'id="{name}-error"' in fill_in(signed_in, **changes).text
    assert agent.did("change") == []


def test_two_people_do_not_undo_each_other(signed_in: Browser, agent: FakeAgent) -> None:
    stale = re.search(r'name="seen"[^>]*value="([^"]+)"', signed_in.get("/settings"))
    assert stale
    agent.settings["settings"] = SETTINGS | {"contact": "Frau Vogt"}
    assert "Somebody else has changed" in fill_in(signed_in, seen=stale[1]).text
    assert agent.did("change") == []


def test_a_test_notification(signed_in: Browser, agent: FakeAgent) -> None:
    agent.settings["secrets"]["notify"] = True
    signed_in.send("/settings/try-notification", page="/settings")
    assert agent.did("notify") == [{}]
    assert "was sent to every address" in signed_in.get("/settings")
    agent.refuses["notify"] = ClmsError("NOTIFY_FAILED", detail="line 1: it is no address", path="/x")
    signed_in.send("/settings/try-notification", page="/settings")
    assert "line 1: it is no address" in signed_in.get("/settings")


# health


def test_each_problem_has_a_button_or_a_sentence(signed_in: Browser, agent: FakeAgent) -> None:
    text = signed_in.get("/health")
    assert "Something on this server needs attention" in text
    assert "Make a backup now" in text
    assert "What to do:</strong> Free some space" in text
    agent.health = [{**check, "ok": True, "repair": None} for check in agent.health]
    text = signed_in.get("/health")
    assert "All is well" in text
    assert "Make a backup now" not in text


@pytest.mark.parametrize(
    ("repair", "place"),
    [*((run, "/progress?since=") for run in ("backup", "recover", "update")), ("check", "/health")],
)
def test_a_button_mends(signed_in: Browser, agent: FakeAgent, repair: str, place: str) -> None:
    answer = signed_in.send(f"/health/{repair}", page="/health")
    assert answer.status_code == 302
    assert answer.location.startswith(place)
    assert agent.did(repair) == [{}]
    agent.refuses[repair] = ClmsError("AGENT_BUSY", limit=8)
    signed_in.send(f"/health/{repair}", page="/health")
    assert agent.refuses[repair].happened in signed_in.get("/health").replace("&#39;", "'")


def test_no_other_verb_is_a_repair(signed_in: Browser, agent: FakeAgent) -> None:
    assert signed_in.send("/health/rollback", page="/health").status_code == 404
    assert agent.did("rollback") == []
