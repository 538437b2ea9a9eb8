# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens with which programs use the page's API in the name of an account (decision record 0018).

Of a token ``clms_<id>_<secret>`` only its SHA-256 is kept, beside its account. A slow hash as for passwords would guard
nothing: the secret is 256 random bits, which nobody finds by trying, however fast; and each request asks for it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

ID = re.compile(r"[0-9a-f]{8}")
PAUSE = 0.5
"""seconds after which a wrong token is refused"""
_PAUSING = 4
"""so many refusals wait at the same time, or they would take the threads of the page from everybody else"""
_NAMES = ("id", "made", "sha256")


def make() -> tuple[str, dict[str, str]]:
    """A new token, and what is kept of it: ``id``, ``made`` and ``sha256``."""
    number = secrets.token_hex(4)  # never given twice, unlike a count: an old note must not revoke another one
    token = f"clms_{number}_{secrets.token_hex(32)}"
    return token, {"id": number, "made": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "sha256": _hash(token)}


def are_kept(kept: object) -> bool:
    """Whether this is a list of what :func:`make` makes."""
    return isinstance(kept, list) and all(
        isinstance(one, dict) and all(isinstance(one.get(name), str) for name in _NAMES) for one in kept
    )


def find(accounts: Mapping[str, Mapping[str, Any]], token: str) -> tuple[str, str] | None:
    """The account of a token, and the token's id."""
    wanted = _hash(token)
    for name, account in accounts.items():
        for one in account.get("tokens", []):
            if hmac.compare_digest(one["sha256"], wanted):
                return name, one["id"]
    return None


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Refusals:
    """What wrong tokens cost.

    Every token is looked at before this is asked, so whoever has a right one never waits for those who guess; nothing
    is counted by name or address, which would let anybody lock out anybody else behind the same proxy. What keeps
    tokens from being guessed is their length; the pause keeps guessing from being an occupation.
    """

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(_PAUSING)

    def refuse(self) -> ClmsError:
        """The refusal of a wrong token, a moment later: TOKEN_REFUSED, or LIMIT_REACHED where too many wait for it."""
        if not self._places.acquire(blocking=False):
            return ClmsError("LIMIT_REACHED", seconds=1)
        try:
            time.sleep(PAUSE)
        finally:
            self._places.release()
        return ClmsError("TOKEN_REFUSED")
