# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.bench.probe import (
    Probe,
    Sample,
    closed_window,
    failed,
    first_served,
    longest_wait,
    status_of,
    windows,
)


def samples(*statuses: int, slow: dict[int, float] | None = None) -> list[Sample]:
    """One request each second, answered after 0.1 s unless ``slow`` says otherwise for its number."""
    return [Sample(float(n), (slow or {}).get(n, 0.1), status) for n, status in enumerate(statuses)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(samples(200, 200, 200), None, id="never closed"),
        pytest.param(samples(200, 503, 0, 503, 200, 200), (1.0, 4.1), id="refused"),
        pytest.param(samples(200, 200, 200, 200, slow={1: 2.2, 2: 1.2}), (1.0, 3.1), id="held"),
        pytest.param(samples(200, 503, 503), None, id="never opened again"),
        pytest.param(samples(200, 0, 200, 503, 503, 200), (3.0, 5.1), id="the longest of two"),
        pytest.param(samples(200, 200, 503, 200, slow={1: 0.9}), (2.0, 3.1), id="in flight when it closed"),
    ],
)
def test_closed_window(given: list[Sample], expected: tuple[float, float] | None) -> None:
    window = closed_window(list(reversed(given)))  # answers come in any order
    assert (window and (window.began, window.ended)) == expected
    if window and expected:
        assert window.seconds == pytest.approx(expected[1] - expected[0])


def test_windows() -> None:
    assert [w.began for w in windows(samples(200, 0, 200, 503, 503, 200, 0))] == [1.0, 3.0]


def test_counts() -> None:
    given = samples(200, 503, 200, 0, 200, slow={2: 4.5})
    assert (failed(given), longest_wait(given)) == (2, 4.5)
    assert first_served(given, 0.5) == pytest.approx(4.1)  # the one sent before was served later
    assert first_served(given, 4.5) is None


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, id="whole"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi", 0, id="cut off in the body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200, id="chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", 0, id="a chunk is missing"),
        pytest.param(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 503, id="refused"),
        pytest.param(b"HTTP/1.1 200 OK\r\nConte", 0, id="cut off in the head"),
        pytest.param(b"", 0, id="nothing"),
    ],
)
def test_status_of(answer: bytes, status: int) -> None:
    assert status_of(answer) == status


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.headers["Authorization"] == "Bearer abc" else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api/books?limit=5"
        server.shutdown()


def test_probe_asks_steadily(url: str) -> None:
    with Probe(url, rate=100, token="abc") as probe:
        threading.Event().wait(0.3)
    assert 10 <= len(probe.samples) <= 60
    assert {sample.status for sample in probe.samples} == {200}
    sent = sorted(sample.sent for sample in probe.samples)
    assert sent[10] - sent[0] == pytest.approx(0.1)


def test_probe_counts_what_is_refused() -> None:
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        port = server.server_port
    with Probe(f"http://127.0.0.1:{port}/", rate=100) as probe:
        threading.Event().wait(0.1)
    assert {sample.status for sample in probe.samples} == {0}
