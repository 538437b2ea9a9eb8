# SPDX-License-Identifier: GPL-3.0-or-later
"""Every page in German, whose words are longer: it fits on a phone, and a screen reader reads it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from tests.unit.webui_school.conftest import PASSWORD, FakeAgent, forced, release_of, running

from .conftest import DESK, PHONE, SCREENS
from .test_pages import PLACES, OpenPage, assert_accessible, busy


def look_at(page: Page, name: str) -> None:
    """Take a picture, have a screen reader look, and fold the window to a phone's."""
    page.set_viewport_size(DESK)  # type: ignore[arg-type]
    expect(page.locator("html")).to_have_attribute("lang", "de")
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / f"{name}-de.png", full_page=True)
    assert_accessible(page)
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], f"{name} scrolls sideways"


def sign_in(page: Page) -> None:
    page.goto("/sign-in")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Passwort").fill(PASSWORD)
    page.get_by_role("button", name="Anmelden").click()
    page.get_by_role("heading", name="Übersicht").wait_for()


def test_every_page(open_page: OpenPage, agent: FakeAgent) -> None:
    """In one window: to sign in for each of them takes longer than to look at it."""
    busy(agent)
    failed = ClmsError("MIGRATION_FAILED", version="1.0.1", detail="a column is too short")
    agent.runs[0]["error_values"] = failed.as_dict()["values"]
    page = open_page(locale="de-DE", color_scheme="light")
    agent.accounts = {}
    page.goto("/")
    look_at(page, "set-up")
    agent.accounts = {"anna": 1}
    page.goto("/")
    look_at(page, "sign-in")
    sign_in(page)
    for name in PLACES.keys() - {"progress"}:
        page.goto(PLACES[name])
        look_at(page, name)
    agent.release = release_of(critical=True, forceAfterDate="2026-12-01T20:00:00Z")
    agent.enforcement = {"forced": forced(overdue=True, postponements_left=1), "blocked": True}
    page.goto("/")
    look_at(page, "blocked")
    agent.running = running(phase="migrate", percent=64)  # last: when it ends, the page goes elsewhere by itself
    page.goto(PLACES["progress"])
    look_at(page, "progress")


@pytest.mark.parametrize("scripts", [True, False])
def test_another_language_is_chosen(open_page: OpenPage, agent: FakeAgent, scripts: bool) -> None:
    page = open_page(java_script_enabled=scripts)
    page.goto("/sign-in")
    page.get_by_role("button", name="Deutsch").click()
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Passwort").fill(PASSWORD)
    page.get_by_role("button", name="Anmelden").click()
    page.get_by_role("heading", name="Übersicht").wait_for()
    page.goto("/history?kind=update")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="History")).to_be_visible()
    expect(page).to_have_url("/history?kind=update")


def test_what_scripts_say(open_page: OpenPage, agent: FakeAgent) -> None:
    agent.running = running()
    page = open_page(locale="de-DE")
    sign_in(page)
    page.goto("/progress")
    agent.running = running(phase="migrate", percent=77)
    expect(page.get_by_text("77 % erledigt")).to_be_visible()
    expect(page.get_by_text("Schalten Sie den Server nicht aus")).to_be_visible()
    page.goto("/files")
    assert page.evaluate("document.getElementById('upload').dataset.comes") == "{percent} % sind angekommen"
