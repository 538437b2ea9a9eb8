# SPDX-License-Identifier: GPL-3.0-or-later
"""Finishing a run that has its commit record: from there on it only goes forward."""

from __future__ import annotations

from ..errors import ClmsError
from ..journal_run import Run
from ..run import do_phase
from . import clean_up, open

_FORWARD = {"open": open.work, "clean_up": clean_up.work}


def finish(run: Run, *, wait_seconds: float) -> str | None:
    """Do what is left of a committed run, which this process has taken over; returns its outcome.

    :param wait_seconds: how long a phase that is still going on may take
    :raises ClmsError: what keeps the run from being finished; it may be tried again
    """
    journal = run.journal
    if run.phase() == "commit":  # interrupted between the record and the end of its phase
        run.leave("commit")
    while (phase := run.phase()) is not None:
        if phase not in _FORWARD:
            raise ClmsError("RUN_PHASE", phase=phase, detail="its run has been committed, and only goes forward")
        do_phase(journal.path.parent, run.id, phase, _FORWARD[phase], wait_seconds=wait_seconds, fence=run.fence)
    return journal.row(run.id).outcome
