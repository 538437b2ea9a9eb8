# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetching over HTTPS from a server that misbehaves, on the loopback interface."""

from __future__ import annotations

import ipaddress
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fetcher import (
    DownloadRefusedError,
    HttpsFetcher,
    ServerBusyError,
)
from ansible_collections.clms.update.plugins.module_utils.https import (
    RATE_GRACE,
    HttpsClient,
    HttpsError,
    HttpsRefusal,
    Meter,
    pin_of,
    retry_after,
)

BODY = bytes(range(250)) * 400


def self_signed(path: Path, *, begins: timedelta = timedelta(hours=-1)) -> Path:
    """A certificate for 127.0.0.1 with its key, valid for two hours; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + begins + timedelta(hours=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    return path


class Handler(BaseHTTPRequestHandler):
    """Each path misbehaves in its own way."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Nothing: the output belongs to the tests."""

    def do_GET(self) -> None:
        """Answer."""
        try:
            getattr(self, self.path[1:])()
        except OSError:  # the client has gone, as it should
            self.close_connection = True

    def start(self, status: int = 200, length: int = len(BODY), **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def drip(self, data: bytes) -> None:
        for byte in data:
            self.wfile.write(bytes([byte]))
            time.sleep(0.05)

    def good(self) -> None:
        self.start()
        self.wfile.write(BODY)

    def ranged(self) -> None:
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if start >= len(BODY):
            self.start(416, 0)
            return
        self.start(206, len(BODY) - start, **{"Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"})
        self.wfile.write(BODY[start:])

    def wrong_range(self) -> None:
        self.start(206, 10, **{"Content-Range": f"bytes 0-9/{len(BODY)}"})
        self.wfile.write(BODY[:10])

    def missing(self) -> None:
        self.start(404, 0)

    def broken(self) -> None:
        self.start(500, 0)

    def busy(self) -> None:
        self.start(429, 0, **{"Retry-After": "7200"})

    def busy_until(self) -> None:
        self.start(429, 0, **{"Retry-After": formatdate(time.time() + 7200, usegmt=True)})

    def redirect(self) -> None:
        self.start(302, 0, Location="https://127.0.0.1:1/elsewhere")

    def cut(self) -> None:
        self.start()
        self.wfile.write(BODY[:1000])
        self.close_connection = True

    def silent(self) -> None:
        self.start()
        time.sleep(1)
        self.close_connection = True

    def slow_body(self) -> None:
        self.start()
        self.drip(BODY)

    def slow_headers(self) -> None:
        self.drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000)

    def compressed(self) -> None:
        self.start(length=20, **{"Content-Encoding": "gzip"})
        self.wfile.write(b"a" * 20)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls") / "server.pem")


@contextmanager
def serving(certificate: Path) -> Iterator[str]:
    """A server with this certificate; its address."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Nothing: clients that hang up are the point here."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(certificate: Path) -> Iterator[str]:
    with serving(certificate) as address:
        yield address


@pytest.fixture
def client(certificate: Path) -> Iterator[HttpsClient]:
    with closing(HttpsClient(ca_file=certificate, read_timeout=0.4, deadline=0.8)) as client:
        yield client


def test_a_good_answer(server: str, client: HttpsClient) -> None:
    assert HttpsFetcher(client).download_bytes(f"{server}/good", len(BODY)) == BODY
    answer = client.get(f"{server}/good", {}, len(BODY))
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "100000", BODY)


def test_what_is_compressed_stays_so(server: str, client: HttpsClient) -> None:
    assert client.get(f"{server}/compressed", {}, 100).body == b"a" * 20


@pytest.mark.parametrize(
    ("path", "text", "refused"),
    [
        pytest.param("redirect", "redirects", True, id="redirect"),
        pytest.param("cut", "broke before", False, id="cut body"),
        pytest.param("silent", "too slowly", False, id="no byte for longer than the read timeout"),
        pytest.param("slow_body", "too slowly", True, id="one byte after the other"),
        pytest.param("slow_headers", "too slowly", True, id="one byte of the headers after the other"),
    ],
)
def test_a_misbehaving_server(path: str, text: str, refused: bool, server: str, client: HttpsClient) -> None:
    started = time.monotonic()
    with pytest.raises(DownloadError, match=text) as caught:
        HttpsFetcher(client).download_bytes(f"{server}/{path}", len(BODY))
    assert time.monotonic() - started < 3
    assert isinstance(caught.value, DownloadRefusedError) is refused


@pytest.mark.parametrize("path", ["busy", "busy_until"])
def test_a_server_that_wants_to_be_left_alone(path: str, server: str, client: HttpsClient) -> None:
    with pytest.raises(ServerBusyError, match="it answered 429") as caught:
        HttpsFetcher(client).download_bytes(f"{server}/{path}", 100)
    assert caught.value.status_code == 429
    assert 7000 < caught.value.retry_after <= 7200


@pytest.mark.parametrize("header", [None, "", "soon", "-5", "1e9", "9" * 30, "Tue, 99 Nov 2026 06:00:00 GMT"])
def test_a_time_to_come_back_that_is_none(header: str | None) -> None:
    assert retry_after(header, 0) is None


@pytest.mark.parametrize(("path", "status"), [("missing", 404), ("broken", 500)])
def test_other_statuses(path: str, status: int, server: str, client: HttpsClient) -> None:
    with pytest.raises(DownloadHTTPError) as caught:
        HttpsFetcher(client).download_bytes(f"{server}/{path}", 100)
    assert caught.value.status_code == status


def test_a_longer_answer_than_allowed(server: str, client: HttpsClient) -> None:
    with pytest.raises(DownloadLengthMismatchError):
        HttpsFetcher(client).download_bytes(f"{server}/good", len(BODY) - 1)
    with pytest.raises(HttpsError, match="longer than 10 bytes"):
        client.get(f"{server}/good", {}, 10)
    assert client.get(f"{server}/good", {}, len(BODY)).status == 200  # on a new connection


def test_an_unknown_certificate_authority(server: str, tmp_path: Path) -> None:
    other = self_signed(tmp_path / "other.pem")
    for ca_file in (other, None):
        with closing(HttpsClient(ca_file=ca_file)) as client, pytest.raises(HttpsRefusal, match="not trusted"):
            client.get(f"{server}/good", {}, 10)


@pytest.mark.parametrize(
    "begins", [pytest.param(timedelta(days=300), id="not yet valid"), pytest.param(timedelta(days=-300), id="expired")]
)
def test_a_certificate_of_another_time_points_to_the_clock(tmp_path: Path, begins: timedelta) -> None:
    certificate = self_signed(tmp_path / "server.pem", begins=begins)
    with (
        serving(certificate) as address,
        closing(HttpsClient(ca_file=certificate)) as client,
        pytest.raises(HttpsRefusal, match=rf"not trusted .*clock says {date.today()}"),
    ):
        client.get(f"{address}/good", {}, 10)


def pin(path: Path) -> str:
    return pin_of(x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER))


OTHER = "A" * 43 + "="


@pytest.mark.parametrize(
    ("with_ca", "known", "backup", "words"),
    [
        pytest.param(True, True, False, None, id="authority and key"),
        pytest.param(True, True, True, None, id="authority and backup key"),
        pytest.param(True, False, False, "none of those", id="authority, and another key"),
        pytest.param(False, True, False, None, id="key only"),
        pytest.param(False, True, True, None, id="backup key only"),
        pytest.param(False, False, False, "none of those", id="another key only"),
    ],
)
def test_pins(server: str, certificate: Path, with_ca: bool, known: bool, backup: bool, words: str | None) -> None:
    own = pin(certificate)
    pins = [OTHER, own if known else OTHER] if backup else [own if known else OTHER, OTHER]
    with closing(HttpsClient(ca_file=certificate if with_ca else None, pins=pins)) as client:
        if words is None:
            assert client.get(f"{server}/good", {}, len(BODY)).body == BODY
            return
        with pytest.raises(HttpsRefusal, match=words):
            client.get(f"{server}/good", {}, len(BODY))


def test_a_pin_does_not_make_up_for_the_wrong_authority(server: str, certificate: Path, tmp_path: Path) -> None:
    other = self_signed(tmp_path / "other.pem")
    with (
        closing(HttpsClient(ca_file=other, pins=[pin(certificate), OTHER])) as client,
        pytest.raises(HttpsRefusal, match="not trusted"),
    ):
        client.get(f"{server}/good", {}, 10)


def test_what_is_no_certificate_has_no_pin() -> None:
    with pytest.raises(ValueError, match="parsing"):
        pin_of(b"")


@pytest.mark.parametrize("path", [pytest.param("ranged", id="ranges"), pytest.param("good", id="no ranges")])
@pytest.mark.parametrize("start", [1, 70_000, len(BODY) - 1])
def test_the_rest_of_a_file(server: str, client: HttpsClient, path: str, start: int) -> None:
    assert b"".join(HttpsFetcher(client).fetch_from(f"{server}/{path}", start)) == BODY[start:]


@pytest.mark.parametrize(("path", "start"), [("ranged", len(BODY)), ("wrong_range", 5)])
def test_a_rest_that_is_not_there(server: str, client: HttpsClient, path: str, start: int) -> None:
    with pytest.raises(DownloadHTTPError):
        list(HttpsFetcher(client).fetch_from(f"{server}/{path}", start))


def test_another_host_name(server: str, client: HttpsClient) -> None:
    with pytest.raises(HttpsRefusal, match="not trusted"):
        client.get(f"{server.replace('127.0.0.1', 'localhost')}/good", {}, 10)


def test_less_time_for_what_is_fetched_inside(certificate: Path, server: str) -> None:
    with closing(HttpsClient(ca_file=certificate)) as client:
        fetcher = HttpsFetcher(client)
        with pytest.raises(DownloadRefusedError, match="too slowly"), fetcher.within(0.2):
            list(fetcher.fetch_from(f"{server}/slow_body", 0))
        assert b"".join(fetcher.fetch_from(f"{server}/good", 0)) == BODY


def test_nobody_there(client: HttpsClient) -> None:
    with pytest.raises(HttpsError, match="refused"):
        client.get("https://127.0.0.1:1/", {}, 10)


def test_a_name_that_does_not_exist(client: HttpsClient) -> None:
    with pytest.raises(HttpsError):
        client.get("https://vendor.invalid/", {}, 10)


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "ftp://127.0.0.1/", "https:///", "https://[", "https://me@host/"])
def test_only_https(url: str, client: HttpsClient) -> None:
    with pytest.raises(ClmsError) as caught:
        HttpsFetcher(client).download_bytes(url, 10)
    assert caught.value.code == "SERVER_ADDRESS"


@pytest.mark.parametrize("content", [None, b"no certificate"], ids=["missing", "not PEM"])
def test_an_unusable_ca_file(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content:
        path.write_bytes(content)
    with pytest.raises(ClmsError) as caught:
        HttpsClient(ca_file=path)
    assert caught.value.code == "CA_FILE"


ONE_BYTE_EVERY_5_SECONDS = [(5.0, 1)] * 10


@pytest.mark.parametrize(
    ("arrivals", "late"),
    [
        pytest.param([(0.0, 1000)] + [(1.0, 2000)] * 30, False, id="steady"),
        pytest.param([(60.0, 1), (1.0, 1000)], False, id="long thinking, then quick"),
        pytest.param([(0.0, 1), (RATE_GRACE, 1)], False, id="pause at the beginning"),
        pytest.param(ONE_BYTE_EVERY_5_SECONDS, True, id="one byte every 5 s"),
        pytest.param([(0.0, 1000)] + [(1.0, 2000)] * 101, True, id="steady, but past the deadline"),
    ],
)
def test_meter(arrivals: list[tuple[float, int]], late: bool) -> None:
    now = [0.0]
    meter = Meter(deadline=100, minimum_rate=1000, clock=lambda: now[0])

    def arrive() -> None:
        for seconds, size in arrivals:
            now[0] += seconds
            meter.count(size)

    run: Callable[[], None] = arrive
    if late:
        with pytest.raises(TimeoutError):
            run()
    else:
        run()
