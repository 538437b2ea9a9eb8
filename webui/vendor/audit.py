# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit trail: what was done to schools and keys, and who was refused."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime

from sqlalchemy.orm import Session

from .models import AuditEntry

REFUSALS_PER_MINUTE = 60
REFUSALS_PER_SCHOOL = 20
LEFT_OUT = "refusals_left_out"
"""the action of the entry that counts the refusals without one"""


def record(
    session: Session, action: str, *, at: datetime, actor: str, school: str | None = None, detail: str = ""
) -> None:
    """Add one entry, in the transaction of what it is about."""
    session.add(AuditEntry(at=at, actor=actor[:100], action=action, school=school, detail=detail[:500]))


class RefusalFilter:
    """Which refusals are written down: a flood of them must fill neither the disk nor the trail.

    Of one kind from one place one a minute; not more than ``REFUSALS_PER_MINUTE`` of those of whom nobody knows who
    they are, and ``REFUSALS_PER_SCHOOL`` of those that come with a key of a school, so that no flood hides that one
    was stolen. The others are counted.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minute = -1
        self._seen: set[tuple[str, str, str | None]] = set()
        self._written: Counter[str | None] = Counter()
        self._left_out: Counter[str] = Counter()
        self._left_out_minute = -1

    def wants(self, code: str, place: str, now: float, *, school: str | None = None) -> bool:
        """Whether this refusal is to be written down.

        :param place: where it comes from
        :param school: whose key was shown, if it is one that was ever given out
        """
        minute = int(now // 60)
        most = REFUSALS_PER_MINUTE if school is None else REFUSALS_PER_SCHOOL
        with self._lock:
            if minute != self._minute:
                self._minute = minute
                self._seen.clear()
                self._written.clear()
            if (code, place, school) in self._seen or self._written[school] >= most:
                if not self._left_out:
                    self._left_out_minute = minute
                self._left_out[code] += 1
                return False
            self._seen.add((code, place, school))
            self._written[school] += 1
            return True

    def left_out(self, now: float) -> str | None:
        """Once a minute is over, how many were not written down, for an entry of their own; said once."""
        with self._lock:
            if not self._left_out or int(now // 60) == self._left_out_minute:
                return None
            codes = ", ".join(f"{code} {number}" for code, number in self._left_out.most_common())
            words = f"{self._left_out.total()} more refused: {codes}"
            self._left_out.clear()
            return words
