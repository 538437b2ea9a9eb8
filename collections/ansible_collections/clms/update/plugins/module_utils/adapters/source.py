# SPDX-License-Identifier: GPL-3.0-or-later
"""Source in a verified package, as the engine takes it to build from. Nothing of it is ever unpacked on the server."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from ..fields import Fields
from .bundle_file import ZIP_ERRORS

CONTENTS = "contents.json"
_MAX_CONTENTS = 16_000_000
_MAX_FILES = 50_000
_MAX_BYTES = 2_000_000_000


class SourceError(ValueError):
    """A package does not hold the source as it has to; the text says why."""


@contextmanager
def _zip_errors() -> Iterator[None]:
    """Turn all that Python's libraries raise for a damaged package into SourceError."""
    try:
        yield
    except SourceError:
        raise
    except ZIP_ERRORS as error:
        raise SourceError(f"it cannot be read: {error or type(error).__name__}"[:200]) from None


def write_context(package: Path, folder: str, output: IO[bytes]) -> int:
    """Write the files below a folder of a package as a tar archive, the same bytes each time.

    Each file has to be as the package's table of contents says. Owners, times and all modes but the execute bit are
    left out.

    :param package: a release's ZIP, whose signatures were verified
    :returns: how many files it has
    :raises SourceError: when something is not as it has to be
    :raises OSError: when the one cannot be read or the other not be written
    """
    with _zip_errors(), zipfile.ZipFile(package) as archive:
        listed = Fields(Fields(json.loads(_read(archive, CONTENTS, _MAX_CONTENTS))).get("files", dict), CONTENTS)
        entries = [entry for entry in archive.infolist() if entry.filename.startswith(f"{folder}/")]
        names = [entry.filename for entry in entries]
        if len(names) != len(set(names)) or len(names) > _MAX_FILES:
            raise SourceError("it has a file twice, or too many files")
        if f"{folder}/Dockerfile" not in names:
            raise SourceError(f"there is no Dockerfile in {folder!r}")
        left = _MAX_BYTES
        with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as context:
            for entry in sorted(entries, key=lambda entry: entry.filename):
                _check_name(entry)
                described = listed.sub(entry.filename)
                size = described.number("size", high=left)
                left -= size
                data = _read(archive, entry.filename, size)
                if hashlib.sha256(data).hexdigest() != described.text("sha256"):
                    raise SourceError(f"{entry.filename[:80]!r} is not what its table of contents says")
                member = tarfile.TarInfo(entry.filename.removeprefix(f"{folder}/"))
                member.size = len(data)
                member.mode = 0o755 if entry.external_attr >> 16 & 0o100 else 0o644
                context.addfile(member, io.BytesIO(data))
    return len(names)


def _check_name(entry: zipfile.ZipInfo) -> None:
    name, mode = entry.filename, entry.external_attr >> 16
    parts = name.split("/")
    plain = name.isprintable() and "\\" not in name and not PurePosixPath(name).is_absolute()
    if not plain or any(part in ("", ".", "..") for part in parts):
        raise SourceError(f"it has a file with the name {name[:80]!r}")
    if mode and not stat.S_ISREG(mode):
        raise SourceError(f"{name[:80]!r} is no regular file")


def _read(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    with archive.open(name) as file:
        data = file.read(size + 1)
    if len(data) > size:
        raise SourceError(f"{name[:80]!r} is too large")
    return data
