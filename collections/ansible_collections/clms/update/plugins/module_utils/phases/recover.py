# SPDX-License-Identifier: GPL-3.0-or-later
"""After an interrupted run: before its commit record it is put back, after it it is finished."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .. import lock
from ..journal import Journal, RunRow
from ..restart import Restart
from .forward import finish
from .rollback import LINGER_SECONDS, put_back, restart_of


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

    :raises ClmsError: RUN_ACTIVE while a run is going on, or what is wrong with the journal
    """
    journal = Journal(home)
    try:
        if lock.is_held(home) and not lock.is_ours(home):
            raise journal.in_the_way()
        return unfinished(journal) is not None
    finally:
        journal.close()


def recover(home: Path) -> dict[str, Any]:
    """Put the school back in order.

    :returns: ``outcome`` of the interrupted run, or None when there was none, and whether something ``changed``
    :raises ClmsError: RUN_ACTIVE while a run is going on, or what keeps the run from being finished
    """
    journal = Journal(home)
    try:
        descriptor = lock.acquire(home)
        if descriptor is None and not lock.is_ours(home):
            raise journal.in_the_way()
        try:
            row = unfinished(journal)
            if row is None:
                return {"outcome": None, "changed": False}
            run = journal.run(row.id)
            run.reopen()
            if restart_of(run) is not Restart.FORWARD:
                return {"outcome": put_back(journal, row.id)["outcome"], "changed": True}
            run.take_over()
            return {"outcome": finish(run, wait_seconds=LINGER_SECONDS), "changed": True}
        finally:
            if descriptor is not None:
                os.close(descriptor)
    finally:
        journal.close()
