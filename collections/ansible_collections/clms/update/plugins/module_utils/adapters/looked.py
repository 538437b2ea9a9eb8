# SPDX-License-Identifier: GPL-3.0-or-later
"""Remembers which files were looked at, and what people were told, so that each is done once."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path

from .files import write_atomically

_REMEMBERED = 1000
"""names that are not there any more: a drive comes back"""
_WRITE_SECONDS = 1.0
"""after which what was learnt is written down; a process that is killed has learnt the rest in vain"""


class Looked:
    """What was looked at; another mark makes it another one.

    Whatever was asked for is remembered, however much that is: else it would be judged and told anew each time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._marks: dict[str, tuple[float, str]] = {}
        self._there: set[str] = set()
        self._changed, self._written = False, time.monotonic()
        with suppress(OSError, ValueError, TypeError, AttributeError):  # else everything is looked at once more
            self._marks = {name: (float(at), str(mark)) for name, (at, mark) in json.loads(path.read_bytes()).items()}

    def at(self, name: str, mark: str) -> bool:
        """Whether it was looked at."""
        self._there.add(name)
        return name in self._marks and self._marks[name][1] == mark

    def add(self, name: str, mark: str) -> None:
        """It was looked at.

        :raises OSError: when that cannot be written down
        """
        self._there.add(name)
        self._marks[name] = (time.time(), mark)
        self._change()

    def tell(self, about: str, state: str) -> bool:
        """Whether people have to be told of a state: it is another one than last time, and not the usual one.

        :param state: empty for the usual one
        :raises OSError: when that cannot be written down
        """
        if state:
            if self.at(about, state):
                return False
            self.add(about, state)
        elif self._marks.pop(about, None) is not None:
            self._change()
        return bool(state)

    def _change(self) -> None:
        self._changed = True
        if time.monotonic() - self._written > _WRITE_SECONDS:
            self._write()

    def save(self) -> None:
        """Write down what was learnt, and forget what is not there any more, but for the newest of it.

        :raises OSError: when that cannot be written down
        """
        gone = sorted((mark, name) for name, mark in self._marks.items() if not self._is_there(name))[:-_REMEMBERED]
        for _, name in gone:
            del self._marks[name]
        if self._changed or gone:
            self._write()

    def _is_there(self, name: str) -> bool:
        return name in self._there or name.partition(": ")[2] in self._there

    def _write(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps(self._marks))
        self._changed, self._written = False, time.monotonic()
