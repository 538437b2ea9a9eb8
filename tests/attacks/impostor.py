# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that plays the release server to one school, badly."""

from __future__ import annotations

import http.server
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DRIP_SECONDS = 1.0


class Impostor:
    """Serves a folder, until it comes to a path for which it has a mood."""

    def __init__(
        self, address: str, folder: Path, certificate: tuple[Path, Path], *, mood: str = "", at: str = "", to: str = ""
    ) -> None:
        """Start it.

        :param certificate: certificate and key, PEM
        :param mood: ``longer``, ``endless``, ``drip``, ``drip headers`` or ``redirect``
        :param at: what a path that it is about has in it
        :param to: where ``redirect`` leads
        """
        self.asked: list[str] = []
        settings = {"folder": folder, "mood": mood, "at": at, "to": to, "asked": self.asked}
        handler = type("Handler", (_Handler,), settings)
        self._server = _Server((address, 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://{address}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Listen no longer."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def impostor(*args: Any, **options: Any) -> Iterator[Impostor]:
    """One that goes away."""
    server = Impostor(*args, **options)
    try:
        yield server
    finally:
        server.close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A school that has had enough hangs up; that is no error here."""


class _Handler(http.server.BaseHTTPRequestHandler):
    folder = Path()
    mood = at = to = ""
    asked: list[str] = []  # noqa: RUF012 - each server has its own
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = self.folder / self.path.lstrip("/")
        mood = self.mood if self.at in self.path else ""
        if mood == "redirect":
            self._head(302, 0, Location=self.to + self.path)
        elif not path.is_file():
            self._head(404, 0)
        elif mood == "drip headers":
            self._drip(b"HTTP/1.1 200 OK\r\nServer: " + b"x" * 300)
        elif mood == "drip":
            data = path.read_bytes()
            self._head(200, len(data))
            self._drip(data)
        elif mood == "longer":
            data = path.read_bytes() + b" " * 10_000_000
            self._head(200, len(data))
            self.wfile.write(data)
        elif mood == "endless":
            self._head(200, None)
            while True:
                self.wfile.write(b" " * 65_536)
        else:
            data = path.read_bytes()
            self._head(200, len(data))
            self.wfile.write(data)

    def _head(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is None:
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _drip(self, data: bytes) -> None:
        for byte in data:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(DRIP_SECONDS)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


def certificate_of(folder: Path, address: str, *, authority: bool) -> tuple[Path, Path]:
    """A certificate for an address with a key of its own.

    :param authority: whether an authority has signed it that looks like the vendor's; else it is signed by itself
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    issuer, issuer_key = name, key
    if authority:
        issuer_key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CLMS vendor")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(issuer_key, SHA256())
    )
    paths = (folder / "server.crt", folder / "server.key")
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths
