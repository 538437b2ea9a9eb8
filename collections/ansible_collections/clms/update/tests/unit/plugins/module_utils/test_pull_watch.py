# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulls that drip, that never end, that say nothing; and an engine that is followed as far as that."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import docker
import docker.errors
import pytest

from ansible_collections.clms.update.plugins.module_utils import pull_watch
from ansible_collections.clms.update.plugins.module_utils.adapters import engine as engine_adapter
from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from ansible_collections.clms.update.plugins.module_utils.pull_watch import PullWatch, most_bytes, seconds_for

from .conftest import refused

IMAGE = "registry.test/clms/backend@sha256:1"
SIZE = 500_000_000


def downloading(layer: str, current: int) -> dict[str, Any]:
    return {"status": "Downloading", "id": layer, "progressDetail": {"current": current, "total": 0}}


@pytest.mark.parametrize(
    ("size", "hours"), [(0, 1 / 6), (SIZE, 2.3), (2_000_000_000, 8.6), (None, 8.6)], ids=["0", "0.5 GB", "2 GB", "none"]
)
def test_how_long_it_may_take(size: int | None, hours: float) -> None:
    assert abs(seconds_for(size) / 3600 - hours) < 0.1


def test_a_pull_that_drips() -> None:
    now = [0.0]
    watch = PullWatch(IMAGE, SIZE, clock=lambda: now[0])
    now[0] = seconds_for(SIZE) - 1
    watch.see(downloading("a", 1000))
    now[0] += 2
    assert refused(lambda: watch.see(downloading("a", 1001))) == "PULL_TOO_SLOW"
    assert refused(watch.check_time) == "PULL_TOO_SLOW"


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        pytest.param([downloading("a", SIZE), downloading("b", SIZE // 2)], None, id="as signed"),
        pytest.param([downloading("a", SIZE)] * 9, None, id="one layer, said often"),
        pytest.param([downloading("a", most_bytes(SIZE) + 1)], "IMAGE_TOO_LARGE", id="one without end"),
        pytest.param(
            [downloading(str(layer), 100_000_000) for layer in range(13)], "IMAGE_TOO_LARGE", id="all together"
        ),
        pytest.param(
            [downloading("a", most_bytes(SIZE)), downloading("a", 5), downloading("b", 5)],
            "IMAGE_TOO_LARGE",
            id="begun anew",
        ),
        pytest.param(
            [{"status": "Extracting", "id": "a", "progressDetail": {"current": 10**12}}],
            None,
            id="not from the network",
        ),
        pytest.param([{}, {"status": "Downloading"}, {"status": "x", "progressDetail": None}], None, id="nothing said"),
    ],
)
def test_how_much_may_come(lines: list[dict[str, Any]], code: str | None) -> None:
    watch = PullWatch(IMAGE, SIZE)

    def see_all() -> None:
        for line in lines:
            watch.see(line)

    if code is None:
        see_all()
    else:
        assert refused(see_all) == code


def test_an_image_of_which_nobody_says_how_large_it_is() -> None:
    PullWatch(IMAGE, None).see(downloading("a", 10**12))


class EngineOnPaper(BaseHTTPRequestHandler):
    """Answers as an engine that is asked to pull; ``lines`` come bit by bit, then it is silent for a while."""

    protocol_version = "HTTP/1.1"
    status = 200
    lines: tuple[dict[str, Any], ...] = ()
    silence = 0.0
    asked: list[tuple[str, str | None]]
    gone: threading.Event
    over: threading.Event

    def do_POST(self) -> None:
        self.asked.append((self.path, self.headers["X-Registry-Auth"]))
        self.send_response(self.status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for line in self.lines:
                self.chunk(json.dumps(line).encode() + b"\r\n")
            self.over.wait(self.silence)
            if not self.silence:
                self.chunk(b"")
        except OSError:
            self.gone.set()
        self.close_connection = True

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def engine_that(**said: Any) -> Iterator[tuple[Engine, Any]]:
    handler = type(
        "Handler", (EngineOnPaper,), {**said, "asked": [], "gone": threading.Event(), "over": threading.Event()}
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        engine = Engine.__new__(Engine)
        api = docker.APIClient(base_url=f"tcp://127.0.0.1:{server.server_address[1]}", version="1.44")
        engine.api = api
        engine.client = SimpleNamespace(api=api)  # type: ignore[assignment]
        try:
            yield engine, handler
        finally:
            handler.over.set()  # type: ignore[attr-defined]
            api.close()
            server.shutdown()
            thread.join()


LOGIN = {"username": "u", "password": "p"}


def pull(engine: Engine) -> None:
    engine.pull("registry.test/clms/backend", "sha256:1", LOGIN, PullWatch(IMAGE, SIZE))


def test_a_pull_that_is_as_it_should_be() -> None:
    with engine_that(lines=(downloading("a", 5), {"status": "Pull complete", "id": "a"})) as (engine, handler):
        pull(engine)
        ((path, login),) = handler.asked
    assert path == "/v1.44/images/create?fromImage=registry.test%2Fclms%2Fbackend&tag=sha256%3A1"
    assert login


@pytest.mark.parametrize(
    ("said", "error"),
    [
        pytest.param({"lines": ({"error": "denied"},)}, "denied", id="while it pulls"),
        pytest.param({"status": 404, "lines": ({"message": "manifest unknown"},)}, "manifest unknown", id="at once"),
    ],
)
def test_an_engine_that_refuses(said: dict[str, Any], error: str) -> None:
    with engine_that(**said) as (engine, _), pytest.raises(docker.errors.APIError) as caught:
        pull(engine)
    assert error in str(caught.value.explanation or caught.value)


def test_a_pull_without_end_is_left() -> None:
    endless = tuple(downloading("a", count * 1_000_000_000) for count in range(100_000))
    with engine_that(lines=endless) as (engine, handler):
        assert refused(lambda: pull(engine)) == "IMAGE_TOO_LARGE"
        assert handler.gone.wait(10), "the engine was not told"


@pytest.mark.parametrize("lines", [(), (downloading("a", 5),)], ids=["from the beginning", "in the middle"])
def test_an_engine_that_says_nothing_any_more(lines: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_adapter, "SILENCE", 0.3)
    with engine_that(lines=lines, silence=3.0) as (engine, _):
        began = time.monotonic()
        assert refused(lambda: pull(engine)) == "PULL_TOO_SLOW"
        assert time.monotonic() - began < 2


def test_an_engine_that_is_gone() -> None:
    with engine_that() as (engine, _):
        pass
    assert refused(lambda: pull(engine)) == "ENGINE_UNREACHABLE"


def test_the_words() -> None:
    assert "5 minutes" in str(PullWatch(IMAGE, SIZE).silent())
    assert pull_watch.SILENCE == 300
