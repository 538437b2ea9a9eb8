# SPDX-License-Identifier: GPL-3.0-or-later
"""How long an image may take on its way here, and how much may come of it; judged by what was signed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from .errors import ClmsError

SILENCE = 300.0
"""Seconds for which the engine may say nothing of a pull. It says something of each layer every half megabyte."""
_START = 600.0
_MINIMUM_RATE = 65_536.0
"""Bytes per second, as the image is counted on the disk; packed, as they come, they are about a third of that."""
_UNKNOWN = 2_000_000_000
"""Bytes that an image counts as having of which no release says how large it is."""
_AROUND = 1 << 28
"""Bytes that may come besides the content of files: what an archive writes around each of them, however small."""


def seconds_for(size: int | None) -> float:
    """How long it may take to get an image, all attempts together.

    :param size: bytes on the disk, as signed; None where nobody says
    """
    return _START + (_UNKNOWN if size is None else size) / _MINIMUM_RATE


def most_bytes(size: int) -> int:
    """How much may come of an image of that size, packed or as an archive."""
    return 2 * size + _AROUND


class PullWatch:
    """Watches how one image is pulled, over all attempts."""

    def __init__(self, image: str, size: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """
        :param image: what a person calls it
        :param size: as in :func:`seconds_for`; where it is None, any amount may come
        :param clock: seconds that nobody can put back
        """
        self._image = image
        self._most = None if size is None else most_bytes(size)
        self._seconds = seconds_for(size)
        self._clock = clock
        self._end = clock() + self._seconds
        self._came: dict[str, int] = {}

    def see(self, line: Mapping[str, Any]) -> None:
        """Look at something that the engine says of the pull.

        :raises ClmsError: PULL_TOO_SLOW, IMAGE_TOO_LARGE
        """
        detail = line.get("progressDetail") or {}
        if line.get("status") == "Downloading":
            layer = str(line.get("id"))
            self._came[layer] = max(self._came.get(layer, 0), int(detail.get("current") or 0))
        if self._most is not None and sum(self._came.values()) > self._most:
            raise ClmsError("IMAGE_TOO_LARGE", image=self._image)
        self.check_time()

    def check_time(self) -> None:
        """:raises ClmsError: PULL_TOO_SLOW"""
        if self._clock() > self._end:
            raise self._slow(f"it is not here after {self._seconds / 60:.0f} minutes")

    def silent(self) -> ClmsError:
        """What it means that nothing is said for too long."""
        return self._slow(f"nothing came for {SILENCE / 60:.0f} minutes")

    def _slow(self, detail: str) -> ClmsError:
        return ClmsError("PULL_TOO_SLOW", image=self._image, detail=detail)
