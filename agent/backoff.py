# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the vendor is left alone after it did not answer."""

from __future__ import annotations

import random
from collections.abc import Callable

LONGEST_PAUSE = 6 * 3600.0
"""Seconds until the next attempt, at most, where the server has not asked for more."""
MOST_ASKED = 24 * 3600.0
"""Seconds for which a server is left alone that asks for it (``Retry-After``, RFC 9110, 10.2.3), at most. A header that
says a year by mistake, or because somebody has got into the server, must not keep news from schools: what they know
counts for a week.
"""


def pause(
    failures: int, asked: float | None, *, first: float, draw: Callable[[float, float], float] = random.uniform
) -> float:
    """Seconds until the next attempt: twice as long after each failure, drawn so that schools do not come together.

    :param failures: how many attempts in a row have failed, at least 1
    :param asked: what the server has asked for, in seconds; counts up to :data:`MOST_ASKED`
    :param first: the longest pause after the first failure, in seconds
    """
    longest = min(LONGEST_PAUSE, first * 2 ** min(failures - 1, 20))
    drawn = draw(longest / 2, longest)
    return max(drawn, min(asked, MOST_ASKED)) if asked is not None else drawn
