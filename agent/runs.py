# SPDX-License-Identifier: GPL-3.0-or-later
"""A run from the command line: start the playbook, watch the journal, say how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ansible_collections.clms.update.plugins.module_utils import journal_file, lock, status
from ansible_collections.clms.update.plugins.module_utils.agent_client import Conversation
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal, RunRow

from .config import Config
from .detached import Driver
from .progress import Display, View, view_of
from .runner import Ending, Play

DONE, FAILED, REFUSED, NEEDS_OPERATOR = 0, 1, 2, 3

_POLL = 0.3
_LOCK_SECONDS = 10
_GOES_ON = "This goes on by itself, whatever happens to this window. Press Ctrl-C again to stop watching."
_AGENT_ENDED = "The agent has ended. At its next start it puts CLMS in order …"
_AGENT_SECONDS = 300
"""within which a school is in order again after the end of its agent"""
_FIELDS = {
    "clms_version": "version",
    "clms_backup_id": "backup",
    "clms_confirm": "confirm",
    "clms_backup_location": "backup_location",
}
"""extra variable of a playbook -> field of a request to the agent"""
_WITHOUT_RUN = ("RUN_ACTIVE", "RUN_INTERRUPTED", "SCHOOL_INCOMPLETE", "NOT_INSTALLED")
"""Refusals that come before a run is opened."""


T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """What a person asked for."""

    kind: str
    """the playbook: ``update``, ``rollback``, ``restore``, ``backup``, ``recover`` or ``reinstall``"""
    version: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    schedule: int | None = None
    """number of the scheduled update that it is; the schedule tells then what comes to nothing before there is a run"""


class Running(Protocol):
    """A playbook that is going on; see :class:`.detached.Driver`."""

    def wait(self, seconds: float) -> bool:
        """Whether it has ended."""

    def ending(self) -> Ending | None:
        """How it ended."""


Start = Callable[[Play], Running]


class StoppedWatching(Exception):
    """The person pressed Ctrl-C twice; the run goes on."""


def carry_out(
    config: Config, order: Order, display: Display, start: Start = Driver, *, locked: bool = False
) -> tuple[dict[str, Any], int]:
    """Do a run and watch it to its end.

    :param locked: whether the caller holds the school's lock
    :returns: the run as ``last_update`` shows it, and the exit code of the command
    :raises ClmsError: NOT_INSTALLED, or what is wrong with the journal
    :raises StoppedWatching: see there
    """
    journal = Journal(config.school.home, create=order.kind == "reinstall")
    try:
        before = _newest(journal)

        def look() -> View | None:
            row = _after(journal, before)
            return view_of(journal, row) if row else None

        ending = _follow(config, order, look, display, start)
        row = None if ending and _code(ending) in _WITHOUT_RUN else _after(journal, before)
        if row is None and ending is not None and ending.exit_code == 0:
            current = journal.slot("current")
            return status.nothing_to_do(order.kind, order.version, current.version if current else None), DONE
        if row is None:
            return without_run(order, _failure(ending, order)), _exit_without_run(ending)
        if row.outcome is None and ending is not None and ending.exit_code is not None:
            # The playbook came to its end, but could not put the run back, or not finish it after its commit.
            display.say("Putting the school back in order …")
            if not locked:
                _wait_for_lock(config)
            _follow(config, Order("recover"), lambda: None, display, start)
        return _judge(journal, journal.row(row.id))
    finally:
        journal.close()
        display.close()


def recover(config: Config, display: Display, start: Start = Driver) -> tuple[dict[str, Any], int]:
    """Put the school back in order after an interrupted run; returns and raises as :func:`carry_out`."""
    from ansible_collections.clms.update.plugins.module_utils.phases.recover import unfinished  # brings the engine in

    order = Order("recover")
    home = config.school.home
    try:
        broken = journal_file.problem(home) is not None  # another journal will have taken its place then
        before = None if broken else _in(home, unfinished)
        ending = _follow(config, order, lambda: None, display, start)
        failure = _failure(ending, order) if ending is None or ending.failure else None
        if failure and failure["code"] == "RUN_ACTIVE":
            return without_run(order, failure), REFUSED
        row = _made_anew(home) if broken else before and _in(home, lambda journal: journal.row(before.id))
        if row is None:
            if failure or broken:
                return without_run(order, failure or _failure(ending, order)), NEEDS_OPERATOR
            return {**without_run(order, None), "message": "There was nothing to put in order."}, DONE
        run, code = judged(config, row.id)
        # the playbook did not get that far, and says why
        if failure and (run["outcome"] is None or (before and row.closed_at == before.closed_at)):
            run |= status.failed_with(failure)
        # the interrupted run did not succeed, but this command did
        return run, code if code == NEEDS_OPERATOR else DONE
    finally:
        display.close()


def _in(home: Path, ask: Callable[[Journal], T]) -> T:
    """What ``ask`` finds in the journal."""
    with closing(Journal(home)) as journal:
        return ask(journal)


def _made_anew(home: Path) -> RunRow | None:
    """The run with which a journal begins that has taken the place of a broken one; None while it has not."""
    if journal_file.problem(home) is not None:
        return None
    rows = _in(home, lambda journal: journal.rows(limit=1, kinds=("recover",)))
    return rows[0] if rows else None


def _follow(
    config: Config,
    order: Order,
    look: Callable[[], View | None],
    display: Display,
    start: Start,
) -> Ending | None:
    """Start a playbook and show how it gets on; returns how it ended, None when its process was killed.

    :param look: how far its run has come, once there is one
    """
    driver = start(Play(order.kind, str(config.inventory), str(config.school.home / "runner"), order.variables))
    warned = False
    while True:
        try:
            ended = driver.wait(_POLL)
            view = look()
            if view is not None:
                display.show(view)
            if ended:
                return driver.ending()
        except KeyboardInterrupt:
            if warned:
                raise StoppedWatching from None
            warned = True
            display.say(_GOES_ON)


def through_agent(config: Config, order: Order, display: Display) -> tuple[dict[str, Any], int]:
    """Have the agent do a run, and watch it to its end; returns and raises as :func:`carry_out`.

    :raises ClmsError: AGENT_SILENT, RUN_ACTIVE, or why the agent refuses
    """
    request = {"verb": order.kind, **{_FIELDS[name]: value for name, value in order.variables.items()}}
    # where the journal is what has to be put in order, there is nothing to watch
    broken = order.kind == "recover" and journal_file.problem(config.school.home) is not None
    journal = None if broken else Journal(config.school.home)
    conversation = Conversation(config.school.agent_socket, request)
    warned = begun = False
    silent_since: float | None = None
    try:
        before = _newest(journal) if journal else 0
        while True:
            try:
                try:
                    answer = conversation.wait(_POLL) if silent_since is None else None
                except ClmsError as error:
                    if error.code != "AGENT_SILENT" or not begun:
                        raise
                    answer, silent_since = None, time.monotonic()
                    display.say(_AGENT_ENDED)
                begun = begun or answer is not None
                row = None
                if journal is not None:
                    row = journal.open_run() if order.kind == "recover" else _after(journal, before)
                if journal is not None and row is not None:
                    display.show(view_of(journal, row))
                if answer and "exit_code" in answer:
                    return answer["run"], int(answer["exit_code"])
                if silent_since is not None:
                    if row is None or row.outcome or time.monotonic() - silent_since > _AGENT_SECONDS:
                        return judged(config, row.id) if row else (without_run(order, _no_agent(config)), FAILED)
                    time.sleep(_POLL)
            except KeyboardInterrupt:
                if warned:
                    raise StoppedWatching from None
                warned = True
                display.say(_GOES_ON)
    finally:
        conversation.close()
        if journal is not None:
            journal.close()
        display.close()


def _no_agent(config: Config) -> dict[str, str]:
    detail = "it ended before it had opened the run"
    return ClmsError("AGENT_SILENT", path=config.school.agent_socket, detail=detail).as_dict()


def _newest(journal: Journal) -> int:
    rows = journal.rows(limit=1)
    return rows[0].id if rows else 0


def _after(journal: Journal, before: int) -> RunRow | None:
    """The first run that was opened after ``before``."""
    return next((row for row in reversed(journal.rows(limit=20)) if row.id > before), None)


def _wait_for_lock(config: Config) -> None:
    """The lock of a playbook that has ended becomes free within a second."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while lock.is_held(config.school.home) and time.monotonic() < deadline:
        time.sleep(0.1)


def _code(ending: Ending) -> str | None:
    return ending.failure["code"] if ending.failure else None


def _failure(ending: Ending | None, order: Order) -> dict[str, Any]:
    if ending is not None and ending.failure:
        return ending.failure
    detail = "the process that does the work was killed" if ending is None else "it opened no run"
    return ClmsError("INTERNAL", phase=order.kind, detail=detail).as_dict()


def _exit_without_run(ending: Ending | None) -> int:
    if ending is None or _code(ending) in (None, "INTERNAL"):
        return FAILED
    return REFUSED


def judged(config: Config, run: int) -> tuple[dict[str, Any], int]:
    """What a run has come to, as :func:`carry_out` returns it."""
    journal = Journal(config.school.home)
    try:
        return _judge(journal, journal.row(run))
    finally:
        journal.close()


def _judge(journal: Journal, row: RunRow) -> tuple[dict[str, Any], int]:
    """What a run has come to, and the exit code that says so."""
    return status.judge(row, journal.records(row.id))


def without_run(order: Order, failure: dict[str, Any] | None) -> dict[str, Any]:
    """The answer where no run was opened."""
    return status.without_run(order.kind, order.version, failure)
