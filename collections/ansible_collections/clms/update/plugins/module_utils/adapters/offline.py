# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases that came to this school in a file: taken in, and believed by the same chain as those of the network."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..bundle import BundleError, Contents, Seal
from ..disk import Need, check_space
from ..errors import ClmsError
from ..fetcher import BUNDLE_URL, BundleFetcher
from ..release import Release
from ..school import School
from ..told import Told, told
from ..trust import TrustStore
from .bundle_file import Bundle, bundles_in, taken_in
from .files import mount_of
from .vendor import store_of

_LEFT_SECONDS = 86_400
"""after which nobody works any more in a folder that is made for one question"""


@dataclass(frozen=True)
class Offline:
    """A release that a bundle on this server holds."""

    path: Path
    contents: Contents
    release: Release

    @property
    def told(self) -> Told:
        """That it was taken in, for people."""
        return told("IMPORTED", version=self.release.version.text, file=self.path.name)

    def as_dict(self) -> dict[str, Any]:
        """For lists: ``version``, ``architecture``, ``created``, ``file`` and ``size`` in bytes."""
        return {
            "version": self.release.version.text,
            "architecture": self.contents.architecture,
            "created": self.contents.created,
            "file": self.path.name,
            "size": self.path.stat().st_size,
        }


def folder_of(school: School) -> Path:
    """Where bundles lie that were taken in; only root writes there."""
    return school.home / "bundles"


def check_room(school: School, purpose: str, size: int) -> None:
    """A file that fills the disk would harm what runs there.

    :raises ClmsError: DISK_TOO_SMALL
    """
    check_space([Need(purpose, size, mount_of(folder_of(school)))], reserve=school.reserve_bytes)


def import_file(school: School, source: Path, *, shown: str = "") -> Offline:
    """Take a bundle in: copy it while its signature is verified, then verify the metadata and the release in it.

    :param shown: what a person calls the file, where that is not its path
    :raises ClmsError: BUNDLE_MISSING, BUNDLE_REFUSED, BUNDLE_OLD, DISK_TOO_SMALL, or a TRUST_ or RELEASE_ code
    """
    shown = shown or str(source)

    def vouched(signed: bytes, seal: Seal) -> None:
        try:
            with _believing(school):
                store = _stores(school)[0]
            store.check_seal(signed, seal)
        except ClmsError as error:
            raise BundleError(error.values.get("detail", error.happened)) from None

    def fits(size: int) -> None:
        check_room(school, "a copy of the file", size)

    try:
        with _alone(school):
            with taken_in(source, folder_of(school), vouched, fits) as copy:
                found = believed(school, copy, shown=shown)
            return replace(found, path=folder_of(school) / found.contents.name)
    except BundleError as error:
        raise ClmsError("BUNDLE_REFUSED", path=shown, detail=error) from None
    except OSError as error:
        raise ClmsError("BUNDLE_MISSING", path=shown, detail=error.strerror or error) from None


@contextmanager
def _alone(school: School) -> Iterator[None]:
    """One file is taken in at a time, whoever does it."""
    school.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (school.home / "bundles.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def believed(school: School, path: Path, *, shown: str = "") -> Offline:
    """The release of a bundle that was taken in, as far as its metadata may be believed today.

    Its metadata is verified by a store of its own: it counts for longer than that of the release server, and must not
    take its place; but what it says of keys counts everywhere. What the release server and newer bundles have said
    since is respected, and so is when that was: a clock that was put back makes nothing count again. A bundle that is
    newer than all before it says itself what time it is; it counts for longer than they do, so nothing is gained with
    it by putting the clock back further than to when one of them was believed last, and a clock that was fast at that
    time locks nobody out for good.

    :param shown: as in :func:`import_file`
    :raises ClmsError: CLOCK_WRONG, BUNDLE_REFUSED, BUNDLE_OLD, or a TRUST_ or RELEASE_ code
    """
    with _believing(school):
        online, newest = _stores(school)
        online.check_clock()
        with opened(school, path, shown=shown) as (bundle, store):
            _check_clock(bundle.contents.created)
            release = store.release(bundle.contents.version.text)
            online.learn_roots(store)
            version, number = release.version.text, store.timestamp_version()
            if number <= newest.number:
                newest.store.check_clock()
            if not (
                (online.timestamp_version() <= number or online.lists(version, as_in=store))
                and (newest.number <= number or (newest.whole and newest.store.lists(version, as_in=store)))
            ):
                created = bundle.contents.created[:10]
                raise ClmsError("BUNDLE_OLD", path=shown or path, created=created, version=version)
            if number > newest.number or (number == newest.number and not newest.whole):
                _keep(school, store, number)
            else:
                newest.store.saw(store)
            return Offline(path, bundle.contents, release)


def _check_clock(created: str) -> None:
    """:raises ClmsError: CLOCK_WRONG where a bundle was made in what this server takes for the future"""
    now = datetime.now(UTC)
    if now < datetime.fromisoformat(created) - timedelta(days=1):
        raise ClmsError("CLOCK_WRONG", now=now.strftime("%Y-%m-%dT%H:%M:%SZ"), seen=created)


@contextmanager
def opened(school: School, path: Path, *, shown: str = "") -> Iterator[tuple[Bundle, TrustStore]]:
    """A bundle that was taken in, and a store that gets its metadata from it and is gone afterwards.

    :raises ClmsError: BUNDLE_REFUSED, TRUST_STORE, or a TRUST_ code
    """
    root = store_of(school).newest_root()  # it has learned of all that bundles have said
    folder = _folder(school)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".", dir=folder) as temporary, Bundle(path) as bundle:
            yield (
                bundle,
                TrustStore(
                    state=Path(temporary) / "store", pinned_root=root, url=BUNDLE_URL, fetcher=BundleFetcher(bundle)
                ),
            )
    except BundleError as error:
        raise ClmsError("BUNDLE_REFUSED", path=shown or path, detail=error) from None
    except ClmsError as error:
        if error.code != "SERVER_UNREACHABLE":
            raise
        # there is no server: the bundle does not hold what its metadata names, or holds something else
        raise ClmsError("BUNDLE_REFUSED", path=shown or path, detail=error.values["detail"]) from None
    except OSError as error:
        raise ClmsError("TRUST_STORE", path=folder, detail=error.strerror or error) from None


@dataclass(frozen=True)
class _Newest:
    """What the newest bundle that was ever here has said."""

    store: TrustStore
    number: int
    """version of its timestamp; 0 where there was none"""
    whole: bool
    """whether all of it is there; else the next one that is not older takes its place"""


def _folder(school: School) -> Path:
    return school.home / "trust-offline"


@contextmanager
def _believing(school: School) -> Iterator[None]:
    """One bundle is judged at a time: what the newest has said may be replaced."""
    path = school.home / "trust-offline.lock"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise ClmsError("TRUST_STORE", path=path, detail=error.strerror or error) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _stores(school: School) -> tuple[TrustStore, _Newest]:
    """What the release server has said, and what the newest bundle has; both know of the newest keys.

    :raises ClmsError: a TRUST_ code
    """
    online, folder = store_of(school), _folder(school)
    names = sorted(path.name for path in folder.glob("[0-9]*"))
    if not names:
        return online, _Newest(online.another(folder / "none"), 0, True)
    newest = online.another(folder / names[-1])
    newest.learn_roots(online)  # its own begin with the one that was the newest at that time
    online.learn_roots(newest)  # what an older CLMS Update has kept
    number = int(names[-1])
    try:
        whole = newest.timestamp_version() == number and newest.releases() != []
    except ClmsError as error:
        if error.code != "TRUST_REFUSED":
            raise
        whole = False
    return online, _Newest(newest, number, whole)


def _keep(school: School, store: TrustStore, number: int) -> None:
    """Keep what a bundle has said; what older ones have is forgotten.

    :raises OSError: when it cannot be kept
    """
    folder = _folder(school)
    kept = folder / f"{number:09}"
    shutil.rmtree(kept, ignore_errors=True)  # it is damaged
    store.keep(kept)
    for path in folder.glob("[0-9]*"):
        if path != kept:
            shutil.rmtree(path, ignore_errors=True)


def remove_old(school: School, used: Collection[Release]) -> list[str]:
    """Remove the files that nobody will install any more: the vendor has taken the release back, or it is older than
    all that this server runs or may go back to. One that has only expired stays: the clock may be wrong.

    :param used: the releases of what runs here and of what is kept to go back to
    :returns: the names of the files
    :raises OSError: when one cannot be removed
    """
    removed = []
    with _alone(school):
        for path in bundles_in(folder_of(school)):
            try:
                release = believed(school, path).release
                old = bool(used) and all(
                    release.channel == other.channel and release.sequence < other.sequence for other in used
                )
            except ClmsError as error:
                old = error.code == "BUNDLE_OLD"
            if old:
                path.unlink()
                removed.append(path.name)
        for folder in _folder(school).glob(".*"):  # of a process that was killed
            if folder.stat().st_mtime < time.time() - _LEFT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
    return removed


def releases_here(school: School) -> list[Offline]:
    """What can be installed from bundles that were taken in; others are passed over."""
    found = []
    for path in bundles_in(folder_of(school)):
        with suppress(ClmsError):
            found.append(believed(school, path))
    return sorted(found, key=lambda offline: offline.release.sequence)
