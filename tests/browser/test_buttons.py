# SPDX-License-Identifier: GPL-3.0-or-later
"""Buttons of the page: what the agent is asked when one is pressed, where the browser ends, and what is shown there."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from playwright.sync_api import Page, expect

from agent.doctor import Finding
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from tests.unit.webui_school.conftest import (
    PASSWORD,
    SETTINGS,
    FakeAgent,
    check_of,
    forced,
    release_of,
    run_of,
    running,
)

from .conftest import sign_in
from .test_pages import BACKUP, OpenPage
from .test_refusals import fill
from .test_refusals import look_at as look_in

NEW = "another few words in a row"
PROGRESS = r"/progress\?since=\d+"
HERE = "This server It is lost if the disk of the server breaks."
STOPPED = ClmsError("RUN_CANCELLED", kind="update", run=8)


def look_at(page: Page, name: str) -> None:
    """In both themes."""
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        look_in(page, name, theme)


def begins(*verbs: str, version: str | None = None) -> Callable[[FakeAgent], None]:
    """What is asked for goes on at once."""

    def prepare(agent: FakeAgent) -> None:
        for verb in verbs:
            setattr(agent, f"_{verb}", lambda verb=verb, **_: start(agent, verb))

    def start(agent: FakeAgent, kind: str) -> dict[str, Any]:
        names = KINDS.get(kind, KINDS["backup"])
        phases = [{"name": name, "seconds": None} for name in names]
        agent.running = running(kind=kind, version=version, phase=names[0], percent=3, phases=phases)
        return {"begun": kind}

    return prepare


def refuses(verb: str, code: str, **values: str) -> Callable[[FakeAgent], None]:
    """The agent refuses something."""
    return lambda agent: agent.refuses.update({verb: ClmsError(code, **values)})


def drive(agent: FakeAgent) -> None:
    """An external drive is named in the settings."""
    agent.external_backup = True


def drive_full(agent: FakeAgent) -> None:
    drive(agent)
    refuses("copy", "BACKUP_PLACE", path="/mnt/drive", detail="no space is left on it")(agent)


def someone_is_told(agent: FakeAgent) -> None:
    agent.settings["secrets"]["notify"] = True


def no_one_is_reached(agent: FakeAgent) -> None:
    someone_is_told(agent)
    refuses("notify", "NOTIFY_FAILED", detail="mail.school.test does not answer", path="/etc/clms/notify")(agent)


def ill(agent: FakeAgent) -> None:
    """Health finds whatever there is a button for, and what that asks for begins."""
    found = {
        "gate": Finding("GATE_BLOCKED", repair="update"),
        "containers": Finding("GATE_NOT_OPEN", mode="closed", repair="recover"),
        "last backup": Finding("BACKUP_OLD", backup=BACKUP, ago=900_000.0, repair="backup"),
        "news": Finding("NEWS_OLD", ago=900_000.0, repair="check"),
    }
    agent.health = [check_of(name, ok=False, **one.as_dict()) for name, one in found.items()]
    begins("backup", "recover", "update")(agent)


def ill_and_alone(agent: FakeAgent) -> None:
    ill(agent)
    refuses("check", "SERVER_UNREACHABLE", url="https://updates.test", detail="the name is not known")(agent)


def goes_on(agent: FakeAgent) -> None:
    agent.running = running()


def closed_meanwhile(agent: FakeAgent) -> None:
    goes_on(agent)
    refuses("cancel", "RUN_CLOSED", kind="update", run="8", phase="drain")(agent)


def overdue(agent: FakeAgent) -> None:
    agent.release = release_of(critical=True, forceAfterDate="2026-12-01T20:00:00Z")
    agent.enforcement = {"forced": forced(), "blocked": False}


def failed(agent: FakeAgent) -> None:
    agent.runs = [
        run_of(id=8, version="1.0.1", from_version="1.0.0", status="FAILED", outcome="ABORTED", **told(STOPPED)),
        run_of(),
    ]


def told(error: ClmsError) -> dict[str, Any]:
    """An error as a run keeps it."""
    known = error.as_dict()
    return {
        "error_code": error.code, "error_values": known["values"], "message": known["message"],
        "remedy": known["remedy"], "failed_phase": "rehearse", "closed_seconds": None,
    }  # fmt: skip


class Press(NamedTuple):
    """A button, and what comes of it."""

    at: str
    button: str
    shown: str
    """in the page where the browser ends"""
    ends: str
    """its address, as a pattern"""
    asked: tuple[str, dict[str, Any]] | None = None
    """of the agent: the verb, and with what"""
    fields: dict[str, str] | None = None
    """what is filled in before; nothing: it is chosen"""
    prepare: Callable[[FakeAgent], None] = lambda _: None
    looked: bool = False
    """whether no other test looks at the page as it is before"""
    role: Literal["button", "link"] = "button"


BUTTONS = {
    "verify": Press("/backups", "Check it", "The backup is whole", "/backups", ("verify", {"backup": BACKUP})),
    "verify-damaged": Press(
        "/backups", "Check it", "Do not restore it", "/backups", ("verify", {"backup": BACKUP}),
        prepare=refuses("verify", "BACKUP_TAMPERED", backup=BACKUP, detail="the file data.age is shorter"),
    ),
    "copy": Press(
        "/backups", "Copy it to the drive", "The backup was copied to the external drive.", "/backups",
        ("copy", {"backup": BACKUP}), prepare=drive, looked=True,
    ),
    "copy-full": Press(
        "/backups", "Copy it to the drive", "no space is left on it", "/backups", ("copy", {"backup": BACKUP}),
        prepare=drive_full,
    ),
    "restore": Press(
        f"/backups/{BACKUP}/restore", "Restore this backup", "Restore of a backup · version 1.0.0", PROGRESS,
        ("restore", {"backup": BACKUP, "confirm": "1.0.0", "name": "anna", "password": PASSWORD}),
        {"Version": "1.0.0", "Your password": PASSWORD}, begins("restore", version="1.0.0"),
    ),
    "rollback": Press(
        "/rollback", "Go back", "Going back · version 0.9.0", PROGRESS,
        ("rollback", {"confirm": "0.9.0", "name": "anna", "password": PASSWORD}),
        {"Version": "0.9.0", "Your password": PASSWORD}, begins("rollback", version="0.9.0"),
    ),
    "stop": Press(
        "/progress", "Stop it", "It stops at the next point", "/progress", ("cancel", {"run": 8}), prepare=goes_on,
    ),
    "stop-too-late": Press(
        "/progress", "Stop it", "cannot be stopped", "/progress", ("cancel", {"run": 8}), prepare=closed_meanwhile,
    ),
    "notification": Press(
        "/settings", "Send a test notification", "A test notification was sent to every address.", "/settings",
        ("notify", {}), prepare=someone_is_told, looked=True,
    ),
    "notification-lost": Press(
        "/settings", "Send a test notification", "mail.school.test does not answer", "/settings", ("notify", {}),
        prepare=no_one_is_reached,
    ),
    "settings": Press(
        "/settings", "Save the settings", "The settings were saved.", "/settings",
        ("change", {"settings": {**SETTINGS, "contact": "Frau Vogt"}, "name": "anna", "password": PASSWORD}),
        {"Who helps": "Frau Vogt", "Your password": PASSWORD},
    ),
    "health-check": Press(
        "/health", "Check for updates", "Version 1.0.1 is available.", "/health", ("check", {}), prepare=ill,
        looked=True,
    ),
    "health-alone": Press(
        "/health", "Check for updates", "the name is not known", "/health", ("check", {}), prepare=ill_and_alone,
    ),
    "health-backup": Press("/health", "Make a backup now", "Backup", PROGRESS, ("backup", {}), prepare=ill),
    "health-recover": Press(
        "/health", "Put CLMS in order", "Putting in order", PROGRESS, ("recover", {}), prepare=ill,
    ),
    "health-update": Press("/health", "Update now", "Update", PROGRESS, ("update", {}), prepare=ill),
    "put-off": Press(
        "/", "Put it off by a day (3 left)", "was put off until", r":\d+/",
        ("postpone", {"deadline": forced()["deadline"]}), prepare=overdue,
    ),
    "sign-out": Press("/history", "Sign out", "Password forgotten?", "/sign-in"),
    "try-again": Press(
        "/history/8", "Try again", "Update to version 1.0.1", "/schedule/1.0.1", prepare=failed, looked=True,
        role="link",
    ),
    "place-here": Press(
        "/schedule/1.0.1", "Schedule the update", "begins on Fri 27 November 2026, 22:00", r":\d+/",
        ("schedule", {"at": "tonight", "version": "1.0.1", "backup_location": "local"}), {HERE: ""}, drive,
    ),
    "place-drive": Press(
        "/schedule/1.0.1", "Schedule the update", "begins on Fri 27 November 2026, 22:00", r":\d+/",
        ("schedule", {"at": "tonight", "version": "1.0.1", "backup_location": "external"}), prepare=drive, looked=True,
    ),
    "place-refused": Press(
        "/schedule/1.0.1", "Schedule the update", "external drive", "/schedule/1.0.1",
        ("schedule", {"at": "tonight", "version": "1.0.1", "backup_location": "external"}),
        prepare=lambda agent: (drive(agent), refuses("schedule", "BACKUP_LOCATION")(agent))[0],
    ),
    "password": Press(
        "/password", "Change the password", "Your password was changed.", r":\d+/",
        ("password", {"name": "anna", "password": PASSWORD, "new": NEW}),
        {"Password until now": PASSWORD, "New password": NEW, "New password once more": NEW},
    ),
}  # fmt: skip
PLAIN = (
    *("verify", "copy", "restore", "stop", "notification", "health-check", "health-update", "put-off", "sign-out"),
    *("place-here", "password"),
)
"""some of each kind, for browsers without scripts"""


def press(page: Page, agent: FakeAgent, wanted: Press) -> None:
    """Fill in what has to be, press the button and see what comes of it."""
    fill(page, wanted.fields or {})
    page.get_by_role(wanted.role, name=wanted.button, exact=True).click()
    expect(page.get_by_role("main")).to_contain_text(wanted.shown)
    expect(page).to_have_url(re.compile(f"{wanted.ends}$"))
    page.wait_for_load_state()  # a picture of a long page would end where it has come to
    if wanted.asked:
        verb, fields = wanted.asked
        assert agent.did(verb) == [fields]


@pytest.mark.parametrize("name", BUTTONS)
def test_button(open_page: OpenPage, agent: FakeAgent, name: str) -> None:
    wanted = BUTTONS[name]
    page = open_page()
    sign_in(page)
    wanted.prepare(agent)
    page.goto(wanted.at)
    if wanted.looked:
        look_at(page, f"before-{name}")
    press(page, agent, wanted)
    look_at(page, f"pressed-{name}")


@pytest.mark.parametrize("name", PLAIN)
def test_button_without_scripts(open_page: OpenPage, agent: FakeAgent, name: str) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page)
    BUTTONS[name].prepare(agent)
    page.goto(BUTTONS[name].at)
    press(page, agent, BUTTONS[name])


# what files arrive


def arrived(page: Page, link: str) -> tuple[str, Path]:
    """Name and content of what somebody downloads."""
    with page.expect_download() as coming:
        page.get_by_role("link", name=link, exact=True).click()
    return coming.value.suggested_filename, Path(coming.value.path())


@pytest.mark.parametrize("scripts", [True, False])
def test_a_backup_is_downloaded(open_page: OpenPage, agent: FakeAgent, scripts: bool) -> None:
    page = open_page(java_script_enabled=scripts)
    sign_in(page)
    page.goto("/backups")
    name, file = arrived(page, "Download it")
    assert (name, file.read_bytes()) == (f"{BACKUP}.tar", b"tar file")
    assert agent.did("download") == [{"backup": BACKUP}]
    expect(page).to_have_url("/backups")


def test_a_backup_that_is_damaged_is_not_downloaded(open_page: OpenPage, agent: FakeAgent) -> None:
    agent.refuses["download"] = ClmsError("BACKUP_TAMPERED", backup=BACKUP, detail="the file data.age is shorter")
    page = open_page()
    sign_in(page)
    page.goto("/backups")
    page.get_by_role("link", name="Download it").click()
    expect(page.get_by_role("heading", name="Backup not whole")).to_be_visible()
    look_at(page, "download-damaged")


# the history


def many(agent: FakeAgent) -> None:
    """So many runs that they are on more than one page; every third has failed, every fifth is a backup."""
    agent.runs = [
        run_of(
            id=number, kind="backup" if number % 5 == 0 else "update", version=f"0.{number}.0",
            **({"status": "FAILED", "outcome": "ABORTED", **told(STOPPED)} if number % 3 == 0 else {}),
        )
        for number in range(120, 0, -1)
    ]  # fmt: skip


@pytest.mark.parametrize("scripts", [True, False])
def test_the_history_is_leafed_through_and_exported(open_page: OpenPage, agent: FakeAgent, scripts: bool) -> None:
    """What is chosen counts for the older ones and for the table, too."""
    many(agent)
    rows = [f"0.{number}.0" for number in range(120, 0, -1) if number % 5]
    page = open_page(java_script_enabled=scripts)
    sign_in(page)

    def shown() -> list[str]:
        return [text.rpartition(" ")[2] for text in page.locator(".rows li > a").all_inner_texts()]

    page.goto("/history")
    assert shown() == [f"0.{number}.0" for number in range(120, 70, -1)]
    page.get_by_label("What").select_option("Update")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url("/history?kind=update&state=")
    assert shown() == rows[:50]
    page.get_by_role("link", name="Older ones").click()
    expect(page).to_have_url(re.compile(r"/history\?kind=update&before=\d+$"))
    assert shown() == rows[50:]
    expect(page.get_by_role("link", name="Older ones")).to_have_count(0)
    expect(page.get_by_label("What")).to_have_value("update")
    if scripts:
        look_at(page, "history-older")
    page.get_by_label("How it ended").select_option("failed")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url("/history?kind=update&state=FAILED")
    broken = [f"0.{number}.0" for number in range(120, 0, -1) if number % 5 and number % 3 == 0]
    assert shown() == broken
    if scripts:
        look_at(page, "history-filtered")
    name, file = arrived(page, "Export as a table")
    table = list(csv.DictReader(file.read_text("utf-8-sig").splitlines()))
    assert name == "clms-history.csv"
    assert [row["version"] for row in table] == broken
    assert {(row["kind"], row["status"], row["error_code"]) for row in table} == {("update", "FAILED", STOPPED.code)}
    page.get_by_label("How it ended").select_option("rolled back")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("Nothing of that kind was done here.")).to_be_visible()
    if scripts:
        look_at(page, "history-nothing")


# what goes on after the button


def test_what_was_stopped_ends_with_words(open_page: OpenPage, agent: FakeAgent) -> None:
    goes_on(agent)
    page = open_page()
    sign_in(page)
    page.goto("/progress")
    press(page, agent, BUTTONS["stop"])
    failed(agent)
    agent.running = None
    expect(page).to_have_url(re.compile("/history/8$"))
    expect(page.get_by_role("main")).to_contain_text(STOPPED.happened)
    expect(page.get_by_role("main")).to_contain_text("nothing was changed")
    look_at(page, "stopped")


@pytest.mark.parametrize("scripts", [True, False])
def test_a_banner_is_not_wanted_now(open_page: OpenPage, agent: FakeAgent, scripts: bool) -> None:
    """It stays away until there is something newer; one that is critical cannot be sent away."""
    page = open_page(java_script_enabled=scripts)
    sign_in(page)
    banner = page.locator(".banner")
    expect(banner).to_contain_text("Version 1.0.1 is available")
    page.get_by_role("button", name="Not now").click()
    expect(page).to_have_url("/")
    expect(banner).to_have_count(0)
    if scripts:
        look_at(page, "without-banner")
    page.reload()
    expect(banner).to_have_count(0)
    agent.release = release_of(version="1.0.2")
    page.reload()
    expect(banner).to_contain_text("Version 1.0.2 is available")
    page.get_by_role("button", name="Not now").click()
    expect(banner).to_have_count(0)
    agent.release = release_of(version="1.0.2", critical=True)
    page.reload()
    expect(banner).to_be_visible()
    expect(page.get_by_role("button", name="Not now")).to_have_count(0)


def test_who_has_signed_out_sees_nothing_more(open_page: OpenPage) -> None:
    """Not even with the browser's own button for the page before."""
    page = open_page()
    sign_in(page)
    page.goto("/backups")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    page.go_back()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_text("Backups")).to_have_count(0)
    page.goto("/history")
    expect(page).to_have_url(re.compile("/sign-in"))


def test_another_password_ends_other_windows(open_page: OpenPage, agent: FakeAgent) -> None:
    one, other = open_page(), open_page()
    for page in (one, other):
        sign_in(page)
    one.goto("/password")
    press(one, agent, BUTTONS["password"])
    other.goto("/history")
    expect(other).to_have_url(re.compile("/sign-in"))
    one.goto("/history")
    expect(one.get_by_role("heading", name="History")).to_be_visible()
