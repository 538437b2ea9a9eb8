# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the settings: what a school wants of updates, where they come from, and who is told."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from flask import Blueprint, flash, redirect, render_template, url_for
from flask_login import current_user, login_required
from werkzeug.wrappers import Response

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from . import forms
from .agent import agent
from .language import gettext as _
from .said import said
from .texts import SETTINGS

blueprint = Blueprint("settings", __name__, url_prefix="/settings")

_LISTS = ("school_hours", "quiet_days")
_SECRETS = ("api_key", "notify", "registry_login")
_MAY_BE_EMPTY = ("contact", "external_backup_path")


@blueprint.before_request
@login_required
def _signed_in() -> None:
    """For people who are signed in."""


@blueprint.route("", methods=["GET", "POST"])
def settings() -> Response | str:
    """What can be set, and what of it is to be another."""
    found = agent().ask("settings")
    form = forms.Settings(data=_shown(found))
    zones = form.time_zone.choices
    if (zone := found["settings"]["time_zone"]) not in zones:  # one with an old name stays what it is
        form.time_zone.choices = [zone, *zones]
    stamp = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
    if not form.is_submitted():
        form.seen.data = form.seen.data or stamp  # where it is shown as it was filled in, that was before
    elif form.validate() and form.seen.data != stamp:
        form.seen.data = stamp
        form.password.errors = [
            _("Somebody else has changed the settings meanwhile. Look through them and save again.")
        ]
    elif not form.errors:
        try:
            wanted = _wanted(form, found["registry_user"])
            done = agent().ask("change", settings=wanted, name=current_user.name, password=form.password.data)
        except ClmsError as error:
            form.refuse(error)
        else:
            flash(_("The settings were saved.") if done["changed"] else _("Nothing was changed."))
            return redirect(url_for("settings.settings"))
    return render_template("settings.html", form=form, found=found)


@blueprint.post("/try-notification")
def try_notification() -> Response:
    """Tell everybody who is told what happens here that this is a test."""
    try:
        agent().ask("notify")
    except ClmsError as error:
        flash(said(error).both, "error")
    else:
        flash(_("A test notification was sent to every address."))
    return redirect(url_for("settings.settings"))


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    values = found["settings"]
    return {
        **values,
        **{name: "\n".join(values[name]) for name in _LISTS},
        "registry_user": found["registry_user"],
    }


def _wanted(form: forms.Settings, user: str | None) -> dict[str, Any]:
    """The request's ``settings``; secrets that were left empty stay as they are.

    :param user: the name under which the registry knows this school until now
    """
    data = form.data
    wanted = {name: data[name] for name in SETTINGS if name not in _SECRETS}
    wanted |= {name: [line.strip() for line in data[name].splitlines() if line.strip()] for name in _LISTS}
    wanted |= {name: (data[name] or "").strip() or None for name in _MAY_BE_EMPTY}
    if data["api_key"]:
        wanted["api_key"] = data["api_key"]
    login = {"username": data["registry_user"] or "", "password": data["registry_password"] or ""}
    if login["password"] or login["username"] != (user or ""):
        wanted["registry_login"] = login
    if data["notify"] or data["notify_nobody"]:
        wanted["notify"] = "" if data["notify_nobody"] else data["notify"]
    return wanted
