# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the health: whether all is well on this server, and a button for what the page can mend."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, url_for
from flask_login import login_required
from werkzeug.wrappers import Response

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .agent import agent
from .language import N_
from .said import check_answer, said
from .watch import begin

blueprint = Blueprint("health", __name__, url_prefix="/health")

REPAIRS = {
    "check": N_("Check for updates"),
    "backup": N_("Make a backup now"),
    "recover": N_("Put CLMS in order"),
    "update": N_("Update now"),
}
"""What the agent can be asked for -> what the button says; see ``agent/doctor.py``."""
_RUNS = ("backup", "recover", "update")


@blueprint.before_request
@login_required
def _signed_in() -> None:
    """For people who are signed in."""


@blueprint.get("")
def health() -> str:
    """Whether all is well, and what to do about each problem."""
    return render_template("health.html", found=agent().ask("health"), repairs=REPAIRS)


@blueprint.post("/<any(check, backup, recover, update):repair>")
def mend(repair: str) -> Response:
    """Mend a problem."""
    try:
        if repair in _RUNS:
            return begin(repair)
        answer: dict[str, Any] = agent().ask(repair)
    except ClmsError as error:
        flash(said(error).both, "error")
        return redirect(url_for("health.health"))
    flash(check_answer(answer))
    return redirect(url_for("health.health"))
