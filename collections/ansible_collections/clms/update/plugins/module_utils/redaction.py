# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts without this school's secrets: what a support bundle may hold.

Nothing is guessed: every secret of a school lies in a file that its description names, so what is in those files has
to be left out, wherever it turns up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

REMOVED = "[removed]"

_SHORTEST = 6
"""characters of the shortest text that is looked for: a shorter one would be found everywhere, and is no secret"""
_KEY_LINE = 16
_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*[=:]\s*(.*?)\s*$")
_SECRET_NAME = re.compile(r"(?i)pass|secret|key|token|credential|auth|url|uri|dsn|salt|private")


def secrets_in(content: str) -> set[str]:
    """The secrets in the content of a secret file: an environment file, an option file, JSON, or a key.

    Values of names that sound like a secret, passwords in addresses, and the lines of keys.
    """
    try:
        decoded = json.loads(content)
    except (ValueError, RecursionError):
        decoded = None
    found: set[str] = set()
    if isinstance(decoded, dict | list):
        for name, value in _leaves(decoded):
            if name != "username":
                found |= _of_value(value)
    else:
        for line in content.splitlines():
            assigned = _ASSIGNMENT.match(line)
            if assigned and not line.startswith("AGE-"):
                if _SECRET_NAME.search(assigned[1]):
                    found |= _of_value(assigned[2].strip("\"'"))
            elif len(line.strip()) >= _KEY_LINE and not line.startswith(("-----", "#")):
                found.add(line.strip())
    return {secret for secret in found if len(secret) >= _SHORTEST}


def _leaves(value: Any, name: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, name)
    elif isinstance(value, str):
        yield name, value


def _of_value(value: str) -> set[str]:
    """A value, and the password in it if it is an address."""
    try:
        password = urlsplit(value).password
    except ValueError:
        password = None
    if password is None:
        return {value}
    return {value, password, unquote(password)}


def without(text: str, secrets: Iterable[str]) -> str:
    """A text in which :data:`REMOVED` stands for each of the secrets, also where it is written as JSON."""
    forms: set[str] = set()
    for secret in secrets:
        forms |= {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, REMOVED)
    return text
