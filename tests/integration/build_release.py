# SPDX-License-Identifier: GPL-3.0-or-later
"""A release with source, and a school that is about to build it."""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.release import parse_release
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.school import parse_school
from ansible_collections.clms.update.plugins.module_utils.slots import plan_slot
from tests.integration.conftest import RunningRegistry

ADDRESS = "https://library.linden.test"


@dataclass
class Base:
    """An image to build on, as a release describes it."""

    described: dict[str, Any]
    reference: str
    """what the engine calls it"""


def pushed(client: docker.DockerClient, registry: RunningRegistry, name: str, image: str) -> Base:
    """Push an image, and have the engine forget it."""
    found = client.images.get(image)
    address = f"{registry.address}/{name}"
    client.api.tag(found.id, address, "1")
    said = client.api.push(address, tag="1", auth_config=registry.login(), stream=True, decode=True)
    (digest,) = [line["aux"]["Digest"] for line in said if "aux" in line]
    layers = found.attrs["RootFS"]["Layers"]
    described = {"repository": name, "digest": digest, "config": found.id, "layers": layers, "size": 1000}
    client.api.remove_image(found.id, force=True)
    return Base(described, f"{address}@{digest}")


def package(path: Path, steps: tuple[str, ...], files: dict[str, bytes]) -> str:
    """Write a package whose frontend is built; returns its hash."""
    text = "\n".join(("ARG BASE_IMAGE", "FROM ${BASE_IMAGE}", *steps, ""))
    inside = {"source/frontend/Dockerfile": text.encode()}
    inside |= {f"source/frontend/{name}": data for name, data in files.items()}
    table = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in inside.items()}
    with zipfile.ZipFile(path, "w") as file:
        for name, data in {"contents.json": json.dumps({"files": table}).encode(), **inside}.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            file.writestr(entry, data)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def description(folder: Path, registry: str, credentials: Path | None, database: str) -> dict[str, Any]:
    """A school with a frontend that is built, and a database."""
    return {
        "title": "Linden School",
        "project": "linden",
        "home": str(folder / "home"),
        "services": [
            {
                "name": "mysql",
                "role": "database",
                "image": database,
                "volumes": [{"name": "data", "path": "/var/lib/mysql"}],
            },
            {"name": "frontend"},
        ],
        "entry_service": "frontend",
        "database": {"service": "mysql", "name": "clms", "credentials_file": "/db.cnf"},
        "gate": {"image": "gate", "ports": [{"listen": 80, "service": "frontend", "port": 3000}]},
        "trust": {"url": "https://vendor.test", "root_file": "/root.json"},
        "registry": registry,
        **({"registry_credentials_file": str(credentials)} if credentials else {}),
        "backup": {
            "path": str(folder / "backups"),
            "host_key_file": "/host.key",
            "recovery_recipient": f"age1{'q' * 58}",
            "signing_key_file": "/signing.pem",
        },
        "smoke_credentials_file": "/smoke.json",
        "build_arguments": {"api_url": ADDRESS},
    }


def release(sha256: str, base: Base) -> dict[str, Any]:
    """A release whose frontend is built on a base."""
    return {
        "product": "clms",
        "format": 1,
        "version": "1.0.1",
        "sequence": 1,
        "channel": "stable",
        "releaseDate": "2026-01-02T03:04:05Z",
        "expires": "2099-01-01T00:00:00Z",
        "changelog": "It is built.",
        "breakingChanges": [],
        "critical": False,
        "forceAfterDate": None,
        "gracePeriodDays": 0,
        "minVersion": "1.0.0",
        "minUpdaterVersion": "0.1.0",
        "estimatedMinutes": 5,
        "migration": "none",
        "services": {
            "frontend": {
                "build": {
                    "source": "source/frontend",
                    "arguments": {"API": "${api_url}"},
                    "bases": {"BASE_IMAGE": {"amd64": base.described}},
                    "size": 1000,
                }
            },
        },
        "health": {"frontend": {"path": "/", "port": 3000, "timeoutSeconds": 60}},
        "smoke": [],
        "package": {"path": "packages/clms-1.0.1.zip", "size": 1000, "sha256": sha256},
    }


@dataclass
class Desk:
    """A journal in which runs are opened that come to `image_pull` next."""

    folder: Path
    journal: Journal
    database: str
    """id of an image that is there"""

    def open(
        self,
        base: Base,
        *steps: str,
        registry: RunningRegistry | None = None,
        files: dict[str, bytes] | None = None,
        bundle: Path | None = None,
    ) -> Context:
        """Open a run that has its release, whose frontend is built with these steps."""
        address, credentials = (registry.address, registry.credentials) if registry else ("registry.test", None)
        described = description(self.folder, address, credentials, self.database)
        file = self.folder / "package.zip"
        parsed = parse_release(release(package(file, steps, files or {}), base))
        run = self.journal.begin("install", phases=KINDS["install"], school=described, version="1.0.1")
        slot = plan_slot(parse_school(described), parsed, run=run.id, architecture="amd64", current=None)
        results: dict[str, dict[str, Any]] = {
            "preflight": {"slot": slot.as_dict()},
            "release": {"package": str(file), "bundle": str(bundle) if bundle else None},
        }
        for phase in KINDS["install"]:
            if phase == "image_pull":
                break
            run.enter(phase)
            run.leave(phase, **results.get(phase, {}))
        return Context(self.journal, run, "image_pull")
