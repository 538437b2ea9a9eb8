# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of what was: runs, as a list, one by one and as a table, and everything else that happened."""

from __future__ import annotations

import csv
import io
from itertools import islice
from typing import Any

from babel.numbers import get_decimal_symbol
from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask_login import login_required
from werkzeug.wrappers import Response as AnyResponse

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from . import language
from .agent import agent
from .texts import KINDS
from .updates import all_runs, number_in, one_run
from .watch import current

blueprint = Blueprint("history", __name__)
_ON_A_PAGE = 50
_COLUMNS = (
    *("id", "kind", "version", "from_version", "status", "outcome", "started_at", "finished_at", "closed_seconds"),
    *("error_code", "message", "remedy"),
)
"""of the table of all runs; see :func:`.status.describe_run`"""


@blueprint.before_request
@login_required
def _signed_in() -> None:
    """For people who are signed in."""


@blueprint.get("/history")
def history() -> str:
    """What was done here, or some of it, the newest first; older runs are on pages of their own."""
    wanted = _wanted()
    before = request.args.get("before", None, number_in)
    found = (run for run in all_runs(agent(), before) if _is(run, wanted))
    shown = list(islice(found, _ON_A_PAGE))
    more = next(found, None) is not None
    return render_template("history.html", runs=shown, kinds=list(KINDS), more=more, **wanted)


def _wanted() -> dict[str, str]:
    return {name: request.args.get(name, "") for name in ("kind", "state")}


def _is(run: dict[str, Any], wanted: dict[str, str]) -> bool:
    return wanted["kind"] in ("", run["kind"]) and wanted["state"] in ("", run["status"])


@blueprint.get("/history.csv")
def table() -> Response:
    """The same as a table, for a spreadsheet: Excel wants to be told that it is UTF-8, and separates with a semicolon
    where numbers have a comma.
    """
    sink = io.StringIO()
    sink.write("\ufeff")
    separator = ";" if get_decimal_symbol(language.current()) == "," else ","
    rows = csv.DictWriter(sink, _COLUMNS, extrasaction="ignore", delimiter=separator)
    rows.writeheader()
    wanted = _wanted()
    for run in all_runs(agent()):
        if _is(run, wanted):
            rows.writerow({name: _cell(run[name]) for name in _COLUMNS})
    headers = {"Content-Disposition": "attachment; filename=clms-history.csv"}
    return Response(sink.getvalue(), mimetype="text/csv", headers=headers)


def _cell(value: object) -> str:
    """A text that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


@blueprint.get("/history/<int:number>")
def run(number: int) -> AnyResponse | str:
    """How one run went; one that still goes on is watched."""
    found, now = one_run(agent(), number), current()
    if now["running"] and now["running"]["id"] == number:
        return redirect(url_for("pages.watch"))
    release = _release(found)
    completed = found["outcome"] == "COMPLETED"
    return render_template(
        "run.html",
        run=found,
        now=now,
        changelog=release["info"]["changelog"] if release and completed else None,
        # what was installed meanwhile, or is older than what runs by now, is not to be tried again
        again=release is not None and not completed and not release["blocked"] and not now["running"],
    )


def _release(run: dict[str, Any]) -> dict[str, Any] | None:
    """The release of an update, as far as it is still known."""
    if run["kind"] not in ("install", "update") or run["version"] is None:
        return None
    try:
        return agent().ask("release", version=run["version"])
    except ClmsError:
        return None


@blueprint.get("/events")
def events() -> str:
    """Everything that happened, the newest first; older events are on pages of their own."""
    shown = agent().ask("events", before=request.args.get("before", None, number_in))["events"]
    more = bool(shown) and bool(agent().ask("events", before=shown[-1]["id"])["events"])
    return render_template("events.html", events=shown, more=more)
