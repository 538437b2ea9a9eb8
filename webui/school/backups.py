# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of backups, and of going back."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, flash, redirect, render_template, url_for
from flask_login import current_user, login_required
from werkzeug.wrappers import Response as AnyResponse

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from . import forms
from .agent import agent
from .language import gettext as _
from .language import lazy_gettext
from .said import said
from .watch import begin, current

blueprint = Blueprint("backups", __name__)
TAR = "application/x-tar"


@blueprint.before_request
@login_required
def _signed_in() -> None:
    """For people who are signed in."""


@blueprint.get("/backups")
def backups() -> str:
    """The backups on this server."""
    found = agent().ask("list", what="backups")["backups"]
    return render_template("backups.html", backups=found, facts=agent().ask("school"), now=current())


@blueprint.post("/backups")
def back_up() -> AnyResponse:
    """Make a backup now."""
    return begin("backup")


@blueprint.post("/backups/<backup>/verify")
def verify(backup: str) -> AnyResponse:
    """Look whether a backup is whole."""
    return _with_backup("verify", backup, _("The backup is whole, and opens with the key of this server."))


@blueprint.post("/backups/<backup>/copy")
def copy(backup: str) -> AnyResponse:
    """Copy a backup to the external drive."""
    return _with_backup("copy", backup, _("The backup was copied to the external drive."))


def _with_backup(verb: str, backup: str, done: str) -> AnyResponse:
    try:
        agent().ask(verb, backup=backup)
    except ClmsError as error:
        flash(said(error).both, "error")
    else:
        flash(done)
    return redirect(url_for("backups.backups"))


@blueprint.get("/backups/<backup>/download")
def download(backup: str) -> Response:
    """Take a backup away; it stays encrypted."""
    return handed_over(backup)


def handed_over(backup: str) -> Response:
    """A backup as one file, as the agent hands it over.

    :raises ClmsError: BACKUP_UNKNOWN, BACKUP_TAMPERED or SECRET_FILE
    """
    answer, content = agent().fetch("download", backup=backup)
    headers = {"Content-Disposition": f"attachment; filename={answer['name']}", "Content-Length": str(answer["bytes"])}
    return Response(content, mimetype=TAR, headers=headers)


@blueprint.route("/backups/<backup>/restore", methods=["GET", "POST"])
def restore(backup: str) -> AnyResponse | str:
    """Put a backup in place of the current data."""
    found = [one for one in agent().ask("list", what="backups")["backups"] if one["id"] == backup]
    if not found:
        raise ClmsError("BACKUP_UNKNOWN", backup=backup)
    form = forms.GoBack()
    if form.validate_on_submit() and (begun := _goes_back(form, found[0]["version"], "restore", backup=backup)):
        return begun
    return render_template("restore.html", form=form, backup=found[0], loss=_loss(backup))


@blueprint.route("/rollback", methods=["GET", "POST"])
def rollback() -> AnyResponse | str:
    """Go back to the version before."""
    status, loss = agent().ask("status"), _loss()
    runs = agent().ask("list", what="history")["history"]
    made = [run for run in runs if run["outcome"] == "COMPLETED" and run["version"] == status["current_version"]]
    updated = next((run for run in made if run["from_version"]), None)
    version = loss.get("version") or (updated["from_version"] if updated and _has_failed(loss) else None)
    if version is None or updated is None:
        raise ClmsError("ROLLBACK_UNAVAILABLE", detail=lazy_gettext("no earlier version is kept on this server"))
    form = forms.GoBack()
    if form.validate_on_submit() and (begun := _goes_back(form, version, "rollback")):
        return begun
    return render_template("rollback.html", form=form, updated=updated, version=version, loss=loss)


def _has_failed(loss: dict[str, Any]) -> bool:
    """Whether nobody knows what going back would lose, for another reason than that there is nothing to go back to."""
    return "error" in loss and loss["error"].code != "ROLLBACK_UNAVAILABLE"


def _loss(backup: str | None = None) -> dict[str, Any]:
    """What going back would lose right now, or ``error``, which is in the way of nothing."""
    try:
        return agent().ask("loss", backup=backup)
    except ClmsError as error:
        return {"error": error}


def _goes_back(form: forms.GoBack, version: str, verb: str, **fields: str) -> AnyResponse | None:
    """Ask for it, with what was typed; None where that was refused."""
    if form.confirm.data.strip() != version:
        form.confirm.errors = [*form.confirm.errors, _("Type %(version)s to go on.", version=version)]
        return None
    try:
        return begin(verb, confirm=version, name=current_user.name, password=form.password.data, **fields)
    except ClmsError as error:
        form.refuse(error)
        return None
