# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspecting and pushing images with an engine that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from docker.errors import APIError, ImageNotFound

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.registry import Configuration, Manifest
from ansible_collections.clms.update.plugins.module_utils.secret_file import Credentials
from publisher.images import LocalImage, inspect, push, read_back

DIGEST, LAYER, OTHER = (f"sha256:{digit * 64}" for digit in "123")
IMAGE = LocalImage("backend:1", "sha256:id", "amd64", (LAYER,), 1000)
LOGIN = Credentials("vendor", "canary-17")


class FakeEngine:
    """Both the client and its low-level API, as far as they are used."""

    def __init__(self, *, attributes: Any = None, stream: Any = (), tag_error: Exception | None = None) -> None:
        self.api = self.images = self
        self._attributes = attributes
        self._stream = stream
        self._tag_error = tag_error
        self.calls: list[tuple[Any, ...]] = []

    @property
    def attrs(self) -> Any:
        return self._attributes

    def get(self, name: str) -> FakeEngine:
        if isinstance(self._attributes, Exception):
            raise self._attributes
        return self

    def tag(self, image: str, repository: str, tag: str) -> None:
        if self._tag_error:
            raise self._tag_error
        self.calls.append(("tag", image, f"{repository}:{tag}"))

    def push(self, repository: str, *, tag: str, auth_config: Any, stream: bool, decode: bool) -> Iterator[Any]:
        self.calls.append(("push", f"{repository}:{tag}", auth_config["username"]))
        yield from self._stream

    def remove_image(self, name: str, noprune: bool) -> None:
        self.calls.append(("untag", name))


def attributes(**changes: Any) -> dict[str, Any]:
    return {
        "Id": "sha256:id",
        "Os": "linux",
        "Architecture": "amd64",
        "Size": 1000,
        "RootFS": {"Layers": [LAYER]},
        **changes,
    }


def test_inspect() -> None:
    assert inspect(FakeEngine(attributes=attributes()), "backend:1") == IMAGE  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(ImageNotFound("no such image"), id="missing"),
        pytest.param(APIError("invalid reference format"), id="bad name"),
        pytest.param(attributes(Os="windows"), id="other system"),
    ],
)
def test_inspect_refuses(found: Any) -> None:
    with pytest.raises(ClmsError) as caught:
        inspect(FakeEngine(attributes=found), "backend:1")  # type: ignore[arg-type]
    assert caught.value.code == "RELEASE_IMAGE_MISSING"


def pushed(engine: FakeEngine) -> str:
    where = {"address": "registry.test", "repository": "clms/backend", "tag": "1.0.1"}
    return push(engine, IMAGE, **where, credentials=LOGIN)  # type: ignore[arg-type]


def test_push_names_the_image_by_its_id_and_takes_the_name_back() -> None:
    stream = [{"status": "pushing"}, {"aux": {"Tag": "1.0.1", "Digest": DIGEST, "Size": 500}}]
    engine = FakeEngine(stream=stream)
    assert pushed(engine) == DIGEST
    name = "registry.test/clms/backend:1.0.1"
    assert engine.calls == [("tag", "sha256:id", name), ("push", name, "vendor"), ("untag", name)]


@pytest.mark.parametrize(
    ("engine", "code"),
    [
        pytest.param(FakeEngine(stream=[{"error": "no basic auth"}]), "PUSH_FAILED", id="refused"),
        pytest.param(FakeEngine(stream=[{"status": "done"}]), "PUSH_FAILED", id="no digest"),
        pytest.param(FakeEngine(tag_error=ImageNotFound("x")), "RELEASE_IMAGE_MISSING", id="image gone"),
        pytest.param(FakeEngine(tag_error=APIError("x")), "PUSH_FAILED", id="engine error"),
        pytest.param(FakeEngine(tag_error=ConnectionError("x")), "PUSH_FAILED", id="engine gone"),
    ],
)
def test_push_fails(engine: FakeEngine, code: str) -> None:
    with pytest.raises(ClmsError) as caught:
        pushed(engine)
    assert caught.value.code == code
    assert "canary-17" not in str(caught.value)
    assert (engine.calls or [("untag",)])[-1][0] == "untag"


class FakeRegistry:
    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    def manifest(self, repository: str, digest: str) -> Manifest:
        return Manifest(digest, OTHER, (LAYER,), "type")

    def configuration(self, repository: str, manifest: Manifest) -> Configuration:
        return self._configuration


def test_read_back_takes_digests_from_the_registry() -> None:
    registry = FakeRegistry(Configuration("amd64", (LAYER,)))
    entry = read_back(registry, IMAGE, repository="clms/backend", digest=DIGEST)  # type: ignore[arg-type]
    assert entry == {
        "repository": "clms/backend",
        "digest": DIGEST,
        "config": OTHER,
        "layers": [LAYER],
        "size": 1000,
    }


@pytest.mark.parametrize(
    "configuration", [Configuration("arm64", (LAYER,)), Configuration("amd64", (OTHER,)), Configuration("amd64", ())]
)
def test_read_back_refuses_another_image(configuration: Configuration) -> None:
    with pytest.raises(ClmsError) as caught:
        read_back(FakeRegistry(configuration), IMAGE, repository="clms/backend", digest=DIGEST)  # type: ignore[arg-type]
    assert caught.value.code == "IMAGE_MISMATCH"
