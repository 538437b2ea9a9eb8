# SPDX-License-Identifier: GPL-3.0-or-later
"""The API: addresses and shapes of the original design, section 3.1."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.school import api

from .conftest import BACKUP, PASSWORD, SETTINGS, Browser, FakeAgent, Program, forced, run_of, running

ENTRY = {
    "id": 3, "version": "1.0.1", "state": "SCHEDULED", "due_at": "2026-11-27T21:00:00Z",
    "created_at": "2026-11-25T08:00:00Z", "run": None, "outcome": None, "code": None,
}  # fmt: skip
GETS = ["/api/updates/check", "/api/updates/latest", "/api/updates/status/run-7", "/api/updates/history", "/api/events",
        "/api/backups", "/api/enforcement", "/api/settings", "/api/files", "/api/health", "/api/updates/progress",
        "/api/backups/20261124T101112Z-1.0.0-r1/download"]  # fmt: skip


@pytest.mark.parametrize("path", GETS)
def test_it_is_for_people_who_are_signed_in(browser: Browser, path: str) -> None:
    answer = browser.client.get(path, base_url=browser.base)
    assert (answer.status_code, answer.json["code"]) == (401, "SESSION_MISSING")


def test_a_check(program: Program, agent: FakeAgent) -> None:
    answer = program.ask("GET", "/api/updates/check")
    assert (answer["updateAvailable"], answer["message"]) == (True, "Version 1.0.1 is available.")
    agent.refuses["check"] = ClmsError("TRUST_REFUSED", detail="x")
    assert program.ask("GET", "/api/updates/check", 502)["code"] == "TRUST_REFUSED"


def test_the_newest_release(program: Program, agent: FakeAgent) -> None:
    answer = program.ask("GET", "/api/updates/latest")
    assert (answer["version"], answer["critical"], answer["size"]) == ("1.0.1", False, 1_000_000)
    agent.refuses["release"] = ClmsError("RELEASE_UNKNOWN", version="x")
    assert program.ask("GET", "/api/updates/latest", 404)["code"] == "RELEASE_UNKNOWN"


@pytest.mark.parametrize("at", ["tonight", "weekend", "2026-12-01T18:30", "2026-12-01T18:30:00+01:00"])
def test_an_update_is_scheduled(program: Program, agent: FakeAgent, at: str) -> None:
    body = {"updateId": "1.0.1", "scheduledFor": at, "createBackup": True}
    answer = program.ask("POST", "/api/updates/schedule", 202, body)
    assert answer == {"success": True, "updateId": "schedule-3", "warnings": ["School is on at that time."]}
    assert agent.did("schedule") == [{"at": at, "version": "1.0.1"}]


@pytest.mark.parametrize(("at", "verb"), [("tonight", "schedule"), ("now", "update")])
def test_an_update_whose_backup_stays_here(program: Program, agent: FakeAgent, at: str, verb: str) -> None:
    agent.running = running()
    body = {"updateId": "1.0.1", "scheduledFor": at, "backupLocation": "local"}
    program.ask("POST", "/api/updates/schedule", 202, body)
    assert agent.did(verb)[0]["backup_location"] == "local"


def test_an_update_whose_backup_has_no_drive(program: Program, agent: FakeAgent) -> None:
    agent.refuses["schedule"] = ClmsError("BACKUP_LOCATION")
    body = {"updateId": "1.0.1", "scheduledFor": "tonight", "backupLocation": "external"}
    assert program.ask("POST", "/api/updates/schedule", 422, body)["code"] == "BACKUP_LOCATION"


def test_an_update_begins_now(program: Program, agent: FakeAgent) -> None:
    agent.running = running()
    answer = program.ask("POST", "/api/updates/schedule", 202, {"updateId": "1.0.1", "scheduledFor": "now"})
    assert answer == {"success": True, "updateId": "run-8", "warnings": []}
    assert agent.did("update") == [{"version": "1.0.1"}]


def test_an_update_that_begins_has_ended_by_then(
    program: Program, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def update(version: str, **_: None) -> dict[str, Any]:
        agent.last = run_of(id=8, version=version)
        return {"begun": "update"}

    body = {"updateId": "1.0.1", "scheduledFor": "now"}
    monkeypatch.setattr(agent, "_update", update, raising=False)
    assert program.ask("POST", "/api/updates/schedule", 202, body)["updateId"] == "run-8"
    monkeypatch.undo()
    monkeypatch.setattr(api, "BEGIN_SECONDS", 0.1)
    agent.running = None
    assert "updateId" not in program.ask("POST", "/api/updates/schedule", 202, body), "it was refused before it began"


def test_one_list_of_updates(program: Program, agent: FakeAgent) -> None:
    later = {**ENTRY, "id": 4, "state": "DONE", "run": 9, "created_at": "2026-11-26T08:00:00Z"}
    lost = {**ENTRY, "id": 2, "state": "MISSED", "code": "SCHEDULE_MISSED", "created_at": "2026-11-23T08:00:00Z"}
    agent.planned = [ENTRY, later, lost]
    agent.runs = [run_of(id=9, version="1.0.1", status="UPDATING", outcome=None, finished_at=None), run_of(),
                  run_of(id=5, kind="backup")]  # fmt: skip
    found = program.ask("GET", "/api/updates/history")
    assert [(one["id"], one["status"]) for one in found] == [
        ("schedule-4", "UPDATING"), ("schedule-3", "SCHEDULED"), ("run-7", "COMPLETED"), ("schedule-2", "FAILED"),
    ]  # fmt: skip
    assert found[1] == {
        "id": "schedule-3", "version": "1.0.1", "status": "SCHEDULED", "scheduledFor": "2026-11-27T21:00:00Z",
        "executedAt": None, "backupPath": None, "changelog": "A faster search\nand more", "critical": False,
        "createdAt": "2026-11-25T08:00:00Z", "updatedAt": "2026-11-25T08:00:00Z", "errorCode": None,
        "message": "It is scheduled.",
    }  # fmt: skip
    assert program.ask("GET", "/api/updates/status/schedule-4") == found[0]
    assert found[0]["executedAt"] == "2026-11-24T10:11:12Z"
    assert found[3]["errorCode"] == "SCHEDULE_MISSED"


ORIGINAL = {
    "UpdateInfo": "version releaseDate changelog critical forceAfterDate minVersion dockerTags backupRequired "
    "migrationNotes",
    "SystemUpdate": "id version status scheduledFor executedAt backupPath changelog critical createdAt updatedAt",
    "Event": "id type updateId timestamp message",
}
"""Shape -> the fields that it has in the original design, sections 3.1 and 8.1"""


@pytest.mark.parametrize("shape", ORIGINAL)
def test_the_shapes_have_the_fields_of_the_original_design(program: Program, shape: str) -> None:
    fields = program.ask("GET", "/api/openapi.json")["components"]["schemas"][shape]["properties"]
    assert set(ORIGINAL[shape].split()) <= fields.keys()
    assert shape == "UpdateInfo" or fields["id"]["type"] == "string"


def test_a_run_of_long_ago(program: Program, agent: FakeAgent) -> None:
    agent.runs = [run_of(id=number) for number in range(250, 0, -1)]
    assert len(program.ask("GET", "/api/updates/history")) == 250
    answer = program.ask("GET", "/api/updates/status/run-1")
    assert (answer["id"], answer["backupPath"]) == ("run-1", "/srv/backups/b")


UNKNOWN = [
    "7",
    "run-0",
    "run-007",
    "x" * 200,
    "run-1e5",
    "run--1",
    "run-" + "9" * 16,
    "%00",
    "%F0%9F%98%80",
    "run-%D9%A3",
]


@pytest.mark.parametrize("wanted", ["run-99", "schedule-99", *UNKNOWN])
def test_an_update_that_nobody_knows(program: Program, wanted: str) -> None:
    assert program.ask("GET", f"/api/updates/status/{wanted}", 404)["code"] == "RUN_UNKNOWN"


@pytest.mark.parametrize("wanted", UNKNOWN)
def test_what_cannot_be_cancelled(program: Program, agent: FakeAgent, wanted: str) -> None:
    assert program.ask("DELETE", f"/api/updates/cancel/{wanted}", 404)["code"] == "RUN_UNKNOWN"
    assert agent.did("cancel") == []


@pytest.mark.parametrize("backup", ["x", "20261124T101112Z-1.0.0-r2", "..%5C..", "%00", "x" * 1000])
def test_a_backup_that_nobody_knows(program: Program, agent: FakeAgent, backup: str) -> None:
    assert (
        program.ask("POST", f"/api/backups/{backup}/restore", 404, {"confirm": "0.9.0", "password": PASSWORD})["code"]
        == "BACKUP_UNKNOWN"
    )
    assert agent.did("restore") == []


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/api/backups", {"GET", "HEAD", "OPTIONS", "POST"}), ("/api/updates/rollback", {"OPTIONS", "POST"})],
)
def test_another_method(program: Program, path: str, allowed: set[str]) -> None:
    headers = {"X-CSRFToken": program.token, "Referer": f"{program.browser.base}/"}
    answer = program.browser.client.put(path, base_url=program.browser.base, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (405, "REQUEST_METHOD")
    assert set(answer.headers["Allow"].split(", ")) == allowed


def test_an_update_is_cancelled(program: Program, agent: FakeAgent) -> None:
    for wanted in ("schedule-3", "run-8"):
        assert program.ask("DELETE", f"/api/updates/cancel/{wanted}") == {"success": True, "updateId": wanted}
    assert agent.did("cancel") == [{"schedule": 3}, {"run": 8}]
    agent.refuses["cancel"] = ClmsError("SCHEDULE_UNKNOWN", schedule=3)
    assert program.ask("DELETE", "/api/updates/cancel/schedule-3", 404)["code"] == "SCHEDULE_UNKNOWN"
    agent.refuses["cancel"] = ClmsError("RUN_CLOSED", run=8, kind="update")
    assert program.ask("DELETE", "/api/updates/cancel/run-8", 409)["code"] == "RUN_CLOSED"


def test_an_update_is_cancelled_that_is_about_to_begin(program: Program, agent: FakeAgent) -> None:
    """Its run is in the journal a moment later."""
    lists = agent._list

    def later(what: str, **fields: Any) -> dict[str, Any]:
        found = lists(what, **fields)
        if what == "schedule":
            agent.planned = [{**ENTRY, "state": "STARTED", "run": 8}]
        return found

    agent.planned = [{**ENTRY, "state": "STARTED", "run": None}]
    agent._list = later  # type: ignore[method-assign]
    program.ask("DELETE", "/api/updates/cancel/schedule-3")
    assert agent.did("cancel") == [{"run": 8}]


def test_what_cannot_be_installed_does_not_begin(program: Program, agent: FakeAgent) -> None:
    agent.release["blocked"] = ClmsError("RELEASE_SAME", version="1.0.1").as_dict()
    body = {"updateId": "1.0.1", "scheduledFor": "now"}
    assert program.ask("POST", "/api/updates/schedule", 409, body)["code"] == "RELEASE_SAME"
    assert agent.did("update") == []


def test_older_events(program: Program, agent: FakeAgent) -> None:
    assert program.ask("GET", "/api/events?before=1") == []
    assert len(program.ask("GET", "/api/events?before=2")) == 1
    for wrong in ("0", "-1", "x", str(2**60)):
        assert program.ask("GET", f"/api/events?before={wrong}", 400)["code"] == "REQUEST_INVALID"


def test_going_back(program: Program, agent: FakeAgent) -> None:
    body = {"confirm": "0.9.0", "password": PASSWORD}
    program.ask("POST", "/api/updates/rollback", 202, body)
    program.ask("POST", "/api/backups/20261124T101112Z-1.0.0-r1/restore", 202, body)
    assert agent.did("rollback") == [{"confirm": "0.9.0", "name": "anna", "password": PASSWORD}]
    assert agent.did("restore")[0]["backup"] == "20261124T101112Z-1.0.0-r1"
    assert program.ask("POST", "/api/backups/nothing/restore", 404, body)["code"] == "BACKUP_UNKNOWN"
    program.ask("POST", "/api/updates/rollback", 422, {"confirm": "0.9.0"})


def test_events_and_backups(program: Program, agent: FakeAgent) -> None:
    (event,) = program.ask("GET", "/api/events")
    assert (event["type"], event["timestamp"], event["updateId"]) == ("UPDATE_CHECKED", "2026-11-24T10:11:12Z", None)
    agent.planned = [ENTRY, {**ENTRY, "id": 2, "state": "DONE", "run": 7, "created_at": "2026-11-20T08:00:00Z"}]
    about = [(7, None), (6, None), (None, 3), (None, 2), (None, 9), (None, None)]
    agent.events = [{**agent.events[0], "id": 9 - n, "run": r, "schedule": s} for n, (r, s) in enumerate(about)]
    # number 3 was given once more since, as a schedule was lost
    ids = [one["updateId"] for one in program.ask("GET", "/api/events")]
    assert ids == ["schedule-2", "run-6", None, "schedule-2", None, None]
    (backup,) = program.ask("GET", "/api/backups")
    assert backup["bytes"] == 12_000_000
    program.ask("POST", "/api/backups", 202)
    assert agent.did("backup") == [{}]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/updates/schedule"), ("POST", "/api/backups"), ("DELETE", "/api/updates/cancel/run-8")],
)
def test_a_request_from_another_site_does_nothing(program: Program, agent: FakeAgent, method: str, path: str) -> None:
    before = len(agent.asked)
    body = {"updateId": "1.0.1", "scheduledFor": "now"}
    for headers in ({"X-CSRFToken": ""}, {"X-CSRFToken": "forged"}, {"Referer": "https://evil.test/"}):
        assert program.ask(method, path, 400, body, **headers)["code"] == "FORM_EXPIRED"
    assert {request["verb"] for request in agent.asked[before:]} <= {"accounts"}


def test_it_describes_itself(browser: Browser) -> None:
    document = browser.client.get("/api/openapi.json", base_url=browser.base).json
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {
        "/api/updates/check", "/api/updates/latest", "/api/updates/schedule", "/api/updates/status/{update_id}",
        "/api/updates/history", "/api/updates/cancel/{update_id}", "/api/updates/rollback", "/api/events",
        "/api/backups", "/api/backups/{backup}/restore", "/api/enforcement", "/api/enforcement/postpone",
        "/api/settings", "/api/files", "/api/updates/progress", "/api/health", "/api/notifications/test",
        "/api/backups/{backup}/verify", "/api/backups/{backup}/copy", "/api/backups/{backup}/download",
    }  # fmt: skip
    for name, path in document["paths"].items():
        for operation in (one for method, one in path.items() if method in ("get", "post", "delete")):
            assert set(operation["responses"]) >= {"400", "401", "429", "500", "503"}
            headers = [one["name"] for one in operation.get("parameters", []) if one["in"] == "header"]
            twice = operation is path.get("post") and name != "/api/files"  # a file that comes again is there already
            assert headers == (["Idempotency-Key"] if twice else [])
    assert document["security"] == [{"session": []}, {"token": []}]
    schemes = document["components"]["securitySchemes"]
    assert (schemes["session"]["in"], schemes["token"]["scheme"]) == ("cookie", "bearer")


def test_what_is_forced_and_put_off(signed_in: Browser, agent: FakeAgent) -> None:
    program = Program(signed_in)
    assert program.ask("GET", "/api/enforcement") == {"blocked": False, "forced": None}
    agent.enforcement = {"forced": forced(overdue=True), "blocked": True}
    expected = {
        "updateId": "1.0.1", "deadline": "2026-12-01T20:00:00Z", "overdue": True, "postponementsLeft": 3,
        "liftedUntil": None,
    }  # fmt: skip
    assert program.ask("GET", "/api/enforcement") == {"blocked": True, "forced": expected}
    put_off = program.ask("POST", "/api/enforcement/postpone")
    assert put_off == {"blocked": True, "forced": expected | {"postponementsLeft": 2}}
    agent.refuses["postpone"] = ClmsError("FORCED_NONE")
    assert program.ask("POST", "/api/enforcement/postpone", 409)["code"] == "FORCED_NONE"


def test_a_scheduled_update_that_goes_on_is_stopped_as_a_run(signed_in: Browser, agent: FakeAgent) -> None:
    agent.planned = [ENTRY | {"state": "STARTED", "run": 8}]
    agent.runs = [run_of(id=8, version="1.0.1", status="UPDATING", outcome=None, finished_at=None)]
    program = Program(signed_in)
    (shown,) = program.ask("GET", "/api/updates/history")
    assert (shown["id"], shown["status"]) == ("schedule-3", "UPDATING"), "it is there twice"
    program.ask("DELETE", "/api/updates/cancel/schedule-3")
    assert agent.did("cancel") == [{"run": 8}]
    agent.planned = [ENTRY]
    program.ask("DELETE", "/api/updates/cancel/schedule-3")
    assert agent.did("cancel")[1] == {"schedule": 3}


def test_settings(program: Program, agent: FakeAgent) -> None:
    assert program.ask("GET", "/api/settings") == {
        "settings": SETTINGS, "secrets": {"api_key": True, "registry_login": True, "notify": False},
    }  # fmt: skip
    body = {"settings": {"tonight": "23:00", "notify": "json://chat.test"}, "password": PASSWORD}
    assert program.ask("PATCH", "/api/settings", json=body) == {"changed": ["tonight", "notify"]}
    assert agent.did("change") == [{**body, "name": "anna"}]
    program.ask("PATCH", "/api/settings", json={"settings": {"max_backups": 9.0}, "password": PASSWORD})
    assert agent.did("change")[1]["settings"] == {"max_backups": 9}
    agent.refuses["change"] = ClmsError("SETTING_WRONG", setting="tonight", detail="it must be written as '22:00'")
    assert program.ask("PATCH", "/api/settings", 422, json=body)["code"] == "SETTING_WRONG"


@pytest.mark.parametrize(
    "settings",
    [{"title": "x"}, {"tonight": 22}, {"school_hours": "mon"}, {"max_backups": "5"}, {"max_backups": 1},
     {"max_backups": 5.5}, {"max_backups": True},
     {"missed": "x"},
     {"check_on_startup": "yes"}, {"registry_login": {"username": "x"}}, {"contact": "x" * 4001}, [], None],
)  # fmt: skip
def test_settings_that_are_none(program: Program, agent: FakeAgent, settings: Any) -> None:
    assert program.ask("PATCH", "/api/settings", 422, {"settings": settings, "password": PASSWORD})["code"]
    assert agent.did("change") == []


def test_files_of_the_vendor(program: Program, agent: FakeAgent) -> None:
    agent.files = [{"version": "1.0.1", "size": 5, "file": "clms-1.0.1-amd64.zip", "created": "2026-11-24T10:11:12Z"}]
    assert program.ask("GET", "/api/files") == agent.files


def test_its_description_can_be_read(signed_in: Browser) -> None:
    document = signed_in.client.get("/api/openapi.json", base_url=signed_in.base).json
    text = signed_in.get("/api-description")
    for path, item in document["paths"].items():
        for method in set(item) & {"get", "post", "patch", "delete"}:
            assert f"<code>{method.upper()} {path}</code>" in text
    for name in set(document["components"]["schemas"]) - {"PaginationMetadata"}:
        assert f'id="{name}"' in text
    assert "a word, or a time within a year" in text
    assert 'href="#ScheduleBody"' in text


def test_nobody_else_reads_it(browser: Browser) -> None:
    assert browser.client.get("/api-description", base_url=browser.base).status_code == 302


def test_progress(signed_in: Browser, agent: FakeAgent) -> None:
    agent.running = running()
    answer = signed_in.client.get("/api/updates/progress", base_url=signed_in.base, buffered=False)
    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream")
    first = next(answer.response).decode()  # type: ignore[arg-type]
    answer.close()
    now = json.loads(first.removeprefix("data: "))
    assert (now["version"], now["running"]["phase"], now["running"]["percent"]) == ("1.0.0", "backup", 30)
    assert now["running"]["stoppable"] is True


def test_health(program: Program, agent: FakeAgent) -> None:
    answer = program.ask("GET", "/api/health")
    assert answer["ok"] is False
    disk, backup, gate, news = answer["checks"]
    assert (disk["name"], disk["ok"], disk["remedy"]) == ("disk", False, "Free some space.")
    assert (backup["repair"], gate["ok"], news["ok"]) == ("backup", None, True)
    assert set(disk) == {"name", "ok", "message", "remedy", "code", "repair"}


@pytest.mark.parametrize(
    ("error", "code"), [(ClmsError("NOTIFY_NOBODY"), 409), (ClmsError("NOTIFY_FAILED", path="/x", detail="y"), 502)]
)
def test_a_notification_is_tried(program: Program, agent: FakeAgent, error: ClmsError, code: int) -> None:
    assert program.ask("POST", "/api/notifications/test") == {"success": True}
    assert agent.did("notify") == [{}]
    agent.refuses["notify"] = error
    assert program.ask("POST", "/api/notifications/test", code)["code"] == error.code


@pytest.mark.parametrize(
    ("verb", "error", "code"),
    [
        ("verify", ClmsError("BACKUP_TAMPERED", backup=BACKUP, detail="y"), 409),
        ("copy", ClmsError("BACKUP_LOCATION"), 422),
        ("copy", ClmsError("BACKUP_PLACE", path="/x", detail="y"), 409),
        ("copy", ClmsError("DISK_TOO_SMALL", detail="y"), 507),
    ],
)
def test_a_backup_is_looked_at_and_copied(
    program: Program, agent: FakeAgent, verb: str, error: ClmsError, code: int
) -> None:
    path = f"/api/backups/{BACKUP}/{verb}"
    assert program.ask("POST", path) == {"success": True}
    assert agent.did(verb) == [{"backup": BACKUP}]
    agent.refuses[verb] = error
    assert program.ask("POST", path, code)["code"] == error.code
    assert program.ask("POST", f"/api/backups/x/{verb}", 404)["code"] == "BACKUP_UNKNOWN"


def test_a_backup_is_taken_away(signed_in: Browser) -> None:
    answer = signed_in.client.get(f"/api/backups/{BACKUP}/download", base_url=signed_in.base)
    assert (answer.mimetype, answer.data) == ("application/x-tar", b"tar file")
    assert answer.headers["Content-Disposition"] == f"attachment; filename={BACKUP}.tar"
    missing = signed_in.client.get("/api/backups/x/download", base_url=signed_in.base)
    assert (missing.status_code, missing.json["code"]) == (404, "BACKUP_UNKNOWN")


@pytest.fixture
def folder(agent: FakeAgent, tmp_path: Path) -> Path:
    """Where uploads are put."""
    agent.folder = tmp_path / "uploads"
    agent.folder.mkdir()
    return agent.folder


def test_a_file_is_brought(program: Program, agent: FakeAgent, folder: Path) -> None:
    content = os.urandom(100_000)
    form = {"file": (io.BytesIO(content), "clms.zip")}
    headers = {"X-CSRFToken": program.token, "Referer": f"{program.browser.base}/"}
    answer = program.browser.client.post("/api/files", base_url=program.browser.base, data=form, headers=headers)
    assert (answer.status_code, answer.json) == (201, {"version": "1.0.1"})
    assert agent.taken == [content]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("form", "error", "code", "named"),
    [
        ({}, None, 422, "UPLOAD_NONE"),
        (None, ClmsError("BUNDLE_REFUSED", path="x", detail="y"), 422, "BUNDLE_REFUSED"),
        (None, ClmsError("DISK_TOO_SMALL", detail="y"), 507, "DISK_TOO_SMALL"),
    ],
)
def test_a_file_is_refused(
    program: Program, agent: FakeAgent, folder: Path, form: Any, error: ClmsError | None, code: int, named: str
) -> None:
    if error:
        agent.refuses["import"] = error
    form = {"file": (io.BytesIO(b"PK"), "clms.zip")} if form is None else form
    headers = {"X-CSRFToken": program.token, "Referer": f"{program.browser.base}/"}
    answer = program.browser.client.post(
        "/api/files", base_url=program.browser.base, data=form, headers=headers, content_type="multipart/form-data"
    )
    assert (answer.status_code, answer.json["code"]) == (code, named)
    assert list(folder.iterdir()) == []


def test_a_file_that_comes_as_something_else_or_from_another_site(
    program: Program, agent: FakeAgent, folder: Path
) -> None:
    assert program.ask("POST", "/api/files", 415, {"file": "x"})["code"] == "REQUEST_TYPE"
    form = {"file": (io.BytesIO(b"PK"), "clms.zip")}
    answer = program.browser.client.post(
        "/api/files", base_url=program.browser.base, data=form, headers={"Referer": f"{program.browser.base}/"}
    )
    assert (answer.status_code, answer.json["code"]) == (400, "FORM_EXPIRED")
    assert (agent.taken, list(folder.iterdir())) == ([], [])
