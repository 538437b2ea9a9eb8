# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's answers mean for an image, where they are no ordinary ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest
import requests.exceptions
import urllib3.exceptions

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

_NAME = "sha256:abc"


class _Images:
    """An engine's answers to one read after the other: an exception, or parts with perhaps one at their end."""

    def __init__(self, *answers: Exception | list[bytes | Exception]) -> None:
        self.answers = list(answers)

    def get_image(self, reference: str) -> Iterator[bytes]:
        assert reference == _NAME
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return self._parts(answer)

    def _parts(self, parts: list[bytes | Exception]) -> Iterator[bytes]:
        for part in parts:
            if isinstance(part, Exception):
                raise part
            yield part


def _engine(monkeypatch: pytest.MonkeyPatch, images: _Images, ping: Callable[[], Any] = lambda: True) -> Engine:
    client = SimpleNamespace(api=images, ping=lambda: True)
    monkeypatch.setattr("docker.from_env", lambda **_: client)
    engine = Engine()
    client.ping = ping
    return engine


_WRONG = docker.errors.APIError("500 Server Error: file integrity checksum failed for usr/bin/node")
_SILENT = requests.exceptions.ConnectionError(urllib3.exceptions.ReadTimeoutError(None, "", "read timed out"))  # type: ignore[arg-type]
_CUT = requests.exceptions.ChunkedEncodingError("connection broken")


@pytest.mark.parametrize(
    ("answers", "whole"),
    [
        pytest.param([[b"a", b"b"]], True, id="whole"),
        pytest.param([_WRONG, _WRONG], False, id="damaged"),
        pytest.param([[b"a", _CUT], [b"a", _CUT]], False, id="newer engines say so in the middle"),
        pytest.param([[b"a", _CUT], [b"a", b"b"]], True, id="the engine was restarted"),
    ],
)
def test_is_whole(monkeypatch: pytest.MonkeyPatch, answers: list[Any], whole: bool) -> None:
    images = _Images(*answers)
    assert _engine(monkeypatch, images).is_whole(_NAME) is whole
    assert images.answers == []


@pytest.mark.parametrize(
    ("status", "by_manifest"),
    [
        pytest.param([["Backing Filesystem", "extfs"], ["Supports d_type", "true"]], False, id="overlay2"),
        pytest.param([["driver-type", "io.containerd.snapshotter.v1"]], True, id="containerd"),
        pytest.param(None, False, id="nothing said"),
    ],
)
def test_by_what_an_engine_names_images(monkeypatch: pytest.MonkeyPatch, status: Any, by_manifest: bool) -> None:
    engine = _engine(monkeypatch, _Images())
    engine.client.info = lambda: {"DriverStatus": status}
    assert engine.names_images_by_manifest() is by_manifest


def _said(text: str) -> docker.errors.APIError:
    """An error as the library makes it of an engine's answer."""
    url = "http+docker://localhost/v1.41/images/abc/get"
    return docker.errors.APIError(f"500 Server Error for {url}: Internal Server Error", explanation=text)


@pytest.mark.parametrize(
    "text",
    [
        'file integrity checksum failed for "usr/bin/timeout"',
        'file integrity checksum failed for "usr/share/read-only file system.txt"',
        "unexpected EOF",
        "EOF",
        "gzip: invalid header",
        "unexpected end of JSON input",
        "layer does not exist",
        "failed to verify: sha256:abc",
        "lstat /var/lib/docker/overlay2/abc/diff: no such file or directory",
        "open /var/lib/docker/image/overlay2/layerdb/sha256/abc/tar-split.json.gz: no such file or directory",
        "readlink /var/lib/docker/overlay2/l: invalid argument",
        "read /var/lib/docker/overlay2/abc/diff/usr/bin/node: input/output error",
        "open /var/lib/docker/overlay2/abc/diff/usr/bin: structure needs cleaning",
        "reference does not exist",
        "No such image: abc",
    ],
)
def test_what_a_damaged_image_is_told_by(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    assert _engine(monkeypatch, _Images(_said(text), _said(text))).is_whole(_NAME) is False


@pytest.mark.parametrize(
    "text",
    [
        "open /var/lib/docker/overlay2/abc/diff/usr/bin/node: too many open files",
        "mkdir /var/lib/docker/tmp/docker-export-1: read-only file system",
        "open /var/lib/docker/overlay2/abc/link: permission denied",
        "mount overlay: cannot allocate memory",
        "context canceled",
        "the server is shutting down",
        "",
    ],
)
def test_what_an_engine_says_of_itself(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The image may be good, and the only one that this school can get."""
    engine = _engine(monkeypatch, _Images(_said(text), _said(text)))
    with pytest.raises(ClmsError) as caught:
        engine.is_whole(_NAME)
    assert caught.value.code == "ENGINE_UNREACHABLE"
    assert text in caught.value.happened


def test_an_engine_that_is_slow_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers otherwise."""
    engine = _engine(monkeypatch, _Images([b"a", _SILENT], [b"a", _SILENT]))
    with pytest.raises(ClmsError, match="read timed out"):
        engine.is_whole(_NAME)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(requests.exceptions.ReadTimeout("read timed out"), "ENGINE_UNREACHABLE", id="slow"),
        pytest.param([b"a", requests.exceptions.ConnectTimeout("late")], "ENGINE_UNREACHABLE", id="slow in the middle"),
        pytest.param([b"a", _CUT], "ENGINE_UNREACHABLE", id="gone"),
        pytest.param(
            docker.errors.APIError("500 Server Error: write /var/lib/docker/tmp/x: no space left on device"),
            "DISK_TOO_SMALL",
            id="full",
        ),
    ],
)
def test_nothing_is_said_of_the_image(monkeypatch: pytest.MonkeyPatch, answer: Any, code: str) -> None:
    """Else it would be removed, and a school without a network would not get it back."""

    def ping() -> None:
        raise requests.exceptions.ConnectionError("no such socket")

    engine = _engine(monkeypatch, _Images(answer), ping)
    with pytest.raises(ClmsError) as caught:
        engine.is_whole(_NAME)
    assert caught.value.code == code
