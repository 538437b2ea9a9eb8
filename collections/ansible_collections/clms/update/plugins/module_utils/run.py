# SPDX-License-Identifier: GPL-3.0-or-later
"""What every phase works with, and the one way in which modules carry out a phase."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from . import lock
from .adapters.engine import Engine
from .adapters.gate import GateControl
from .containers import parse_env_file
from .errors import ClmsError
from .journal import Journal, RunRow
from .journal_run import Run
from .plan import KINDS, PHASES, is_closed
from .release import Release
from .school import School, Service, parse_school
from .secret_file import read_secret
from .slots import Slot
from .status import done_phases, last_durations, progress_of


def read_env_file(path: Path) -> dict[str, str]:
    """The variables in an environment file.

    :raises ClmsError: SECRET_FILE
    """
    try:
        return parse_env_file(read_secret(path).decode(), str(path))
    except UnicodeDecodeError:
        raise ClmsError("SECRET_FILE", path=path, detail="it is not a text file") from None


@dataclass
class Context:
    """A run as its phases see it."""

    journal: Journal
    run: Run
    phase: str
    recorded: bool = True
    """False where a run is only looked at: nothing of it is in the journal"""

    @cached_property
    def school(self) -> School:
        """The school as it was described when the run began."""
        return parse_school(self.run.row.school)

    @cached_property
    def engine(self) -> Engine:
        """The server's Docker engine."""
        return Engine()

    @cached_property
    def slot(self) -> Slot | None:
        """The slot that serves (A), or None before the first installation."""
        return self.journal.slot("current")

    @property
    def old(self) -> Slot:
        """The slot that serves (A).

        :raises ClmsError: NOT_INSTALLED
        """
        if self.slot is None:
            raise ClmsError("NOT_INSTALLED")
        return self.slot

    @cached_property
    def new(self) -> Slot:
        """The slot that this run builds (B)."""
        planned = Slot.from_dict(self.run.result("preflight")["slot"])
        return self.journal.slot_called(planned.name) or planned

    def use_images(self, images: dict[str, str]) -> None:
        """Have slot B use images that the engine knows by another name than was planned.

        :param images: service -> what the engine is asked for
        """
        changed = self.new.with_images(images)
        self.journal.set_slot(changed, "candidate")
        self.__dict__["new"] = changed  # where `cached_property` keeps it

    @cached_property
    def release(self) -> Release:
        """The release of slot B."""
        return self.new.parsed_release()

    @property
    def folder(self) -> Path:
        """The run's own folder: evidence, staging."""
        folder = self.school.home / "runs" / str(self.run.id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def environment(self, service: Service) -> dict[str, str]:
        """The content of a service's environment file."""
        if service.env_file is None:
            return {}
        return read_env_file(Path(service.env_file))

    def step(self, step: str, **names: Any) -> AbstractContextManager[dict[str, Any]]:
        """One journalled step of this phase; see :meth:`.journal_run.Run.step`."""
        return self.run.step(self.phase, step, **names)

    def note(self, step: str, **names: Any) -> None:
        """Record something worth knowing, without a side effect."""
        if self.recorded:
            self.run.record(self.phase, step, "note", **names)


@contextmanager
def failures_recorded(context: Context) -> Iterator[None]:
    """Record whatever ends the body early as the phase's failure, as a ClmsError."""
    try:
        yield
    except ClmsError as error:
        context.run.fail(context.phase, error)
        raise
    except Exception as error:  # whatever it is, the run has to be put back and the cause kept
        wrapped = ClmsError("INTERNAL", phase=context.phase, detail=f"{type(error).__name__}: {error}"[:500])
        context.run.fail(context.phase, wrapped)
        raise wrapped from error


def do_phase(
    home: Path,
    run: int,
    phase: str,
    work: Callable[[Context], dict[str, Any]],
    *,
    wait_seconds: float = 0,
    fence: int = 0,
) -> dict[str, Any]:
    """Carry out one phase of an open run.

    :param run: number of the run; a process of an older run is refused by it
    :param work: does the phase; what it returns is kept in the journal
    :param wait_seconds: how long another process that is at work on a phase may take to end
    :param fence: under which this process works on the run; a playbook's is 0
    :raises ClmsError: what ``work`` and :meth:`.journal_run.Run.enter` raise, or RUN_ACTIVE when another process does
        a phase
    """
    journal = Journal(home)
    try:
        with lock.at_work(home, wait_seconds) as alone:
            if not alone:
                raise ClmsError("RUN_ACTIVE", kind="process", run=run, phase=phase)
            return _do(Context(journal, journal.run(run, fence=fence), phase), work)
    finally:
        journal.close()


def looking(journal: Journal, description: dict[str, Any], kind: str, version: str | None = None) -> Context:
    """The run that would come next, to look at what it would depend on; nothing of it is in the journal."""
    latest = journal.rows(limit=1)
    row = RunRow(
        id=latest[0].id + 1 if latest else 1,
        kind=kind,
        phases=KINDS[kind],
        school=description,
        version=version,
        from_version=None,
        opened_at=0.0,
        closed_at=None,
        outcome=None,
        error=None,
    )
    return Context(journal, Run(journal, row), "preflight", recorded=False)


def show_progress(context: Context) -> None:
    """Tell people at the maintenance page how far the run has come, while they cannot use CLMS."""
    row, journal = context.run.row, context.journal
    with suppress(Exception):  # it is a display: whatever is wrong, the phase says better
        records = journal.records(row.id)
        if context.phase in PHASES and not is_closed(row.phases, context.phase, done_phases(records)):
            return
        _, progress = progress_of(row, records, now=time.time(), history=last_durations(journal, row))
        GateControl(context.school, context.engine).show_progress(context.phase, progress.percent)


def _do(context: Context, work: Callable[[Context], dict[str, Any]]) -> dict[str, Any]:
    context.run.enter(context.phase)
    with failures_recorded(context):
        show_progress(context)
        result = work(context)
    context.run.leave(context.phase, **result)
    if context.run.row.outcome is not None:
        lock.release(context.journal.path.parent)
    return result
