# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks for bundles where people put them: in folders, on USB drives, on a file server of the school's network."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..bundle import SUFFIX
from ..errors import ClmsError
from ..https import HttpsClient
from ..school import School
from .bundle_server import BundleServer, Served
from .files import empty_folder, write_atomically
from .offline import Offline, check_room, folder_of, import_file

_DEPTH = 3
"""how far below a folder bundles are looked for: a USB drive is mounted at /media/<user>/<name>"""
_LOOKED_AT = "looked-at.json"
_REMEMBERED = 1000
_VERDICTS = ("BUNDLE_REFUSED", "BUNDLE_OLD", "TRUST_REFUSED", "TRUST_EXPIRED", "RELEASE_")
_FETCH_SECONDS, _FETCH_RATE = 900.0, 100_000.0
"""for one file, in total, and bytes per second: the server is near, and somebody may be waiting"""
_CONNECT_SECONDS = 3.0
"""a server of the school's own network answers at once, or is off; the vendor is asked after it"""
_SERVER_SECONDS = 60.0
"""after which no further file of a server is begun; the next look goes on there"""
_FETCHED = "fetched/file.zip"
"""where a file lies below the folder for bundles while it is fetched; only root writes there. What the server calls it
may be too long for a disk
"""


@dataclass(frozen=True)
class Found:
    """What came of looking for files."""

    taken: list[Offline] = field(default_factory=list)
    problems: list[ClmsError] = field(default_factory=list)
    """what nobody was told about yet: why a file was refused, or a file server does not answer"""


def look_for_files(school: School) -> Found:
    """Take in whatever there is that was not looked at before."""
    found = Found()
    with (school.home / "bundles-look.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # what one has begun to fetch the next one need not fetch again
        looked = _Looked(folder_of(school) / _LOOKED_AT)
        taken, problems = found.taken, found.problems
        for path in _candidates(school):
            with _told_once(looked, str(path), problems), suppress(OSError):
                facts = path.stat()
                mark = f"{facts.st_ino} {facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"
                if not looked.at(str(path), mark):
                    taken.append(_take(school, looked, str(path), mark, path))
        for address in school.bundle_servers:
            with _told_once(looked, address, problems):
                _look_at_server(school, looked, address, found)
    return found


@contextmanager
def _told_once(looked: _Looked, name: str, problems: list[ClmsError]) -> Iterator[None]:
    """Collect what is wrong with a file or a server. A verdict on a file is a new one each time; that a server is
    silent or the disk full may go on for weeks, while it is looked at every day.
    """
    about = f"problem: {name}"
    try:
        yield
    except ClmsError as error:
        if _is_verdict(error):
            problems.append(error)
            return
        if not looked.at(about, error.code):
            problems.append(error)
            looked.add(about, error.code)
    else:
        looked.forget(about)


def _is_verdict(error: ClmsError) -> bool:
    """Whether it says something of the file, and not of this server or the way here."""
    return error.code.startswith(_VERDICTS)


def _candidates(school: School) -> Iterator[Path]:
    for folder in school.bundle_folders:
        pattern = "*"
        for _ in range(_DEPTH):
            with suppress(OSError):
                for path in sorted(Path(folder).glob(f"{pattern}{SUFFIX}")):
                    if path.is_file() and not path.is_symlink():
                        yield path
            pattern = f"*/{pattern}"


def _look_at_server(school: School, looked: _Looked, address: str, found: Found) -> None:
    """:raises ClmsError: FILE_SERVER, SERVER_ADDRESS or CA_FILE"""
    ca_file = Path(school.bundle_ca_file) if school.bundle_ca_file else None
    client = HttpsClient(
        ca_file=ca_file, connect_timeout=_CONNECT_SECONDS, deadline=_FETCH_SECONDS, minimum_rate=_FETCH_RATE
    )
    server = BundleServer(address, client)
    end = time.monotonic() + _SERVER_SECONDS
    for file in server.addresses():
        if time.monotonic() > end:  # each of them may take long, and somebody may be waiting
            return
        with _told_once(looked, file, found.problems), server.open(file) as served:
            if not looked.at(file, served.mark):
                found.taken.append(_fetch(school, looked, served))


def _fetch(school: School, looked: _Looked, served: Served) -> Offline:
    """Fetch a file, and take it in.

    :raises ClmsError: FILE_SERVER, DISK_TOO_SMALL, and as :func:`.offline.import_file`
    """
    path = folder_of(school) / _FETCHED
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        empty_folder(path.parent)  # what a process that was killed has left
        check_room(school, "the file, twice for a moment", 2 * served.size)
        served.save(path)
        return _take(school, looked, served.address, served.mark, path)
    except OSError as error:
        raise ClmsError("BUNDLE_MISSING", path=served.address, detail=error.strerror or error) from None
    finally:
        path.unlink(missing_ok=True)


def _take(school: School, looked: _Looked, name: str, mark: str, path: Path) -> Offline:
    """Take a file in; it is not looked at again unless it could not be judged.

    :raises ClmsError: as :func:`.offline.import_file`
    """
    try:
        found = import_file(school, path, shown=name)
    except ClmsError as error:
        if _is_verdict(error):
            looked.add(name, mark)
        raise
    looked.add(name, mark)
    return found


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
