# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing in and out, the first account, another password."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_login import current_user, login_required
from werkzeug.wrappers import Response

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from . import forms, kept
from .agent import agent
from .language import gettext as _
from .people import begin_session, end_session
from .places import inside
from .said import said

blueprint = Blueprint("signing_in", __name__)


@blueprint.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> Response | str:
    """Sign in; where nobody can yet, the first account is made."""
    if not agent().ask_kept("accounts")["accounts"]:
        return redirect(url_for("signing_in.set_up"))
    typed = kept.handed_on()
    if current_user.is_authenticated:
        return _go_on(typed)
    form = forms.SignIn()
    # a page that has kept what was typed brings only that
    if form.name.name in request.form and form.validate_on_submit():
        try:
            person = agent().ask("sign_in", name=form.name.data, password=form.password.data)
        except ClmsError as error:
            form.refuse(error)
        else:
            begin_session(person["name"], person["generation"])
            return _go_on(typed)
    return render_template("sign_in.html", form=form, kept=typed)


@blueprint.route("/set-up", methods=["GET", "POST"])
def set_up() -> Response | str:
    """Make the first account."""
    if agent().ask_kept("accounts")["accounts"]:
        return redirect(url_for("signing_in.sign_in"))
    form = forms.SetUp()
    if form.validate_on_submit() and forms.typed_twice(form):
        try:
            person = agent().ask("set_up", code=form.code.data, name=form.name.data, password=form.new.data)
        except ClmsError as error:
            if error.code == "ACCOUNT_EXISTS":  # pressed twice, or somebody else was faster
                flash(said(error).both, "warning")
                return redirect(url_for("signing_in.sign_in"))
            form.refuse(error)
        else:
            begin_session(person["name"], person["generation"])
            return redirect(url_for("pages.overview"))
    return render_template("set_up.html", form=form)


@blueprint.route("/password", methods=["GET", "POST"])
@login_required
def password() -> Response | str:
    """Choose another password; every other session of this account ends."""
    form = forms.NewPassword()
    if form.validate_on_submit() and forms.typed_twice(form):
        try:
            person = agent().ask("password", name=current_user.name, password=form.password.data, new=form.new.data)
        except ClmsError as error:
            form.refuse(error)
        else:
            begin_session(person["name"], person["generation"])
            flash(_("Your password was changed. Wherever else you were signed in, you are not any more."))
            return redirect(url_for("pages.overview"))
    return render_template("password.html", form=form)


@blueprint.post("/sign-out")
def sign_out() -> Response:
    """Sign out."""
    end_session()
    return redirect(url_for("signing_in.sign_in"))


def _go_on(typed: kept.Typed) -> Response | str:
    """To where a person wanted to go, with what they have typed."""
    where = inside(request.args.get("next", ""))
    return kept.go_on(where, typed) if typed else redirect(where)
