# SPDX-License-Identifier: GPL-3.0-or-later
"""Password hashes and access tokens, with the standard library."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from typing import Any

_COST = {"n": 2**14, "r": 8, "p": 1}
TOKEN_SECONDS = 12 * 3600


def hash_password(password: str) -> str:
    """``scrypt$salt$hash``, with a salt of its own each time."""
    salt = os.urandom(16)
    return f"scrypt${salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, **_COST).hex()}"


def password_fits(password: str, stored: str) -> bool:
    """Whether ``stored`` was made from ``password``."""
    scheme, salt, wanted = stored.split("$")
    found = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), **_COST)
    return scheme == "scrypt" and hmac.compare_digest(found, bytes.fromhex(wanted))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _signature(secret: bytes, signed: str) -> str:
    return _encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())


def make_token(secret: bytes, user: dict[str, Any]) -> str:
    """A JSON Web Token (HS256) that names ``user`` for :data:`TOKEN_SECONDS`."""
    claims = {**user, "exp": int(time.time()) + TOKEN_SECONDS}
    signed = f"{_encode(json.dumps({'alg': 'HS256', 'typ': 'JWT'}).encode())}.{_encode(json.dumps(claims).encode())}"
    return f"{signed}.{_signature(secret, signed)}"


def read_token(secret: bytes, token: str) -> dict[str, Any] | None:
    """The claims of a token that we made and that has not run out, else None."""
    signed, _, signature = token.rpartition(".")
    # bytes, because compare_digest refuses text that is not ASCII
    if not hmac.compare_digest(_signature(secret, signed).encode(), signature.encode()):
        return None
    claims: dict[str, Any] = json.loads(_decode(signed.partition(".")[2]))
    return claims if claims["exp"] > time.time() else None
