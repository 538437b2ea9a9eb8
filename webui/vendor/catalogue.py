# SPDX-License-Identifier: GPL-3.0-or-later
"""The published releases, believed for the same reasons for which a school believes them.

They are read through the school's own :class:`TrustStore`, so that this server can neither offer what schools would
refuse nor read the metadata in another way than they do.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.api.metadata import Metadata, TargetFile, Targets

from ansible_collections.clms.update.plugins.module_utils.adapters.vendor import newest
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fetcher import Fetcher
from ansible_collections.clms.update.plugins.module_utils.release import Release
from ansible_collections.clms.update.plugins.module_utils.trust import ReleaseEntry, TrustStore

FRESH_SECONDS = 60.0
"""After this time the metadata is verified again though nothing changed: it may have expired."""

_URL = "https://published.invalid"


@dataclass(frozen=True)
class Published:
    """A release, and where its files lie below ``targets/``."""

    release: Release
    package: str
    signature: str


class FolderFetcher(Fetcher):
    """Reads the published folder as if it were a server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        """:raises DownloadError: when there is no such file, or it cannot be read"""
        path = self._folder / url.removeprefix(f"{_URL}/")
        try:
            with path.open("rb") as file:
                while chunk := file.read(65536):
                    yield chunk
        except FileNotFoundError:
            raise DownloadHTTPError(f"{path.name} is missing", 404) from None
        except OSError as error:
            raise DownloadError(f"{path.name}: {error.strerror}") from None


class Catalogue:
    """The releases in a published folder, for any number of threads."""

    def __init__(self, folder: Path, root: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads nothing yet.

        :param folder: with ``metadata/`` and ``targets/`` below it
        :param root: root metadata that is trusted
        :param clock: seconds
        """
        self._timestamp = folder / "metadata" / "timestamp.json"
        self._clock = clock
        self._lock = threading.Lock()
        state = tempfile.mkdtemp(prefix="clms-releases-")
        self._targets = Path(state) / "metadata" / "targets.json"
        self._store = TrustStore(state=Path(state), pinned_root=root, url=f"{_URL}/", fetcher=FolderFetcher(folder))
        self._identity: tuple[int, int, int] | None = None
        self._verified_at = 0.0
        self._cache: dict[str, Published] = {}
        self.close = weakref.finalize(self, shutil.rmtree, state, ignore_errors=True)

    def latest(self, channel: str) -> Published:
        """The newest release of a channel.

        :raises ClmsError: CHANNEL_EMPTY, SERVER_RELEASES
        """
        with self._lock:
            self._refresh()
            entry = newest(self._entries(), channel)
            if entry is None:
                raise ClmsError("CHANNEL_EMPTY", channel=channel)
            return self._published(entry.version.text)

    def release(self, version: str, channel: str) -> Published:
        """One release of a channel.

        :raises ClmsError: RELEASE_UNKNOWN, SERVER_RELEASES
        """
        with self._lock:
            self._refresh()
            if not any(e.version.text == version and e.channel == channel for e in self._entries()):
                raise ClmsError("RELEASE_UNKNOWN", version=version[:64])
            return self._published(version)

    def check(self) -> None:
        """:raises ClmsError: SERVER_RELEASES unless the published metadata is valid and fresh"""
        with self._lock:
            self._refresh()

    def _refresh(self) -> None:
        """Verify what is published, unless that was done already."""
        try:
            status = self._timestamp.stat()
            identity = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError as error:
            raise ClmsError("SERVER_RELEASES", detail=f"timestamp.json: {error.strerror}") from None
        now = self._clock()
        if identity == self._identity and now - self._verified_at < FRESH_SECONDS:
            return
        if identity != self._identity:
            self._cache.clear()
        self._identity = None  # whatever fails below is tried again by the next request
        with _as_ours():
            self._store.refresh()
        self._identity, self._verified_at = identity, now

    def _entries(self) -> list[ReleaseEntry]:
        with _as_ours():
            return self._store.releases()

    def _published(self, version: str) -> Published:
        if version not in self._cache:
            with _as_ours():
                release = self._store.release(version)
            # verified by the refresh, and written by nobody but it
            listed = Metadata[Targets].from_file(str(self._targets)).signed.targets
            self._cache[version] = _located(release, listed)
        return self._cache[version]


@contextmanager
def _as_ours() -> Iterator[None]:
    """What a school would say of the releases, as a failure of this server."""
    try:
        yield
    except ClmsError as error:
        raise ClmsError("SERVER_RELEASES", detail=error.happened.rstrip(".")) from error


def _located(release: Release, listed: dict[str, TargetFile]) -> Published:
    path = release.package.path
    package, signature = listed.get(path), listed.get(f"{path}.sig")
    if package is None or signature is None or package.hashes.get("sha256") != release.package.sha256:
        detail = f"release {release.version} and the signed list name different packages"
        raise ClmsError("SERVER_RELEASES", detail=detail)
    return Published(release, _file_name(package), _file_name(signature))


def _file_name(target: TargetFile) -> str:
    """Where a target lies: its hash comes before its name."""
    folder, slash, name = target.path.rpartition("/")
    return f"{folder}{slash}{target.hashes['sha256']}.{name}"
