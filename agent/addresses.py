# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses that are told what happens here, one in a line, and the process that tells them.

Apprise knows a hundred services and needs memory for that, so it runs in a process of its own, for the moment; and an
address may lead anywhere and was typed on a page, so that process has no power. It gets the addresses through a pipe:
what is on a command line or in an environment is seen by others.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.secret_file import read_secret

NO_ADDRESS = "it is no address"
NOT_TAKEN = "the service did not take it"
_LATE = "it did not answer in time"
_ENDED = "the sender ended early"
_SECONDS = 60
"""for all addresses, which are told at the same time; a mail server is given 15 of them by Apprise"""


@dataclass(frozen=True)
class Line:
    """An address; it may hold a password, so it stays out of ``repr``, logs and messages."""

    number: int
    """of the line in the file, from 1"""
    address: str = field(repr=False)

    @property
    def key(self) -> str:
        """By which it is known again without being kept."""
        return hashlib.sha256(self.address.encode()).hexdigest()


@dataclass(frozen=True)
class Message:
    """What is told."""

    title: str
    body: str


@dataclass(frozen=True)
class Outcome:
    """What became of the messages for one address."""

    taken: frozenset[int] = frozenset()
    """the places of those that the service has taken"""
    problem: str | None = None
    """why it has not taken all of them; None also where only the time was over"""


Letter = tuple[Line, Sequence[Message]]
Send = Callable[[Sequence[Letter]], list[Outcome]]


def lines_in(text: str) -> list[Line]:
    """The addresses of a text; one that stands there twice is one."""
    found: dict[str, Line] = {}
    for number, line in enumerate(text.splitlines(), 1):
        address = line.strip()
        if address and not address.startswith("#"):
            found.setdefault(address, Line(number, address))
    return list(found.values())


def read(path: Path) -> list[Line]:
    """The addresses in a secret file.

    :raises ClmsError: NOTIFY_FAILED when it cannot be used
    """
    try:
        return lines_in(read_secret(path).decode("utf-8", "replace"))
    except ClmsError as error:
        raise ClmsError("NOTIFY_FAILED", path=path, detail=error.happened.rstrip(".")) from None


def send(letters: Sequence[Letter]) -> list[Outcome]:
    """Tell each address its messages, and say what became of each, in the same order; nothing is raised.

    No address waits for another one. Without messages it is only looked at whether it is an address.
    """
    wanted = [
        {"address": line.address, "messages": [[one.title, one.body] for one in messages]} for line, messages in letters
    ]
    late = False
    try:
        said = subprocess.run(
            [sys.executable, "-m", "agent.send_notification"],
            cwd=Path(__file__).parent.parent,
            input=json.dumps(wanted).encode(),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:  # what was taken by then was taken
        said, late = error.stdout or b"", True
    taken: list[set[int]] = [set() for _ in letters]
    problems: list[str | None] = [_LATE if late else _ENDED for _ in letters]
    for place, message, problem in _reports(said):
        if message is None:  # it is through with this address
            problems[place] = problem
        else:
            taken[place].add(message)
            problems[place] = None  # it is there; what is left comes the next time
    return [Outcome(frozenset(those), problem) for those, problem in zip(taken, problems, strict=True)]


def _reports(said: bytes) -> Iterator[tuple[int, int | None, str | None]]:
    for line in said.splitlines():
        with suppress(ValueError):  # the last one may be cut short
            place, message, problem = json.loads(line)
            yield place, message, problem
