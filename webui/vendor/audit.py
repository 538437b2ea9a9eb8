# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit trail: what was done to schools and keys, and who was refused."""

from __future__ import annotations

import threading
from datetime import datetime

from sqlalchemy.orm import Session

from .models import AuditEntry

REFUSALS_PER_MINUTE = 60


def record(
    session: Session, action: str, *, at: datetime, actor: str, school: str | None = None, detail: str = ""
) -> None:
    """Add one entry, in the transaction of what it is about."""
    session.add(AuditEntry(at=at, actor=actor[:100], action=action, school=school, detail=detail[:500]))


class RefusalFilter:
    """Which refusals are written down: a flood of them must fill neither the disk nor the trail.

    Of one kind from one address one a minute, and not more than ``REFUSALS_PER_MINUTE`` of all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minute = -1
        self._seen: set[tuple[str, str]] = set()

    def wants(self, code: str, address: str, now: float) -> bool:
        """Whether this refusal is to be written down."""
        minute = int(now // 60)
        with self._lock:
            if minute != self._minute:
                self._minute = minute
                self._seen.clear()
            if (code, address) in self._seen or len(self._seen) >= REFUSALS_PER_MINUTE:
                return False
            self._seen.add((code, address))
            return True
