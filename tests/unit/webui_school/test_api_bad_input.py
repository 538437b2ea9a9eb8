# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API says of requests that are not understood, or come at the wrong time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.calendar_rules import chosen_time, parse_schedule
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fields import Fields

from .conftest import BACKUP, PASSWORD, FakeAgent, Program

SCHEDULE = {"updateId": "1.0.1", "scheduledFor": "tonight"}
BACK = {"confirm": "0.9.0", "password": PASSWORD}
RESTORE = f"/api/backups/{BACKUP}/restore"
NO_TEXT = [None, 1, 1.5, True, [], {}, ["1.0.1"]]
NO_VERSION = [
    *NO_TEXT,
    "",
    "1",
    "1.0",
    "v1.0.1",
    "01.0.1",
    "1.0.1\n",
    " 1.0.1",
    "1.0.1+b",
    "{{ 7 }}",
    "1.0.1-" + "x" * 60,
    "\uff11.0.1",
]
NO_TIME = [
    *NO_TEXT, "", "soon", "Tonight", "tonight\n", "22:00", "2026-12-01", "2026-13-01T22:00", "2026-12-32T22:00",
    "2026-12-01T25:00", "2026-12-01T22:00:61", "2026-W49-2T22:00", "20261201T2200", "2026-12-01T22:00+25:00",
    "\uff12026-12-01T22:00", "2026-12-01T22:00" + "0" * 100,
]  # fmt: skip


@pytest.mark.parametrize("content", [None, 1, "tonight", [], [SCHEDULE], {}])
@pytest.mark.parametrize("path", ["/api/updates/schedule", "/api/updates/rollback", RESTORE])
def test_content_of_another_kind(program: Program, agent: FakeAgent, path: str, content: Any) -> None:
    before = len(agent.asked)
    raw = json.dumps(content)
    assert program.ask("POST", path, 422, data=raw, content_type="application/json")["code"] == "REQUEST_CONTENT"
    assert {request["verb"] for request in agent.asked[before:]} <= {"accounts"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("updateId", value) for value in NO_VERSION),
        *(("scheduledFor", value) for value in NO_TIME),
        *(("backupLocation", value) for value in ("", "usb", "Local", 1, [], {}, "/media/usb")),
        *(("createBackup", value) for value in (False, None, 1, "true", "yes", [], {})),
        *((name, "x") for name in ("inventory", "", "UpdateId", "\ud800", "x" * 5000)),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_schedule_that_is_not_understood(program: Program, agent: FakeAgent, field: str, value: Any) -> None:
    answer = program.ask("POST", "/api/updates/schedule", 422, {**SCHEDULE, field: value})
    assert answer["code"] == "REQUEST_CONTENT"
    assert agent.did("schedule") == []


@pytest.mark.parametrize("path", ["/api/updates/rollback", RESTORE])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("confirm", value) for value in NO_VERSION),
        *(("password", value) for value in (*NO_TEXT, "", "x" * 201, "\ud800")),
        *((name, "x") for name in ("name", "force")),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_going_back_that_is_not_understood(
    program: Program, agent: FakeAgent, path: str, field: str, value: Any
) -> None:
    answer = program.ask("POST", path, 422, {**BACK, field: value})
    assert answer["code"] == "REQUEST_CONTENT"
    assert PASSWORD not in str(answer)
    assert agent.did("rollback") == agent.did("restore") == []


@pytest.mark.parametrize("name", ["updateId", "scheduledFor"])
def test_a_schedule_without_a_field(program: Program, name: str) -> None:
    body = {key: value for key, value in SCHEDULE.items() if key != name}
    answer = program.ask("POST", "/api/updates/schedule", 422, body)
    assert (answer["code"], name in answer["detail"]) == ("REQUEST_CONTENT", True)


@pytest.mark.parametrize(
    ("raw", "kind", "code", "status"),
    [
        (b"", "application/json", "REQUEST_CONTENT", 422),
        (b"{", "application/json", "REQUEST_INVALID", 400),
        (b"\xff\xfe", "application/json", "REQUEST_INVALID", 400),
        (b"[" * 60_000, "application/json", "REQUEST_INVALID", 400),
        (b'{"updateId":' * 4000, "application/json", "REQUEST_INVALID", 400),
        (b'{"updateId": NaN, "scheduledFor": 1e999}', "application/json", "REQUEST_CONTENT", 422),
        (json.dumps(SCHEDULE).encode(), "text/plain", "REQUEST_TYPE", 415),
        (json.dumps(SCHEDULE).encode(), "", "REQUEST_TYPE", 415),
        (b"updateId=1.0.1&scheduledFor=tonight", "application/x-www-form-urlencoded", "REQUEST_TYPE", 415),
        (b" " * 70_000, "application/json", "REQUEST_TOO_LARGE", 413),
    ],
    ids=lambda value: repr(value)[:30],
)
@pytest.mark.parametrize("path", ["/api/updates/schedule", "/api/updates/rollback", RESTORE])
def test_what_is_no_json(
    program: Program, agent: FakeAgent, path: str, raw: bytes, kind: str, code: str, status: int
) -> None:
    assert program.ask("POST", path, status, data=raw, content_type=kind)["code"] == code
    assert agent.did("schedule") == agent.did("rollback") == agent.did("restore") == []


@pytest.mark.parametrize(
    ("at", "code"),
    [
        ("2020-01-01T22:00", "SCHEDULE_PAST"),
        ("2026-11-27T11:59", "SCHEDULE_PAST"),
        ("2026-11-27T11:30+01:00", "SCHEDULE_PAST"),
        ("2027-03-28T02:30", "SCHEDULE_TIME"),
        ("2026-02-30T22:00", "SCHEDULE_TIME"),
        ("2028-01-01T22:00", "SCHEDULE_TIME"),
        ("0000-01-01T22:00", "SCHEDULE_TIME"),
        ("0001-01-01T00:00+23:59", "SCHEDULE_TIME"),
        ("9999-12-31T23:59:59-23:59", "SCHEDULE_TIME"),
    ],
)
def test_times_that_cannot_be(real_times: Program, at: str, code: str) -> None:
    answer = real_times.ask("POST", "/api/updates/schedule", 422, {**SCHEDULE, "scheduledFor": at})
    assert answer["code"] == code


@pytest.mark.parametrize(
    ("at", "warned"),
    [("2026-11-27T22:00Z", 0), ("2027-03-28T03:30", 0), ("2027-10-31T02:30", 1), ("2027-10-31T02:30+01:00", 0)],
)
def test_times_around_a_change_of_the_clocks(real_times: Program, at: str, warned: int) -> None:
    answer = real_times.ask("POST", "/api/updates/schedule", 202, {**SCHEDULE, "scheduledFor": at})
    assert len(answer["warnings"]) == warned


@pytest.fixture
def real_times(program: Program, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> Program:
    """A school in Berlin, at noon of 27 November 2026, whose agent reckons with times as it does."""
    rules = parse_schedule(Fields({"time_zone": "Europe/Berlin"}))

    def schedule(at: str, version: str, **_: None) -> dict[str, Any]:
        _, cautions = chosen_time(rules, at, datetime(2026, 11, 27, 11, 0, tzinfo=UTC))
        return {"schedule": {"id": 3}, "warnings": [caution.as_dict() for caution in cautions]}

    monkeypatch.setattr(agent, "_schedule", schedule)
    return program


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
