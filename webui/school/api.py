# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of updates: the addresses and shapes of the original design, section 3.1, and their progress."""

from __future__ import annotations

import time
from typing import Any

from flask import Response
from flask_login import current_user

from . import updates
from .agent import agent
from .api_blueprint import blueprint as blueprint
from .api_blueprint import problems
from .once import once
from .schemas import (
    Accepted,
    CheckAnswer,
    Enforcement,
    Event,
    EventsBefore,
    GoBackBody,
    Progress,
    ScheduleBody,
    SystemUpdate,
    UpdateInfo,
)
from .watch import BEGIN_SECONDS, EVENT_STREAM, event_stream


@blueprint.route("/updates/check", methods=["GET"])
@blueprint.response(200, CheckAnswer)
@problems(409, 502)
def check() -> dict[str, Any]:
    """Ask the vendor for updates."""
    return agent().ask("check")


@blueprint.route("/updates/latest", methods=["GET"])
@blueprint.response(200, UpdateInfo)
@problems(404, 502)
def latest() -> dict[str, Any]:
    """The newest release that this school knows of."""
    info: dict[str, Any] = agent().ask("release")["info"]
    return info


@blueprint.route("/updates/schedule", methods=["POST"])
@blueprint.arguments(ScheduleBody)
@blueprint.response(202, Accepted)
@problems(404, 409, 413, 415, 422, 502)
@once(blueprint)
def schedule(content: dict[str, Any]) -> dict[str, Any]:
    """Install a release now, or at a time."""
    version, at, place = content["updateId"], content["scheduledFor"], content["backupLocation"]
    if at == "now":
        before = agent().ask("status")["last_update"]
        updates.check_installable(agent(), version)
        agent().ask("update", version=version, backup_location=place)
        begun = _begun(before and before["id"])
        return {"success": True, "warnings": [], **({"updateId": begun} if begun else {})}
    answer = agent().ask("schedule", at=at, version=version, backup_location=place)
    warnings = [warning["message"] for warning in answer["warnings"]]
    return {"success": True, "updateId": f"schedule-{answer['schedule']['id']}", "warnings": warnings}


def _begun(before: int | None) -> str | None:
    """The id of the run that has just been asked for: it is in the journal a moment later, and may have ended by then.

    :param before: number of the newest run of before
    """
    deadline = time.monotonic() + BEGIN_SECONDS
    while True:
        status = agent().ask("status")
        for run in (status["running"], status["last_update"]):
            if run is not None and run["id"] != before:
                return f"run-{run['id']}"
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.25)


@blueprint.route("/updates/status/<update_id>", methods=["GET"])
@blueprint.response(200, SystemUpdate)
@problems(404)
def status(update_id: str) -> dict[str, Any]:
    """One update."""
    return updates.update(agent(), update_id)


@blueprint.route("/updates/history", methods=["GET"])
@blueprint.response(200, SystemUpdate(many=True))
@problems()
def history() -> list[dict[str, Any]]:
    """All updates, the newest first."""
    return updates.updates(agent())


@blueprint.route("/updates/cancel/<update_id>", methods=["DELETE"])
@blueprint.response(200, Accepted)
@problems(404, 409)
def cancel(update_id: str) -> dict[str, Any]:
    """Do not do a scheduled update after all, or stop one that goes on where that can still be done."""
    kind, number = updates.parse_id(update_id)
    run = number if kind == "run" else _run_of(number)
    if run is None:
        agent().ask("cancel", schedule=number)
    else:
        agent().ask("cancel", run=run)
    return {"success": True, "updateId": update_id}


def _run_of(schedule: int) -> int | None:
    """The run of a scheduled update that has begun; it is in the journal a moment later."""
    deadline = time.monotonic() + BEGIN_SECONDS
    while True:
        entries = agent().ask("list", what="schedule")["schedules"]
        started = [one for one in entries if one["id"] == schedule and one["state"] == "STARTED"]
        if not started or started[0]["run"] is not None or time.monotonic() > deadline:
            return started[0]["run"] if started else None
        time.sleep(0.2)


@blueprint.route("/updates/progress", methods=["GET"])
@blueprint.response(200, Progress, content_type=EVENT_STREAM, description="One 'data:' line for each change")
@problems()
def progress() -> Response:
    """What goes on, as server-sent events: right now, and then whenever something has changed."""
    return event_stream("api", lambda now: now)


@blueprint.route("/updates/rollback", methods=["POST"])
@blueprint.arguments(GoBackBody)
@blueprint.response(202, Accepted)
@problems(409, 413, 415, 422)
@once(blueprint)
def rollback(content: dict[str, Any]) -> dict[str, Any]:
    """Go back to the version before the last update."""
    agent().ask("rollback", confirm=content["confirm"], name=current_user.name, password=content["password"])
    return {"success": True}


@blueprint.route("/enforcement", methods=["GET"])
@blueprint.response(200, Enforcement)
@problems()
def enforcement() -> dict[str, Any]:
    """Whether a critical update is forced, until when it can wait, and whether CLMS is blocked."""
    return _enforcement(agent().ask("enforcement"))


@blueprint.route("/enforcement/postpone", methods=["POST"])
@blueprint.response(200, Enforcement)
@problems(409, 413, 415, 422)
@once(blueprint)
def postpone() -> dict[str, Any]:
    """Put the forced update off by a day; that can be done three times."""
    return _enforcement(agent().ask("postpone"))


def _enforcement(found: dict[str, Any]) -> dict[str, Any]:
    forced = found["forced"]
    named = {
        "updateId": forced["version"],
        "deadline": forced["deadline"],
        "overdue": forced["overdue"],
        "postponementsLeft": forced["postponements_left"],
        "liftedUntil": forced["lifted_until"],
    } if forced else None  # fmt: skip
    return {"blocked": found["blocked"], "forced": named}


@blueprint.route("/events", methods=["GET"])
@blueprint.arguments(EventsBefore, location="query")
@blueprint.response(200, Event(many=True))
@problems(400)
def events(query: dict[str, Any]) -> list[dict[str, Any]]:
    """What happened, the newest first."""
    schedules = agent().ask("list", what="schedule")["schedules"]
    return [
        {
            "id": str(event["id"]),
            "type": event["type"],
            "updateId": updates.id_of_event(event, schedules),
            "timestamp": event["at"],
            "message": event["message"],
        }
        for event in agent().ask("events", before=query["before"])["events"]
    ]
