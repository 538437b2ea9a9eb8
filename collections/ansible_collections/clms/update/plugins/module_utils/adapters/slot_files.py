# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written down of the slots outside the journal, for the day on which the journal cannot be read.

``home/slots/<slot>/slot.json`` says what a slot consists of, ``home/slots/serving.json`` which one serves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..slots import Slot
from .files import write_atomically

_SLOT = "slot.json"


@dataclass(frozen=True)
class KeptSlot:
    """A slot as its file describes it."""

    slot: Slot
    school: dict[str, Any]
    """the description of the school for which it was made"""
    event_scheduler: str
    """what the database's event scheduler is set to once the slot is open"""


def serving_file(home: Path) -> Path:
    """The file that names the slot that serves."""
    return home / "slots" / "serving.json"


def _slot_file(home: Path, name: str) -> Path:
    return home / "slots" / name / _SLOT


def _write(path: Path, data: dict[str, Any]) -> None:
    """Write a file, unless that is its content already."""
    text = json.dumps(data, indent=2)
    if path.exists() and path.read_text(errors="replace") == text:
        return
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_atomically(path, text)


def keep_slot(home: Path, slot: Slot, *, school: dict[str, Any], event_scheduler: str) -> None:
    """Write down what a slot consists of."""
    data = {"slot": slot.as_dict(), "school": school, "event_scheduler": event_scheduler}
    _write(_slot_file(home, slot.name), data)


def keep_serving(home: Path, slot: Slot) -> None:
    """Write down that a slot is the one that serves."""
    _write(serving_file(home), {"slot": slot.name})


def forget_slot(home: Path, slot: Slot) -> None:
    """Nothing is left of a slot."""
    _slot_file(home, slot.name).unlink(missing_ok=True)


def kept_slots(home: Path) -> list[KeptSlot]:
    """All slots that are written down, in the order of their making; a file that is spoilt counts as none."""
    found = []
    for path in (home / "slots").glob(f"*/{_SLOT}"):
        try:
            data = json.loads(path.read_bytes())
            kept = KeptSlot(Slot.from_dict(data["slot"]), data["school"], str(data["event_scheduler"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
        found.append(kept)
    return sorted(found, key=lambda kept: kept.slot.run)


def serving(home: Path) -> str | None:
    """The name of the slot that serves, as far as that is written down."""
    try:
        name = json.loads(serving_file(home).read_bytes())["slot"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return name if isinstance(name, str) else None
