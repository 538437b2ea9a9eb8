# SPDX-License-Identifier: GPL-3.0-or-later
"""What people see when something is refused, and what the gate shows in place of CLMS: in both themes, on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.maintenance import files, name_of
from ansible_collections.clms.update.plugins.module_utils.maintenance_texts import LANGUAGES, ORIGINAL
from tests.unit.webui_school.conftest import PASSWORD, FakeAgent, forced, release_of

from .conftest import DESK, PHONE, SCREENS, sign_in
from .test_pages import BACKUP, OpenPage, assert_accessible

GATE = "/gate"
CONTACT = "Frau Vogt, room 12"
PERCENT, PHASE = (re.compile(re.escape(f"%[str({name}),") + r"[^\]]*]") for name in ("percent", "phase"))
"""what the gate fills in"""
LONG_TITLE = "Donaudampfschifffahrtsgesellschaftskapitänsgrundschule"
COMMANDS = "docker start clms-elm-mysql-r1 clms-elm-backend-r1 clms-elm-frontend-r1 clms-elm-gate\nclms-update recover"

REFUSED: dict[str, tuple[str, str, ClmsError | None, dict[str, str], str]] = {
    "schedule": (
        "/schedule/1.0.1", "schedule", ClmsError("SCHEDULE_PAST", at="2026-11-01T10:00"),
        {"At another time": "", "Day and time": "2026-11-01T10:00"}, "Schedule the update",
    ),
    "schedule-twice": (
        "/schedule/1.0.1", "schedule", ClmsError("SCHEDULE_TWICE", schedule=3, at="Friday"), {}, "Schedule the update",
    ),
    "schedule-none": ("/schedule/1.0.1", "schedule", None, {"At another time": ""}, "Schedule the update"),
    "restore": (
        f"/backups/{BACKUP}/restore", "restore", ClmsError("SIGN_IN_REFUSED"),
        {"Version": "1.0.0", "Your password": "wrong"}, "Restore this backup",
    ),
    "rollback": ("/rollback", "rollback", None, {"Version": "yes", "Your password": "wrong"}, "Go back"),
    "password": (
        "/password", "password", ClmsError("PASSWORD_WEAK", detail="it has fewer than 10 characters"),
        {"Password until now": "x", "New password": "x", "New password once more": "x"}, "Change the password",
    ),
    "settings": (
        "/settings", "change", ClmsError("SETTING_WRONG", setting="school_hours", detail="it has to be written as x"),
        {"School hours": "always", "Your password": "x"}, "Save the settings",
    ),
    "settings-whole": (
        "/settings", "change", ClmsError("SETTINGS_CHANGED"),
        {"Who helps": "Herr Maier", "Your password": "x"}, "Save the settings",
    ),
    "settings-number": ("/settings", "change", None, {"Backups to keep": "0"}, "Save the settings"),
}  # fmt: skip
"""name of a picture -> address, what the agent is asked, how it refuses that, what is filled in, the button"""


def look_at(page: Page, name: str, theme: str) -> None:
    """Take a picture, have a screen reader look, and fold the window to a phone's; pictures of that are dark ones."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    if theme == "light":
        page.screenshot(path=SCREENS / f"{name}-light.png", full_page=True)
    assert_accessible(page)
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], f"{name} scrolls sideways"
    if theme == "dark":
        page.screenshot(path=SCREENS / f"{name}-dark.png", full_page=True)
    page.set_viewport_size(DESK)  # type: ignore[arg-type]


def fill(page: Page, fields: dict[str, str]) -> None:
    for label, text in fields.items():
        found = page.get_by_label(label, exact=not label.startswith("At "))
        if text:
            found.fill(text)
        else:
            found.check()


def assert_refused(page: Page) -> None:
    """The refusal is read out, and stands beside its field, to which the window goes however long the form is; or above
    the form, where it is about none of the fields.
    """
    error = page.get_by_role("alert").first
    expect(error).to_be_visible()
    assert error.inner_text()
    expect(error).to_be_in_viewport()
    identity = error.get_attribute("id")
    if identity == "form-error":
        expect(error).to_be_focused()
        return
    field = page.locator(f"[aria-describedby~={identity}]")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_refused_forms(open_page: OpenPage, agent: FakeAgent, tmp_path: Path, theme: str) -> None:
    """In one window: to sign in for each of them takes longer than to look at it."""
    page = open_page(color_scheme=theme)
    agent.accounts = {}
    page.goto("/set-up")
    fill(page, {"Set-up code": "guessed", "Your name here": "anna", "Password": "x", "Password once more": "x"})
    page.get_by_role("button", name="Make the account").click()
    assert_refused(page)
    look_at(page, "refused-set-up", theme)
    agent.accounts = {"anna": 1}
    page.goto("/sign-in")
    fill(page, {"Name": "anna", "Password": "wrong"})
    page.get_by_role("button", name="Sign in").click()
    assert_refused(page)
    look_at(page, "refused-sign-in", theme)
    sign_in(page)
    for name, (address, verb, refusal, fields, button) in REFUSED.items():
        agent.refuses = {verb: refusal} if refusal else {}
        page.goto(address)
        fill(page, fields)
        page.get_by_role("button", name=button, exact=True).click()
        assert_refused(page)
        look_at(page, f"refused-{name}", theme)
    agent.folder = tmp_path / "uploads"
    agent.folder.mkdir()
    agent.refuses = {"import": ClmsError("BUNDLE_REFUSED", path="upload", detail="its end is damaged")}
    page.goto("/files")
    page.get_by_label("File", exact=True).set_input_files({"name": "clms.zip", "mimeType": "x/y", "buffer": b"zip"})
    page.get_by_role("button", name="Bring it to this server").click()
    assert_refused(page)
    look_at(page, "refused-file", theme)


# the gate


def closed(percent: int, phase: str, language: str = ORIGINAL) -> str:
    """The maintenance page, filled in as the gate does it."""
    text, filled = PERCENT.subn(str(percent), files(LONG_TITLE, CONTACT)[_closed(language)])
    text, named = PHASE.subn(phase, text)
    assert (filled, named) == (1, 1)
    return text.replace("%%", "%")


def _closed(language: str) -> str:
    return name_of("maintenance.html", language)


GATE_PAGES: dict[str, Callable[[str], str]] = {
    "maintenance": lambda language: closed(42, LANGUAGES[language].phases["migrate"], language),
    "needs-help": lambda language: files(LONG_TITLE, CONTACT, COMMANDS)[_closed(language)].replace("%%", "%"),
    "blocking": lambda language: files(LONG_TITLE, CONTACT)[name_of("blocked.html", language)],
}
"""in a language"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", GATE_PAGES)
def test_what_the_gate_shows(open_page: OpenPage, name: str, language: str, theme: str) -> None:
    page = open_page(color_scheme=theme)
    body = GATE_PAGES[name](language)
    page.route(f"**{GATE}", lambda route: route.fulfill(status=503, content_type="text/html; charset=utf-8", body=body))
    page.goto(GATE)
    expect(page.get_by_role("main")).to_contain_text(LONG_TITLE)
    look_at(page, f"gate-{name}" if language == ORIGINAL else f"gate-{name}-{language}", theme)


@pytest.mark.parametrize("scripts", [True, False])
def test_the_maintenance_page_goes_on_and_ends_by_itself(open_page: OpenPage, scripts: bool) -> None:
    """With scripts, only what has changed is put in its place."""
    page = open_page(java_script_enabled=scripts)
    answers = [(503, closed(42, "Converting the data")), (503, closed(90, "Checking")), (200, "<h1>CLMS again</h1>")]
    loaded: list[str] = []

    def answer(route: Route) -> None:
        loaded.append(route.request.resource_type)
        status, body = answers[min(len(loaded), len(answers)) - 1]
        route.fulfill(status=status, content_type="text/html; charset=utf-8", body=body)

    def wait() -> None:
        if scripts:
            page.clock.run_for(5000)

    page.route(f"**{GATE}", answer)
    if scripts:
        page.clock.install()
    page.goto(GATE)
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "42")
    wait()
    expect(page.get_by_text("Checking")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "90")
    wait()
    expect(page.get_by_role("heading", name="CLMS again")).to_be_visible()
    assert loaded == (["document", "fetch", "fetch", "document"] if scripts else ["document"] * 3)


# what was typed while the agent was away


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_sent_once_more_with_one_press(open_page: OpenPage, agent: FakeAgent, theme: str) -> None:
    page = open_page(color_scheme=theme)
    sign_in(page)
    page.goto("/schedule/1.0.1")
    page.get_by_label("At the weekend").check()
    away = ClmsError("AGENT_SILENT", path="/run/clms-update/agent.sock", detail="Connection refused")
    agent.refuses = dict.fromkeys(("school", "release", "list", "status"), away)
    page.get_by_role("button", name="Schedule the update").click()
    expect(page.get_by_text("What you have filled in is kept")).to_be_visible()
    assert_accessible(page)
    page.screenshot(path=SCREENS / f"failure-kept-{theme}.png", full_page=True)
    agent.refuses = {}
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("main")).to_contain_text("The update to version 1.0.1 begins on")
    assert agent.did("schedule")[0]["at"] == "weekend"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_whoever_was_signed_out_signs_in_and_goes_on(open_page: OpenPage, agent: FakeAgent, theme: str) -> None:
    page = open_page(color_scheme=theme)
    sign_in(page)
    page.goto("/schedule/1.0.1")
    page.get_by_label("At the weekend").check()
    page.context.clear_cookies()
    page.get_by_role("button", name="Schedule the update").click()
    expect(page.get_by_text("What you have filled in is kept")).to_be_visible()
    assert_accessible(page)
    look_at(page, "signed-out-kept", theme)
    page.get_by_role("button", name="Sign in and go on").click()
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Signed in again")).to_be_visible()
    assert_accessible(page)
    look_at(page, "go-on", theme)
    page.get_by_role("button", name="Show it as I have filled it in").click()
    expect(page.get_by_label("At the weekend")).to_be_checked()
    page.get_by_role("button", name="Schedule the update").click()
    expect(page.get_by_role("main")).to_contain_text("The update to version 1.0.1 begins on")
    assert agent.did("schedule")[0]["at"] == "weekend"


# the banner of a critical release


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["critical", "forced", "lifted", "blocked"])
def test_the_banner_of_a_critical_release(open_page: OpenPage, agent: FakeAgent, name: str, theme: str) -> None:
    agent.release = release_of(critical=True, forceAfterDate="2026-12-01T20:00:00Z")
    changes = {"forced": {}, "lifted": {"lifted_until": "2026-12-02T20:05:00Z"}, "blocked": {"overdue": True}}
    if name in changes:
        agent.enforcement = {"forced": forced(**changes[name]), "blocked": name == "blocked"}
    page = open_page(color_scheme=theme)
    sign_in(page)
    expect(page.locator(".banner.critical")).to_be_visible()
    look_at(page, f"banner-{name}", theme)
