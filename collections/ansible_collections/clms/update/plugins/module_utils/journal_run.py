# SPDX-License-Identifier: GPL-3.0-or-later
"""One run in the journal, as a process sees it that works on it.

Each run has a fencing number. The playbook works under 0; whoever puts the run in order takes it over first, which
raises the number. A process that was left behind still has the old one, and is refused in the same transaction that
would have written its next record (architecture.md, decision 10).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .errors import ClmsError
from .plan import events_of, kind_word, next_phase
from .restart import PUTTING_BACK
from .told import completed

if TYPE_CHECKING:
    from .journal import Journal, RunRow
    from .slots import Slot

LEFT_BEHIND = ("RUN_NONE", "RUN_FENCED")
"""Codes of a process that has nothing to do with its run any more."""

_MOST_RECORDS = 2000
"""of a run; one that writes more goes round in circles"""
_CANCEL = "cancel"
_CLOSES = "gate_close"


class Run:
    """One run in the journal."""

    def __init__(self, journal: Journal, row: RunRow, fence: int = 0) -> None:
        self.journal = journal
        self.row = row
        self.id = row.id
        self.fence = fence

    # who may work on it

    def take_over(self) -> None:
        """Make this process the one that may work on the run; every other one is refused from now on.

        :raises ClmsError: RUN_NONE when the run has ended
        """

        def write() -> None:
            self.fence = self._open_row(PUTTING_BACK).fence + 1
            self.journal.file.execute("UPDATE runs SET fence = ? WHERE id = ?", self.fence, self.id)

        self.journal.file.write(write)
        self.row = self.journal.row(self.id)

    def _open_row(self, phase: str) -> RunRow:
        row = self.journal.row(self.id)
        if row.outcome is not None:
            raise ClmsError("RUN_NONE", phase=phase)
        return row

    def _check_ours(self, phase: str) -> None:
        """:raises ClmsError: RUN_NONE when the run has ended, RUN_FENCED when another process has taken it over"""
        if self._open_row(phase).fence != self.fence:
            raise ClmsError("RUN_FENCED", run=self.id, phase=phase)

    def ask_to_cancel(self) -> None:
        """A person wants the run to stop: it is told so at its next step, and leaves everything as it was.

        :raises ClmsError: RUN_CLOSED once CLMS was closed for the run, RUN_NONE when the run has ended
        """

        def write() -> None:
            self._open_row(self.row.kind)
            if self.intended(_CLOSES) or self.committed():
                raise ClmsError("RUN_CLOSED", run=self.id, kind=kind_word(self.row.kind))
            if not self.cancelled():
                self._insert(self.phase() or "", _CANCEL, "note", {})

        self.journal.file.write(write)

    def cancelled(self) -> bool:
        """Whether a person has asked the run to stop."""
        query = "SELECT 1 FROM records WHERE run = ? AND step = ? AND event = 'note'"
        return bool(self.journal.file.select(query, self.id, _CANCEL))

    def _check_wanted(self, phase: str) -> None:
        """:raises ClmsError: RUN_CANCELLED; nobody can ask for that any more once CLMS was closed"""
        if phase != PUTTING_BACK and self.cancelled() and not self.committed():
            raise self.cancellation()

    def cancellation(self) -> ClmsError:
        """Why a run ends that a person has asked to stop."""
        return ClmsError("RUN_CANCELLED", kind=kind_word(self.row.kind), run=self.id)

    # records

    def record(self, phase: str, step: str, event: str, **names: Any) -> None:
        """Write one record; it is on disk when this returns.

        :raises ClmsError: RUN_LOOPS when there are too many; putting the run back has as many again
        """
        self.journal.file.write(lambda: self._insert(phase, step, event, names))

    def _insert(self, phase: str, step: str, event: str, names: dict[str, Any]) -> None:
        most = _MOST_RECORDS * (2 if phase == PUTTING_BACK else 1)
        ((count,),) = self.journal.file.select("SELECT COUNT(*) FROM records WHERE run = ?", self.id)
        if count >= most:
            raise ClmsError("RUN_LOOPS", run=self.id, count=count)
        self.journal.file.execute(
            "INSERT INTO records (run, at, phase, step, event, names) VALUES (?, ?, ?, ?, ?, ?)",
            *(self.id, time.time(), phase, step, event, json.dumps(names)),
        )

    def last_phase(self) -> str | None:
        """The phase of the last record, None where there is none."""
        found = self.journal.file.select("SELECT phase FROM records WHERE run = ? ORDER BY id DESC LIMIT 1", self.id)
        return str(found[0][0]) if found else None

    def intended(self, *steps: str) -> bool:
        """Whether one of ``steps`` was ever begun in this run."""
        return any(record.step in steps for record in self.journal.records(self.id))

    # phases and steps

    def done_phases(self) -> set[str]:
        """The phases that have ended well."""
        return {record.phase for record in self.journal.records(self.id) if record.event == "leave"}

    def phase(self) -> str | None:
        """The phase that the run is in or comes to next; None after the last."""
        return next_phase(self.row.phases, self.done_phases())

    def enter(self, phase: str) -> None:
        """Begin a phase.

        :raises ClmsError: RUN_NONE when the run has ended, RUN_FENCED when another process has taken it over,
            RUN_PHASE when another phase is due, RUN_CANCELLED when a person has asked it to stop
        """

        def write() -> None:
            self._check_ours(phase)
            due = self.phase()
            if due != phase:
                raise ClmsError("RUN_PHASE", phase=phase, detail=f"the run is at step '{due or 'end'}'")
            self._check_wanted(phase)
            self._insert(phase, "", "enter", {})

        self.journal.file.write(write)

    def leave(self, phase: str, **result: Any) -> None:
        """End a phase; ``result`` is what later phases and reports need of it.

        :raises ClmsError: RUN_NONE or RUN_FENCED as for :meth:`enter`
        """

        def write() -> None:  # in one, or a crash in between would leave a run that has nothing left to do open
            self._check_ours(phase)
            self._insert(phase, "", "leave", result)
            if self.phase() is None:
                self.close("COMPLETED")
                event = events_of(self.row.kind).completed
                if event is not None:
                    self.journal.event(event, completed(self.row.kind, self.row.version), run=self.id)

        self.journal.file.write(write)

    def result(self, phase: str) -> dict[str, Any]:
        """What :meth:`leave` recorded for ``phase``, or an empty mapping."""
        found = [r.names for r in self.journal.records(self.id) if r.phase == phase and r.event == "leave"]
        return found[-1] if found else {}

    def intend(self, phase: str, step: str, **names: Any) -> None:
        """Write down that a step is about to be done.

        :raises ClmsError: RUN_NONE, RUN_FENCED or RUN_CANCELLED as for :meth:`enter`
        """

        def write() -> None:
            self._check_ours(phase)
            self._check_wanted(phase)
            self._insert(phase, step, "intent", names)

        self.journal.file.write(write)

    @contextmanager
    def step(self, phase: str, step: str, **names: Any) -> Iterator[dict[str, Any]]:
        """Do one step: intent first, then the side effect, then ``done`` with what the body put into the mapping.

        :raises ClmsError: RUN_NONE, RUN_FENCED or RUN_CANCELLED as for :meth:`enter`
        """
        self.intend(phase, step, **names)
        outcome: dict[str, Any] = {}
        yield outcome

        def write() -> None:
            self._check_ours(phase)
            self._insert(phase, step, "done", {**names, **outcome})

        self.journal.file.write(write)

    # its commit record and its end

    def use(self, *, kind: str, phases: tuple[str, ...], version: str, from_version: str | None) -> None:
        """Settle what the run is about, once the release is known."""
        self.journal.file.execute(
            "UPDATE runs SET kind = ?, phases = ?, version = ?, from_version = ? WHERE id = ?",
            *(kind, json.dumps(phases), version, from_version, self.id),
        )
        self.row = self.journal.row(self.id)

    def commit(self, slot: Slot) -> None:
        """The commit record: ``slot`` serves from now on, the slot before it becomes ``previous``.

        :raises ClmsError: RUN_NONE, RUN_FENCED or RUN_CANCELLED as for :meth:`enter`
        """

        def write() -> None:
            self._check_ours("commit")
            self._check_wanted("commit")
            execute = self.journal.file.execute
            execute("INSERT INTO commits (run, at, slot) VALUES (?, ?, ?)", self.id, time.time(), slot.name)
            execute("UPDATE slots SET state = 'previous' WHERE state = 'current' AND name <> ?", slot.name)
            execute("UPDATE slots SET state = 'current' WHERE name = ?", slot.name)

        self.journal.file.write(write)

    def committed(self) -> bool:
        """Whether the commit record exists."""
        return bool(self.journal.file.select("SELECT 1 FROM commits WHERE run = ?", self.id))

    def fail(self, phase: str, error: ClmsError) -> None:
        """Record why a phase failed; the run stays open until it is put back.

        What a process runs into that was left behind is no cause, and is not recorded.
        """

        def write() -> None:
            try:
                self._check_ours(phase)
            except ClmsError:
                return
            self._insert(phase, "", "failed", error.as_dict())

        self.journal.file.write(write)

    def failure(self) -> dict[str, Any] | None:
        """The first failure of the run, with its ``phase``; failed attempts to put it back do not count."""
        for record in self.journal.records(self.id):
            if record.event == "failed" and not record.step:
                return {"phase": record.phase, **record.names}
        return None

    def discard(self) -> None:
        """Forget a run that found nothing to do and has touched nothing."""

        def write() -> None:
            self.journal.file.execute("DELETE FROM records WHERE run = ?", self.id)
            self.journal.file.execute("DELETE FROM runs WHERE id = ?", self.id)

        self.journal.file.write(write)

    def reopen(self) -> None:
        """Take up again a run whose putting back was given up."""
        self.journal.file.execute(
            "UPDATE runs SET closed_at = NULL, outcome = NULL, error = NULL "
            "WHERE id = ? AND outcome = 'NEEDS_OPERATOR'",
            self.id,
        )
        self.row = self.journal.row(self.id)

    def close(self, outcome: str, error: dict[str, Any] | None = None) -> None:
        """End the run, unless it has ended.

        :raises ClmsError: RUN_FENCED when another process has taken it over
        """
        self.journal.file.execute(
            "UPDATE runs SET closed_at = ?, outcome = ?, error = ? WHERE id = ? AND outcome IS NULL AND fence = ?",
            *(time.time(), outcome, json.dumps(error) if error else None, self.id, self.fence),
        )
        self.row = self.journal.row(self.id)
        if self.row.outcome is None:
            raise ClmsError("RUN_FENCED", run=self.id, phase=outcome)
