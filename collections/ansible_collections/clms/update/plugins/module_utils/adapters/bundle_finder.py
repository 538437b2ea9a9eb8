# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks for bundles where people put them: in folders, on USB drives, on a file server of the school's network."""

from __future__ import annotations

import fcntl
import heapq
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ..bundle import SUFFIX
from ..errors import ClmsError
from ..https import HttpsClient
from ..school import School
from ..told import Told, told
from ..version import UPDATER
from .bundle_server import BundleServer, Served
from .files import empty_folder
from .looked import Looked
from .offline import Offline, check_room, folder_of, import_file

_DEPTH = 3
"""how far below a folder bundles are looked for: a USB drive is mounted at /media/<user>/<name>"""
_LOOKED_AT = "looked-at.json"
_NAMED = "clms-"
_MOST = 5000
"""files of one folder that are looked at"""
_LISTED = 100_000
"""files of one depth of a folder of which these are chosen: a disk may hold any number"""
_FOLDERS_SECONDS = 60.0
"""after which no further file of the folders is begun; the next look goes on there"""
_TOLD = 50
"""problems of one look that are told one by one"""
_VERDICTS = ("BUNDLE_REFUSED", "BUNDLE_OLD")
_FOR_TODAY = ("TRUST_REFUSED", "TRUST_EXPIRED", "RELEASE_")
"""what the clock, the keys that are known here, or another CLMS Update may see in another way tomorrow"""
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


@dataclass
class Found:
    """What came of looking for files."""

    taken: list[Offline] = field(default_factory=list)
    problems: list[ClmsError] = field(default_factory=list)
    """what nobody was told about yet: why a file was refused, or a file server does not answer"""
    more: int = 0
    """how many problems there were beside these, which nobody would read"""
    crowded: list[str] = field(default_factory=list)
    """folders with more files than are looked at, of which nobody was told yet"""

    def add(self, problem: ClmsError) -> None:
        """Keep a problem, or count it."""
        if len(self.problems) < _TOLD:
            self.problems.append(problem)
        else:
            self.more += 1

    @property
    def refusals(self) -> list[Told]:
        """All that people have to be told of what could not be used."""
        found = [told("FAILURE", failure=problem) for problem in self.problems]
        found += [told("CROWDED", folder=folder, most=_MOST) for folder in self.crowded]
        if self.more:
            found.append(told("REFUSED_MORE", count=self.more))
        return found


def look_for_files(school: School) -> Found:
    """Take in whatever there is that was not looked at before."""
    found = Found()
    with (school.home / "bundles-look.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # what one has begun to fetch the next one need not fetch again
        looked = Looked(folder_of(school) / _LOOKED_AT)
        try:
            _look_at_folders(school, looked, found)
            for address in school.bundle_servers:
                with _told_once(looked, address, found):
                    _look_at_server(school, looked, address, found)
        finally:
            looked.save()
    return found


def _look_at_folders(school: School, looked: Looked, found: Found) -> None:
    end = time.monotonic() + _FOLDERS_SECONDS
    new = []
    for folder in school.bundle_folders:
        files = heapq.nlargest(_MOST + 1, _candidates(folder))
        if looked.tell(f"crowded: {folder}", "yes" if len(files) > _MOST else ""):
            found.crowded.append(folder)
        # all of them are asked for before the first is judged: what there is no time for is there all the same
        new += [file for file in files[:_MOST] if not _judged(looked, str(file.path), file.mark)]
    for file in new:
        if time.monotonic() > end:  # each of them may take long, and somebody may be waiting
            return
        with _told_once(looked, str(file.path), found), suppress(OSError):
            found.taken += _take(school, looked, str(file.path), file.mark, file.path)


@contextmanager
def _told_once(looked: Looked, name: str, found: Found) -> Iterator[None]:
    """Collect what is wrong with a file or a server. A verdict on a file is a new one each time; that a server is
    silent or the disk full may go on for weeks, while it is looked at every day.
    """
    about = f"problem: {name}"
    try:
        yield
    except ClmsError as error:
        if _is_verdict(error) or looked.tell(about, error.code):
            found.add(error)
    else:
        looked.tell(about, "")


def _is_verdict(error: ClmsError) -> bool:
    """Whether it says something of the file, and not of this server or the way here."""
    return error.code.startswith((*_VERDICTS, *_FOR_TODAY))


def _judged(looked: Looked, name: str, mark: str) -> bool:
    """Whether a file need not be looked at again, or not today."""
    return looked.at(name, mark) or looked.at(name, _for_today(mark))


def _for_today(mark: str) -> str:
    return f"{mark} {UPDATER} {datetime.now(UTC):%Y-%m-%d}"


class _Candidate(NamedTuple):
    """A file that may be a bundle; the one that people will most likely have meant is the largest."""

    named: bool
    """whether it is called as the vendor calls them"""
    changed: int
    path: Path
    mark: str


def _candidates(folder: str) -> Iterator[_Candidate]:
    pattern = "*"
    for _ in range(_DEPTH):
        with suppress(OSError):
            for path in islice(Path(folder).glob(f"{pattern}{SUFFIX}"), _LISTED):
                with suppress(OSError):
                    facts = path.lstat()
                    if stat.S_ISREG(facts.st_mode):
                        changed = max(facts.st_mtime_ns, facts.st_ctime_ns)
                        mark = f"{facts.st_ino} {facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"
                        yield _Candidate(path.name.startswith(_NAMED), changed, path, mark)
        pattern = f"*/{pattern}"


def _look_at_server(school: School, looked: Looked, address: str, found: Found) -> None:
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
        with _told_once(looked, file, found), server.open(file) as served:
            if not _judged(looked, file, served.mark):
                found.taken += _fetch(school, looked, served)


def _fetch(school: School, looked: Looked, served: Served) -> list[Offline]:
    """Fetch a file, and take it in; see :func:`_take`.

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


def _take(school: School, looked: Looked, name: str, mark: str, path: Path) -> list[Offline]:
    """Take a file in; it is not looked at again unless it could not be judged.

    :returns: nothing when it was refused as on an earlier day
    :raises ClmsError: as :func:`.offline.import_file`
    """
    try:
        found = import_file(school, path, shown=name)
    except ClmsError as error:
        if not error.code.startswith(_FOR_TODAY):
            if _is_verdict(error):
                looked.add(name, mark)
            raise
        looked.add(name, _for_today(mark))
        if looked.tell(f"judged: {name}", f"{mark} {error.code}"):
            raise
        return []
    looked.add(name, mark)
    return [found]
