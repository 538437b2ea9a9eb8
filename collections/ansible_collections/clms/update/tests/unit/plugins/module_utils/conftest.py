# SPDX-License-Identifier: GPL-3.0-or-later
"""A vendor to test against: a real signed repository that is served from a folder and can be spoilt in every way.
And a school to test with: a description, a journal, and a Docker engine that exists in memory only.
"""

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

from ansible_collections.clms.update.plugins.module_utils.backup_manifest import DatabaseFacts, Manifest, Proof
from ansible_collections.clms.update.plugins.module_utils.containers import labels
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fetcher import Fetcher
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.release import parse_release
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.school import School, parse_school
from ansible_collections.clms.update.plugins.module_utils.slots import Slot, plan_slot
from ansible_collections.clms.update.plugins.module_utils.trust import TrustStore
from publisher.repository import NewTarget, Repository

from .fake_engine import FakeEngine

MakeStore = Callable[..., TrustStore]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ClmsError) as caught:
        call()
    return caught.value.code


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
            "frontend": {
                "build": {
                    "source": "source/frontend",
                    "arguments": {"API": "${api_url}"},
                    "bases": {"BASE_IMAGE": {"amd64": {**image, "repository": "clms/frontend/base_image"}}},
                    "size": 1000,
                }
            },
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


class FakeVendor(Fetcher):
    """Serves a repository's folder under :data:`URL`; ``spoilt`` paths answer with other bytes or raise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "repository"
        self.offline: Signer = CryptoSigner.generate_ed25519()
        self.online: Signer = CryptoSigner.generate_ed25519()
        self.root = folder / "root.json"
        self.spoilt: dict[str, bytes | Exception] = {}
        self.asked: list[str] = []
        repository = Repository.create(self.folder, [self.offline], self.offline, self.online)
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


# the school

DATABASE_IMAGE = "sha256:" + "d" * 64
CACHE_IMAGE = "registry.test:5000/redis@sha256:" + "c" * 64


def school_release(version: str = "1.0.1", sequence: int = 2, **changes: Any) -> dict[str, Any]:
    """A release that brings what :func:`describe` leaves open: the images of backend and frontend."""
    services = {}
    for position, service in enumerate(("backend", "frontend")):
        digest = "sha256:" + hashlib.sha256(f"{service} {version}".encode()).hexdigest()
        layers = ["sha256:" + "1" * 64, digest]
        image = {"repository": f"clms/{service}", "digest": digest, "config": digest, "layers": layers, "size": 10**6}
        services[service] = {"images": {"amd64": {**image, "size": 10**6 * (position + 1)}}}
    health = {
        "backend": {"path": "/api/health", "port": 3001, "timeoutSeconds": 60},
        "frontend": {"path": "/", "port": 3000, "timeoutSeconds": 60},
    }
    return release_json(version, sequence, services=services, health=health, **changes)


@pytest.fixture
def describe(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Makes complete descriptions of one school (its variables without their prefix); arguments replace fields."""
    secrets = tmp_path / "secrets"

    def make(**changes: Any) -> dict[str, Any]:
        return {
            "title": "Linden School",
            "project": "linden",
            "home": str(tmp_path / "home"),
            "services": [
                {
                    "name": "mysql",
                    "role": "database",
                    "image": DATABASE_IMAGE,
                    "env_file": f"{secrets}/mysql.env",
                    "volumes": [{"name": "mysql-data", "path": "/var/lib/mysql"}],
                },
                {
                    "name": "redis",
                    "role": "cache",
                    "image": CACHE_IMAGE,
                    "volumes": [{"name": "redis-data", "path": "/data", "on_update": "empty"}],
                },
                {
                    "name": "backend",
                    "env_file": f"{secrets}/backend.env",
                    "egress": True,
                    "volumes": [
                        {"name": "uploads", "path": "/app/uploads"},
                        {"name": "logs", "path": "/app/logs", "on_update": "share"},
                    ],
                    "mounts": {"/etc/clms/ca.crt": "/app/ca.crt"},
                },
                {"name": "frontend"},
            ],
            "entry_service": "frontend",
            "database": {"service": "mysql", "name": "clms", "credentials_file": f"{secrets}/root.cnf"},
            "gate": {
                "image": "clms-gate:1",
                "ports": [
                    {"listen": 3000, "service": "frontend", "port": 3000},
                    {"listen": 3306, "service": "mysql", "port": 3306, "mode": "tcp"},
                ],
            },
            "trust": {
                "url": "https://releases.test",
                "root_file": f"{secrets}/root.json",
            },
            "registry": "registry.test:5000",
            "backup": {
                "path": str(tmp_path / "backups"),
                "host_key_file": f"{secrets}/host.key",
                "recovery_recipient": f"age1{'q' * 58}",
                "signing_key_file": f"{secrets}/signing.pem",
            },
            "smoke_credentials_file": f"{secrets}/smoke.json",
            **changes,
        }

    return make


@pytest.fixture
def school(describe: Callable[..., dict[str, Any]]) -> School:
    """The school that :func:`describe` describes."""
    return parse_school(describe())


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The folder with all files that the school's description names."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    login = json.dumps({"username": "smoke", "password": "canary-smoke"})
    contents = {
        "mysql.env": "MYSQL_ROOT_PASSWORD=canary-root\n",
        "backend.env": "DATABASE_URL=mysql://clms:canary-db@mysql:3306/clms\nREDIS_URL=redis://redis:6379/0\n",
        "root.cnf": "[client]\nuser=root\npassword=canary-root\n",
        "host.key": "AGE-SECRET-KEY-CANARY\n",
        "signing.pem": "canary\n",
        "smoke.json": login,
    }
    for name, content in contents.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def make_school_release() -> Callable[..., dict[str, Any]]:
    """Makes release JSON that fits the school; see :func:`school_release`."""
    return school_release


@pytest.fixture
def old(school: School) -> Slot:
    """The slot that the installation of 1.0.0 made; it serves."""
    return plan_slot(school, parse_release(school_release("1.0.0", 1)), run=1, architecture="amd64", current=None)


@pytest.fixture
def new(school: School, old: Slot) -> Slot:
    """The slot of an update to 1.0.1, which has a migration."""
    return plan_slot(school, parse_release(school_release()), run=2, architecture="amd64", current=old)


@pytest.fixture
def new_images(school: School, old: Slot) -> Slot:
    """The slot of an update to 1.0.1 without a migration: its data is the old slot's."""
    release = parse_release(school_release(migration="none"))
    return plan_slot(school, release, run=2, architecture="amd64", current=old)


@pytest.fixture
def manifest(school: School, old: Slot) -> Manifest:
    """A backup of 1.0.0."""
    return Manifest(
        id="20261124T101112Z-1.0.0-r1",
        created="2026-11-24T10:11:12Z",
        school=school.title,
        version="1.0.0",
        slot=old,
        files=(),
        images=(),
        database=DatabaseFacts("clms", DATABASE_IMAGE, {"books": 10}, "x"),
        proven=Proof("2026-11-24T10:12:00Z", "by restoring it", 1.0),
    )


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    """An engine that has nothing yet."""
    return FakeEngine(tmp_path / "docker")


@pytest.fixture
def journal(school: School) -> Iterator[Journal]:
    """The school's journal, new."""
    opened = Journal(school.home, create=True)
    yield opened
    opened.close()


@pytest.fixture
def begin(
    journal: Journal, school: School, engine: FakeEngine, old: Slot, new: Slot, new_images: Slot
) -> Callable[..., Context]:
    """Installs 1.0.0 and opens a run over it, as its preflight would; returns the run as one of its phases sees it.

    The phases before ``phase`` are done. In an update of kind ``update_images`` the new slot shares the old one's
    data; in a rollback the newer version serves, and the earlier one is what the run goes back to.
    """

    def open_run(kind: str = "update", *, phase: str = "", phases: tuple[str, ...] = (), **result: Any) -> Context:
        first = journal.begin("install", phases=KINDS["install"], school=school.raw, version="1.0.0")
        journal.set_slot(old, "candidate")
        first.commit(old)
        first.close("COMPLETED")
        engine.set_up(old, school.project)
        target = {"update": new, "update_images": new_images}.get(kind, old)
        if kind == "rollback":
            update = journal.begin("update", phases=KINDS["update"], school=school.raw, version="1.0.1")
            journal.set_slot(new, "candidate")
            update.commit(new)
            update.close("COMPLETED")
            engine.set_up(old, school.project, running=False)
            engine.set_up(new, school.project)
        run = journal.begin(
            kind, phases=phases or KINDS[kind], school=school.raw, version=target.version, from_version="1.0.0"
        )
        if target is not old:
            journal.set_slot(target, "candidate")
        context = Context(journal, run, phase or "preflight")
        context.engine = engine  # type: ignore[assignment]
        for name in run.row.phases:
            if name == phase or not phase:
                break
            run.enter(name)
            run.leave(name, **({"slot": target.as_dict(), **result} if name == "preflight" else {}))
        return context

    return open_run


@pytest.fixture
def labels_of(school: School) -> Callable[..., dict[str, str]]:
    """Makes the labels of something that a run made."""

    def make(run: int, purpose: str) -> dict[str, str]:
        return labels(school, run=run, slot=f"r{run}", service="backend", purpose=purpose)

    return make
