# SPDX-License-Identifier: GPL-3.0-or-later
"""Every page as people see it: in both themes, on a phone, by keyboard, without scripts, for a screen reader."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.plan import PHASES
from tests.unit.webui_school.conftest import PASSWORD, FakeAgent, forced, release_of, run_of, running

from .conftest import DESK, PHONE, SCREENS, sign_in

PLANNED = {"id": 3, "due_at": "2026-11-27T21:00:00Z", "version": "1.0.1", "state": "SCHEDULED"}
BACKUP = "20261124T101112Z-1.0.0-r1"
PLACES = {
    "overview": "/", "release": "/release/1.0.1", "schedule": "/schedule/1.0.1", "progress": "/progress",
    "history": "/history", "run": "/history/9", "events": "/events", "backups": "/backups", "files": "/files",
    "restore": f"/backups/{BACKUP}/restore", "rollback": "/rollback", "password": "/password", "failure": "/history/99",
    "health": "/health", "settings": "/settings", "api": "/api-description",
}  # fmt: skip
OpenPage = Callable[..., Page]


def busy(agent: FakeAgent) -> None:
    """There is something on each page."""
    agent.files = [
        {"version": "1.0.1", "size": 812_000_000, "file": "clms-1.0.1-amd64.zip", "created": "2026-11-24T10:11:12Z"}
    ]
    agent.planned = [PLANNED]
    agent.runs = [
        run_of(
            id=9, version="1.0.1", status="ROLLED_BACK", outcome="ROLLED_BACK", error_code="MIGRATION_FAILED",
            message="The data could not be converted: a column is too short.", failed_phase="migrate",
            remedy="CLMS runs as before. Tell the vendor.",
        ),
        run_of(),
    ]  # fmt: skip


def assert_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PLACES)
def test_every_page(open_page: OpenPage, agent: FakeAgent, name: str, theme: str) -> None:
    busy(agent)
    if name == "progress":
        agent.running = running(phase="migrate", percent=64)
    page = open_page(color_scheme=theme)
    sign_in(page)
    page.goto(PLACES[name])
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / f"{name}-{theme}.png", full_page=True)
    assert_accessible(page)
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], "it scrolls sideways"
    if theme == "light":
        page.screenshot(path=SCREENS / f"{name}-phone.png", full_page=True)
    expect(page.locator("h1")).to_have_count(1)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["sign-in", "set-up"])
def test_pages_before_anybody_is_signed_in(open_page: OpenPage, agent: FakeAgent, name: str, theme: str) -> None:
    if name == "set-up":
        agent.accounts = {}
    page = open_page(color_scheme=theme)
    page.goto("/")
    expect(page).to_have_url(re.compile(name))
    page.get_by_role("main").get_by_role("button").click()  # with nothing filled in: all complaints are seen
    expect(page.get_by_text("Please fill this in.").first).to_be_visible()
    page.screenshot(path=SCREENS / f"{name}-{theme}.png", full_page=True)
    assert_accessible(page)


def test_a_critical_release(open_page: OpenPage, agent: FakeAgent) -> None:
    agent.release = release_of(critical=True, forceAfterDate="2026-12-24T00:00:00Z")
    page = open_page()
    sign_in(page)
    page.screenshot(path=SCREENS / "critical-light.png", full_page=True)
    assert_accessible(page)
    expect(page.get_by_role("button", name="Not now")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_clms_is_blocked(open_page: OpenPage, agent: FakeAgent, theme: str) -> None:
    agent.release = release_of(critical=True, forceAfterDate="2026-12-01T20:00:00Z")
    agent.enforcement = {"forced": forced(overdue=True, postponements_left=1), "blocked": True}
    page = open_page(color_scheme=theme)
    sign_in(page)
    page.screenshot(path=SCREENS / f"blocked-{theme}.png", full_page=True)
    assert_accessible(page)
    page.get_by_role("button", name="Update now").click()
    page.wait_for_url("**/progress*")
    assert agent.did("update") == [{"version": "1.0.1"}]


def test_fewer_than_five_clicks_to_a_scheduled_update(open_page: OpenPage, agent: FakeAgent) -> None:
    page = open_page()
    page.goto("/")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill(PASSWORD)
    clicks = (("button", "Sign in"), ("link", "What is new"), ("link", "Choose when to update"),
              ("button", "Schedule the update"))  # fmt: skip
    for role, name in clicks:
        page.get_by_role(role, name=name).click()  # type: ignore[arg-type]
    expect(page.get_by_text("begins on Fri 27 November 2026, 22:00")).to_be_visible()
    assert agent.did("schedule") == [{"at": "tonight", "version": "1.0.1"}]
    assert len(clicks) < 5


def test_with_the_keyboard_alone(open_page: OpenPage, agent: FakeAgent) -> None:
    page = open_page()
    page.goto("/sign-in")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.get_by_label("Name").focus()
    page.keyboard.type("anna")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Overview").wait_for()
    page.goto("/schedule/1.0.1")
    page.get_by_label("Tonight").focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("At the weekend")).to_be_checked()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Overview").wait_for()
    assert agent.did("schedule") == [{"at": "weekend", "version": "1.0.1"}]


def test_without_scripts(open_page: OpenPage, agent: FakeAgent) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page)
    page.get_by_role("button", name="Check for updates").click()
    expect(page.get_by_text("Version 1.0.1 is available.", exact=True)).to_be_visible()
    page.goto("/schedule/1.0.1")
    page.get_by_label("At another time").check()
    page.get_by_label("Day and time").fill("2026-12-01T18:30")
    page.get_by_role("button", name="Schedule the update").click()
    assert agent.did("schedule") == [{"at": "2026-12-01T18:30", "version": "1.0.1"}]
    agent.running = running()
    page.goto("/progress")
    agent.running = running(phase="migrate", percent=77)
    expect(page.get_by_text("77 % done")).to_be_visible()  # it has loaded itself anew


def test_a_time_counts_until_another_answer_is_chosen(open_page: OpenPage, agent: FakeAgent) -> None:
    page = open_page()
    sign_in(page)
    page.goto("/schedule/1.0.1")
    page.get_by_label("Day and time").fill("2026-12-01T18:30")
    expect(page.get_by_label("At another time")).to_be_checked()
    page.get_by_label("Tonight").check()
    expect(page.get_by_label("Day and time")).to_have_value("")
    page.get_by_role("button", name="Schedule the update").click()
    page.get_by_role("heading", name="Overview").wait_for()
    assert agent.did("schedule") == [{"at": "tonight", "version": "1.0.1"}]


def test_each_new_step_is_read_out(open_page: OpenPage, agent: FakeAgent) -> None:
    """By an element that stays: what is put in its place with the rest of the box is read by no screen reader."""
    agent.running = running()
    page = open_page()
    sign_in(page)
    page.goto("/progress")
    spoken = page.locator("main [role=status]")
    page.evaluate("document.querySelector('main [role=status]').stays = true")
    expect(spoken).to_be_empty()
    agent.running = running(phase="migrate", percent=77)
    expect(spoken).to_have_text(PHASES["migrate"].text)
    agent.refuses["status"] = ClmsError("AGENT_SILENT", path="/run/x", detail="y")
    expect(spoken).to_have_text("What goes on is not known right now")
    agent.refuses.clear()
    expect(spoken).to_have_text(PHASES["migrate"].text)
    assert page.evaluate("document.querySelector('main [role=status]').stays")


def test_progress_goes_on_by_itself(open_page: OpenPage, agent: FakeAgent) -> None:
    agent.running = running()
    page = open_page()
    sign_in(page)
    page.goto("/progress")
    expect(page.get_by_role("button", name="Stop it")).to_be_visible()
    agent.running = running(phase="migrate", percent=77)
    expect(page.get_by_text("77 % done")).to_be_visible()
    expect(page.get_by_text("Do not switch the server off")).to_be_visible()
    page.reload()
    expect(page.get_by_text("77 % done")).to_be_visible()
    agent.runs = [run_of(id=8, version="1.0.1", message="CLMS was updated to version 1.0.1.")]
    agent.running = None
    expect(page).to_have_url(re.compile("/history/8"))
    expect(page.get_by_text("CLMS was updated to version 1.0.1.")).to_be_visible()


def test_what_is_asked_for_appears_a_moment_later(open_page: OpenPage, agent: FakeAgent) -> None:
    page = open_page()
    sign_in(page)
    page.goto("/backups")
    page.get_by_role("button", name="Make a backup now").click()
    expect(page.get_by_role("heading", name="It is about to begin")).to_be_visible()
    agent.running = running(kind="backup")
    expect(page.get_by_text("30 % done")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_file_is_brought(open_page: OpenPage, agent: FakeAgent, tmp_path: Path, scripts: bool) -> None:
    agent.folder = tmp_path / "uploads"
    agent.folder.mkdir()
    file = tmp_path / "clms-1.0.1-amd64.zip"
    file.write_bytes(bytes(5_000_000))
    page = open_page(java_script_enabled=scripts)
    sign_in(page)
    page.goto("/files")
    agent.refuses["import"] = ClmsError("BUNDLE_REFUSED", path="upload", detail="its end is damaged")
    for words in ("its end is damaged", "Version 1.0.1 is on this server now"):
        page.get_by_label("File", exact=True).set_input_files(file)
        page.get_by_role("button", name="Bring it to this server").click()
        expect(page.get_by_text(words)).to_be_visible()
        agent.refuses.clear()
    assert [len(content) for content in agent.taken] == [5_000_000]
    assert list(agent.folder.iterdir()) == []


def test_two_people_at_once(open_page: OpenPage, agent: FakeAgent) -> None:
    """What one of them cancels, the other one sees."""
    agent.planned = [PLANNED]
    one, other = open_page(), open_page()
    for page in (one, other):
        sign_in(page)
        expect(page.get_by_role("button", name="Cancel it")).to_be_visible()
    one.get_by_role("button", name="Cancel it").click()
    agent.planned = []
    other.reload()
    expect(other.get_by_text("Nothing is planned.")).to_be_visible()
    assert DESK["width"] > PHONE["width"]
