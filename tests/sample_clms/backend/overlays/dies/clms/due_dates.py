# SPDX-License-Identifier: GPL-3.0-or-later
"""When a book has to be back."""

from __future__ import annotations

from datetime import datetime

# The mistake of 1.0.9-dies: this library is on the developer's machine and was never put into the image.
from dateutil.relativedelta import relativedelta  # type: ignore[import-untyped]


def due_date(borrowed: datetime, loan_days: str) -> datetime:
    """The day that is ``loan_days`` after ``borrowed``, at the end of the day."""
    due: datetime = borrowed + relativedelta(days=int(loan_days), hour=23, minute=59, second=59, microsecond=0)
    return due
