# SPDX-License-Identifier: GPL-3.0-or-later
"""A vendor to test against: a real signed repository that is served from a folder and can be spoilt in every way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata
from tuf.ngclient import FetcherInterface

from ansible_collections.clms.update.plugins.module_utils.trust import TrustStore
from publisher.repository import NewTarget, Repository

URL = "https://vendor.test/repository"
DIGEST = "sha256:" + "a" * 64
PACKAGE = b"the package of a release"


def release_json(version: str = "1.0.1", sequence: int = 1, **changes: Any) -> dict[str, Any]:
    """A complete and valid release; ``changes`` replace top-level fields."""
    image = {"repository": "clms/backend", "digest": DIGEST, "config": DIGEST, "layers": [DIGEST], "size": 1000}
    release = {
        "product": "clms",
        "format": 1,
        "version": version,
        "sequence": sequence,
        "channel": "stable",
        "releaseDate": "2026-01-02T03:04:05Z",
        "expires": "2099-01-01T00:00:00Z",
        "changelog": "New: a faster search",
        "breakingChanges": [],
        "critical": False,
        "forceAfterDate": None,
        "gracePeriodDays": 0,
        "minVersion": "1.0.0",
        "minUpdaterVersion": "0.1.0",
        "estimatedMinutes": 5,
        "migration": {
            "service": "backend",
            "command": ["npx", "prisma", "migrate", "deploy"],
            "from": "20250101_init",
            "to": "20260101_authors",
            "timeoutSeconds": 600,
        },
        "services": {
            "backend": {"images": {"amd64": image}},
            "frontend": {"build": {"source": "source/frontend", "arguments": {"API": "${api_url}"}}},
        },
        "health": {"backend": {"path": "/api/health", "port": 3001, "timeoutSeconds": 60}},
        "smoke": [
            {"name": "login", "method": "POST", "path": "/api/auth/login", "json": {"username": "${user}"}},
            {"name": "students", "path": "/api/students", "status": [200], "save": {"id": "data.id"}, "writes": True},
        ],
        "package": {
            "path": f"packages/clms-{version}.zip",
            "size": len(PACKAGE),
            "sha256": hashlib.sha256(PACKAGE).hexdigest(),
        },
    }
    return {**release, **changes}


class FakeVendor(FetcherInterface):
    """Serves a repository's folder under :data:`URL`; ``spoilt`` paths answer with other bytes or raise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "repository"
        self.offline: Signer = CryptoSigner.generate_ed25519()
        self.online: Signer = CryptoSigner.generate_ed25519()
        self.root = folder / "root.json"
        self.spoilt: dict[str, bytes | Exception] = {}
        self.asked: list[str] = []
        repository = Repository.create(self.folder, self.offline, self.online)
        self.root.write_bytes(repository.root_bytes())

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix(f"{URL}/")
        self.asked.append(path)
        if isinstance(spoilt := self.spoilt.get(path), Exception):
            raise spoilt
        if spoilt is not None:
            yield spoilt
        elif not (self.folder / path).is_file():
            raise DownloadHTTPError("it answered 404", 404)
        else:
            yield (self.folder / path).read_bytes()

    def repository(self, age: timedelta = timedelta(0)) -> Repository:
        """The repository, whose next metadata is signed as if it were ``age`` ago."""
        return Repository(self.folder, now=datetime.now(UTC) - age)

    def add(self, version: str, sequence: int, **changes: Any) -> dict[str, Any]:
        """Publish a release with its package."""
        release = release_json(version, sequence, **changes)
        path = f"packages/clms-{version}.zip"
        custom = {"version": version, "sequence": sequence, "channel": "stable"}
        files = [
            NewTarget(path, PACKAGE),
            NewTarget(f"{path}.sig", b"signature"),
            NewTarget(f"releases/{version}.json", json.dumps(release).encode(), custom),
        ]
        self.repository().add(files, self.offline, self.online)
        return release

    @property
    def newest(self) -> int:
        """The version of timestamp, snapshot and targets, which go up together here."""
        return int(json.loads(self.bytes("timestamp.json"))["signed"]["version"])

    def bytes(self, name: str) -> bytes:
        """A metadata file; ``N`` in its name stands for the newest version."""
        name = name if name[0] != "N" else f"{self.newest}{name[1:]}"
        return (self.folder / "metadata" / name).read_bytes()

    def resign(self, name: str, signer: Signer, change: Callable[[Any], None] = lambda signed: None) -> bytes:
        """A metadata file, changed and signed by ``signer`` only."""
        metadata: Metadata[Any] = Metadata.from_bytes(self.bytes(name))
        change(metadata.signed)
        metadata.sign(signer)
        return metadata.to_bytes()

    def target(self, path: str) -> Path:
        """The file in which a target is served, with its hash in its name."""
        folder, name = path.rsplit("/", 1)
        (found,) = (self.folder / "targets" / folder).glob(f"*.{name}")
        return found

    def spoil(self, name: str, data: bytes | Exception) -> None:
        """Answer a metadata file with something else; names as in :meth:`bytes`."""
        name = name if name[0] != "N" else f"{self.newest}{name[1:]}"
        self.spoilt[f"metadata/{name}"] = data


@pytest.fixture
def vendor(tmp_path: Path) -> FakeVendor:
    """A vendor with the releases 1.0.1 and 1.0.2."""
    fake = FakeVendor(tmp_path)
    fake.add("1.0.1", 1)
    fake.add("1.0.2", 2)
    return fake


@pytest.fixture
def make_store(vendor: FakeVendor, tmp_path: Path) -> Callable[..., TrustStore]:
    """Makes stores over one folder, as each new process of a school would."""

    def make(**changes: Any) -> TrustStore:
        arguments = {"state": tmp_path / "state", "pinned_root": vendor.root, "url": URL, "fetcher": vendor}
        return TrustStore(**{**arguments, **changes})

    return make


@pytest.fixture
def make_release() -> Callable[..., dict[str, Any]]:
    """Makes release JSON; see :func:`release_json`."""
    return release_json
