# SPDX-License-Identifier: GPL-3.0-or-later
"""The phases of a run, in one table: their words, their order for each kind of run, and how far a run has come.

Source: architecture.md, "An update, phase by phase". The word of a phase is the name of its role, its module, its
file in ``phases/``, its records in the journal and its place on the progress bar.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Phase:
    """One phase."""

    name: str
    text: str
    """what is going on, for the progress display"""
    weight: int
    """share of a run's time where nothing is known of this school yet"""
    closed: bool = False
    """CLMS is closed to users while this phase runs"""


PHASES: dict[str, Phase] = {
    phase.name: phase
    for phase in (
        Phase("preflight", "Checking this server and all that is needed", 3),
        Phase("release", "Fetching the release and checking its signature", 3),
        Phase("image_pull", "Fetching the images", 15),
        Phase("backup", "Making a backup and proving it by restoring it", 25),
        Phase("rehearse", "Rehearsing the update on a copy of the data", 15),
        Phase("drain", "Letting requests finish and closing CLMS", 3, closed=True),
        Phase("slot", "Preparing the data", 8, closed=True),
        Phase("migrate", "Converting the data", 8, closed=True),
        Phase("container_replace", "Starting CLMS", 5, closed=True),
        Phase("health_check", "Testing whether CLMS works", 5, closed=True),
        Phase("commit", "Making it final", 1, closed=True),
        Phase("open", "Opening CLMS again", 2, closed=True),
        Phase("clean_up", "Tidying up", 7),
    )
}

_FETCH = ("preflight", "release", "image_pull")
_FINISH = ("commit", "open", "clean_up")

KINDS: dict[str, tuple[str, ...]] = {
    "install": (*_FETCH, "slot", "migrate", "container_replace", "health_check", *_FINISH),
    "update": (
        *_FETCH,
        "backup",
        "rehearse",
        "drain",
        "slot",
        "migrate",
        "container_replace",
        "health_check",
        *_FINISH,
    ),
    # a release without migration starts beside the old version; see docs/decisions/0003
    "update_images": (
        *_FETCH,
        "backup",
        "rehearse",
        "container_replace",
        "health_check",
        "drain",
        *_FINISH,
    ),
    # closed before the backup: whatever was acknowledged is in it; see docs/decisions/0007
    "rollback": ("preflight", "drain", "backup", "container_replace", "health_check", *_FINISH),
    "restore": ("preflight", "drain", "backup", "slot", "container_replace", "health_check", *_FINISH),
    "backup": ("preflight", "backup", "clean_up"),
    # a backup on a server where nothing is installed
    "reinstall": ("preflight", "image_pull", "slot", "container_replace", "health_check", *_FINISH),
}
"""Kind of run -> its phases in order."""

_CLOSING = ("drain", "slot", "open")
"""the first of these that a run has closes CLMS; on a server where nothing runs yet, nothing is drained"""

RECOVERY = ("preflight", "open")
"""The phases of the run of kind ``recover``, with which a journal begins that takes the place of a broken one."""


def kind_word(kind: str) -> str:
    """The kind of a run as people know it: that an update needs no slot is no concern of theirs."""
    return "update" if kind == "update_images" else kind


COMPLETED_TEXTS = {
    "update": "CLMS was updated to version {version}.",
    "install": "CLMS {version} was installed.",
    "rollback": "CLMS went back to version {version}.",
    "restore": "The backup was restored.",
    "reinstall": "CLMS {version} was set up from its backup on this server.",
    "backup": "The backup was made and proven.",
    "recover": "The journal could not be read, so a new one was begun; CLMS runs version {version}. "
    "Where the old one is kept: clms-update list --events",
}
"""Kind of run, as people know it -> what one that was completed has done."""


def completed_text(kind: str, version: str | None) -> str:
    """What a run that was completed has done, for people."""
    return COMPLETED_TEXTS.get(kind_word(kind), "Done.").format(version=version)


class RunEvents(NamedTuple):
    """Types of the events that a run tells (original design, section 8.1)."""

    started: str
    completed: str | None
    """None where the run has said before what it has done"""
    failed: str


_UPDATE = RunEvents("UPDATE_STARTED", "UPDATE_COMPLETED", "UPDATE_FAILED")
_GOING_BACK = RunEvents("ROLLBACK_STARTED", "ROLLBACK_COMPLETED", "ROLLBACK_FAILED")
EVENTS = {
    "rollback": _GOING_BACK,
    "restore": _GOING_BACK,
    "backup": RunEvents("BACKUP_STARTED", None, "BACKUP_FAILED"),
    "recover": RunEvents("UPDATE_STARTED", None, "UPDATE_FAILED"),
}
"""Kind of run -> its events; those of all others are an update's."""


def events_of(kind: str) -> RunEvents:
    """The events that a run of this kind tells."""
    return EVENTS.get(kind, _UPDATE)


def is_closed(phases: tuple[str, ...], current: str | None, done: Collection[str]) -> bool:
    """Whether a run keeps CLMS closed to users: from the phase on that closes it until it was opened again.

    :param current: the phase that runs, or None
    """
    closing = next((name for name in _CLOSING if name in phases), None)
    return closing is not None and closing in (current, *done) and "open" not in done


def is_over(current: str | None, done: Collection[str]) -> bool:
    """Whether a run has done what it was for, so that nothing of it is put back any more, and only tidies up."""
    return current == "clean_up" or "open" in done


def next_phase(phases: tuple[str, ...], done: set[str]) -> str | None:
    """The first phase that is not done, or None when all are."""
    return next((name for name in phases if name not in done), None)


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    percent: int
    seconds_left: int | None
    """None while nothing can be said"""


def progress(
    phases: tuple[str, ...],
    *,
    durations: Mapping[str, float],
    current: str | None,
    elapsed: float,
    history: Mapping[str, float],
) -> Progress:
    """Estimate the progress of a run.

    :param durations: phase -> seconds, of the phases that are done
    :param current: the phase that runs, or None
    :param elapsed: seconds since ``current`` began
    :param history: phase -> seconds it took in the last run of this school that finished
    """
    weights = sum(PHASES[name].weight for name in phases)
    known = sum(history.values())
    scale = known / sum(PHASES[name].weight for name in history) if known else None

    def expected(name: str) -> float:
        if name in history:
            return max(history[name], 0.1)
        return PHASES[name].weight * (scale if scale else 1.0)

    done = sum(expected(name) for name in phases if name in durations)
    rest = sum(expected(name) for name in phases if name not in durations and name != current)
    running = expected(current) if current else 0.0
    total = done + rest + running or float(weights)
    # a phase that takes longer than expected stays just short of its end; a clock may be put back
    passed = max(0.0, min(elapsed, running * 0.95))
    left = round(rest + running - passed) if scale else None
    return Progress(percent=min(100, int(100 * ((done + passed) / total))), seconds_left=left)
