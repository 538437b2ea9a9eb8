# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's answers mean for an image, where they are no ordinary ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest
import requests.exceptions

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
