# SPDX-License-Identifier: GPL-3.0-or-later
"""A release server over a real signed repository, and a school with real keys that asks it.

Every answer that a test gets is looked up in the server's own OpenAPI document.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from securesystemslib.signer import CryptoSigner
from werkzeug.test import TestResponse

from ansible_collections.clms.update.plugins.module_utils.signed_request import key_id, new_nonce, sign
from publisher.publish import publish
from publisher.repository import NewTarget, Repository
from webui.common.problems import MEDIA_TYPE
from webui.vendor import create_app
from webui.vendor.config import parse_settings
from webui.vendor.database import Database
from webui.vendor.schools import Schools
from webui.vendor.services import services_of

HOST = "releases.test"
URL = f"https://{HOST}:8443"
PACKAGE = b"the package of a release"
DIGEST = "sha256:" + "a" * 64
OFFLINE, ONLINE = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
NOW = int(datetime.now(UTC).timestamp())
"""When all requests are signed, unless a test says otherwise."""


def release_json(version: str, sequence: int, **changes: Any) -> dict[str, Any]:
    """A complete and valid release; ``changes`` replace top-level fields."""
    image = {"repository": "clms/backend", "digest": DIGEST, "config": DIGEST, "layers": [DIGEST], "size": 1000}
    return {
        "product": "clms",
        "format": 1,
        "version": version,
        "sequence": sequence,
        "channel": "stable",
        "releaseDate": "2026-01-02T03:04:05Z",
        "expires": "2099-01-01T00:00:00Z",
        "changelog": "New: a faster search",
        "minVersion": "1.0.0",
        "minUpdaterVersion": "0.1.0",
        "estimatedMinutes": 5,
        "migration": "none",
        "services": {
            "backend": {"images": {"amd64": image}},
            "frontend": {"images": {"amd64": {**image, "repository": "clms/frontend"}}},
        },
        "health": {},
        "smoke": [],
        "package": {
            "path": f"packages/clms-{version}.zip",
            "size": len(PACKAGE),
            "sha256": hashlib.sha256(PACKAGE).hexdigest(),
        },
        **changes,
    }


class Vendor:
    """The release manager's side."""

    def __init__(self, folder: Path) -> None:
        self.home, self.served = folder / "home", folder / "served"
        Repository.create(self.home, [OFFLINE], OFFLINE, ONLINE)

    def add(self, version: str, sequence: int, **changes: Any) -> dict[str, Any]:
        """Sign and publish a release."""
        release = release_json(version, sequence, **changes)
        path = release["package"]["path"]
        custom = {"version": version, "sequence": sequence, "channel": release["channel"]}
        files = [
            NewTarget(path, PACKAGE),
            NewTarget(f"{path}.sig", b"signature"),
            NewTarget(f"releases/{version}.json", json.dumps(release).encode(), custom),
        ]
        Repository(self.home).add(files, OFFLINE, ONLINE)
        publish(self.home, self.served)
        return release

    def refresh(self, age: timedelta = timedelta(0)) -> None:
        """Sign fresh news, as if it were ``age`` ago, and publish them."""
        Repository(self.home, now=datetime.now(UTC) - age).refresh(ONLINE)
        publish(self.home, self.served)


@dataclass
class School:
    """A school with its two keys."""

    name: str
    api_key: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def keyid(self) -> str:
        """The name of its signing key."""
        return key_id(self.key.public_key())

    @property
    def pem(self) -> bytes:
        """The public half of its signing key."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def bearer(self) -> dict[str, str]:
        """The header with its API key."""
        return {"Authorization": f"Bearer {self.api_key}"}


class Server:
    """A release server in this process."""

    def __init__(self, app: Flask, folder: Path) -> None:
        self.app = app
        self.folder = folder
        self.client = app.test_client()
        self.database = services_of(app).database
        self.now = float(NOW)
        self.document = self.client.get("/api/openapi.json", base_url=URL).get_json()

    def school(self, name: str) -> School:
        """Add a school with a signing key."""
        with self.database.transaction() as session:
            schools = Schools(session, now=self.now, actor="test")
            school = School(name, schools.add(name))
            path = self.folder / f"{name}.pem"
            path.write_bytes(school.pem)
            schools.set_signing_key(name, path)
        return school

    def manage(self, action: Callable[[Schools], Any]) -> Any:
        """Do what the operator does."""
        with self.database.transaction() as session:
            return action(Schools(session, now=self.now, actor="test"))

    def ask(self, path: str, method: str = "GET", **options: Any) -> TestResponse:
        """One request; its answer has to be one that the OpenAPI document names."""
        base_url = options.pop("base_url", URL)
        response = self.client.open(path, method=method, base_url=base_url, buffered=True, **options)
        assert_documented(self.app, self.document, method, path, response)
        return response

    def report(self, school: School, body: Any, **changes: Any) -> TestResponse:
        """A signed report; ``changes`` spoil it."""
        data, headers = signed_report(school, body, **changes)
        return self.ask("/api/reports", "POST", data=data, headers=headers)


def signed_report(
    school: School,
    body: Any,
    *,
    now: float = NOW,
    nonce: str | None = None,
    api_key: str | None = None,
    key: Ed25519PrivateKey | None = None,
    keyid: str | None = None,
    url: str = f"{URL}/api/reports",
    method: str = "POST",
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a report, as a school would send it."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {api_key or school.api_key}", "Content-Type": "application/json"}
    signer = key or school.key
    return data, sign(method, url, headers, data, signer, keyid or school.keyid, now, nonce or new_nonce())


def assert_documented(app: Flask, document: dict[str, Any], method: str, path: str, response: TestResponse) -> None:
    """Compare an answer with the OpenAPI document; addresses that do not exist are not in it."""
    try:
        rule, _arguments = app.url_map.bind(HOST).match(path.split("?")[0], method=method, return_rule=True)
    except Exception:  # no such address, or not in this way
        return
    place = str(rule).replace("<path:", "<").replace("<", "{").replace(">", "}")
    if place == "/api/openapi.json" or method == "OPTIONS":
        return
    answers = document["paths"][place][method.lower() if method != "HEAD" else "get"]["responses"]
    assert str(response.status_code) in answers, f"{response.status_code} is not documented for {place}"
    content = answers[str(response.status_code)].get("content")
    if content:
        assert response.mimetype in content


def problem_of(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """The problem document that an answer has to be."""
    assert response.status_code == status, response.text
    assert response.mimetype == MEDIA_TYPE
    document = response.get_json()
    assert isinstance(document, dict)
    assert document["code"] == code
    assert document["status"] == status
    assert document["type"] == "urn:clms-update:problem:" + code.lower().replace("_", "-")
    assert document["title"]
    assert document["detail"]
    assert document["remedy"]
    assert response.headers["Cache-Control"] == "no-store"
    return document


def report_body(**changes: Any) -> dict[str, Any]:
    """A report that can be used."""
    return {
        "run_id": "20261124T101112Z-7",
        "kind": "update",
        "from_version": "1.0.0",
        "version": "1.0.1",
        "status": "COMPLETED",
        "error_code": None,
        "started_at": "2026-11-24T10:11:12Z",
        "finished_at": "2026-11-24T10:21:12Z",
        "closed_seconds": 12.5,
        "updater_version": "0.1.0",
        "phases": [{"name": "preflight", "seconds": 1}, {"name": "commit", "seconds": 0.25}],
        **changes,
    }


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    """A vendor with the releases 1.0.1 and 1.0.2."""
    vendor = Vendor(tmp_path)
    vendor.add("1.0.1", 1)
    vendor.add("1.0.2", 2)
    return vendor


@pytest.fixture
def settings(vendor: Vendor, tmp_path: Path) -> dict[str, Any]:
    """What a settings file holds."""
    return {
        "public_url": URL,
        "repository": str(vendor.served),
        "registry": "registry.test:5000",
        "database": f"sqlite:///{tmp_path}/server.db",
    }


@pytest.fixture
def make_server(settings: dict[str, Any], tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers over one database, as each worker is one; arguments replace settings."""
    made: list[Server] = []

    def make(**changes: Any) -> Server:
        config = parse_settings({**settings, **changes})
        database = Database(config.database)
        database.migrate()
        database.close()
        server: Server
        app = create_app(config, clock=lambda: server.now if made else float(NOW))
        server = Server(app, tmp_path)
        made.append(server)
        return server

    yield make
    for server in made:
        services_of(server.app).close()


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """A release server."""
    return make_server()


@pytest.fixture
def linden(server: Server) -> School:
    """A school."""
    return server.school("linden")
