# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of what was: history, events, backups and going back."""

from __future__ import annotations

import csv
import io
import re
from html import unescape
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .conftest import BACKUP, PASSWORD, Browser, FakeAgent, run_of

# what was


def test_history(signed_in: Browser, agent: FakeAgent) -> None:
    failed = run_of(
        id=9, version="1.0.1", status="ROLLED_BACK", outcome="ROLLED_BACK", error_code="MIGRATION_FAILED",
        message="The data could not be converted.", remedy="Tell the vendor.", failed_phase="migrate",
    )  # fmt: skip
    agent.runs = [failed, run_of()]
    assert "rolled back" in signed_in.get("/history")
    text = signed_in.get("/history/9")
    assert 'href="/schedule/1.0.1">Try again' in text
    assert "/srv/backups/b" in text
    assert "Restored from" not in text
    assert "Try again" not in signed_in.get("/history/7")
    agent.release["blocked"] = ClmsError("RELEASE_SAME", version="1.0.1").as_dict()
    assert "Try again" not in signed_in.get("/history/9"), "it was installed meanwhile"
    for words in ("The data could not be converted.", "Tell the vendor.", "MIGRATION_FAILED", "Converting the data"):
        assert words in text, words
    assert "Go back to version 0.9.0" in signed_in.get("/history/7")
    assert "RUN_UNKNOWN" in signed_in.get("/history/99", code=404)
    agent.runs.append(run_of(id=10, kind="restore", restored="20261124T101112Z-1.0.0-r1"))
    text = signed_in.get("/history/10")
    assert "Restored from the backup</dt><dd><code>20261124T101112Z-1.0.0-r1" in text
    assert "Backup made before</dt><dd><code>/srv/backups/b" in text


def test_events(signed_in: Browser) -> None:
    assert "UPDATE_CHECKED" in signed_in.get("/events")


# backups, and going back


def test_backups(signed_in: Browser, agent: FakeAgent) -> None:
    text = signed_in.get("/backups")
    assert BACKUP in text
    assert "Proven by restoring it on Tue 24 November 2026, 11:12" in text
    assert signed_in.send("/backups").location.startswith("/progress?since=")
    assert agent.did("backup") == [{}]


@pytest.mark.parametrize(
    ("path", "verb", "version", "more"),
    [
        (f"/backups/{BACKUP}/restore", "restore", "1.0.0", {"backup": BACKUP}),
        ("/rollback", "rollback", "0.9.0", {}),
    ],
)
def test_going_back_is_typed_and_wants_the_password(
    signed_in: Browser, agent: FakeAgent, path: str, verb: str, version: str, more: dict[str, str]
) -> None:
    assert f"Type {version} to go on" in signed_in.send(path, confirm="yes", password=PASSWORD).text
    assert "Please fill this in" in signed_in.send(path, confirm=version, password="").text
    assert agent.did(verb) == []
    agent.refuses[verb] = ClmsError("SIGN_IN_REFUSED")
    answer = signed_in.send(path, confirm=version, password="canary")
    assert "do not belong together" in answer.text
    assert "canary" not in answer.text
    del agent.refuses[verb]
    assert signed_in.send(path, confirm=version, password=PASSWORD).location.startswith("/progress?since=")
    assert agent.did(verb)[-1] == {"confirm": version, "name": "anna", "password": PASSWORD, **more}


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (
            {"loses": True, "tables": {"books": 1, "borrows": 5}},
            "6 entries or more would not be in CLMS any more: 1 in",
        ),
        ({"loses": True, "tables": {"books": 1}}, "1 entry or more would not be in CLMS any more: 1 in"),
        ({"loses": True, "tables": {}}, "No entries were found that would be lost"),
        ({"loses": False, "tables": {}}, "nothing that people have saved is lost"),
        (ClmsError("DATABASE_UNREACHABLE", detail="timed out"), "How much that is cannot be said right now."),
    ],
    ids=["some", "one", "none found", "none", "unknown"],
)
@pytest.mark.parametrize(("path", "asked"), [("/rollback", {}), (f"/backups/{BACKUP}/restore", {"backup": BACKUP})])
def test_what_going_back_would_lose_is_counted_and_shown(
    signed_in: Browser, agent: FakeAgent, loss: Any, words: str, path: str, asked: dict[str, str]
) -> None:
    if isinstance(loss, ClmsError):
        agent.refuses["loss"] = loss
    else:
        agent.loss = {"version": "1.0.0", **loss}
    text = re.sub(r"<[^>]*>|\s+", " ", signed_in.get(path))
    assert words in re.sub(" +", " ", text)
    assert agent.did("loss") == [asked]


def test_nothing_to_go_back_to(signed_in: Browser, agent: FakeAgent) -> None:
    agent.version_before = None
    assert "ROLLBACK_UNAVAILABLE" in signed_in.get("/rollback", code=409)
    assert "BACKUP_UNKNOWN" in signed_in.get("/backups/20260101T000000Z-1.0.0-r9/restore", code=404)


def test_a_try_that_was_refused_is_in_nobodys_way_back(signed_in: Browser, agent: FakeAgent) -> None:
    """It has touched nothing, so the version before is still there."""
    agent.last = run_of(id=8, version="1.0.1", from_version="1.0.0", outcome="REFUSED", status="FAILED")
    agent.runs.append(agent.last)
    text = signed_in.get("/rollback")
    assert "Go back to version 0.9.0" in text
    assert "11:13" in text, "when the update has ended that is put back"
    assert "/rollback" in signed_in.get("/backups")


def test_to_go_back_it_need_not_be_known_what_is_lost(signed_in: Browser, agent: FakeAgent) -> None:
    agent.refuses["loss"] = ClmsError("DATABASE_UNREACHABLE", detail="x")
    assert "Go back to version 0.9.0" in signed_in.get("/rollback")


@pytest.mark.parametrize("path", ["/nowhere", "/release/", "/history/x", "/schedule/1.0.1/cancel"])
def test_an_address_that_is_none(signed_in: Browser, path: str) -> None:
    assert "REQUEST_PATH" in signed_in.get(path, code=404)


def test_what_breaks_is_told_without_its_inside(signed_in: Browser, agent: FakeAgent) -> None:
    agent.refuses["events"] = ZeroDivisionError("canary")  # type: ignore[assignment]
    text = signed_in.get("/events", code=500)
    assert "SERVER_FAILED" in text
    assert "canary" not in text
    assert "Traceback" not in text


# what is done with a backup, and the table of all runs


@pytest.mark.parametrize(("verb", "words"), [("verify", "The backup is whole"), ("copy", "was copied to the external")])
def test_a_backup_is_looked_at_and_copied(signed_in: Browser, agent: FakeAgent, verb: str, words: str) -> None:
    agent.external_backup = True
    assert "Copy it to the drive" in signed_in.get("/backups")
    assert signed_in.send(f"/backups/{BACKUP}/{verb}", page="/backups").location == "/backups"
    assert agent.did(verb) == [{"backup": BACKUP}]
    assert words in signed_in.get("/backups")
    agent.refuses[verb] = ClmsError("BACKUP_TAMPERED", backup=BACKUP, detail="a file has changed")
    signed_in.send(f"/backups/{BACKUP}/{verb}", page="/backups")
    assert "a file has changed" in signed_in.get("/backups")


def test_without_a_drive_nothing_is_copied(signed_in: Browser) -> None:
    assert "Copy it to the drive" not in signed_in.get("/backups")


def test_a_backup_is_taken_away(signed_in: Browser, agent: FakeAgent) -> None:
    answer = signed_in.client.get(f"/backups/{BACKUP}/download", base_url=signed_in.base)
    assert (answer.status_code, answer.data) == (200, b"tar file")
    assert answer.headers["Content-Disposition"] == f"attachment; filename={BACKUP}.tar"
    assert answer.headers["Content-Length"] == "8"
    agent.refuses["download"] = ClmsError("BACKUP_UNKNOWN", backup="x")
    signed_in.get(f"/backups/{BACKUP}/download", 404)


def test_some_of_the_history(signed_in: Browser, agent: FakeAgent) -> None:
    agent.runs = [run_of(id=9, kind="backup", version=None), run_of(id=8, status="FAILED"), run_of(id=7)]
    for query, shown in (
        ("", {"9", "8", "7"}), ("?kind=backup", {"9"}), ("?state=FAILED", {"8"}), ("?kind=update", {"8", "7"}),
        ("?kind=update&state=COMPLETED", {"7"}), ("?kind=rollback", set()), ("?kind=<script>", set()),
    ):  # fmt: skip
        text = signed_in.get(f"/history{query}")
        assert set(re.findall(r'href="/history/([0-9]+)"', text)) == shown, query
        assert "<script>" not in text
    assert "Nothing of that kind was done here" in text


def test_older_events_are_on_pages_of_their_own(
    signed_in: Browser, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def events(before: int | None = None) -> dict[str, Any]:
        numbers = range(min(before or 999, 151) - 1, 0, -1)[:100]
        event = {"at": "2026-11-24T10:11:12Z", "type": "UPDATE_CHECKED", "told": None}
        return {"events": [{**event, "id": number, "message": f"number {number}."} for number in numbers]}

    monkeypatch.setattr(agent, "_events", events)
    text = signed_in.get("/events")
    assert ("number 150." in text, "number 51." in text, "number 50." in text) == (True, True, False)
    assert 'href="/events?before=51"' in text
    text = signed_in.get("/events?before=51")
    assert ("number 50." in text, "number 1." in text, "Older ones" in text) == (True, True, False)


def test_older_runs_are_on_pages_of_their_own(signed_in: Browser, agent: FakeAgent) -> None:
    agent.runs = [run_of(id=number, kind="backup" if number % 2 else "update") for number in range(130, 0, -1)]

    def shown(address: str) -> tuple[list[int], str | None]:
        text = signed_in.get(address)
        more = re.search(r'href="(/history\?[^"]*before=[^"]*)"', text)
        return [int(one) for one in re.findall(r'href="/history/([0-9]+)"', text)], unescape(more[1]) if more else None

    first, more = shown("/history?kind=update")
    assert (first, more) == ([*range(130, 30, -2)], "/history?kind=update&before=32")
    assert shown(more) == ([*range(30, 0, -2)], None)
    assert len(signed_in.get("/history.csv").splitlines()) == 131
    assert len(signed_in.get("/history.csv?kind=update").splitlines()) == 66
    assert signed_in.get("/history/1")
    for odd in ("x", "-1", "0", "9" * 30):
        assert shown(f"/history?before={odd}")[0] == [*range(130, 80, -1)]


def test_the_history_as_a_table(signed_in: Browser, agent: FakeAgent) -> None:
    agent.runs = [run_of(message="=cmd|' /C calc'!A0"), run_of(id=6, message='it said "no", then\nended')]
    answer = signed_in.client.get("/history.csv", base_url=signed_in.base)
    assert answer.mimetype == "text/csv"
    rows = list(csv.DictReader(io.StringIO(answer.data.decode("utf-8-sig"))))
    assert [row["id"] for row in rows] == ["7", "6"]
    assert rows[0]["message"].startswith("'="), "a spreadsheet would take it for a formula"
    assert rows[1]["message"] == 'it said "no", then\nended'
    assert rows[0]["error_code"] == ""


@pytest.mark.parametrize(("language", "separator"), [("en", ","), ("de", ";")])
def test_excel_reads_the_table(signed_in: Browser, agent: FakeAgent, language: str, separator: str) -> None:
    agent.runs = [run_of(message="Über; und, unter")]
    signed_in.client.environ_base["HTTP_ACCEPT_LANGUAGE"] = language
    answer = signed_in.client.get("/history.csv", base_url=signed_in.base)
    assert answer.data.startswith("\ufeffid".encode()), "it takes UTF-8 without this mark for something else"
    (row,) = csv.DictReader(io.StringIO(answer.data.decode("utf-8-sig")), delimiter=separator)
    assert (row["id"], row["outcome"], row["message"]) == ("7", "COMPLETED", "Über; und, unter")
