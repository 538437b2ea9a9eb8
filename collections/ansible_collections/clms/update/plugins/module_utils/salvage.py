# SPDX-License-Identifier: GPL-3.0-or-later
"""Which slot has to serve when the journal cannot be read: decided from what is written down elsewhere.

The file of the gate comes first. It is closed before anything of the serving slot is stopped, and names another one
only after that one's commit record; so where it is open, that is what users saw last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """The slot that has to serve, and who says so."""

    slot: str
    why: str
    """ends the sentence "Version 1.0.1 is the valid one, as …" """


class Undecided(Exception):
    """Nothing that can be relied on names a slot; its text says what is missing or contradictory."""


def slot_to_serve(
    *, gate_open: bool, named: frozenset[str], serving: str | None, slots: Mapping[str, frozenset[str]]
) -> Choice:
    """Decide which slot has to serve.

    :param gate_open: whether the gate's file says that it is open
    :param named: the containers that the gate's file names
    :param serving: the slot that was noted as the serving one
    :param slots: slot -> its containers, of all slots that are written down
    :raises Undecided: when a person has to
    """
    if gate_open and named:
        found = [name for name, containers in slots.items() if named <= containers]
        if len(found) == 1:
            return Choice(found[0], "the gate said")
        if serving in found:  # slots may share the containers that the gate reaches
            return Choice(str(serving), "the gate and the note of the last commit said")
        containers = ", ".join(sorted(named))
        if found:
            raise Undecided(f"the gate is open to {containers}, which the slots {' and '.join(found)} share")
        raise Undecided(f"the gate is open to {containers}, of which nothing is written down")
    if serving is None:
        raise Undecided("the gate is not open to any slot, and none is noted as the serving one")
    if serving not in slots:
        raise Undecided(f"the slot {serving} is noted as the serving one, but nothing else is written down of it")
    return Choice(serving, "the note of the last commit said")
