# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks for bundles where people put them: in folders, on USB drives, on a file server of the school's network."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..bundle import SUFFIX
from ..errors import ClmsError
from ..https import HttpsClient
from ..school import School
from .bundle_server import BundleServer, Served
from .files import write_atomically
from .offline import check_room, folder_of, import_file

_DEPTH = 3
"""how far below a folder bundles are looked for: a USB drive is mounted at /media/<user>/<name>"""
_LOOKED_AT = "looked-at.json"
_REMEMBERED = 100
_FETCH_SECONDS, _FETCH_RATE = 900.0, 100_000.0
"""for one file, in total, and bytes per second: the server is near, and somebody may be waiting"""
_FETCHED = "fetched"
"""folder below the one for bundles in which a file lies while it is fetched; only root writes there"""


def look_for_files(school: School) -> list[ClmsError]:
    """Take in whatever there is that was not looked at before.

    :returns: what nobody was told about yet: why a file was refused, or a file server does not answer
    """
    looked = _Looked(folder_of(school) / _LOOKED_AT)
    problems = []
    for path in _candidates(school):
        with suppress(OSError):
            found = path.stat()
            problems += _take(school, looked, str(path), f"{found.st_size} {found.st_mtime}", path)
    for address in school.bundle_servers:
        problems += _look_at_server(school, looked, address)
    return problems


def _candidates(school: School) -> Iterator[Path]:
    for folder in school.bundle_folders:
        pattern = "*"
        for _ in range(_DEPTH):
            with suppress(OSError):
                for path in sorted(Path(folder).glob(f"{pattern}{SUFFIX}")):
                    if path.is_file() and not path.is_symlink():
                        yield path
            pattern = f"*/{pattern}"


def _look_at_server(school: School, looked: _Looked, address: str) -> list[ClmsError]:
    ca_file = Path(school.bundle_ca_file) if school.bundle_ca_file else None
    problems = []
    try:
        client = HttpsClient(ca_file=ca_file, deadline=_FETCH_SECONDS, minimum_rate=_FETCH_RATE)
        server = BundleServer(address, client)
        for file in server.addresses():
            with server.open(file) as served:
                if not looked.at(file, served.mark):
                    problems += _fetch(school, looked, served)
    except ClmsError as error:
        if not looked.at(address, error.happened):  # it may be silent for weeks, and is asked every day
            problems.append(error)
        looked.add(address, error.happened)
    else:
        looked.forget(address)
    return problems


def _fetch(school: School, looked: _Looked, served: Served) -> list[ClmsError]:
    """Fetch a file, and take it in.

    :raises ClmsError: FILE_SERVER
    """
    folder = folder_of(school) / _FETCHED
    path = folder / f"{os.getpid()}-{served.address.rpartition('/')[2][-100:]}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_room(school, "the file, twice for a moment", 2 * served.size)
        served.save(path)
        return _take(school, looked, served.address, served.mark, path)
    except OSError as error:
        return [ClmsError("BUNDLE_MISSING", path=path, detail=error.strerror or error)]
    except ClmsError as error:
        if error.code != "DISK_TOO_SMALL":
            raise
        return [error]
    finally:
        path.unlink(missing_ok=True)


def _take(school: School, looked: _Looked, name: str, mark: str, path: Path) -> list[ClmsError]:
    """Take a file in that was not looked at before, or say why not."""
    if looked.at(name, mark):
        return []
    problems = []
    try:
        import_file(school, path, shown=name)
    except ClmsError as error:
        problems.append(error)
        if error.code == "DISK_TOO_SMALL":
            return problems  # the file is as good as before when there is room
    looked.add(name, mark)
    return problems


class _Looked:
    """What was looked at, so that each file is read once; another mark makes it another one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._marks: dict[str, tuple[float, str]] = {}
        with suppress(OSError, ValueError, TypeError, AttributeError):  # else everything is looked at once more
            self._marks = {name: (float(at), str(mark)) for name, (at, mark) in json.loads(path.read_bytes()).items()}

    def at(self, name: str, mark: str) -> bool:
        return name in self._marks and self._marks[name][1] == mark

    def add(self, name: str, mark: str) -> None:
        self._marks[name] = (time.time(), mark)
        self._marks = dict(sorted(self._marks.items(), key=lambda item: item[1])[-_REMEMBERED:])
        self._write()

    def forget(self, name: str) -> None:
        if self._marks.pop(name, None) is not None:
            self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps(self._marks))
