# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that signed metadata names, on their way to the disk: what broke off is gone on with."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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

        Where the connection breaks, it goes on with what is there: at once, a few times, and at the next call. What is
        there of another file is thrown away, and it begins once more. Who comes while somebody else fetches it waits.

        :raises DownloadError: when the connection breaks, and goes on breaking, or it takes too long
        :raises DownloadLengthMismatchError: when it is longer than was signed
        :raises LengthOrHashMismatchError: when it is not what was signed
        :raises OSError: when it cannot be written
        """
        part = local.with_name(f".{local.name}.part")
        folder, _, name = target.path.rpartition("/")
        url = f"{self._url}/{folder}/{target.hashes['sha256']}.{name}"
        local.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part) as file:
            if is_verified(local, target):  # somebody else has fetched it
                part.unlink(missing_ok=True)
                return
            end = self._monotonic() + _SECONDS
            while True:
                resumed = file.tell() > 0
                try:
                    self._append(url, file, target.length, end)
                    os.fsync(file.fileno())
                    target.verify_length_and_hashes(file)
                    break
                except (LengthOrHashMismatchError, DownloadLengthMismatchError):
                    if not resumed:
                        part.unlink(missing_ok=True)  # there is nothing to go on with
                        raise
                    file.seek(0)
                    file.truncate()
            part.replace(local)

    def _append(self, url: str, file: IO[bytes], length: int, end: float) -> None:
        """Fetch what is missing of a file.

        :param end: when it has to be there
        :raises DownloadError: when the connection breaks, and goes on breaking, or it takes too long
        :raises DownloadLengthMismatchError: as soon as it is longer than was signed
        """
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


@contextmanager
def _alone(path: Path) -> Iterator[IO[bytes]]:
    """A file at its end, which nobody else who asks this function has meanwhile."""
    while True:
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file, path):  # else who had it has renamed or removed it
                file.seek(0, os.SEEK_END)
                yield file
                return


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


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
