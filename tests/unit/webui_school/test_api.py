# SPDX-License-Identifier: GPL-3.0-or-later
"""The API: addresses and shapes of the original design, section 3.1."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .conftest import PASSWORD, Browser, FakeAgent, forced, run_of, running

ENTRY = {
    "id": 3, "version": "1.0.1", "state": "SCHEDULED", "due_at": "2026-11-27T21:00:00Z",
    "created_at": "2026-11-25T08:00:00Z", "run": None, "outcome": None, "code": None,
}  # fmt: skip
GETS = ["/api/updates/check", "/api/updates/latest", "/api/updates/status/run-7", "/api/updates/history", "/api/events",
        "/api/backups", "/api/enforcement"]  # fmt: skip


class Program:
    """Asks with JSON, as the page's own scripts could."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        text = browser.get("/backups")
        self.token = text.split('name="csrf_token" value="')[1].split('"')[0]

    def ask(self, method: str, path: str, code: int = 200, json: Any = None, **headers: str) -> Any:
        headers = {"X-CSRFToken": self.token, "Referer": f"{self.browser.base}/", **headers}
        answer = self.browser.client.open(path, method=method, base_url=self.browser.base, json=json, headers=headers)
        assert answer.status_code == code, answer.text
        assert answer.mimetype == ("application/json" if code < 400 else "application/problem+json")
        if code >= 400:
            assert set(answer.json) >= {"type", "title", "status", "detail", "code", "remedy"}
        return answer.json


@pytest.fixture
def program(signed_in: Browser) -> Program:
    return Program(signed_in)


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


def test_an_update_begins_now(program: Program, agent: FakeAgent) -> None:
    agent.running = running()
    answer = program.ask("POST", "/api/updates/schedule", 202, {"updateId": "1.0.1", "scheduledFor": "now"})
    assert answer == {"success": True, "updateId": "run-8", "warnings": []}
    assert agent.did("update") == [{"version": "1.0.1"}]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "REQUEST_CONTENT"),
        ({"updateId": "1.0.1"}, "REQUEST_CONTENT"),
        ({"updateId": 1, "scheduledFor": "tonight"}, "REQUEST_CONTENT"),
        ({"updateId": "1.0.1\n", "scheduledFor": "tonight"}, "REQUEST_CONTENT"),
        ({"updateId": "{{ 7 }}", "scheduledFor": "tonight"}, "REQUEST_CONTENT"),
        ({"updateId": "1.0.1", "scheduledFor": "soon"}, "REQUEST_CONTENT"),
        ({"updateId": "1.0.1", "scheduledFor": "tonight", "createBackup": False}, "REQUEST_CONTENT"),
        ({"updateId": "1.0.1", "scheduledFor": "tonight", "inventory": "x"}, "REQUEST_CONTENT"),
        ([], "REQUEST_CONTENT"),
    ],
)
def test_what_is_not_understood(program: Program, agent: FakeAgent, body: Any, code: str) -> None:
    assert program.ask("POST", "/api/updates/schedule", 422, body)["code"] == code
    assert agent.did("schedule") == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ClmsError("SCHEDULE_PAST", at="yesterday"), 422),
        (ClmsError("SCHEDULE_TWICE", at="x", schedule=3, version="1.0.1"), 409),
        (ClmsError("RELEASE_UNKNOWN", version="1.0.1"), 404),
        (ClmsError("AGENT_SILENT", path="/run/x", detail="y"), 503),
    ],
)
def test_what_the_agent_refuses(program: Program, agent: FakeAgent, error: ClmsError, status: int) -> None:
    agent.refuses["schedule"] = error
    body = {"updateId": "1.0.1", "scheduledFor": "tonight"}
    assert program.ask("POST", "/api/updates/schedule", status, body)["code"] == error.code


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
        "executedAt": None, "changelog": "A faster search\nand more", "critical": False,
        "createdAt": "2026-11-25T08:00:00Z", "updatedAt": "2026-11-25T08:00:00Z", "errorCode": None,
        "message": "It is scheduled.",
    }  # fmt: skip
    assert program.ask("GET", "/api/updates/status/schedule-4") == found[0]
    assert found[0]["executedAt"] == "2026-11-24T10:11:12Z"
    assert found[3]["errorCode"] == "SCHEDULE_MISSED"


@pytest.mark.parametrize("wanted", ["run-99", "schedule-99", "7", "run-0", "run-007", "x" * 200, "run-1e5"])
def test_an_update_that_nobody_knows(program: Program, wanted: str) -> None:
    assert program.ask("GET", f"/api/updates/status/{wanted}", 404)["code"] == "RUN_UNKNOWN"


def test_an_update_is_cancelled(program: Program, agent: FakeAgent) -> None:
    for wanted in ("schedule-3", "run-8"):
        assert program.ask("DELETE", f"/api/updates/cancel/{wanted}") == {"success": True, "updateId": wanted}
    assert agent.did("cancel") == [{"schedule": 3}, {"run": 8}]
    agent.refuses["cancel"] = ClmsError("SCHEDULE_UNKNOWN", schedule=3)
    assert program.ask("DELETE", "/api/updates/cancel/schedule-3", 404)["code"] == "SCHEDULE_UNKNOWN"


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
    }  # fmt: skip
    for path in document["paths"].values():
        for operation in (one for name, one in path.items() if name in ("get", "post", "delete")):
            assert set(operation["responses"]) >= {"400", "401", "500", "503"}


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
