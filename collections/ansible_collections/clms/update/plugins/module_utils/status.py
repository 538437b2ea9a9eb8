# SPDX-License-Identifier: GPL-3.0-or-later
"""What the journal says of a run, in the words that users and the API see; derived here and nowhere else.

Statuses are those of the original design, section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .errors import ClmsError
from .journal import Journal, Record, RunRow
from .plan import PHASES, Progress, completed_text, kind_word, next_phase, progress

_ENDED = {
    "COMPLETED": "COMPLETED",
    "ROLLED_BACK": "ROLLED_BACK",
    "REFUSED": "FAILED",
    "ABORTED": "FAILED",
    "NEEDS_OPERATOR": "FAILED",
}
_FETCHING = ("preflight", "release", "image_pull")

EXIT_CODES = {"COMPLETED": 0, "ABORTED": 1, "ROLLED_BACK": 1, "REFUSED": 2, "NEEDS_OPERATOR": 3}
"""Outcome of a run -> exit code of the command that drove it."""


def iso(seconds: float | None) -> str | None:
    """Seconds since 1970 as ``2026-11-23T14:05:09Z``."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration_parts(seconds: float) -> dict[str, int | float]:
    """Unit (``s``, ``min``, ``h``, ``days``) -> number, of the one or two units in which people read a duration."""
    if seconds < 9.95:
        return {"s": float(f"{seconds:.1f}")}
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return {"days": hours // 24}
    found = {"h": hours, "min": minutes} if hours else {"min": minutes, "s": rest}
    return {unit: number for unit, number in found.items() if number}


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``, ``4 days``."""
    return " ".join(f"{number} {unit}" for unit, number in duration_parts(seconds).items())


def done_phases(records: Sequence[Record]) -> dict[str, float]:
    """Phase -> seconds, of the phases that have ended well, in their order."""
    entered = {record.phase: record.at for record in records if record.event == "enter"}
    return {
        r.phase: max(0.0, round(r.at - entered[r.phase], 3))  # a clock may be put back
        for r in records
        if r.event == "leave" and r.phase in entered
    }


def rehearsed_durations(records: Sequence[Record]) -> dict[str, float]:
    """Phase -> seconds that it will take, as the rehearsal of the run has measured; empty where there was none."""
    found = [r.names["migration_seconds"] for r in records if "migration_seconds" in r.names and r.phase == "rehearse"]
    return {"migrate": float(found[-1])} if found else {}


def last_durations(journal: Journal, row: RunRow) -> dict[str, float]:
    """Phase -> seconds of the last run of the same kind that was completed."""
    for other in journal.rows(limit=20, kinds=(row.kind,)):
        if other.outcome == "COMPLETED":
            return done_phases(journal.records(other.id))
    return {}


def status_of(row: RunRow, records: Sequence[Record]) -> str:
    """The status of a run: DOWNLOADING, UPDATING, COMPLETED, FAILED or ROLLED_BACK."""
    if row.outcome is not None:
        return _ENDED[row.outcome]
    return "DOWNLOADING" if next_phase(row.phases, set(done_phases(records))) in _FETCHING else "UPDATING"


def closed_seconds(records: Sequence[Record]) -> float | None:
    """Seconds from the first request that was held or refused to the gate being open again; None if it never closed."""
    closed = [record.names["closed_at"] for record in records if "closed_at" in record.names]
    opened = [record.names["opened_at"] for record in records if "opened_at" in record.names]
    if not closed:
        return None
    # a recovery opens once more what may have been open already
    return round(opened[0] - closed[0], 3) if opened else None


def describe_run(row: RunRow, records: Sequence[Record]) -> dict[str, Any]:
    """A run as ``last_update`` and the history show it, with its ``phases``; ``backup_path`` is where the backup lies
    that it has made, and ``restored`` the name of the one from which it has restored.
    """
    error = row.error or {}
    return {
        "id": row.id,
        "kind": kind_word(row.kind),
        "version": row.version,
        "from_version": row.from_version,
        "status": status_of(row, records),
        "outcome": row.outcome,
        "started_at": iso(row.opened_at),
        "finished_at": iso(row.closed_at),
        "closed_seconds": closed_seconds(records),
        "error_code": error.get("code"),
        "message": error.get("message")
        or (completed_text(row.kind, row.version) if row.outcome == "COMPLETED" else ""),
        "remedy": error.get("remedy"),
        "error_values": error.get("values"),
        "failed_phase": error.get("phase"),
        "phases": [{"name": name, "seconds": seconds} for name, seconds in done_phases(records).items()],
        "backup_path": _told(records, "backup", "path"),
        "restored": _told(records, "preflight", "backup"),
    }


def _told(records: Sequence[Record], phase: str, name: str) -> Any:
    """What a phase has told when it was done, or None."""
    return next((r.names.get(name) for r in records if r.phase == phase and r.event == "leave"), None)


def judge(row: RunRow, records: Sequence[Record]) -> tuple[dict[str, Any], int]:
    """What a run has come to that nobody works at any more, and the exit code that says so."""
    run = describe_run(row, records)
    if row.outcome is not None:
        return run, EXIT_CODES[row.outcome]
    phase = next_phase(row.phases, set(done_phases(records)))
    error = ClmsError("RUN_INTERRUPTED", run=row.id, kind=row.kind, phase=phase)
    return {**run, **failed_with(error.as_dict())}, EXIT_CODES["NEEDS_OPERATOR"]


def failed_with(failure: dict[str, Any]) -> dict[str, Any]:
    """What :func:`describe_run` says of a failure, see :meth:`.errors.ClmsError.as_dict`."""
    return {
        "error_code": failure["code"],
        "message": failure["message"],
        "remedy": failure["remedy"],
        "error_values": failure.get("values"),
    }


def cause_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of :func:`failed_with`."""
    names = {"code": "error_code", "message": "message", "remedy": "remedy", "values": "error_values"}
    return {name: run.get(there) for name, there in names.items()}


def without_run(kind: str, version: str | None, failure: dict[str, Any] | None) -> dict[str, Any]:
    """The answer in the shape of :func:`describe_run` where no run was opened."""
    return {
        "id": None,
        "kind": kind,
        "version": version,
        "from_version": None,
        "status": "FAILED" if failure else "COMPLETED",
        "outcome": "REFUSED" if failure else "COMPLETED",
        "started_at": None,
        "finished_at": None,
        "closed_seconds": None,
        **failed_with(failure or {"code": None, "message": "", "remedy": None}),
        "failed_phase": None,
        "phases": [],
        "backup_path": None,
        "restored": None,
    }


def nothing_to_do(kind: str, version: str | None, current: str | None) -> dict[str, Any]:
    """The answer in the shape of :func:`describe_run` where version ``current`` is what was asked for."""
    message = f"Version {current or '?'} is already running; there was nothing to do."
    return {**without_run(kind, version, None), "message": message}


def progress_of(
    row: RunRow, records: Sequence[Record], *, now: float, history: dict[str, float]
) -> tuple[str | None, Progress]:
    """Phase in which a run is, and how far it has come.

    :param now: seconds since 1970
    :param history: phase -> seconds in this school's last finished run of the kind
    """
    done = done_phases(records)
    current = next_phase(row.phases, set(done))
    entered = [record.at for record in records if record.event == "enter" and record.phase == current]
    known = {name: seconds for name, seconds in history.items() if name in PHASES}
    if "migrate" in row.phases:
        known |= rehearsed_durations(records)
    return current, progress(
        row.phases,
        durations=done,
        current=current,
        elapsed=now - entered[-1] if entered else 0.0,
        history=known,
    )
