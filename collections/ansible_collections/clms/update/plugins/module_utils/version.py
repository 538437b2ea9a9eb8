# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of CLMS (Semantic Versioning 2.0.0) and which steps between them are allowed."""

from __future__ import annotations

import re
from functools import total_ordering

from .errors import ClmsError

_NUMBER = r"(?:0|[1-9][0-9]*)"
_IDENTIFIER = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_PATTERN = re.compile(rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?")
PATTERN = rf"^{_PATTERN.pattern}$"
"""for descriptions of interfaces; LONGEST counts beside it"""
LONGEST = 64


@total_ordering
class Version:
    """A semantic version without build metadata, ordered as section 11 of the specification says."""

    def __init__(self, text: str) -> None:
        """:raises ValueError: when ``text`` is not a semantic version."""
        match = _PATTERN.fullmatch(text) if len(text) <= LONGEST else None
        if not match:
            raise ValueError(f"{text[:64]!r} is not a version like 1.0.2")
        self.text = text
        self.numbers = tuple(int(part) for part in match.group(1, 2, 3))
        self.pre_release = match.group(4)

    def _key(self) -> tuple[object, ...]:
        if self.pre_release is None:
            return (self.numbers, 1, ())
        # numeric identifiers sort below alphanumeric ones, and by their number among themselves
        parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.pre_release.split("."))
        return (self.numbers, 0, parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key() == other._key()

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Version({self.text!r})"

    def __str__(self) -> str:
        return self.text


def check_path(*, current: Version, wanted: Version, minimum: Version | None) -> None:
    """Decide whether ``wanted`` may be installed over ``current``.

    :raises ClmsError: RELEASE_SAME, RELEASE_OLDER or RELEASE_MIN_VERSION
    """
    if wanted == current:
        raise ClmsError("RELEASE_SAME", version=wanted)
    if wanted < current:
        raise ClmsError("RELEASE_OLDER", version=wanted, current=current)
    if minimum is not None and current < minimum:
        raise ClmsError("RELEASE_MIN_VERSION", version=wanted, minimum=minimum, current=current)


UPDATER = Version("0.1.0")
"""The version of CLMS Update itself; the same as in galaxy.yml and pyproject.toml."""
