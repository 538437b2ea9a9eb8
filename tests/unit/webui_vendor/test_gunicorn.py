# SPDX-License-Identifier: GPL-3.0-or-later
"""The real thing: gunicorn with two workers over TLS, asked by the code that schools run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ansible_collections.clms.update.plugins.module_utils.fetcher import HttpsFetcher
from ansible_collections.clms.update.plugins.module_utils.https import HttpsClient, HttpsError
from ansible_collections.clms.update.plugins.module_utils.trust import TrustStore
from webui.vendor.config import VARIABLE, load
from webui.vendor.database import Database
from webui.vendor.schools import Schools

from .conftest import PACKAGE, School, Vendor, report_body, signed_report


@dataclass
class Running:
    """A server in processes of its own."""

    url: str
    ca_file: Path
    log: Path
    database: Database
    process: subprocess.Popen[bytes]


def private_ca(folder: Path) -> None:
    """A CA, and a certificate of it for 127.0.0.1."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "vendor's CA")])
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "release server")])
    now = datetime.now(UTC)

    def certificate(subject: x509.Name, public_key: Any) -> x509.CertificateBuilder:
        times = (now - timedelta(minutes=1), now + timedelta(hours=1))
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public_key)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        return builder.serial_number(x509.random_serial_number()).not_valid_before(times[0]).not_valid_after(times[1])

    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    ca = (
        certificate(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .add_extension(usage, critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    server = (
        certificate(name, key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(ca.public_bytes(Encoding.PEM))
    (folder / "server.crt").write_bytes(server.public_bytes(Encoding.PEM))
    (folder / "server.key").touch(mode=0o600)
    (folder / "server.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.fixture
def running(settings: dict[str, Any], tmp_path: Path) -> Iterator[Running]:
    """gunicorn, as the guide starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    private_ca(tmp_path)
    file = tmp_path / "settings.json"
    tls = {"certificate": str(tmp_path / "server.crt"), "key": str(tmp_path / "server.key")}
    file.write_text(json.dumps({**settings, "public_url": f"https://{listen}", "listen": listen, "tls": tls}))
    database = Database(load(file).database)
    database.migrate()
    command = [sys.executable, "-m", "gunicorn", "-c", "python:webui.vendor.gunicorn_conf", "webui.vendor.wsgi:app"]
    environment = {**os.environ, VARIABLE: str(file), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    log = tmp_path / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(command, env=environment, stdout=errors, stderr=errors, cwd=tmp_path)
    try:
        yield Running(f"https://{listen}", tmp_path / "ca.crt", log, database, process)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
        database.close()
    assert code == 0


def wait_for(running: Running, client: HttpsClient) -> None:
    """Until it answers."""
    end = time.monotonic() + 60
    while True:
        try:
            assert client.get(f"{running.url}/healthz", {}, 1000).status == 200
            return
        except HttpsError:
            assert time.monotonic() < end, running.log.read_text()
            assert running.process.poll() is None, running.log.read_text()
            time.sleep(0.2)


def test_a_school_over_tls(running: Running, vendor: Vendor, tmp_path: Path) -> None:
    with closing(HttpsClient(ca_file=running.ca_file)) as client:
        wait_for(running, client)

        store = TrustStore(
            state=tmp_path / "state",
            pinned_root=vendor.served / "metadata/1.root.json",
            url=running.url,
            fetcher=HttpsFetcher(client),
        )
        store.refresh()
        release = store.release("1.0.2")
        (tmp_path / "packages").mkdir()
        assert store.package(release, tmp_path / "packages").read_bytes() == PACKAGE
        vendor.add("1.0.3", 3)
        store.refresh()
        assert [entry.version.text for entry in store.releases()] == ["1.0.1", "1.0.2", "1.0.3"]

        school = School("linden", "")
        (tmp_path / "linden.pem").write_bytes(school.pem)
        with running.database.transaction() as session:
            schools = Schools(session, now=time.time(), actor="test")
            school.api_key = schools.add("linden")
            schools.set_signing_key("linden", tmp_path / "linden.pem")
        assert client.get(f"{running.url}/api/latest", {}, 10_000).status == 401
        answer = client.get(f"{running.url}/api/latest", school.bearer(), 10_000)
        assert json.loads(answer.body)["version"] == "1.0.3"

        with running.database.transaction() as session:
            Schools(session, now=time.time(), actor="test").revoke_key(1)
            second = Schools(session, now=time.time(), actor="test").add_key("linden")
        # both workers meet it sooner or later
        assert {client.get(f"{running.url}/api/latest", school.bearer(), 10_000).status for _ in range(10)} == {401}
        school.api_key = second

    with urllib3.PoolManager(ca_certs=str(running.ca_file), retries=False) as pool:
        url = f"{running.url}/api/reports"
        data, headers = signed_report(school, report_body(), now=time.time(), url=url)
        statuses = [pool.request("POST", url, body=data, headers=headers).status for _ in range(3)]
        assert statuses == [201, 409, 409]
        # sent in pieces, a body has no length to go by
        large = pool.request("POST", url, body=iter([b"x" * 1000] * 100), headers=headers, chunked=True)
        assert (large.status, large.headers["Content-Type"]) == (413, "application/problem+json")

    lines = running.log.read_text().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines), lines
    assert not any(secret in line for line in lines for secret in (school.api_key, "Bearer", headers["Signature"]))
    assert any(json.loads(line).get("school") == "linden" for line in lines)


def test_another_ca_is_not_trusted(running: Running, tmp_path: Path) -> None:
    with closing(HttpsClient(ca_file=running.ca_file)) as client:
        wait_for(running, client)
    other = tmp_path / "other"
    other.mkdir()
    private_ca(other)
    with closing(HttpsClient(ca_file=other / "ca.crt")) as client, pytest.raises(HttpsError):
        client.get(f"{running.url}/healthz", {}, 1000)
