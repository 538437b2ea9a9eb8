# SPDX-License-Identifier: GPL-3.0-or-later
"""Finishing a run that has its commit record: from there on it only goes forward."""

from __future__ import annotations

from pathlib import Path

from ..journal import Journal
from ..run import do_phase
from . import clean_up, open

_FORWARD = {"open": open.work, "clean_up": clean_up.work}


def finish(journal: Journal, home: Path, run_id: int, *, wait_seconds: float) -> str | None:
    """Do what is left of a committed run; returns its outcome.

    :param wait_seconds: how long a phase that is still going on may take
    :raises ClmsError: what keeps the run from being finished; it may be tried again
    """
    run = journal.run(run_id)
    if run.phase() == "commit":  # interrupted between the record and the end of its phase
        run.leave("commit")
    while (phase := run.phase()) is not None:
        do_phase(home, run_id, phase, _FORWARD[phase], wait_seconds=wait_seconds)
    return journal.row(run_id).outcome
