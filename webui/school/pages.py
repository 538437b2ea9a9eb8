# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of updates: what runs, what is new, when it comes, how it goes, and files that people bring."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, current_app, flash, redirect, render_template, request, session, url_for
from flask_babel import force_locale
from flask_login import login_required
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS, events_of

from . import forms, language
from .agent import agent
from .failures import status_of
from .language import gettext as _
from .said import caution, check_answer, said, told
from .texts import moment
from .updates import check_installable, number_in
from .uploads import take_in
from .watch import BEGIN_SECONDS, begin, current, event_stream, progress

blueprint = Blueprint("pages", __name__)
_FAILED = {events_of(kind).failed for kind in KINDS}
"""types of events that say that something a person asks for did not work"""
_HIDDEN = "hidden_version"
"""in the session: the version whose banner a person does not want to see any more"""


@blueprint.before_request
@login_required
def _signed_in() -> None:
    """All of them are for people who are signed in."""


# what runs, and what is new


@blueprint.get("/")
def overview() -> str:
    """What runs, what is new, what is planned."""
    status, schedule = agent().ask("status"), agent().ask("list", what="schedule")
    news, trouble = None, None
    try:
        news = _newest(status)
    except ClmsError as error:  # what runs here is shown all the same, and the button that asks anew
        trouble = error
    return render_template(
        "overview.html",
        status=status,
        now=progress(status),
        news=news,
        trouble=trouble,
        planned=_planned(schedule),
        enforcement=agent().ask_kept("enforcement"),
        hidden=session.get(_HIDDEN),
        checked=schedule["checked_at"],
    )


def _newest(status: dict[str, Any]) -> dict[str, Any] | None:
    """The newest release, where it is not the one that runs."""
    try:
        release = agent().ask_kept("release")
    except ClmsError as error:
        if error.code != "RELEASE_UNKNOWN":
            raise
        return None
    known = (release["blocked"] or {}).get("code")
    return None if release["info"]["version"] == status["current_version"] or known == "RELEASE_OLDER" else release


def _planned(schedule: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in schedule["schedules"] if entry["state"] == "SCHEDULED"]


@blueprint.post("/check")
def check() -> AnyResponse:
    """Ask the vendor for news."""
    try:
        answer = agent().ask("check")
    except ClmsError as error:
        flash(said(error).both, "error")
    else:
        flash(check_answer(answer), "news" if answer["updateAvailable"] else "message")
        if answer["offline"]:
            flash(_("The vendor could not be asked.") + Markup(" ") + said(answer["offline"]).happened, "error")
    return redirect(url_for("pages.overview"))


@blueprint.post("/hide/<version>")
def hide(version: str) -> AnyResponse:
    """Do not show the banner for this version again."""
    if not agent().ask("release", version=version)["info"]["critical"]:
        session[_HIDDEN] = version
    return redirect(url_for("pages.overview"))


@blueprint.get("/release/<version>")
def release(version: str) -> str:
    """All that is known of a release."""
    found, forced = agent().ask("release", version=version), agent().ask("enforcement")["forced"]
    return render_template("release.html", release=found, forced=forced, now=current())


# when


@blueprint.route("/schedule/<version>", methods=["GET", "POST"])
def schedule(version: str) -> AnyResponse | str:
    """Choose when to update: now, or later."""
    found, facts = agent().ask("release", version=version), agent().ask("school")
    if found["blocked"]:  # the page of the release says why
        return redirect(url_for("pages.release", version=version))
    form = forms.Schedule()
    if not facts["external_backup"]:
        del form.backup_location
    if form.validate_on_submit():
        place = form.backup_location.data if form.backup_location else None
        try:
            if form.when.data == "now":
                return begin("update", version=version, backup_location=place)
            answer = agent().ask("schedule", at=form.chosen, version=version, backup_location=place)
        except ClmsError as error:
            form.refuse(error)
        else:
            due_at = answer["schedule"]["due_at"]
            flash(_("The update to version %(version)s begins on %(at)s.", version=version, at=moment(due_at)))
            for warning in answer["warnings"]:
                flash(caution(warning, due_at), "warning")
            return redirect(url_for("pages.overview"))
    return render_template(
        "schedule.html",
        form=form,
        release=found,
        facts=facts,
        planned=_planned(agent().ask("list", what="schedule")),
        now=current(),
    )


@blueprint.post("/schedule/<int:number>/cancel")
def cancel(number: int) -> AnyResponse:
    """Do not do a scheduled update after all."""
    try:
        agent().ask("cancel", schedule=number)
        flash(_("The update is not scheduled any more."))
    except ClmsError as error:
        if error.code != "SCHEDULE_UNKNOWN":
            raise
        flash(said(error).happened, "warning")  # pressed twice, or somebody else was faster
    return redirect(url_for("pages.overview"))


@blueprint.post("/begin/<version>")
def begin_forced(version: str) -> AnyResponse:
    """Begin the forced update at once: somebody has confirmed it."""
    check_installable(agent(), version)
    return begin("update", version=version)


@blueprint.post("/postpone")
def postpone() -> AnyResponse:
    """Put the forced update off once more."""
    forced = agent().ask("postpone", deadline=request.form.get("deadline"))["forced"]
    version, at = forced["version"], moment(forced["deadline"])
    flash(_("The update to version %(version)s was put off until %(at)s.", version=version, at=at))
    return redirect(url_for("pages.overview"))


# how it goes


@blueprint.get("/progress")
def watch() -> AnyResponse | str:
    """What goes on; it is kept up to date while somebody looks at it. What was asked for just now, ``since``, is in the
    journal a moment later, and when it has ended its result is shown.
    """
    now, since, begun = current(), request.args.get("since", None, int), False
    watched = request.args.get("run", None, number_in)
    if watched is not None and (not now["running"] or now["running"]["id"] != watched):
        return redirect(url_for("history.run", number=watched))
    if since is not None and not now["running"]:
        runs = agent().ask("list", what="history", limit=1)["history"]
        found = runs[0] if runs and datetime.fromisoformat(runs[0]["started_at"]).timestamp() >= since else None
        if found and found["finished_at"]:  # it has ended by now
            return redirect(url_for("history.run", number=found["id"]))
        if found:  # it has begun between these two questions
            now = current()
        begun = not now["running"] and since <= time.time() < since + BEGIN_SECONDS
        if not now["running"] and not begun:  # it was refused before there was a run, or there was nothing to do
            _tell_why_not(since)
            return redirect(url_for("history.history"))
    # without scripts, too, whoever watches comes to its result
    again = {"run": now["running"]["id"]} if now["running"] else {"since": since}
    return render_template("progress.html", now=now, begun=begun, again=again)


def _tell_why_not(since: int) -> None:
    """Say what came of something that was asked for and has never begun."""
    for event in agent().ask("events")["events"]:
        if event["type"] in _FAILED and datetime.fromisoformat(event["at"]).timestamp() >= since:
            flash(told(event), "error")
            return
    flash(_("It did not begin: there was nothing to do."))


@blueprint.get("/progress/stream")
def stream() -> Response:
    """The same, as server-sent events: a piece of the page whenever something has changed."""
    template, spoken = current_app.jinja_env.get_template("_progress.html"), language.current()

    def piece(now: dict[str, Any]) -> dict[str, Any]:
        run = now.get("running")
        with force_locale(spoken):  # the request is over by now
            html = template.render(now=now)
        shown = {"html": html, "running": run["id"] if run else None, "failed": "error" in now}
        return {**shown, "stoppable": bool(run and run["stoppable"])}

    return event_stream(f"page in {spoken}", piece)


@blueprint.post("/progress/cancel/<int:run>")
def stop(run: int) -> AnyResponse:
    """Stop a run at the next point at which that can be done."""
    try:
        agent().ask("cancel", run=run)
        flash(_("It stops at the next point at which that can be done; after CLMS was closed it goes on to its end."))
    except ClmsError as error:
        if error.code not in ("RUN_CLOSED", "RUN_UNKNOWN"):
            raise
        flash(said(error).both, "warning")  # the page was a moment old
    return redirect(url_for("pages.watch"))


# files of the vendor


@blueprint.get("/files")
def files() -> str:
    """The files with a release on this server."""
    return render_template("files.html", files=agent().ask("list", what="files")["files"], error=None)


@blueprint.post("/files")
def upload() -> AnyResponse | tuple[str, int]:
    """Take in a file that somebody has brought."""
    try:
        version = take_in()
    except ClmsError as error:
        status = status_of(error)[0]
        code = status if status == 507 else 422  # beside the field, whatever it is
        return render_template("files.html", files=agent().ask("list", what="files")["files"], error=error), code
    flash(_("Version %(version)s is on this server now; the vendor's signature was verified.", version=version))
    return redirect(url_for("pages.files"))
