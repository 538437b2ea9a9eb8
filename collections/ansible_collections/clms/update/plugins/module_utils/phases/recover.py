# SPDX-License-Identifier: GPL-3.0-or-later
"""After an interrupted run: before its commit record it is put back, after it it is finished."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .. import lock
from ..errors import ClmsError
from ..journal import Journal, RunRow
from ..plan import kind_word
from .forward import finish
from .rollback import LINGER_SECONDS, put_back


def _given_up(journal: Journal) -> RunRow | None:
    """The newest run, if putting it back was given up: a person has mended the cause and wants it tried again.

    What was refused since then has touched nothing.
    """
    newest = next((row for row in journal.rows() if row.outcome != "REFUSED"), None)
    return newest if newest and newest.outcome == "NEEDS_OPERATOR" else None


def recover(home: Path) -> dict[str, Any]:
    """Put the school back in order.

    :returns: ``outcome`` of the interrupted run, or None when there was none, and whether something ``changed``
    :raises ClmsError: RUN_ACTIVE while a run is going on, or what keeps the run from being finished
    """
    journal = Journal(home)
    try:
        descriptor = lock.acquire(home)
        row = journal.open_run()
        if descriptor is None:
            phase = journal.run(row.id).phase() if row else "?"
            kind = kind_word(row.kind) if row else "run"
            raise ClmsError("RUN_ACTIVE", kind=kind, run=row.id if row else "?", phase=phase)
        try:
            if row is None:
                row = _given_up(journal)
            if row is None:
                return {"outcome": None, "changed": False}
            run = journal.run(row.id)
            run.reopen()
            if not run.committed():
                return {"outcome": put_back(journal, row.id)["outcome"], "changed": True}
            return {"outcome": finish(journal, home, row.id, wait_seconds=LINGER_SECONDS), "changed": True}
        finally:
            os.close(descriptor)
    finally:
        journal.close()
