# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person types into the search box, as a pattern for LIKE."""

from __future__ import annotations


def pattern(text: str) -> str:
    """Anything with ``text`` in it."""
    return f"%{text}%"
