# SPDX-License-Identifier: GPL-3.0-or-later
"""After an interrupted run: before its commit record it is put back, after it it is finished.

A journal that cannot be read is replaced first; see :mod:`.salvage`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from .. import journal_file, lock
from ..errors import ClmsError
from ..journal import Journal, RunRow
from ..restart import Restart
from .forward import finish
from .rollback import LINGER_SECONDS, put_back, restart_of
from .salvage import rebuild


def unfinished(journal: Journal) -> RunRow | None:
    """The run that is to be put in order: one that was interrupted, or the newest if putting it back was given up.

    In that case a person has mended the cause and wants it tried again; what was refused since has touched nothing.
    """
    row = journal.open_run()
    if row is not None:
        return row
    newest = next((row for row in journal.rows() if row.outcome != "REFUSED"), None)
    return newest if newest and newest.outcome == "NEEDS_OPERATOR" else None


def is_needed(home: Path) -> bool:
    """Whether :func:`recover` would do something.

    :raises ClmsError: RUN_ACTIVE while a run is going on, NOT_INSTALLED, or what is wrong with the journal
    """
    broken = journal_file.problem(home)
    if lock.is_held(home) and not lock.is_ours(home):
        raise _in_the_way(home)
    if broken:
        return True
    with closing(Journal(home)) as journal:
        return unfinished(journal) is not None


def recover(home: Path) -> dict[str, Any]:
    """Put the school back in order.

    :returns: ``outcome`` of the interrupted run, or None when there was none, whether something ``changed``, and what
        became of a journal that could not be read as ``message``
    :raises ClmsError: RUN_ACTIVE while a run is going on, NOT_INSTALLED, JOURNAL_BROKEN, or what keeps the run from
        being finished
    """
    if journal_file.problem(home) is None and not Journal.exists(home):
        raise ClmsError("NOT_INSTALLED")
    with _alone(home):
        problem = journal_file.problem(home)
        said = {"message": rebuild(home, problem, wait_seconds=LINGER_SECONDS)} if problem else {}
        with closing(Journal(home)) as journal:
            return {**_put_in_order(journal), **said}


def _put_in_order(journal: Journal) -> dict[str, Any]:
    row = unfinished(journal)
    if row is None:
        return {"outcome": None, "changed": False}
    run = journal.run(row.id)
    run.reopen()
    if restart_of(run) is not Restart.FORWARD:
        return {"outcome": put_back(journal, row.id)["outcome"], "changed": True}
    run.take_over()
    return {"outcome": finish(run, wait_seconds=LINGER_SECONDS), "changed": True}


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """:raises ClmsError: RUN_ACTIVE when somebody else has the school's lock"""
    descriptor = lock.acquire(home)
    if descriptor is None and not lock.is_ours(home):
        raise _in_the_way(home)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _in_the_way(home: Path) -> ClmsError:
    with closing(Journal(home)) as journal:
        return journal.in_the_way()
