# SPDX-License-Identifier: GPL-3.0-or-later
"""When a book has to be back."""

from __future__ import annotations

from datetime import datetime, timedelta


def due_date(borrowed: datetime, loan_days: str) -> datetime:
    """The day that is ``loan_days`` after ``borrowed``, at the end of the day."""
    # The mistake of 1.0.9-nocheckout: a setting is text, and timedelta takes numbers.
    due: datetime = borrowed + timedelta(days=loan_days)  # type: ignore[arg-type]
    return due.replace(hour=23, minute=59, second=59, microsecond=0)
