# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts that integration tests share: a private CA, an image registry, a small HTTPS server, tiny images."""

from __future__ import annotations

import functools
import io
import ipaddress
import json
import secrets
import ssl
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

Key = ec.EllipticCurvePrivateKey

REGISTRY_IMAGE = "clms-base-registry:bookworm"
USERNAME = "school"
PASSWORD = "library-card-42"
# bcrypt of PASSWORD with the lowest cost
HTPASSWD = f"{USERNAME}:$2b$04$v7qnULxLINfBPmD6OOBMu.rKml7WGbSeaYrXK4dNsd02x9ihnNFki\n"

REGISTRY_CONFIG = """\
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: /var/lib/docker-registry}}
http: {addr: ":5000", tls: {certificate: /registry/server.pem, key: /registry/server.pem}}
auth: {htpasswd: {realm: test, path: /registry/htpasswd}}
"""


@dataclass(frozen=True)
class Authority:
    """A private CA and a certificate of it for 127.0.0.1."""

    ca: Path
    server: Path
    """certificate and private key in one file"""


@dataclass(frozen=True)
class RunningRegistry:
    """A registry with TLS and a login."""

    address: str
    ca: Path
    credentials: Path

    def login(self) -> dict[str, str]:
        """For the Docker SDK."""
        return {"username": USERNAME, "password": PASSWORD}


def make_authority(folder: Path) -> Authority:
    """Write ``ca.pem`` and ``server.pem``."""
    now = datetime.now(UTC)

    def certificate(name: str, key: Key, signer: Key, ca: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test CA")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = Authority(folder / "ca.pem", folder / "server.pem")
    authority.ca.write_bytes(certificate("test CA", ca_key, ca_key, True))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    authority.server.write_bytes(certificate("127.0.0.1", key, ca_key, False) + private)
    return authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def prefix() -> str:
    """Begins the name of everything that a test run makes in the engine."""
    return f"clms-test-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env(timeout=120)
    yield client
    client.close()


@pytest.fixture(scope="session")
def registry(
    engine: docker.DockerClient, authority: Authority, prefix: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningRegistry]:
    if not engine.images.list(REGISTRY_IMAGE):
        pytest.fail(f"the image {REGISTRY_IMAGE} was not built (make setup)")
    container = engine.containers.create(
        REGISTRY_IMAGE,
        ["docker-registry", "serve", "/registry/config.yml"],
        name=f"{prefix}-registry",
        labels={"clms-test": prefix},
        ports={"5000/tcp": ("127.0.0.1", 0)},  # 0: any free one
    )
    try:
        files = {
            "config.yml": REGISTRY_CONFIG.encode(),
            "htpasswd": HTPASSWD.encode(),
            "server.pem": authority.server.read_bytes(),
        }
        container.put_archive("/", archive({f"registry/{name}": data for name, data in files.items()}))
        container.start()
        container.reload()
        port = container.attrs["NetworkSettings"]["Ports"]["5000/tcp"][0]["HostPort"]
        credentials = tmp_path_factory.mktemp("login") / "registry.json"
        credentials.touch(mode=0o600)
        credentials.write_text(json.dumps({"username": USERNAME, "password": PASSWORD}))
        running = RunningRegistry(f"127.0.0.1:{port}", authority.ca, credentials)
        _wait_for(running)
        yield running
    finally:
        container.remove(force=True, v=True)


def _wait_for(registry: RunningRegistry) -> None:
    with urllib3.PoolManager(ca_certs=str(registry.ca), retries=False, timeout=2.0) as pool:
        end = time.monotonic() + 30
        while True:
            try:
                pool.request("GET", f"https://{registry.address}/v2/")
            except urllib3.exceptions.HTTPError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
            else:
                return


@pytest.fixture
def make_image(engine: docker.DockerClient, prefix: str) -> Iterator[Callable[..., str]]:
    """Makes an image of a few bytes; the content decides its digest."""
    made: list[str] = []

    def make(name: str, content: str = "1") -> str:
        reference = f"{prefix}-{name}:{len(made)}"
        engine.api.import_image_from_data(
            archive({"content": content.encode()}).getvalue(), repository=reference.split(":")[0], tag=str(len(made))
        )
        made.append(reference)
        return reference

    yield make
    for reference in made:
        with suppress(docker.errors.ImageNotFound):  # removing it was what was tested
            engine.images.remove(reference, force=True)


def archive(files: dict[str, bytes]) -> io.BytesIO:
    """An uncompressed tar of ``files``."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(data))
    output.seek(0)
    return output


class _QuietHandler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Nothing: the output belongs to the tests."""


@contextmanager
def https_folder(folder: Path, authority: Authority) -> Iterator[str]:
    """Serve a folder over HTTPS; the address is yielded."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_QuietHandler, directory=str(folder)))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.server)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
