# SPDX-License-Identifier: GPL-3.0-or-later
"""What people do on the page of a school: the scenarios of the original design, section 9.3, one after the other."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.base_images.docker_cli import docker
from tests.browser.conftest import SCREENS
from tests.e2e.conftest import health_of
from tests.e2e.observe import School, wait_for

from .conftest import NAME, PASSWORD

OpenPage = Callable[..., Page]
LONG = 300_000
"""milliseconds within which an update ends"""
SPOKEN = {
    **dict.fromkeys(
        ("", "fr", "en-GB,en", "en-US,de;q=0.9", "de;q=0", "x" * 3000), "A security update has to be installed first"
    ),
    **dict.fromkeys(("de", "DE-at", "fr,de;q=0.2"), "Zuerst muss ein Sicherheits-Update installiert werden"),
}
"""what a browser asks for -> what it is told"""
READING = ["GET /", "GET /index.html", "GET /config.js", "GET /assets/*", "POST /api/auth/login", "GET /api/books"]


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """The librarian's window."""
    found = open_page()
    found.goto("/")
    if "/sign-in" in found.url:
        sign_in(found)
    return found


def sign_in(page: Page) -> None:
    page.goto("/sign-in")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview").wait_for()


def picture(page: Page, name: str) -> None:
    """For people to look at."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / f"real-{name}.png", full_page=True)


def begin(page: Page, version: str) -> None:
    """From the overview: what is new, when, now."""
    page.goto(f"/release/{version}")
    page.get_by_role("link", name="Choose when to update").click()
    page.get_by_label("Now").check()
    page.get_by_role("button", name="Schedule the update").click()
    page.wait_for_url(re.compile(r"/progress"))


def expect_end(page: Page, word: str, text: str) -> None:
    """The page goes to the result by itself."""
    page.wait_for_url(re.compile(r"/history/\d+"), timeout=LONG)
    expect(page.locator(".state").first).to_have_text(word)
    expect(page.locator("main")).to_contain_text(text)


@contextmanager
def published(school: School, page: Page, version: str, sequence: int) -> Iterator[None]:
    """The vendor has published a release that turns out to be broken, and takes it back later."""
    school.stand.publish(version, channel="stable", sequence=sequence, health=health_of(version))
    check(page)
    yield
    school.stand.release_tool("disable", version)
    school.stand.publish()
    check(page)


def check(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="Check for updates").click()
    page.locator(".note").first.wait_for()


def set_school_hours(page: Page, hours: str) -> None:
    """And nights that are far away: nothing is to begin by itself."""
    page.goto("/settings")
    page.get_by_label("School hours").fill(hours)
    page.get_by_label("“Tonight” is at").fill(f"{datetime.now(UTC) + timedelta(hours=12):%H:%M}")
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Save the settings").click()
    page.get_by_text("The settings were saved.").wait_for()


def answer_while_closed(school: School) -> str:
    """What the gate shows; it closes a moment after the page has said so."""
    shown = []

    def is_closed() -> bool:
        answer = requests.get(school.stand.url(NAME), timeout=10)
        shown.append(answer.text)
        return answer.status_code == 503

    wait_for(is_closed, seconds=60, what="the gate to close")
    return shown[-1]


@contextmanager
def away(school: School, *servers: str) -> Iterator[None]:
    """Some of the vendor's servers cannot be reached."""
    names = [f"{school.stand.prefix}-vendor-{server}" for server in servers]
    docker("stop", "--time", "1", *names)
    try:
        yield
    finally:
        docker("start", *names)


def test_the_first_account(school: School, open_page: OpenPage) -> None:
    page = open_page()
    page.goto("/")
    page.get_by_label("Set-up code").fill(str(school.clms_update("account", "--code", "--json").json()["code"]))
    page.get_by_label("Your name here").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password once more").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    page.get_by_role("heading", name="Overview").wait_for()
    page.get_by_role("button", name="Check for updates").click()
    expect(page.get_by_text("Version 1.0.1 is available; version 1.0.0 is running.")).to_be_visible()
    picture(page, "overview")


def test_in_school_hours_there_is_a_warning(school: School, page: Page) -> None:
    """Scenario 7; and 3: the service fails, and the version before is put back."""
    set_school_hours(page, "mon-sun 00:00-23:59")
    before = school.picture()
    with published(school, page, "1.0.9-dies", 3):
        page.goto("/schedule/1.0.9-dies")
        expect(page.get_by_text("School is on right now")).to_be_visible()
        begin(page, "1.0.9-dies")
        page.reload()
        page.get_by_text("% done").wait_for(timeout=LONG)
        expect_end(page, "failed", "What to do")
        picture(page, "failed")
    assert school.picture().serving == before.serving
    school.assert_serves("1.0.0")


def test_the_frontend_fails_after_the_backend_was_updated(school: School, page: Page, tmp_path: Path) -> None:
    """Scenario 6."""
    with (
        school.described(clms_rehearse=False), published(school, page, "1.0.9-frontend", 4),
        school.writing(tmp_path) as written,
    ):  # fmt: skip
        begin(page, "1.0.9-frontend")
        page.get_by_text("CLMS is closed right now").wait_for(timeout=LONG)
        closed = answer_while_closed(school)
        expect_end(page, "rolled back", "What to do")
        written.wait_acknowledged()
    written.assert_nothing_lost()
    assert re.search(r'<progress max="100" value="[1-9]\d?"', closed), closed
    picture(page, "rolled-back")
    school.assert_serves("1.0.0")


def test_a_failed_conversion_is_watched_until_all_is_as_before(school: School, page: Page) -> None:
    """Nobody touches the window from the click to the result, which says why, what was put back and what to do."""
    before, schema, rows = school.picture(), school.schema(), school.rows()
    with school.described(clms_rehearse=False), published(school, page, "1.0.9-fifthstatement", 5):
        begin(page, "1.0.9-fifthstatement")
        expect(page.locator("#progress progress")).to_be_visible(timeout=LONG)
        expect(page.locator("#progress")).not_to_have_attribute("data-run", "")
        page.evaluate("window.untouched = true")
        steps = page.locator(".steps .now")
        expect(steps).to_have_text("Making a backup and proving it by restoring it", timeout=LONG)
        expect(page.get_by_role("button", name="Stop it")).to_be_visible()
        expect(page.get_by_text("CLMS is closed right now. Do not switch the server off.")).to_be_visible(timeout=LONG)
        expect(page.get_by_role("button", name="Stop it")).to_be_hidden()
        expect(page.get_by_text("It did not work, and CLMS is put back as it was.")).to_be_visible(timeout=LONG)
        assert page.evaluate("window.untouched"), "the window was loaded anew, and is not live"
        picture(page, "is-put-back")
        expect_end(page, "rolled back", "failed at statement 5")
        put_back = "Version 1.0.0 runs again, with everything that people had saved until CLMS was closed."
        support = "MIGRATION_FAILED, while: Converting the data"
        for words in (put_back, "What to do:", support, "CLMS was closed for"):
            expect(page.locator("main")).to_contain_text(words)
        picture(page, "conversion-failed")
    run = school.last_run()
    assert (run["outcome"], run["error_code"]) == ("ROLLED_BACK", "MIGRATION_FAILED")
    last = page.get_by_role("region", name="Last time")
    expect(last).to_contain_text("rolled back")
    page.goto("/events")
    expect(page.locator(".rows code", has_text="ROLLBACK_COMPLETED").first).to_be_visible()
    assert school.picture().serving == before.serving
    assert (school.schema(), school.rows()) == (schema, rows)
    school.assert_serves("1.0.0")


def test_an_update_is_stopped_while_its_backup_is_made(school: School, page: Page) -> None:
    """It ends with words that say so; nothing was changed, and nothing of it is left."""
    before, rows, backups = school.picture(), school.rows(), backups_of(school)
    begin(page, "1.0.1")
    steps = page.locator(".steps .now")
    expect(steps).to_have_text("Making a backup and proving it by restoring it", timeout=LONG)
    page.get_by_role("button", name="Stop it").click()
    expect(page.get_by_text("It stops at the next point at which that can be done")).to_be_visible()
    picture(page, "is-stopped")
    expect_end(page, "failed", "was stopped because somebody asked for it.")
    for words in ("CLMS was not closed and nothing was changed; start it again", "RUN_CANCELLED"):
        expect(page.locator("main")).to_contain_text(words)
    expect(page.get_by_role("link", name="Try again")).to_be_visible()
    picture(page, "stopped")
    run = school.last_run()
    assert (run["outcome"], run["error_code"], run["closed_seconds"]) == ("ABORTED", "RUN_CANCELLED", None)
    assert not school.phases_begun(run["id"]) & {"rehearse", "drain", "migrate"}
    after = school.picture()
    assert (after.serving, school.rows()) == (before.serving, rows)
    assert after.names <= before.names
    assert backups_of(school) >= backups
    school.assert_serves("1.0.0")


def backups_of(school: School) -> set[str]:
    """The backups that people can restore."""
    return {one["id"] for one in school.clms_update("list", "--backups", "--json").json()["backups"]}


def test_the_happy_path_with_two_people_and_a_killed_agent(
    school: School, page: Page, open_page: OpenPage, tmp_path: Path
) -> None:
    """Scenario 1; a second person watches, and the agent is killed while CLMS is open."""
    other = open_page(viewport={"width": 360, "height": 740})
    sign_in(other)
    with school.writing(tmp_path) as written:
        begin(page, "1.0.1")
        other.goto("/progress")
        other.get_by_text("% done").wait_for(timeout=LONG)
        process = school.stand.agent_process(NAME)
        assert process is not None
        os.kill(process, signal.SIGKILL)
        wait_for(lambda: school.stand.agent_process(NAME) is None, seconds=30, what="the end of the agent")
        expect(other.get_by_role("heading", name="What goes on is not known right now")).to_be_visible()
        picture(other, "agent-killed")
        school.stand.start_agent(NAME)
        expect_end(page, "failed", "What to do")
        expect_end(other, "failed", "What to do")
        # once more, and this time nobody is in the way
        begin(page, "1.0.1")

        def told() -> bool:
            other.goto("/release/1.0.1")
            return other.get_by_text("Something goes on already").count() == 1

        wait_for(told, seconds=60, what="the second person to be told of it")
        expect_end(page, "completed", "CLMS was updated to version 1.0.1.")
        written.wait_acknowledged()
    written.assert_nothing_lost()
    picture(page, "completed")
    school.assert_serves("1.0.1")


def test_the_registry_is_away_and_a_file_is_used(school: School, page: Page) -> None:
    """Scenario 2: the file lies in the folder for updates."""
    school.stand.publish("1.0.2", sequence=6)
    bundle = school.stand.bundle("1.0.2")
    (school.folder / "updates" / bundle.name).write_bytes(bundle.read_bytes())
    with away(school, "registry"):
        check(page)
        expect(page.get_by_text("It is on this server already, in the file")).to_be_visible()
        begin(page, "1.0.2")
        expect_end(page, "completed", "CLMS was updated to version 1.0.2.")
    page.goto("/events")
    expect(page.get_by_text("UPDATE_OFFLINE").first).to_be_visible()
    school.assert_serves("1.0.2")


def test_without_the_internet_a_file_is_brought(school: School, page: Page) -> None:
    """Scenario 5: nothing of the vendor can be reached, and a service is built here."""
    school.stand.publish("1.0.3", sequence=7)
    bundle = school.stand.bundle("1.0.3")
    with away(school, "registry", "releases"):
        page.goto("/files")
        page.get_by_role("button", name="File", exact=True).set_input_files(bundle)
        page.get_by_role("button", name="Bring it to this server").click()
        expect(page.get_by_text("Version 1.0.3 is on this server now")).to_be_visible(timeout=60_000)
        picture(page, "files")
        begin(page, "1.0.3")
        expect_end(page, "completed", "CLMS was updated to version 1.0.3.")
    school.assert_serves("1.0.3")


def test_a_critical_update_that_is_overdue(school: School, page: Page) -> None:
    """Scenario 4: people are warned, can put it off, are blocked but for looking up, and updated."""
    due = datetime.now(UTC) - timedelta(days=1)
    school.stand.publish(
        "1.1.0", sequence=8, critical=True, forceAfterDate=f"{due:%Y-%m-%dT%H:%M:%SZ}", readingRoutes=READING
    )  # fmt: skip
    check(page)

    def blocked() -> bool:
        page.goto("/")
        return page.get_by_text("CLMS is blocked until it is updated").count() == 1

    wait_for(blocked, seconds=60, what="CLMS to be blocked")
    picture(page, "blocked")
    address, login = school.stand.url(NAME), school.stand.librarian(NAME)
    assert requests.get(address, timeout=10).status_code == 200
    token = requests.post(f"{address}/api/auth/login", json=login, timeout=10).json()["data"]["accessToken"]
    session = {"Authorization": f"Bearer {token}"}
    assert requests.get(f"{address}/api/books?limit=1", headers=session, timeout=10).status_code == 200
    for method, path in (("GET", "/api/students"), ("POST", "/api/borrows"), ("POST", "/api/books"),
                         ("GET", "/assets/../api/students"), ("GET", "/assets/%2e%2e/api/students"),
                         ("GET", "/assets/%zz/%2e%2e/api/students"), ("GET", "/assets/%252e%252e/api/students"),
                         ("GET", "//api/students")):  # fmt: skip
        prepared = requests.Request(method, address, headers=session, json={} if method == "POST" else None).prepare()
        prepared.url = address + path
        with requests.Session() as client:
            refused = client.send(prepared, timeout=10)
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True), path
        assert "updated first" in refused.text or "security update" in refused.text
    for wanted, heading in SPOKEN.items():
        text = requests.get(f"{address}/students", headers={"Accept-Language": wanted}, timeout=10).text
        assert f"<h1>{heading}</h1>" in text, wanted
    page.get_by_role("button", name=re.compile("Put it off by a day")).click()
    expect(page.get_by_text("was put off until")).to_be_visible()
    assert requests.get(f"{address}/api/students?limit=1", headers=session, timeout=10).status_code == 200
    page.get_by_role("button", name=re.compile("Put it off by a day")).wait_for()
    # a day later, as the clock of this test cannot be moved: the deadline is brought back
    forget_postponement(school)
    wait_for(blocked, seconds=60, what="CLMS to be blocked again")
    run = school.last_run()["id"]
    page.get_by_role("button", name="Update now").click()
    expect_end(page, "completed", "CLMS was updated to version 1.1.0.")
    assert school.last_run()["id"] == run + 1
    assert requests.get(f"{address}/api/students?limit=1", headers=session, timeout=10).status_code in (200, 401)
    page.goto("/")
    expect(page.get_by_text("CLMS is blocked")).to_have_count(0)
    school.assert_serves("1.1.0")


def forget_postponement(school: School) -> None:
    """As if the time until the postponed deadline had passed."""
    with closing(sqlite3.connect(school.home / "schedule.db", timeout=10)) as db, db:
        ((text,),) = db.execute("SELECT value FROM facts WHERE name = 'forced'")
        kept = json.loads(text) | {"until": time.time() - 1}
        db.execute("UPDATE facts SET value = ? WHERE name = 'forced'", (json.dumps(kept),))


def test_going_back(school: School, page: Page) -> None:
    page.goto(f"/history/{school.last_run()['id']}")
    page.get_by_role("link", name="Go back to version 1.0.3").click()
    page.get_by_label("Version").fill("1.0.3")
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Go back").click()
    expect_end(page, "completed", "CLMS went back to version 1.0.3.")
    school.assert_serves("1.0.3")


def test_a_scheduled_update_begins_by_itself(school: School, page: Page) -> None:
    """At the minute that was chosen, while nobody looks at the page."""
    before = school.last_run()["id"]
    due = (datetime.now(UTC) + timedelta(seconds=80)).replace(second=0, microsecond=0)
    page.goto("/release/1.1.0")
    page.get_by_role("link", name="Choose when to update").click()
    expect(page.get_by_text("Times are those of UTC.")).to_be_visible()
    page.get_by_label("At another time").check()
    page.get_by_label("Day and time").fill(f"{due:%Y-%m-%dT%H:%M}")
    page.get_by_role("button", name="Schedule the update").click()
    expect(
        page.get_by_text(f"The update to version 1.1.0 begins on {due:%a} {due.day} {due:%B %Y, %H:%M}")
    ).to_be_visible()
    expect(page.locator(".timeline time")).to_have_attribute("datetime", f"{due:%Y-%m-%dT%H:%M:%SZ}")
    picture(page, "scheduled")
    page.goto("about:blank")
    wait_for(lambda: school.last_run()["id"] > before, seconds=120, what="the scheduled update")
    assert datetime.now(UTC) >= due, "it did not wait"
    page.goto("/progress")
    page.get_by_text("% done").wait_for(timeout=LONG)
    expect_end(page, "completed", "CLMS was updated to version 1.1.0.")
    run = school.last_run()
    assert run["id"] == before + 1
    assert due <= datetime.fromisoformat(run["started_at"]) < due + timedelta(seconds=60)
    page.goto("/")
    expect(page.get_by_text("Nothing is planned.")).to_be_visible()
    school.assert_serves("1.1.0")


def test_a_backup_is_restored(school: School, page: Page) -> None:
    """What was saved after it is given up, which the page says before, and CLMS is what it was then."""
    address, login = school.stand.url(NAME), school.stand.librarian(NAME)
    token = requests.post(f"{address}/api/auth/login", json=login, timeout=10).json()["data"]["accessToken"]
    book = {"accession_no": "after-the-backup", "title": "Too late", "author": "A. Nybody", "category": "Test",
            "total_copies": 1, "available_copies": 1}  # fmt: skip
    added = requests.post(
        f"{address}/api/books", json=book, headers={"Authorization": f"Bearer {token}"}, timeout=10
    )  # fmt: skip
    assert added.status_code == 201, added.text
    rows = school.rows()
    page.goto("/backups")
    newest = page.locator(".rows li").first
    expect(newest).to_contain_text("version 1.0.3")
    newest.get_by_role("link", name="Restore it").click()
    expect(page.locator("main")).to_contain_text("1 in books")
    page.get_by_label("Version").fill("1.1.0")
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Restore this backup").click()
    expect(page.get_by_role("alert")).to_contain_text("Type 1.0.3 to go on.")
    page.get_by_label("Version").fill("1.0.3")
    page.get_by_label("Your password").fill(PASSWORD)
    picture(page, "restore")
    page.get_by_role("button", name="Restore this backup").click()
    page.get_by_text("% done").wait_for(timeout=LONG)
    expect_end(page, "completed", "The backup was restored.")
    expect(page.get_by_role("heading", level=1)).to_have_text("Restore of a backup · version 1.0.3")
    picture(page, "restored")
    run = school.last_run()
    assert (run["kind"], run["outcome"], run["version"], run["from_version"]) == (
        "restore", "COMPLETED", "1.0.3", "1.1.0"
    )  # fmt: skip
    assert school.query("SELECT id FROM books WHERE accession_no = %s", "after-the-backup") == []
    assert school.rows()["books"] == rows["books"] - 1
    page.goto("/")
    expect(page.get_by_role("region", name="Last time")).to_contain_text("The backup was restored.")
    school.assert_serves("1.0.3")
