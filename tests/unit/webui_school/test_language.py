# SPDX-License-Identifier: GPL-3.0-or-later
"""Which language an answer is in, and what becomes of what the agent says."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape

import pytest

from agent.accounts import _check_password
from ansible_collections.clms.update.plugins.module_utils.calendar_rules import (
    chosen_time,
    local_text,
    parse_schedule,
)
from ansible_collections.clms.update.plugins.module_utils.errors import CATALOGUE, ClmsError
from ansible_collections.clms.update.plugins.module_utils.fields import Fields
from ansible_collections.clms.update.plugins.module_utils.told import Told, completed, told
from webui.school.own_words import REMEDIES
from webui.school.said import said

from .conftest import Browser, FakeAgent, run_of, running

SCHEDULE = parse_schedule(Fields({"time_zone": "Europe/Berlin"}))
NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def speaks(browser: Browser, wanted: str) -> Browser:
    """The same browser, set to a language."""
    browser.client.environ_base["HTTP_ACCEPT_LANGUAGE"] = wanted
    return browser


def words_in(text: str) -> str:
    return unescape(text)


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        ("de", "de"), ("de-AT,de;q=0.9,en;q=0.1", "de"), ("en-GB,de;q=0.5", "en"), ("fr,de;q=0.3", "de"), ("fr", "en"),
        ("", "en"), ("*", "en"), ("x" * 5000, "en"), ("de;q=0", "en"),
    ],
)  # fmt: skip
def test_the_language_of_the_browser(browser: Browser, wanted: str, language: str) -> None:
    speaks(browser, wanted)
    answer = browser.client.get("/sign-in", base_url=browser.base)
    assert f'<html lang="{language}">' in answer.text
    assert ("Anmelden" in answer.text) == (language == "de")
    assert "Accept-Language" in answer.headers["Vary"]
    assert answer.headers["Content-Language"] == language


def test_a_person_can_choose_another_one(browser: Browser, agent: FakeAgent) -> None:
    assert browser.send("/language", page="/sign-in", language="de", next="/sign-in").location == "/sign-in"
    assert '<html lang="de">' in browser.get("/sign-in")
    browser.sign_in()
    assert "Nach Updates suchen" in browser.get("/"), "signing in has forgotten the language"
    browser.send("/sign-out", page="/")
    assert "Anmelden" in browser.get("/sign-in"), "signing out has forgotten the language"
    browser.send("/language", page="/sign-in", language="en")
    assert "Sign in" in speaks(browser, "de").get("/sign-in")


def test_one_that_is_none_changes_nothing(browser: Browser) -> None:
    for wanted in ("tlh", "../de", "", "de\0"):
        assert browser.send("/language", page="/sign-in", language=wanted).status_code == 302
        assert '<html lang="en">' in browser.get("/sign-in")


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ("/settings", "/settings"), ("/history?kind=backup", "/history?kind=backup"), ("https://elsewhere.test/", "/"),
        ("//elsewhere.test", "/"), ("//[", "/"), ("/a\tb", "/"),
        ("/\\elsewhere.test", "/"), ("javascript:alert(1)", "/"), ("", "/"),
    ],
)  # fmt: skip
def test_from_there_it_goes_on_within_the_page(browser: Browser, wanted: str, place: str) -> None:
    assert browser.send("/language", page="/sign-in", language="de", next=wanted).location == place


def test_another_site_cannot_choose(browser: Browser) -> None:
    answer = browser.client.post("/language", base_url=browser.base, data={"language": "de"})
    assert answer.status_code == 400
    assert '<html lang="en">' in browser.get("/sign-in")


def test_where_somebody_chooses_is_where_they_go_on(signed_in: Browser) -> None:
    assert 'name="next" value="/history?kind=backup"' in signed_in.get("/history?kind=backup")
    refused = signed_in.send("/progress/cancel/8", page="/progress", token="wrong")
    assert 'name="next" value="/"' in refused.text, "a page that only takes forms cannot be gone back to"


def test_programs_are_answered_in_english(signed_in: Browser, agent: FakeAgent) -> None:
    speaks(signed_in, "de").send("/language", page="/", language="de")
    agent.refuses["list"] = ClmsError("JOURNAL_UNREADABLE", path="/x", detail="it is broken")
    answer = signed_in.client.get("/api/updates/history", base_url=signed_in.base)
    assert answer.get_json()["detail"] == agent.refuses["list"].happened
    assert answer.get_json()["title"] == "Journal not readable"
    assert "values" not in answer.get_json()
    del agent.refuses["list"]
    assert answer.headers.get("Vary") != "Accept-Language"
    (run, *_) = signed_in.client.get("/api/updates/history", base_url=signed_in.base).get_json()
    assert run["message"] == "CLMS was updated to version 1.0.0."


def test_progress_is_sent_in_the_language_too(signed_in: Browser, agent: FakeAgent) -> None:
    agent.running = running()
    answer = speaks(signed_in, "de").client.get("/progress/stream", base_url=signed_in.base)
    piece = next(iter(answer.response))
    text = piece.decode() if isinstance(piece, bytes) else piece
    assert "Sicherung erstellen" in json.loads(text.removeprefix("data: "))["html"]
    answer.close()


# what the agent says


def test_a_refusal_is_translated_with_what_it_names(signed_in: Browser, agent: FakeAgent) -> None:
    speaks(signed_in, "de")
    agent.refuses["check"] = ClmsError("SERVER_UNREACHABLE", url="https://x.test/<b>", detail="no route to <host>")
    signed_in.send("/check", page="/")
    text = signed_in.get("/")
    assert "Der Update-Server unter https://x.test/&lt;b&gt; ist nicht erreichbar" in text
    assert '<span lang="en">no route to &lt;host&gt;</span>' in text, "free words are English, and text"
    assert "Internetverbindung" in text


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda: _check_password("anna", "short"), "es muss 10 bis 200 Zeichen haben"),
        (lambda: _check_password("anna", "anna-anna-anna"), "es ist zu leicht zu erraten"),
        (lambda: chosen_time(SCHEDULE, "2027-03-28T02:30", NOW), "dann werden die Uhren vorgestellt"),
        (lambda: chosen_time(SCHEDULE, "2027-12-24T10:00", NOW), "mehr als 366 Tage"),
        (lambda: chosen_time(SCHEDULE, "2027-02-29T10:00", NOW), "den gibt es nicht"),
        (lambda: chosen_time(SCHEDULE, "at noon", NOW), "er ist nicht geschrieben wie"),
    ],
)
def test_details_of_which_there_are_only_some_are_translated(
    browser: Browser, refused: Callable[[], object], words: str
) -> None:
    with pytest.raises(ClmsError) as caught:
        refused()
    with browser.client.application.test_request_context(headers={"Accept-Language": "de"}):
        happened = said(ClmsError.from_dict(caught.value.as_dict())).happened
    assert words in happened
    assert 'lang="en"' not in happened


def test_a_moment_in_a_refusal_is_written_as_elsewhere(signed_in: Browser, agent: FakeAgent) -> None:
    speaks(signed_in, "de")
    at = local_text(SCHEDULE, datetime(2026, 11, 27, 21, tzinfo=UTC))
    agent.refuses["schedule"] = ClmsError("SCHEDULE_TWICE", at=at, schedule=3)
    text = signed_in.send("/schedule/1.0.1", when="tonight").text
    assert "Nummer 3, für Fr., 27. November 2026 um 22:00 Uhr." in text
    agent.refuses["schedule"] = ClmsError("SCHEDULE_TWICE", at="?", schedule="?")
    assert "Nummer ?, für ?." in signed_in.send("/schedule/1.0.1", when="tonight").text


@pytest.mark.parametrize("code", REMEDIES)
@pytest.mark.parametrize("language", ["en", "de"])
def test_where_there_is_a_button_no_command_is_named(
    signed_in: Browser, agent: FakeAgent, code: str, language: str
) -> None:
    speaks(signed_in, language)
    agent.refuses["school"] = error = ClmsError(code, **dict.fromkeys(CATALOGUE[code].names, "7"))
    text = signed_in.look("/schedule/1.0.1").text
    assert f"<code>{code}</code>" in text
    assert "clms-update" not in text
    agent.refuses["list"] = error
    program = signed_in.client.get("/api/updates/history", base_url=signed_in.base).get_json()
    assert "clms-update" in program["remedy"]


def test_what_came_over_the_socket_is_translated_as_well(signed_in: Browser, agent: FakeAgent) -> None:
    speaks(signed_in, "de")
    refusal = ClmsError("RUN_ACTIVE", kind="update_images", run=8, phase="backup")
    agent.refuses["backup"] = ClmsError.from_dict(json.loads(json.dumps(refusal.as_dict())))
    assert signed_in.send("/backups", page="/backups").location == "/progress"
    text = words_in(signed_in.get("/progress"))
    assert "Es läuft schon etwas: Update, Nummer 8, Schritt „Sicherung erstellen und" in text
    agent.refuses["backup"] = ClmsError.from_dict(json.loads(json.dumps(ClmsError("NOT_INSTALLED").as_dict())))
    assert "<h1>Nicht installiert</h1>" in signed_in.send("/backups", page="/backups").text


def test_without_values_it_is_shown_as_it_was_said(signed_in: Browser, agent: FakeAgent) -> None:
    """An agent or a run of before says no values; a newer one can have codes that are not known here."""
    speaks(signed_in, "de")
    older = run_of(
        id=9, status="FAILED", outcome="ABORTED", error_code="SMOKE_FAILED", message="It <failed>.", remedy="Do this."
    )
    agent.runs = [older, older | {"id": 10, "error_code": "NOT_KNOWN_HERE", "error_values": {"x": "y"}}]
    for number in (9, 10):
        text = signed_in.get(f"/history/{number}")
        assert '<span lang="en">It &lt;failed&gt;.</span>' in text
        assert '<span lang="en">Do this.</span>' in text
    agent.runs = [older | {"error_values": {"detail": "login answered 500"}}]
    assert "Die neue Version läuft, tut aber ihre Arbeit nicht" in signed_in.get("/history/9")


def test_a_setting_that_is_refused_is_shown_at_its_field(signed_in: Browser, agent: FakeAgent) -> None:
    """With the refusal as a real agent sends it."""
    refusal = ClmsError("SETTING_WRONG", setting="tonight", detail="it must be written as '22:00'")
    agent.refuses["change"] = ClmsError.from_dict(refusal.as_dict())
    fields = {"tonight": "22", "password": "x", "weekend": "sat 10:00", "time_zone": "UTC", "missed": "run"}
    more = {"check_interval_days": "7", "max_backups": "5", "backup_path": "/x", "update_server": "x", "registry": "x"}
    seen = signed_in.get("/settings").split('name="seen" type="hidden" value="')[1].split('"')[0]
    assert 'id="tonight-error"' in signed_in.send("/settings", seen=seen, **fields, **more).text


def test_runs_are_told_by_what_they_have_done(signed_in: Browser, agent: FakeAgent) -> None:
    speaks(signed_in, "de")
    assert "CLMS wurde auf Version 1.0.0 aktualisiert." in signed_in.get("/history")
    agent.runs = [run_of(kind="backup", version=None, message="The backup was made and proven.")]
    assert "Die Sicherung wurde erstellt und geprüft." in signed_in.get("/history")


def test_an_event_of_an_older_updater_is_told_in_the_agents_own_words(signed_in: Browser, agent: FakeAgent) -> None:
    agent.events[0]["told"] = None
    text = speaks(signed_in, "de").get("/events")
    assert "Beim Hersteller nach Updates gefragt" in text
    assert '<span lang="en">Newest release: 1.0.1.</span>' in text
    assert 'lang="en"' not in speaks(signed_in, "en").get("/events").split("</head>")[1].split("<footer>")[0]


AT = "Friday, 27 November 2026, 22:00 (Europe/Berlin)"
BUSY = ClmsError("RUN_ACTIVE", kind="backup", run=4, phase="backup")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (told("NEWEST", version="1.0.1"), "<p>Neueste Version: 1.0.1.</p>"),
        (told("SCHEDULED", update="1.0.1", at=AT), "<p>Das Update auf Version 1.0.1 ist geplant für Fr"),
        (told("SCHEDULED", update=None, at=AT), "<p>Das Update auf die neueste Version ist geplant für Fr"),
        (told("WAITING", update=None, cause=BUSY), "ist fällig und wartet. Es läuft schon etwas: Sicherung, Nummer 4"),
        (told("FAILURE", failure=BUSY), "<p>Es läuft schon etwas: Sicherung, Nummer 4"),
        (
            told("CHANGED_BY", name="<anna>", settings="contact, x"),
            "&lt;anna&gt; hat diese Einstellungen geändert: Ansprechperson, x.",
        ),
        (told("BEGUN_VERSION", kind="update", version="1.0.1"), "<p>Begonnen: Update, Zielversion 1.0.1.</p>"),
        (completed("update_images", "1.0.1"), "<p>CLMS wurde auf Version 1.0.1 aktualisiert.</p>"),
    ],
)
def test_what_events_tell(signed_in: Browser, agent: FakeAgent, what: Told, words: str) -> None:
    agent.events[0] |= {"message": what.message, "told": {"code": what.code, "values": dict(what.values)}}
    text = speaks(signed_in, "de").get("/events")
    assert words in text
    main = text.split("<main")[1].split("</main>")[0]
    assert 'lang="en"' not in main


def test_events_tell_what_to_do_in_the_pages_own_words(signed_in: Browser, agent: FakeAgent) -> None:
    """In English too: the agent would name a command."""
    what = told("NOT_BEGUN", update=None, failure=BUSY)
    agent.events[0] |= {"message": what.message, "told": {"code": what.code, "values": dict(what.values)}}
    text = unescape(speaks(signed_in, "en").get("/events"))
    assert f"The update to the newest version could not begin. {BUSY.happened} {REMEDIES['RUN_ACTIVE']}" in text


@pytest.mark.parametrize(
    ("current", "latest", "available", "words"),
    [
        ("1.0.0", "1.0.1", True, "Version 1.0.1 ist verfügbar; zurzeit läuft Version 1.0.0."),
        (None, "1.0.1", True, "Version 1.0.1 ist verfügbar; CLMS ist noch nicht installiert."),
        ("1.0.1", "1.0.1", False, "Version 1.0.1 ist die neueste."),
        ("1.0.2", "1.0.1", False, "Version 1.0.2 ist neuer als das"),
        ("1.0.1", None, False, "Der Hersteller hat noch keine Version veröffentlicht."),
    ],
)
def test_a_check(
    signed_in: Browser, agent: FakeAgent, current: str | None, latest: str | None, available: bool, words: str
) -> None:
    speaks(signed_in, "de")
    answer = {"updateAvailable": available, "currentVersion": current, "latestVersion": latest}
    agent._check = lambda: {**answer, "message": "…", "offline": None}  # type: ignore[method-assign]
    signed_in.send("/check", page="/")
    assert words in signed_in.get("/")


@pytest.mark.parametrize(
    ("latest", "available", "words"),
    [
        ("1.0.0", False, "Version 1.0.0 ist die neueste, von der dieser Server weiß."),
        ("1.0.1", True, "Version 1.0.1 ist verfügbar; zurzeit läuft Version 1.0.0."),
    ],
)
@pytest.mark.parametrize(("seconds", "ago"), [(7200.0, "vor 2 Std"), (None, "noch nie")])
def test_a_check_that_nobody_answered(
    signed_in: Browser, agent: FakeAgent, latest: str, available: bool, words: str, seconds: float | None, ago: str
) -> None:
    """It is never told as up to date."""
    speaks(signed_in, "de")
    answer = {"updateAvailable": available, "currentVersion": "1.0.0", "latestVersion": latest, "message": "…"}
    away = {"code": "SERVER_UNREACHABLE", "message": "…", "remedy": "…"}
    agent._check = lambda: {**answer, "offline": away, "newsAgeSeconds": seconds}  # type: ignore[method-assign]
    signed_in.send("/check", page="/")
    text = signed_in.get("/")
    assert words in text
    assert f"Es gibt keine neuen Nachrichten; vom Hersteller zuletzt gehört: {ago}" in text
    assert "ist die neueste." not in text


@pytest.mark.parametrize(
    ("code", "words"), [("SCHOOL_HOURS", "Unterrichtszeit"), ("QUIET_DAY", "Ferien"), ("X", "Hm.")]
)
def test_cautions(signed_in: Browser, agent: FakeAgent, code: str, words: str) -> None:
    speaks(signed_in, "de")
    answer = {"schedule": {"due_at": "2026-11-27T21:00:00Z"}, "warnings": [{"code": code, "message": "Hm."}]}
    agent._schedule = lambda at, version, **_: answer  # type: ignore[method-assign]
    signed_in.send("/schedule/1.0.1", when="tonight")
    text = signed_in.get("/")
    assert words in text
    assert "Das Update auf Version 1.0.1 beginnt am Fr., 27. November 2026 um 22:00 Uhr." in text


# moments, durations, sizes


@pytest.mark.parametrize(
    ("template", "english", "german"),
    [
        ("{{ '2026-03-09T14:05:09Z' | moment }}", "Mon 9 March 2026, 15:05", "Mo., 9. März 2026 um 15:05 Uhr"),
        ("{{ '2026-11-23T23:30:00Z' | day }}", "24 November 2026", "24. November 2026"),
        ("{{ none | moment }}", "unknown", "unbekannt"),
        ("{{ 0.44 | duration }}", "0.4 s", "0,4 Sek."),
        ("{{ 12 | duration }}", "12 s", "12 Sek."),
        ("{{ 200 | duration }}", "3 min 20 s", "3 Min. 20 Sek."),
        ("{{ 7500 | duration }}", "2 h 5 min", "2 Std. 5 Min."),
        ("{{ 345600 | duration }}", "4 days", "4 Tage"),
        ("{{ 345600 | age }}", "4 days ago", "vor 4 Tagen"),
        ("{{ 7500 | age }}", "2 h 5 min ago", "vor 2 Std. 5 Min."),
        ("{{ 5 | age }}", "just now", "gerade eben"),
        ("{{ none | age }}", "never", "noch nie"),
        ("{{ 812000000 | size }}", "812 MB", "812 MB"),
        ("{{ 1400000000 | size }}", "1.4 GB", "1,4 GB"),
        ("{{ 12 | size }}", "12 bytes", "12 Byte"),
    ],
)
def test_moments_durations_and_sizes(
    make_browser: Callable[[], Browser], template: str, english: str, german: str
) -> None:
    app = make_browser().client.application
    for language, words in (("en", english), ("de", german)):
        with app.test_request_context("/", base_url="https://school.test", headers={"Accept-Language": language}):
            assert app.jinja_env.from_string(template).render() == words
