# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that signed metadata names, on their way to the disk: what broke off is gone on with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from .fetcher import Fetcher

with suppress(ImportError):  # modules say so: module_end.require_libraries
    from tuf.api.exceptions import (
        DownloadError,
        DownloadHTTPError,
        DownloadLengthMismatchError,
        LengthOrHashMismatchError,
    )
    from tuf.api.metadata import TargetFile

_PAUSES = (1.0, 2.0, 4.0)
"""Seconds before a broken download is taken up again."""
_SECONDS = 3600.0
"""Total time for one file, however often its download is taken up again; what is there by then is kept."""


class TargetDownload:
    """Fetches targets of one repository."""

    def __init__(
        self,
        url: str,
        fetcher: Fetcher,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is asked yet.

        :param url: the folder of the targets
        :param sleep: waits between two attempts
        :param monotonic: seconds that nobody can put back, for the total time of a download
        """
        self._url = url
        self._fetcher = fetcher
        self._sleep = sleep
        self._monotonic = monotonic

    def fetch(self, target: TargetFile, local: Path) -> None:
        """Fetch to a temporary name, verify, then rename: a file under its own name is always a verified one.

        Where the connection breaks, it goes on with what is there: at once, a few times, and at the next call.

        :raises DownloadError: when the connection breaks, and goes on breaking, or it takes too long
        :raises DownloadLengthMismatchError: when it is longer than was signed
        :raises LengthOrHashMismatchError: when it is not what was signed
        :raises OSError: when it cannot be written
        """
        part = local.with_name(f".{local.name}.part")
        folder, _, name = target.path.rpartition("/")
        url = f"{self._url}/{folder}/{target.hashes['sha256']}.{name}"
        local.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("ab") as file:
                self._append(url, file, target.length)
                os.fsync(file.fileno())
            with part.open("rb") as file:
                target.verify_length_and_hashes(file)
        except (LengthOrHashMismatchError, DownloadLengthMismatchError):
            part.unlink()  # there is nothing to go on with
            raise
        part.replace(local)

    def _append(self, url: str, file: IO[bytes], length: int) -> None:
        """Fetch what is missing of a file.

        :raises DownloadError: when the connection breaks, and goes on breaking, or it takes too long
        :raises DownloadLengthMismatchError: as soon as it is longer than was signed
        """
        end = self._monotonic() + _SECONDS
        for pause in (*_PAUSES, None):
            before = file.tell()
            try:
                with self._fetcher.within(end - self._monotonic()):
                    for chunk in self._fetcher.fetch_from(url, before) if before < length else ():
                        file.write(chunk)
                        if file.tell() > length:
                            raise DownloadLengthMismatchError(f"it is longer than the {length} bytes that were signed")
                break
            except (DownloadHTTPError, DownloadLengthMismatchError):
                raise
            except DownloadError:
                # a server that sends nothing at all is asked again by whoever wants it
                if pause is None or file.tell() == before or self._monotonic() + pause >= end:
                    raise
                self._sleep(pause)
        file.flush()


def verified_bytes(path: Path, target: TargetFile) -> bytes | None:
    """The content of a stored target if it is as signed; the very bytes that were checked."""
    try:
        data = path.read_bytes() if path.stat().st_size == target.length else b""
        target.verify_length_and_hashes(data)
    except (OSError, LengthOrHashMismatchError):
        return None
    return data


def is_verified(path: Path, target: TargetFile) -> bool:
    """Whether a file is as signed, however large."""
    try:
        with path.open("rb") as file:
            target.verify_length_and_hashes(file)
    except (OSError, LengthOrHashMismatchError):
        return False
    return True
