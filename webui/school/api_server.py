# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of the server: its health and settings, files of the vendor, and backups."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_login import current_user

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .agent import agent
from .api_blueprint import FORM, blueprint, problems
from .backups import TAR, handed_over
from .once import once
from .schemas import (
    FILE,
    Accepted,
    Backup,
    Changed,
    Done,
    GoBackBody,
    Health,
    SettingsAnswer,
    SettingsBody,
    TakenIn,
    VendorFile,
)
from .uploads import take_in

_FILE_BODY = {"type": "object", "properties": {"file": FILE}, "required": ["file"]}


@blueprint.route("/health", methods=["GET"])
@blueprint.response(200, Health)
@problems()
def health() -> dict[str, Any]:
    """Whether all is well on this server, and what to do about what is not."""
    return agent().ask("health")


@blueprint.route("/notifications/test", methods=["POST"])
@blueprint.response(200, Done)
@problems(409, 413, 415, 422, 502)
@once(blueprint)
def try_notification() -> dict[str, Any]:
    """Tell everybody who is told what happens here that this is a test."""
    agent().ask("notify")
    return {"success": True}


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
    return agent().ask("change", settings=content["settings"], name=current_user.name, password=password)


@blueprint.route("/files", methods=["GET"])
@blueprint.response(200, VendorFile(many=True))
@problems()
def files() -> list[dict[str, Any]]:
    """The files of the vendor on this server, with which one can update without the network."""
    found: list[dict[str, Any]] = agent().ask("list", what="files")["files"]
    return found


@blueprint.route("/files", methods=["POST"])
@blueprint.doc(requestBody={"required": True, "content": {FORM: {"schema": _FILE_BODY}}})
@blueprint.response(201, TakenIn)
@problems(413, 415, 422, 502, 507)
def upload() -> dict[str, Any]:
    """Take in a file of the vendor, with which one can update without the network; its signature is verified."""
    return {"version": take_in()}


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
    confirm, password = content["confirm"], content["password"]
    agent().ask("restore", backup=_known(backup), confirm=confirm, name=current_user.name, password=password)
    return {"success": True}


@blueprint.route("/backups/<backup>/verify", methods=["POST"])
@blueprint.response(200, Done)
@problems(404, 409, 413, 415, 422)
@once(blueprint)
def verify(backup: str) -> dict[str, Any]:
    """Look whether a backup is whole, and opens with the key of this server."""
    agent().ask("verify", backup=_known(backup))
    return {"success": True}


@blueprint.route("/backups/<backup>/copy", methods=["POST"])
@blueprint.response(200, Done)
@problems(404, 409, 413, 415, 422, 507)
@once(blueprint)
def copy(backup: str) -> dict[str, Any]:
    """Copy a backup to the external drive; one that is there already stays as it is."""
    agent().ask("copy", backup=_known(backup))
    return {"success": True}


@blueprint.route("/backups/<backup>/download", methods=["GET"])
@blueprint.response(200, FILE, content_type=TAR, description="The backup, encrypted")
@problems(404, 409)
def download(backup: str) -> Response:
    """Take a backup away; it stays encrypted."""
    return handed_over(_known(backup))


def _known(backup: str) -> str:
    """:raises ClmsError: BACKUP_UNKNOWN"""
    if backup not in {one["id"] for one in agent().ask("list", what="backups")["backups"]}:
        raise ClmsError("BACKUP_UNKNOWN", backup=backup[:120])
    return backup
