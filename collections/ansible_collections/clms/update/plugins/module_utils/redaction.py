# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts without this school's secrets: what a support bundle may hold.

Every secret of a school lies in a file that its description names, so what is in those files has to be left out,
wherever it turns up. What somebody calls a secret is not guessed: all values of such a file count as secret, but for
those that plainly are none.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

REMOVED = "[removed]"

_SHORTEST = 6
"""characters of the shortest text that is looked for: a shorter one would be found everywhere, and is no secret"""
_KEY_LINE = 16
_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*[=:]\s*(.*?)\s*$")
_ADDRESS = re.compile(r"^\s*[A-Za-z][A-Za-z0-9+.-]*://\S+\s*$")
_SECRET_NAME = re.compile(r"(?i)pass|pwd|(?:^|_)pw|pin$|secret|key|token|credential|auth|url|uri|dsn|salt|private")
_PLAIN_NAME = re.compile(
    r"(?i)(?:^|[_.-])"
    r"(?:hosts?|hostname|ports?|socket|domain|origins?|user|username|database|db|schema|tz|timezone|lang|language"
    r"|locale|charset|collation|env|mode|level|version|dir|folder|path)$"
)
"""how the names of settings end that support wants to read, and that would be found everywhere"""
_PLAIN_VALUE = re.compile(
    r"(?i)[+-]?\d+(?:\.\d+)?(?:ms|[smhdwkg]b?)?|production|development|staging|default|enabled|disabled|localhost|warning"
)


def secrets_in(content: str) -> set[str]:
    """The secrets in the content of a secret file: an environment file, an option file, JSON, addresses, or a key.

    All values but those that plainly are none, passwords in addresses, and the lines of keys; a line that is alone may
    be all of a secret, whatever it looks like.
    """
    try:
        decoded = json.loads(content, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        decoded = None
    found: set[str] = set()
    if isinstance(decoded, dict | list):
        for name, value in _leaves(decoded):
            if name != "username":
                found |= _of_value(value)
    else:
        lines = [line for line in content.splitlines() if line.strip()]
        found.update(*map(_of_line, lines), {content.strip()} if len(lines) == 1 else ())
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


def _of_line(line: str) -> set[str]:
    assigned = _ASSIGNMENT.match(line)
    if _ADDRESS.match(line):  # to which somebody is told something: what is long in it opens a door, too
        parts = re.split(r"[/:@?&=]+", line.strip())
        return _of_value(line.strip()) | {part for part in parts if len(part) >= _KEY_LINE}
    if assigned and assigned[2].strip("="):  # else it is a line of a key that ends in them
        name, value = assigned[1], assigned[2].strip("\"'")
        found = _of_value(value)
        return found - {value} if _is_plain(name, value) else found
    if len(line.strip()) >= _KEY_LINE and not line.startswith(("-----", "#")):
        return {line.strip()}
    return set()


def _is_plain(name: str, value: str) -> bool:
    """Whether a value is none that anybody has to keep to themselves."""
    if _SECRET_NAME.search(name):
        return False
    return bool(_PLAIN_NAME.search(name) or _PLAIN_VALUE.fullmatch(value)) or _is_ip(value)


def _is_ip(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


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
    """A text in which :data:`REMOVED` stands for each of the secrets, also where it is written as JSON, as a part of
    an address or as Base64, alone or with something before and behind it.
    """
    for secret in sorted(set(secrets), key=len, reverse=True):
        for form in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
            text = text.replace(form, REMOVED)
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", secret):
            text = re.sub("".join(_in_address(character) for character in secret), REMOVED, text)
        for form in _base64_forms(secret):
            if form in text:
                # the characters beside it hold some bits of it
                text = re.sub(f"[A-Za-z0-9+/_-]?{re.escape(form)}[A-Za-z0-9+/_-]?={{0,2}}", REMOVED, text)
    return text


def _in_address(character: str) -> str:
    """A pattern for a character of an address; programs differ in what they encode, and some of them do it twice."""
    if re.fullmatch(r"[A-Za-z0-9_.-]", character):
        return re.escape(character)
    code = "".join(f"%(?:25)*{byte:02x}" for byte in character.encode(errors="replace"))
    plus = r"|\+" if character == " " else ""
    return f"(?:{re.escape(character)}|(?i:{code}){plus})"


def _base64_forms(secret: str) -> Iterator[str]:
    """What is the same in all Base64 of texts with the secret, whatever stands before it and behind it."""
    data = secret.encode(errors="replace")
    for before in range(3):  # three bytes are four characters
        encoded = base64.b64encode(bytes(before) + data).decode()
        first, last = -(-before * 8 // 6), (before + len(data)) * 8 // 6
        form = encoded[first:last]
        yield from {form, form.translate(str.maketrans("+/", "-_"))}
