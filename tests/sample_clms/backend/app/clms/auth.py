# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, g, request
from werkzeug.exceptions import Unauthorized

from . import answers
from .database import one, transaction
from .security import TOKEN_SECONDS, make_token, password_fits
from .tables import Field, Table

blueprint = Blueprint("auth", __name__)

_LOGIN = Table("login", (Field("username", 64, required=True), Field("password", 255, required=True)))


@blueprint.post("/api/auth/login")
def login() -> Any:
    """Exchange a name and a password for an access token."""
    given = _LOGIN.read(request.get_json())
    with transaction(g.config.database) as cursor:
        user = one(cursor, "SELECT id, username, role, password_hash FROM users WHERE username = %s", given["username"])
    if user is None or not password_fits(str(given["password"]), user.pop("password_hash")):
        raise Unauthorized("The user name or the password is wrong.")
    token = make_token(g.config.jwt_secret, user)
    return answers.data({"accessToken": token, "expiresIn": TOKEN_SECONDS, "user": user})
