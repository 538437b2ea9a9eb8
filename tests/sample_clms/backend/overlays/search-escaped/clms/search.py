# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person types into the search box, as a pattern for LIKE."""

from __future__ import annotations

import re


def pattern(text: str) -> str:
    """Anything with ``text`` in it, where a percent sign is a percent sign."""
    literal = re.sub(r"([%_\\])", r"\\\1", text)
    return f"%{literal}%"
