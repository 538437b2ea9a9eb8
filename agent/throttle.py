# SPDX-License-Identifier: GPL-3.0-or-later
"""What wrong passwords and codes cost: whoever gives several in a row has to wait, longer each time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

_FREE_TRIES = 5
"""failures in a row that cost nothing"""
_FIRST_WAIT, _LONGEST_WAIT = 5.0, 900.0
"""seconds after the next one; doubled each time"""
_REMEMBERED = 1000
"""names whose failures are counted"""
_PLACES = 4
"""so many guesses are looked at or wait for it, or they would take the threads of the page from everybody else"""


class Throttle:
    """The failures of one kind of guesses, by name; one object for all threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """:param clock: seconds; it need not show the time of day"""
        self._clock = clock
        self._places = threading.BoundedSemaphore(_PLACES)
        # one guess at a time: many at once would all be counted too late, and use 64 MB of memory each
        self._turn = threading.Lock()
        self._failures: dict[str, tuple[int, float]] = {}

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Look at a guess while the body runs, which says whether it :meth:`failed` or :meth:`passed`.

        :raises ClmsError: LIMIT_REACHED while too many wait for their turn, SIGN_IN_WAIT after too many failures
        """
        if not self._places.acquire(blocking=False):
            raise ClmsError("LIMIT_REACHED", seconds=1)
        try:
            with self._turn:
                left = self._failures.get(name, (0, 0.0))[1] - self._clock()
                if left > 0:
                    raise ClmsError("SIGN_IN_WAIT", seconds=int(left) + 1)
                yield
        finally:
            self._places.release()

    def failed(self, name: str) -> None:
        """The guess was wrong."""
        count = self._failures.pop(name, (0, 0.0))[0] + 1
        over = count - _FREE_TRIES
        wait = min(_FIRST_WAIT * 2 ** min(over - 1, 20), _LONGEST_WAIT) if over > 0 else 0.0
        self._failures[name] = (count, self._clock() + wait)
        if len(self._failures) > _REMEMBERED:  # made-up names must not make a real one forgotten that has to wait
            now = self._clock()
            self._failures = {key: found for key, found in self._failures.items() if found[1] > now}

    def passed(self, name: str) -> None:
        """The guess was right; the counting begins anew."""
        self._failures.pop(name, None)
