# SPDX-License-Identifier: GPL-3.0-or-later
"""The release manager's desk, of which bundles come, and a server for what was signed there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tuf.api.exceptions import DownloadHTTPError

from ansible_collections.clms.update.plugins.module_utils.adapters import offline
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fetcher import Fetcher
from publisher import bundle as maker
from publisher import keys
from publisher.repository import NewTarget, Repository
from publisher.vendor import Vendor

IMAGE = b"an image, packed by zstd, which nobody unpacks here" * 1000
CONFIG = "sha256:" + "c" * 64
URL = "https://releases.test"


class Server(Fetcher):
    """Serves a repository's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._folder / url.removeprefix(f"{URL}/")
        if not path.is_file():
            raise DownloadHTTPError("it answered 404", 404)
        yield path.read_bytes()


@dataclass
class Desk:
    """The release manager's desk."""

    vendor: Vendor
    to: Path

    @property
    def repository(self) -> Repository:
        return Repository(self.vendor.repository)

    def sign(self, version: str, sequence: int, **changes: Any) -> None:
        """Sign a release with its package; what its images are is not looked at."""
        package = f"the package of {version}".encode()
        path = f"packages/clms-{version}.zip"
        image = {"repository": "clms/backend", "digest": CONFIG, "config": CONFIG, "layers": [CONFIG], "size": 10}
        release = {
            "product": "clms", "format": 1, "version": version, "sequence": sequence, "channel": "stable",
            "releaseDate": "2026-01-02T03:04:05Z", "expires": "2099-01-01T00:00:00Z", "changelog": "New: a search",
            "minUpdaterVersion": "0.1.0", "estimatedMinutes": 5, "migration": "none",
            "services": {"backend": {"images": {"amd64": image}}},
            "health": {"backend": {"path": "/", "port": 80, "timeoutSeconds": 60}}, "smoke": [],
            "package": {"path": path, "size": len(package), "sha256": hashlib.sha256(package).hexdigest()}, **changes,
        }  # fmt: skip
        custom = {"version": version, "sequence": sequence, "channel": "stable"}
        files = [
            NewTarget(path, package),
            NewTarget(f"{path}.sig", b"no signature of gpg"),
            NewTarget(f"releases/{version}.json", json.dumps(release).encode(), custom),
        ]
        self.repository.add(files, self.offline_key, self.online_key)

    @property
    def offline_key(self) -> Any:
        return keys.gpg_signer(self.vendor.gpg_home, self.vendor.fingerprint)

    @property
    def online_key(self) -> Any:
        return keys.file_signer(self.vendor.online_key)

    def bundle(self, version: str) -> Path:
        return self.made(version).path

    def made(self, version: str, now: datetime | None = None) -> maker.Made:
        return maker.make_bundle(
            self.vendor,
            version,
            self.to,
            architecture="amd64",
            offline=self.offline_key,
            online=self.online_key,
            now=now,
        )

    def seal(self, path: Path) -> None:
        """Sign a ZIP that has no comment."""
        maker._seal(path, self.repository.later_roots(), self.offline_key)


def refused(call: Callable[[], object]) -> ClmsError:
    with pytest.raises(ClmsError) as caught:
        call()
    return caught.value


def versions(school: Any) -> list[str]:
    return [found.release.version.text for found in offline.releases_here(school)]


def flip(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(bytes(data))
