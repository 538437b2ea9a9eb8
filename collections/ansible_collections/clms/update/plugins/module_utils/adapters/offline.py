# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases that came to this school in a file: found, taken in, believed by the same chain as those of the network."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..bundle import SUFFIX, BundleError, Contents
from ..errors import ClmsError
from ..fetcher import BUNDLE_URL, BundleFetcher
from ..release import Release
from ..school import School
from ..trust import TrustStore
from .bundle_file import Bundle, bundles_in, take_in
from .files import write_atomically
from .vendor import store_of

_DEPTH = 3
"""how far below a folder bundles are looked for: a USB drive is mounted at /media/<user>/<name>"""
_LOOKED_AT = "looked-at.json"
_REMEMBERED = 100


@dataclass(frozen=True)
class Offline:
    """A release that a bundle on this server holds."""

    path: Path
    contents: Contents
    release: Release

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


def import_file(school: School, source: Path) -> Offline:
    """Take a bundle in: copy it while its signature is verified, then verify the metadata and the release in it.

    :raises ClmsError: BUNDLE_MISSING, BUNDLE_REFUSED, BUNDLE_OLD, or a TRUST_ or RELEASE_ code
    """
    try:
        path = take_in(source, folder_of(school), _newest_of(school).check_seal)
    except BundleError as error:
        raise ClmsError("BUNDLE_REFUSED", path=source, detail=error) from None
    except ClmsError as error:  # of the signature
        raise ClmsError("BUNDLE_REFUSED", path=source, detail=error.values.get("detail", error.happened)) from None
    except OSError as error:
        raise ClmsError("BUNDLE_MISSING", path=source, detail=error.strerror or error) from None
    try:
        return believed(school, path)
    except ClmsError:
        path.unlink(missing_ok=True)
        raise


def believed(school: School, path: Path) -> Offline:
    """The release of a bundle that was taken in, as far as its metadata may be believed today.

    Its metadata is verified by a store of its own: it counts for longer than that of the release server, and must not
    take its place. What the release server and newer bundles have said since is respected.

    :raises ClmsError: BUNDLE_REFUSED, BUNDLE_OLD, or a TRUST_ or RELEASE_ code
    """
    online, newest = store_of(school), _newest_store(school)
    with opened(school, path) as (bundle, store):
        _check_clock(bundle.contents.created)
        release = store.release(bundle.contents.version.text)
        version, number = release.version.text, store.timestamp_version()
        for seen in (online, newest):
            if seen.timestamp_version() > number and not seen.lists(version, as_in=store):
                raise ClmsError("BUNDLE_OLD", path=path, created=bundle.contents.created[:10], version=version)
        if number > newest.timestamp_version():
            store.keep(_stores(school) / f"{number:09}")
        return Offline(path, bundle.contents, release)


def _check_clock(created: str) -> None:
    """:raises ClmsError: CLOCK_WRONG where a bundle was made in what this server takes for the future"""
    now = datetime.now(UTC)
    if now < datetime.fromisoformat(created) - timedelta(days=1):
        raise ClmsError("CLOCK_WRONG", now=now.strftime("%Y-%m-%dT%H:%M:%SZ"), seen=created)


@contextmanager
def opened(school: School, path: Path) -> Iterator[tuple[Bundle, TrustStore]]:
    """A bundle that was taken in, and a store that gets its metadata from it and is gone afterwards.

    :raises ClmsError: BUNDLE_REFUSED, TRUST_STORE, or a TRUST_ code
    """
    root = _newest_of(school).newest_root()
    folder = _stores(school)
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
        raise ClmsError("BUNDLE_REFUSED", path=path, detail=error) from None
    except ClmsError as error:
        if error.code != "SERVER_UNREACHABLE":
            raise
        # there is no server: the bundle does not hold what its metadata names, or holds something else
        raise ClmsError("BUNDLE_REFUSED", path=path, detail=error.values["detail"]) from None
    except OSError as error:
        raise ClmsError("TRUST_STORE", path=folder, detail=error.strerror or error) from None


def _newest_of(school: School) -> TrustStore:
    """Of what the release server and what bundles have said, the one with the newer root."""
    return max((store_of(school), _newest_store(school)), key=lambda store: store.root_version())


def _stores(school: School) -> Path:
    return school.home / "trust-offline"


def _newest_store(school: School) -> TrustStore:
    """What the newest bundle that was ever here has said; older ones are forgotten."""
    folder = _stores(school)
    numbers = sorted(path for path in folder.glob("[0-9]*")) if folder.is_dir() else []
    for path in numbers[:-1]:
        shutil.rmtree(path, ignore_errors=True)
    online = store_of(school)
    return online.another(numbers[-1] if numbers else folder / "none")


def releases_here(school: School) -> list[Offline]:
    """What can be installed from bundles that were taken in; others are passed over."""
    found = []
    for path in bundles_in(folder_of(school)):
        with suppress(ClmsError):
            found.append(believed(school, path))
    return sorted(found, key=lambda offline: offline.release.sequence)


def look_for_files(school: School) -> list[ClmsError]:
    """Take in what lies in the folders for bundles and on USB drives, and was not taken in before.

    :returns: why files were refused that nobody was told about yet
    """
    looked = _Looked(folder_of(school) / _LOOKED_AT)
    problems = []
    for path in _candidates(school):
        with suppress(OSError):
            if looked.at(path):
                continue
            try:
                import_file(school, path)
            except ClmsError as error:
                problems.append(error)
            looked.add(path)
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


class _Looked:
    """The files that were looked at, so that each is read once; another size or time makes it another file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            decoded = json.loads(path.read_bytes())
        except (OSError, ValueError):
            decoded = {}
        self._files: dict[str, list[float]] = decoded if isinstance(decoded, dict) else {}

    def at(self, path: Path) -> bool:
        found = path.stat()
        return self._files.get(str(path), [])[:2] == [found.st_size, found.st_mtime]

    def add(self, path: Path) -> None:
        found = path.stat()
        self._files[str(path)] = [found.st_size, found.st_mtime, time.time()]
        newest = dict(sorted(self._files.items(), key=lambda item: item[1][2])[-_REMEMBERED:])
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps(newest))
