# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages show, and what they ask of the agent."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.status import iso

from .conftest import Browser, FakeAgent, forced, release_of, run_of, running

PLANNED = {"id": 3, "due_at": "2026-11-27T21:00:00Z", "version": "1.0.1", "state": "SCHEDULED"}


# what runs, and what is new


def test_what_runs_and_what_is_new(signed_in: Browser, agent: FakeAgent) -> None:
    agent.planned = [PLANNED]
    text = signed_in.get("/")
    for words in (
        "1.0.0",
        "Version 1.0.1 is available",
        "New features",
        "2 h ago",
        "Fri 27 November 2026, 22:00",
    ):
        assert words in text, words
    assert "Check for updates" in text


def test_an_optional_release_can_be_hidden_until_the_next_one(signed_in: Browser, agent: FakeAgent) -> None:
    assert signed_in.send("/hide/1.0.1", page="/").status_code == 302
    assert "is available" not in signed_in.get("/")
    agent.release = release_of(version="1.0.2")
    assert "Version 1.0.2 is available" in signed_in.get("/")


def test_a_critical_one_cannot(signed_in: Browser, agent: FakeAgent) -> None:
    agent.release = release_of(critical=True, forceAfterDate="2026-12-24T00:00:00Z")
    text = signed_in.get("/")
    assert "Not now" not in text
    assert "has to be installed by 24 December 2026" in text
    signed_in.send("/hide/1.0.1", page="/")
    assert "A critical security update" in signed_in.get("/")


def test_a_forced_update_shows_its_deadline_and_is_put_off(signed_in: Browser, agent: FakeAgent) -> None:
    agent.enforcement = {"forced": forced(), "blocked": False}
    text = signed_in.get("/")
    assert "has to be installed by Tue 1 December 2026, 21:00" in text
    assert "Put it off by a day (3 left)" in text
    assert "Update now" not in text
    assert signed_in.send("/postpone", page="/", deadline="2026-12-01T20:00:00Z").status_code == 302
    assert agent.did("postpone") == [{"deadline": "2026-12-01T20:00:00Z"}], "pressed twice, it would be put off twice"
    assert "Put it off by a day (2 left)" in signed_in.get("/")
    agent.enforcement["forced"]["postponements_left"] = 0
    assert "Put it off" not in signed_in.get("/")
    agent.refuses["postpone"] = ClmsError("FORCED_LAST", version="1.0.1", count=3)
    assert signed_in.send("/postpone", page="/").status_code == 409


def test_while_clms_is_blocked_somebody_can_begin_the_update(signed_in: Browser, agent: FakeAgent) -> None:
    agent.enforcement = {"forced": forced(overdue=True, postponements_left=0), "blocked": True}
    text = signed_in.get("/")
    assert "CLMS is blocked until it is updated" in text
    assert "Not now" not in text
    assert signed_in.send("/begin/1.0.1", page="/").location.startswith("/progress?since=")
    assert agent.did("update") == [{"version": "1.0.1"}]
    agent.running = running()
    assert "Update now" not in signed_in.get("/")


def test_what_is_forced_is_told_also_where_its_release_cannot_be_read(signed_in: Browser, agent: FakeAgent) -> None:
    agent.refuses["release"] = ClmsError("RELEASE_UNKNOWN", version="1.0.1")
    agent.enforcement = {"forced": forced(overdue=True), "blocked": True}
    text = signed_in.get("/")
    assert "CLMS is blocked until it is updated" in text
    assert 'action="/begin/1.0.1"' in text
    assert "What is new" not in text
    agent.enforcement = {"forced": None, "blocked": True}  # the agent ends that at its next look
    text = signed_in.get("/")
    assert "CLMS is blocked until it is updated" in text
    assert "/begin/" not in text


def test_after_a_try_that_failed_the_time_until_the_next_one_is_shown(signed_in: Browser, agent: FakeAgent) -> None:
    agent.enforcement = {"forced": forced(lifted_until="2026-12-02T20:05:00Z"), "blocked": False}
    assert "people can work until Wed 2 December 2026, 21:05" in signed_in.get("/")


@pytest.mark.parametrize("path", ["/check", "/postpone", "/begin/1.0.1"])
def test_what_is_kept_of_it_does_not_outlive_what_people_do(signed_in: Browser, agent: FakeAgent, path: str) -> None:
    agent._kept_seconds = 60
    agent.forget()
    agent.enforcement = {"forced": forced(), "blocked": False}
    assert "Put it off by a day (3 left)" in signed_in.get("/")
    agent.enforcement = {"forced": forced(postponements_left=2), "blocked": False}
    assert "Put it off by a day (3 left)" in signed_in.get("/"), "nothing is kept at all"
    signed_in.send(path, page="/", deadline="2026-12-01T20:00:00Z")
    left = agent.enforcement["forced"]["postponements_left"]
    assert f"Put it off by a day ({left} left)" in signed_in.get("/")


def test_what_runs_already_is_no_news(signed_in: Browser, agent: FakeAgent) -> None:
    agent.release = release_of(version="1.0.0")
    assert "is available" not in signed_in.get("/")
    agent.refuses["release"] = ClmsError("RELEASE_UNKNOWN", version="of the channel 'stable'")
    assert "is available" not in signed_in.get("/")


def test_news_that_cannot_be_read_leave_the_rest_alone(signed_in: Browser, agent: FakeAgent) -> None:
    agent.refuses["release"] = ClmsError("SERVER_UNREACHABLE", url="https://releases.test", detail="not fetched yet")
    text = signed_in.get("/")
    assert "not fetched yet" in text
    assert "Check for updates" in text


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (None, "Version 1.0.1 is available."),
        (ClmsError("TRUST_REFUSED", detail="x"), "was refused"),
        (ClmsError("SERVER_UNREACHABLE", url="https://releases.test", detail="no route"), "cannot be reached"),
    ],
)
def test_a_check_is_told(signed_in: Browser, agent: FakeAgent, refusal: ClmsError | None, words: str) -> None:
    if refusal:
        agent.refuses["check"] = refusal
    signed_in.send("/check", page="/")
    assert words in signed_in.get("/")
    assert words not in signed_in.get("/history"), "it is told twice"
    assert agent.did("check") == [{}]


def test_a_release_is_described(signed_in: Browser) -> None:
    text = signed_in.get("/release/1.0.1")
    for words in (
        "A faster search\nand more",
        "The menu is on the left",
        "about 1 min 35 s, as the last time",
        "A" * 40,
    ):
        assert words in text, words
    assert "Choose when to update" in text


def test_a_deadline_is_shown_before_it_comes(signed_in: Browser, agent: FakeAgent) -> None:
    agent.release = release_of(critical=True, forceAfterDate="2026-11-29T20:00:00Z", gracePeriodDays=2)
    assert "29 November 2026" in signed_in.get("/release/1.0.1")
    agent.enforcement = {"forced": forced(), "blocked": False}
    text = signed_in.get("/release/1.0.1")
    assert "Tue 1 December 2026, 21:00; from then on people can only look books up" in text
    assert "(2 days of grace after this school has heard of it)" in text


def test_a_changelog_is_text_and_nothing_else(signed_in: Browser, agent: FakeAgent) -> None:
    agent.release = release_of(changelog="<script>alert(1)</script>", breakingChanges=["<img src=x onerror=alert(1)>"])
    text = signed_in.get("/release/1.0.1")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<img" not in text


def test_a_release_that_is_blocked_says_why(signed_in: Browser, agent: FakeAgent) -> None:
    agent.release["blocked"] = ClmsError("RELEASE_EXPIRED", version="1.0.1", expires="2026-01-01").as_dict()
    text = signed_in.get("/release/1.0.1")
    assert "Choose when to update" not in text
    assert "2026-01-01" in text


def test_a_release_that_nobody_knows(signed_in: Browser) -> None:
    assert "RELEASE_UNKNOWN" in signed_in.get("/release/9.9.9", code=404)


# when


@pytest.mark.parametrize(("when", "at"), [("tonight", "tonight"), ("weekend", "weekend"), ("own", "2026-12-01T18:30")])
def test_later(signed_in: Browser, agent: FakeAgent, when: str, at: str) -> None:
    own = {"at": "2026-12-01T18:30"} if when == "own" else {"at": ""}
    answer = signed_in.send("/schedule/1.0.1", when=when, **own)
    assert answer.location == "/"
    assert agent.did("schedule") == [{"at": at, "version": "1.0.1"}]
    text = signed_in.get("/")
    assert "begins on Fri 27 November 2026, 22:00" in text
    assert "School is on at that time." in text


@pytest.mark.parametrize(("when", "verb"), [("tonight", "schedule"), ("now", "update")])
@pytest.mark.parametrize("place", ["local", "external"])
def test_the_backup_goes_where_it_was_asked_for(
    signed_in: Browser, agent: FakeAgent, when: str, verb: str, place: str
) -> None:
    agent.external_backup = True
    assert "The drive has to be plugged in then." in signed_in.get("/schedule/1.0.1")
    signed_in.send("/schedule/1.0.1", when=when, backup_location=place)
    assert agent.did(verb)[0]["backup_location"] == place


def test_without_a_drive_there_is_no_choice(signed_in: Browser, agent: FakeAgent) -> None:
    text = signed_in.get("/schedule/1.0.1")
    assert 'name="backup_location"' not in text
    assert "To this server." in text
    agent.external_backup = True
    agent.refuses["schedule"] = ClmsError("BACKUP_LOCATION")  # somebody has changed the settings meanwhile
    answer = signed_in.send("/schedule/1.0.1", when="tonight", backup_location="external")
    assert agent.refuses["schedule"].happened in unescape(answer.text)


def test_now(signed_in: Browser, agent: FakeAgent) -> None:
    assert "people would have to wait" in signed_in.get("/schedule/1.0.1")
    assert signed_in.send("/schedule/1.0.1", when="now").location.startswith("/progress?since=")
    assert agent.did("update") == [{"version": "1.0.1"}]
    assert agent.did("schedule") == []


def test_now_twice(signed_in: Browser, agent: FakeAgent) -> None:
    agent.refuses["update"] = ClmsError("RUN_ACTIVE", kind="update", run=8, phase="backup")
    assert signed_in.send("/schedule/1.0.1", when="now").location == "/progress"
    assert agent.refuses["update"].happened in unescape(signed_in.get("/progress"))


@pytest.mark.parametrize(
    ("fields", "refusal", "words"),
    [
        ({"when": "own"}, None, "Please give a day and a time."),
        ({"when": "tonight", "at": "2026-12-01T18:30"}, None, "Choose “At another time” above, or leave this empty."),
        ({"when": "now", "at": "2026-12-01T18:30"}, None, "Choose “At another time” above, or leave this empty."),
        ({"when": "own", "at": "tomorrow"}, None, "Not a valid datetime value"),
        ({"when": "at noon"}, None, "Not a valid choice"),
        ({"when": "tonight"}, ClmsError("SCHEDULE_TWICE", at="Friday", schedule=3, version="1.0.1"), "Friday"),
    ],
)
def test_a_time_that_cannot_be(
    signed_in: Browser, agent: FakeAgent, fields: dict[str, str], refusal: ClmsError | None, words: str
) -> None:
    if refusal:
        agent.refuses["schedule"] = refusal
    answer = signed_in.send("/schedule/1.0.1", **fields)
    assert answer.status_code == 200
    assert words in answer.text
    assert len(agent.did("schedule")) == bool(refusal)


@pytest.mark.parametrize(("code", "field"), [("SCHEDULE_TWICE", "when"), ("BACKUP_LOCATION", "backup_location")])
def test_a_group_that_is_refused_is_gone_to(signed_in: Browser, agent: FakeAgent, code: str, field: str) -> None:
    agent.external_backup = True
    agent.refuses["schedule"] = ClmsError(code, at="Friday", schedule=3)
    text = signed_in.send("/schedule/1.0.1", when="tonight", backup_location="local").text
    (group,) = re.findall(r"<fieldset [^>]*aria-invalid[^>]*>", text)
    assert f'aria-describedby="{field}-error"' in group
    assert "autofocus" in group
    assert f'id="{field}-error"' in text


def test_it_is_cancelled(signed_in: Browser, agent: FakeAgent) -> None:
    agent.planned = [PLANNED]
    signed_in.send("/schedule/3/cancel", page="/")
    assert agent.did("cancel") == [{"schedule": 3}]


def test_it_is_cancelled_already(signed_in: Browser, agent: FakeAgent) -> None:
    agent.planned = [PLANNED]
    agent.refuses["cancel"] = ClmsError("SCHEDULE_UNKNOWN", schedule=3)
    assert signed_in.send("/schedule/3/cancel", page="/").location == "/"


def test_what_is_blocked_does_not_begin(signed_in: Browser, agent: FakeAgent) -> None:
    agent.release["blocked"] = ClmsError("RELEASE_SAME", version="1.0.1").as_dict()
    assert signed_in.send("/begin/1.0.1", page="/backups").status_code == 409
    assert agent.did("update") == []


# how it goes


def test_what_goes_on(signed_in: Browser, agent: FakeAgent) -> None:
    agent.running = running()
    text = signed_in.get("/progress")
    for words in (
        "Making a backup",
        "30 % done, about 1 min left",
        "CLMS is open",
        'http-equiv="refresh"',
        "Stop it",
    ):
        assert words in text, words
    agent.running = running(phase="migrate", percent=70)
    text = signed_in.get("/progress")
    assert "Do not switch the server off" in text
    assert '<div id="stop" hidden>' in text
    agent.running = running(phase="clean_up", percent=98)
    text = signed_in.get("/progress")
    assert "the rest is done when it is on again" in text
    assert '<div id="stop" hidden>' in text


def test_what_it_has_told_is_shown(signed_in: Browser, agent: FakeAgent) -> None:
    failure = ClmsError("HEALTH_FAILED", detail="it does not answer").as_dict()
    event = {"at": "2026-11-27T21:00:05Z", "type": "BACKUP_CREATED", "message": "The backup b was made and proven.",
             "told": {"code": "BACKUP_MADE", "values": {"backup": "b"}}}  # fmt: skip
    agent.running = running(failure=failure, events=[event])
    text = signed_in.get("/progress")
    for words in ("The backup b was made and proven.", "CLMS is put back as it was", failure["message"]):
        assert words in unescape(text), words
    assert '<div id="stop" hidden>' in text, "it is being put back already"


@pytest.mark.parametrize("script", [True, False])
def test_what_was_asked_for_just_now(signed_in: Browser, agent: FakeAgent, script: bool) -> None:
    now = int(time.time())
    agent.runs = [run_of(started_at=iso(now - 3600))]
    text = signed_in.get(f"/progress?since={now}")
    assert "It is about to begin" in text
    assert f'content="5; url=/progress?since={now}"' in text
    assert "Nothing goes on" in signed_in.get("/progress")
    agent.running = running()
    assert "30 % done" in signed_in.get(f"/progress?since={now}")
    # without scripts, too, whoever watches comes to its result
    agent.running = None
    agent.runs = [run_of(id=8, started_at=iso(now + 1)), *agent.runs]
    assert signed_in.look(f"/progress?since={now}").location == "/history/8"


def test_whoever_watches_without_scripts_comes_to_the_result(signed_in: Browser, agent: FakeAgent) -> None:
    agent.running = running()
    assert 'content="5; url=/progress?run=8"' in signed_in.get("/progress")
    assert "30 % done" in signed_in.get("/progress?run=8")
    agent.running = None
    assert signed_in.look("/progress?run=8").location == "/history/8"
    agent.running = running(id=9)
    assert signed_in.look("/progress?run=8").location == "/history/8"
    for odd in ("-1", "0", "x", "9" * 5000):
        assert "30 % done" in signed_in.get(f"/progress?run={odd}")


def test_while_the_agent_does_not_answer_the_page_looks_again_by_itself(signed_in: Browser, agent: FakeAgent) -> None:
    agent.refuses["status"] = ClmsError("AGENT_SILENT", path="/run/x", detail="y")
    text = signed_in.get("/progress", code=503)
    assert '<meta http-equiv="refresh" content="5">' in text
    assert "again.js" in text
    agent.refuses["status"] = ClmsError("JOURNAL_UNREADABLE", path="/x", detail="y")
    text = signed_in.get("/progress", code=503)
    assert "again.js" not in text


def test_what_is_asked_for_twice_is_watched(signed_in: Browser, agent: FakeAgent) -> None:
    agent.refuses["backup"] = ClmsError("RUN_ACTIVE", run=8, kind="backup", phase="drain")
    assert signed_in.send("/backups", page="/backups").location == "/progress"


def test_a_release_that_cannot_be_installed_is_not_scheduled(signed_in: Browser, agent: FakeAgent) -> None:
    agent.release["blocked"] = ClmsError("RELEASE_OLDER", version="1.0.1", current="1.0.2").as_dict()
    assert signed_in.look("/schedule/1.0.1").location == "/release/1.0.1"


def test_what_begins_while_the_page_asks(signed_in: Browser, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is watched, and not taken for one that has ended."""
    now, look = int(time.time()), agent._list

    def begins(what: str, **which: int) -> dict[str, Any]:
        if what == "history":
            agent.running = running()
            agent.runs = [run_of(id=8, started_at=iso(now), finished_at=None, outcome=None, status="DOWNLOADING")]
        return look(what, **which)

    monkeypatch.setattr(agent, "_list", begins)
    text = signed_in.get(f"/progress?since={now}")
    assert "30 % done" in text
    assert 'data-run="8" data-begun=""' in text


@pytest.mark.parametrize("since", ["1", "-1", str(10**400), "99999999999"])
def test_what_has_never_begun(signed_in: Browser, agent: FakeAgent, since: str) -> None:
    agent.runs = []
    assert signed_in.look(f"/progress?since={since}").location == "/history"


def test_why_it_has_never_begun(signed_in: Browser, agent: FakeAgent) -> None:
    failed = {"id": 2, "at": "2026-11-25T10:11:12Z", "type": "UPDATE_FAILED", "run": None, "schedule": None,
              "message": "The playbook was killed.", "told": None}  # fmt: skip
    # in between, the vendor did not answer: that says nothing of it
    agent.events = [{**failed, "id": 3, "type": "CHECK_FAILED", "message": "The vendor is silent."}, *agent.events]
    since = int(datetime(2026, 11, 25, 10, 11, 12, tzinfo=UTC).timestamp())
    for told, words in ((failed, "The playbook was killed."), (None, "It did not begin: there was nothing to do.")):
        agent.events = [agent.events[0], told, *agent.events[1:]] if told else [agent.events[0], *agent.events[2:]]
        assert signed_in.look(f"/progress?since={since}").location == "/history"
        assert words in signed_in.get("/history")


@pytest.mark.parametrize("since", ["", "x", "1e9", "9" * 5000])
def test_a_time_that_is_none(signed_in: Browser, since: str) -> None:
    assert "Nothing goes on" in signed_in.get(f"/progress?since={since}")


def test_it_is_stopped(signed_in: Browser, agent: FakeAgent) -> None:
    agent.running = running()
    signed_in.send("/progress/cancel/8", page="/progress")
    assert agent.did("cancel") == [{"run": 8}]


@pytest.mark.parametrize(
    "refusal", [ClmsError("RUN_CLOSED", run=8, kind="update"), ClmsError("RUN_UNKNOWN", run=8)], ids=["late", "ended"]
)
def test_it_cannot_be_stopped_any_more(signed_in: Browser, agent: FakeAgent, refusal: ClmsError) -> None:
    agent.running = running()
    agent.refuses["cancel"] = refusal
    assert signed_in.send("/progress/cancel/8", page="/progress").location == "/progress"
    assert refusal.happened in unescape(signed_in.get("/progress"))


def test_progress_is_sent_as_it_changes(signed_in: Browser, agent: FakeAgent) -> None:
    agent.running = running()
    answer = signed_in.client.get("/progress/stream", base_url=signed_in.base)
    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream")
    pieces = iter(answer.response)
    first = sent(next(pieces))
    assert (first["running"], first["stoppable"]) == (8, True)
    assert "Making a backup" in first["html"]
    agent.running = None
    last = sent(next(pieces))
    assert (last["running"], "Nothing goes on" in last["html"]) == (None, True)
    answer.close()


@pytest.mark.parametrize("by", ["another password", "signing out"])
def test_whoever_is_signed_out_sees_no_more(signed_in: Browser, agent: FakeAgent, by: str) -> None:
    agent.running = running()
    answer = signed_in.client.get("/progress/stream", base_url=signed_in.base)
    pieces = iter(answer.response)
    next(pieces)
    if by == "signing out":
        signed_in.send("/sign-out", page="/")
    else:
        agent.accounts = {"anna": 2}
    agent.running = running(percent=99)
    assert list(pieces) == []
    answer.close()


def test_only_so_many_watch(signed_in: Browser, agent: FakeAgent) -> None:
    watch = signed_in.client.application.extensions["clms_watch"]
    answers = [signed_in.client.get("/progress/stream", base_url=signed_in.base) for _ in range(watch.most)]
    assert {answer.status_code for answer in answers} == {200}
    signed_in.get("/progress/stream", code=503)
    for answer in answers:
        answer.close()
    again = signed_in.client.get("/progress/stream", base_url=signed_in.base)
    assert again.status_code == 200
    again.close()


def sent(piece: bytes | str) -> dict[str, object]:
    text = piece.decode() if isinstance(piece, bytes) else piece
    assert text.startswith("data: ")
    assert text.endswith("\n\n")
    found: dict[str, object] = json.loads(text.removeprefix("data: "))
    return found


# how one run went


def test_a_completed_update_says_what_is_new(signed_in: Browser, agent: FakeAgent) -> None:
    agent.runs = [run_of(version="1.0.1")]
    assert "A faster search" in signed_in.get("/history/7")
    for changes in ({"kind": "backup"}, {"outcome": "ROLLED_BACK", "status": "ROLLED_BACK"}, {"version": "0.5.0"}):
        agent.runs = [run_of(**{"version": "1.0.1", **changes})]  # type: ignore[arg-type]
        assert "A faster search" not in signed_in.get("/history/7"), changes


def test_one_that_was_put_back_says_what_runs_again(signed_in: Browser, agent: FakeAgent) -> None:
    agent.runs = [run_of(outcome="ROLLED_BACK", status="ROLLED_BACK")]
    assert "Version 0.9.0 runs again" in signed_in.get("/history/7")
    agent.runs = [run_of(outcome="ABORTED", status="FAILED")]
    assert "nothing was changed" in signed_in.get("/history/7")
    agent.runs = [run_of(outcome="NEEDS_OPERATOR", status="FAILED")]
    assert "nothing was changed" not in signed_in.get("/history/7")


def test_each_step_is_shown(signed_in: Browser, agent: FakeAgent) -> None:
    agent.running = running()
    text = signed_in.get("/progress")
    assert text.count('class="done"') == 3
    assert text.count('aria-current="step"') == 1
    assert "Making a backup and proving it by restoring it" in text


def test_a_run_that_goes_on_is_watched_also_from_the_history(signed_in: Browser, agent: FakeAgent) -> None:
    """Also by a window to which it was told a moment too late that it goes on."""
    agent.runs = [run_of(id=8, version="1.0.1", status="UPDATING", outcome=None, finished_at=None), run_of()]
    agent.running = running()
    assert signed_in.look("/history/8").location == "/progress"
    assert "Step by step" in signed_in.get("/history/7")
    agent.running = None
    assert "not yet" in signed_in.get("/history/8")
