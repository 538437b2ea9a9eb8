# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a run that is found unfinished: one table over what its records say, without any I/O.

Where the records do not fit together, the old version is put back: that is looked at and repeated as often as needed,
and takes nothing away that somebody has written. Only the commit record stands above everything: from it on users may
have written to the new version, so that going back would lose what they were told is saved.
"""

from __future__ import annotations

from enum import Enum

from .plan import PHASES

PUTTING_BACK = "rollback"
"""What the records of putting a run back have for a phase."""


class Restart(Enum):
    """What is done with an unfinished run."""

    DISCARD = "discard"
    """CLMS was never closed: what the run made is removed"""
    PUT_BACK = "put back"
    """the old version serves again, on its slot A"""
    FORWARD = "forward"
    """the run is finished"""


class Stage(Enum):
    """How far a run has come, seen from the users of CLMS."""

    OPEN = "open"
    """before `drain`, or in a run that never closes CLMS"""
    CLOSING = "closing"
    """in `drain`"""
    CLOSED = "closed"
    """after `drain`, up to and with `commit`"""
    COMMITTED = "committed"
    """after `commit`"""
    PUTTING_BACK = "putting back"
    UNKNOWN = "unknown"


TABLE: dict[tuple[Stage, bool], Restart] = {
    (Stage.OPEN, False): Restart.DISCARD,
    (Stage.CLOSING, False): Restart.DISCARD,
    (Stage.CLOSING, True): Restart.PUT_BACK,
    (Stage.CLOSED, True): Restart.PUT_BACK,
    (Stage.PUTTING_BACK, False): Restart.DISCARD,
    (Stage.PUTTING_BACK, True): Restart.PUT_BACK,
}
"""Stage, and whether CLMS was closed -> what to do without a commit record; whatever is not listed is put back."""


def stage_of(phases: tuple[str, ...], last: str | None) -> Stage:
    """How far a run has come.

    :param phases: of the run, in their order: it differs from kind to kind
    :param last: the phase of its last record; None where it has none
    """
    if last == PUTTING_BACK:
        return Stage.PUTTING_BACK
    if not PHASES.keys() >= set(phases):
        return Stage.UNKNOWN
    if last is None:
        return Stage.OPEN
    if last not in phases:
        return Stage.UNKNOWN
    position = phases.index(last)
    if "commit" in phases and position > phases.index("commit"):
        return Stage.COMMITTED
    if "drain" not in phases or position < phases.index("drain"):
        return Stage.OPEN
    return Stage.CLOSING if last == "drain" else Stage.CLOSED


def decide(phases: tuple[str, ...], last: str | None, *, closed: bool, committed: bool) -> Restart:
    """What to do with an unfinished run.

    :param phases: as for :func:`stage_of`
    :param last: as for :func:`stage_of`
    :param closed: whether closing CLMS was ever intended, or putting the old version back
    :param committed: whether the commit record exists
    """
    if committed:
        return Restart.FORWARD
    return TABLE.get((stage_of(phases, last), closed), Restart.PUT_BACK)
