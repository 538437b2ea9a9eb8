# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles on the disk: taken in by a verified copy, and read from that copy only. See :mod:`.bundle`."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from ..bundle import CONTENTS, MAX_CONTENTS, MAX_TAIL, BundleError, Contents, check_entries, parse_contents, split
from ..gpg import SignatureRefusedError
from .files import sync_folder
from .pipes import ArchiveError
from .signed_copy import copy_signed

_PARTIAL = ".partial"
_READ_LIMIT = 300_000_000
"""the largest member that is read into memory: a release's package, with source"""


class Bundle:
    """A bundle whose signature was verified, opened for reading."""

    def __init__(self, path: Path) -> None:
        """:raises BundleError: when it is not what its table of contents says"""
        self.path = path
        self._file = path.open("rb")
        try:
            self._archive = zipfile.ZipFile(self._file)
            self.contents: Contents = parse_contents(self._read(CONTENTS, MAX_CONTENTS))
            check_entries(self._archive.infolist(), self.contents, directory=self._archive.start_dir)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, KeyError) as error:
            self._file.close()
            raise BundleError(f"it cannot be read: {error}"[:200]) from None
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

    def read(self, name: str) -> bytes:
        """A member, compared with the table of contents.

        :raises KeyError: when there is none of that name
        :raises BundleError: when it has changed
        """
        member = self.contents.members[name]
        data = self._read(name, _READ_LIMIT)
        if hashlib.sha256(data).hexdigest() != member.sha256:
            raise BundleError(f"member {name!r} is not what its table of contents says")
        return data

    def _read(self, name: str, limit: int) -> bytes:
        entry = self._archive.getinfo(name)
        if entry.file_size > limit or entry.compress_type != zipfile.ZIP_STORED:
            raise BundleError(f"member {name!r} is too large or packed")
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


def take_in(source: Path, folder: Path, *, key: Path, fingerprints: Collection[str]) -> Path:
    """Copy a bundle to ``folder`` while its signature is verified; it stands there under its name only if it is good.

    :param folder: only its owner may write there; made where it is missing
    :param key: the vendor's public key
    :param fingerprints: pinned primary fingerprints
    :returns: the copy
    :raises BundleError: when it is no bundle, or none of the vendor's
    :raises OSError: when the one cannot be read or the other not be written
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = folder / f".{os.getpid()}-{source.name[:100]}{_PARTIAL}"
    try:
        # what is checked from here on is this open file: a link, a pipe or another file in its place is none
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as original, partial.open("xb") as copy:
            os.fchmod(copy.fileno(), 0o600)
            found = os.fstat(original.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BundleError("it is no regular file")
            signed, signature = split(_tail(original, found.st_size), found.st_size)
            copy_signed(original, copy, signed=signed, signature=signature, key=key, fingerprints=fingerprints)
            # the comment is not signed: it has to be the one whose signature was verified
            if copy.tell() != found.st_size or split(_tail_of(partial), found.st_size) != (signed, signature):
                raise BundleError("it changed while it was copied")
        with Bundle(partial) as bundle:
            target = folder / bundle.contents.name
        partial.replace(target)
        sync_folder(folder)
        return target
    except SignatureRefusedError as error:
        raise BundleError(f"its signature was refused: {error}") from None
    except ArchiveError as error:
        raise BundleError(f"its signature could not be looked at: {error}") from None
    finally:
        partial.unlink(missing_ok=True)


def bundles_in(folder: Path) -> list[Path]:
    """The bundles that were taken in."""
    return sorted(path for path in folder.glob("*.zip") if not path.name.startswith(".")) if folder.is_dir() else []


def _tail_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return _tail(file, path.stat().st_size)


def _tail(file: IO[bytes], size: int) -> bytes:
    """The last bytes of a file; it is at its beginning afterwards."""
    file.seek(max(0, size - MAX_TAIL))
    tail = file.read(MAX_TAIL)
    file.seek(0)
    return tail
