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
from ..run import do_phase
from . import clean_up, open
from .rollback import put_back

_FORWARD = {"open": open.work, "clean_up": clean_up.work}


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
            if run.phase() == "commit":  # interrupted between the record and the end of its phase
                run.leave("commit")
            while (phase := run.phase()) is not None:
                do_phase(home, row.id, phase, _FORWARD[phase])
            return {"outcome": journal.row(row.id).outcome, "changed": True}
        finally:
            os.close(descriptor)
    finally:
        journal.close()
