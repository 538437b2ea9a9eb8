# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of the page: the addresses and shapes of the original design, section 3.1, and what the page shows beside."""

from __future__ import annotations

import time
from typing import Any

from flask import g, request
from flask_login import current_user
from flask_smorest import Blueprint

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.common import openapi

from . import tokens, updates
from .agent import agent
from .once import once
from .schemas import (
    Accepted,
    Backup,
    Changed,
    CheckAnswer,
    Enforcement,
    Event,
    GoBackBody,
    ScheduleBody,
    SettingsAnswer,
    SettingsBody,
    SystemUpdate,
    UpdateInfo,
    VendorFile,
)

SECURITY_SCHEMES = {
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-clms-update",
        "description": "of who is signed in; what changes something needs the header X-CSRFToken too",
    },
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "made on the server with 'clms-update account --token NAME'; counts before a session",
    },
}
_BEGIN_SECONDS = 5.0
_ALWAYS = (400, 401, 429, 500, 503)

blueprint = Blueprint("updates", __name__, url_prefix="/api", description="Updates of CLMS at this school")


def problems(*statuses: int) -> Any:
    """Name the problem documents with which a view may answer."""
    return openapi.problems(blueprint, *statuses, always=_ALWAYS)


@blueprint.before_request
def _signed_in() -> None:
    """For programs with a token and people who are signed in; of a request with both, the token counts."""
    token = tokens.sent()
    if token is not None:
        g._login_user = tokens.whose(token)
    elif not current_user.is_authenticated:
        raise ClmsError("SESSION_MISSING")


@blueprint.before_request
def _json() -> None:
    """What comes as content is JSON; what is wrong in it is for the schemas to say."""
    if request.method in ("POST", "PATCH") and (request.content_length or request.mimetype):
        if not request.is_json:
            raise ClmsError("REQUEST_TYPE", wanted="application/json")
        try:
            request.get_json(silent=True)
        except RecursionError:
            raise ClmsError("REQUEST_INVALID", detail="its content is nested too deep") from None


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
    deadline = time.monotonic() + _BEGIN_SECONDS
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
    """The run of a scheduled update that has begun."""
    for entry in agent().ask("list", what="schedule")["schedules"]:
        if entry["id"] == schedule and entry["state"] == "STARTED":
            return entry["run"]  # type: ignore[no-any-return]
    return None


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


@blueprint.route("/settings", methods=["GET"])
@blueprint.response(200, SettingsAnswer)
@problems()
def settings() -> dict[str, Any]:
    """What is set, and which secrets there are."""
    return agent().ask("settings")


@blueprint.route("/settings", methods=["PATCH"])
@blueprint.arguments(SettingsBody)
@blueprint.response(200, Changed)
@problems(409, 413, 415, 422)
def change_settings(content: dict[str, Any]) -> dict[str, Any]:
    """Change settings, all of them or none."""
    password = content["password"]
    answer = agent().ask("change", settings=content["settings"], name=current_user.name, password=password)
    agent().forget()
    return answer


@blueprint.route("/files", methods=["GET"])
@blueprint.response(200, VendorFile(many=True))
@problems()
def files() -> list[dict[str, Any]]:
    """The files of the vendor on this server, with which one can update without the network."""
    found: list[dict[str, Any]] = agent().ask("list", what="files")["files"]
    return found


@blueprint.route("/events", methods=["GET"])
@blueprint.response(200, Event(many=True))
@problems()
def events() -> list[dict[str, Any]]:
    """What happened, the newest first."""
    return [
        {
            "id": event["id"],
            "type": event["type"],
            "updateId": f"run-{event['run']}" if event.get("run") else None,
            "timestamp": event["at"],
            "message": event["message"],
        }
        for event in agent().ask("events")["events"]
    ]


@blueprint.route("/backups", methods=["GET"])
@blueprint.response(200, Backup(many=True))
@problems()
def backups() -> list[dict[str, Any]]:
    """The backups on this server, the newest first."""
    found: list[dict[str, Any]] = agent().ask("list", what="backups")["backups"]
    return found


@blueprint.route("/backups", methods=["POST"])
@blueprint.response(202, Accepted)
@problems(409, 413, 415, 422)
@once(blueprint)
def back_up() -> dict[str, Any]:
    """Make a backup now."""
    agent().ask("backup")
    return {"success": True}


@blueprint.route("/backups/<backup>/restore", methods=["POST"])
@blueprint.arguments(GoBackBody)
@blueprint.response(202, Accepted)
@problems(404, 409, 413, 415, 422)
@once(blueprint)
def restore(content: dict[str, Any], backup: str) -> dict[str, Any]:
    """Put a backup in place of the current data."""
    if backup not in {one["id"] for one in agent().ask("list", what="backups")["backups"]}:
        raise ClmsError("BACKUP_UNKNOWN", backup=backup[:120])
    agent().ask(
        "restore", backup=backup, confirm=content["confirm"], name=current_user.name, password=content["password"]
    )
    return {"success": True}
