# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles on the disk: taken in by a verified copy, and read from that copy only. See :mod:`.bundle`."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from ..bundle import (
    CONTENTS,
    MAX_CONTENTS,
    MAX_TAIL,
    BundleError,
    Contents,
    Seal,
    check_entries,
    parse_contents,
    split,
    statement,
)
from .files import sync_folder

_CHUNK = 1 << 20
_PARTIAL = ".partial"
_COPY = f".copy{_PARTIAL}"
"""the file's own name may be as long as a disk takes"""
ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, NotImplementedError),
    *(OverflowError, RuntimeError, ValueError),
)
"""All that Python's ZIP library raises for a damaged file, besides OSError."""


@contextmanager
def _zip_errors() -> Iterator[None]:
    """Turn all that Python's ZIP library raises for a damaged file into BundleError."""
    try:
        yield
    except BundleError:
        raise
    except (OSError, *ZIP_ERRORS) as error:
        raise BundleError(f"it cannot be read: {error or type(error).__name__}"[:200]) from None


class Bundle:
    """A bundle whose signature was verified, opened for reading."""

    def __init__(self, path: Path) -> None:
        """:raises BundleError: when it is not what its table of contents says"""
        self.path = path
        self._file = path.open("rb")
        try:
            with _zip_errors():
                self._archive = zipfile.ZipFile(self._file)
                self.contents: Contents = parse_contents(self._listed())
                check_entries(self._archive.infolist(), self.contents, directory=self._archive.start_dir)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._file.close()

    def names(self) -> list[str]:
        """All members but the table of contents."""
        return list(self.contents.members)

    def chunks(self, name: str) -> Iterator[bytes]:
        """A member bit by bit, once all of it was compared with the table of contents.

        :raises KeyError: when there is none of that name
        :raises BundleError: when it has changed
        """
        expected, hashed = self.contents.members[name].sha256, hashlib.sha256()
        for chunk in self._chunks(name):
            hashed.update(chunk)
        if hashed.hexdigest() != expected:
            raise BundleError(f"member {name!r} is not what its table of contents says")
        yield from self._chunks(name)

    def _chunks(self, name: str) -> Iterator[bytes]:
        with _zip_errors(), self._archive.open(name) as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def _listed(self) -> bytes:
        entry = self._archive.getinfo(CONTENTS)
        if entry.file_size > MAX_CONTENTS or entry.compress_type != zipfile.ZIP_STORED:
            raise BundleError(f"member {CONTENTS!r} is too large or packed")
        with self._archive.open(entry) as member:
            return member.read()

    @contextmanager
    def stream(self, name: str) -> Iterator[IO[bytes]]:
        """A member of any size, to be read once; ZIP's own checksum is looked at on the way.

        :raises KeyError: when there is none of that name
        """
        if name not in self.contents.members:
            raise KeyError(name)
        with self._archive.open(name) as member:
            yield member


@contextmanager
def taken_in(
    source: Path, folder: Path, vouched: Callable[[bytes, Seal], None], fits: Callable[[int], None]
) -> Iterator[Path]:
    """A copy of a bundle in ``folder`` whose signature is verified; under its own name only if the body ends well.

    Whoever uses it is the only one who does so with this folder.

    :param folder: only its owner may write there; made where it is missing
    :param vouched: verifies a statement against a seal, see :meth:`.trust.TrustStore.check_seal`
    :param fits: is told how many bytes will be copied; raises what the caller wants where there is no room for them
    :raises BundleError: when it is no bundle, or none of the vendor's
    :raises OSError: when the one cannot be read or the other not be written
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in folder.glob(f".*{_PARTIAL}"):  # by a process that was killed
        left.unlink()
    partial = folder / _COPY
    try:
        # a link, a pipe or a folder is no file that somebody has put down
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as original, partial.open("x+b") as copy:
            os.fchmod(copy.fileno(), 0o600)
            found = os.fstat(original.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BundleError("it is no regular file")
            fits(found.st_size)  # of what is open: another file may have its name by now
            split(_tail(original, found.st_size), found.st_size)  # before a film of some gigabytes is copied
            digests = _copy(original, copy, found.st_size)
            # from here on only the copy counts, whatever becomes of the original
            size = copy.tell()
            signed, seal = split(_tail(copy, size), size)
            vouched(statement(digests(signed), signed), seal)
        with Bundle(partial) as bundle:
            target = folder / bundle.contents.name
        yield partial
        partial.replace(target)
        sync_folder(folder)
    finally:
        partial.unlink(missing_ok=True)


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> Callable[[int], str]:
    """Copy a file, and take the SHA-256 of its beginning on the way, so that it is read once.

    Hashing and writing to the disk go on beside the copying: each of them takes about as long.

    :param size: of the file; all of it but the tail is hashed while it is copied
    :returns: the hash of the first so many bytes
    :raises BundleError: when it has become longer meanwhile
    """
    hashed = hashlib.sha256()
    at = 0
    early = max(0, size - MAX_TAIL)
    with ThreadPoolExecutor(2) as beside:
        hashing: Future[None] = beside.submit(lambda: None)
        written: Future[None] = beside.submit(lambda: None)
        while chunk := source.read(min(_CHUNK, size - at)):
            target.write(chunk)
            hashing.result()
            hashing = beside.submit(hashed.update, chunk[: max(0, early - at)])
            if written.done():
                written.result()
                written = beside.submit(os.fdatasync, target.fileno())
            at += len(chunk)
        hashing.result()
        written.result()
    if source.read(1):
        raise BundleError("it became longer while it was copied")
    target.flush()
    os.fsync(target.fileno())

    def digest(length: int) -> str:
        whole = hashed.copy()
        target.seek(early)
        whole.update(target.read(max(0, length - early)))
        return whole.hexdigest()

    return digest


def bundles_in(folder: Path) -> list[Path]:
    """The bundles that were taken in."""
    return sorted(path for path in folder.glob("*.zip") if not path.name.startswith(".")) if folder.is_dir() else []


def _tail(file: IO[bytes], size: int) -> bytes:
    """The last bytes of a file, which is at its beginning afterwards."""
    file.seek(max(0, size - MAX_TAIL))
    tail = file.read(MAX_TAIL)
    file.seek(0)
    return tail
