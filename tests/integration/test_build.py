# SPDX-License-Identifier: GPL-3.0-or-later
"""Building an image with the real engine, and what is left where that fails."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator

import docker
import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine

pytestmark = pytest.mark.engine
LABEL = "clms.test.build"


def context(*steps: str) -> io.BytesIO:
    """A build context whose Dockerfile has these steps after its base."""
    text = "\n".join(("ARG BASE_IMAGE", "FROM ${BASE_IMAGE}", *steps, "")).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    packed.seek(0)
    return packed


@pytest.fixture
def build(prefix: str, make_image: Callable[..., str], engine: docker.DockerClient) -> Iterator[Callable[..., str]]:
    """Builds on an image that has no name, as one from a bundle has none."""
    base = engine.images.get(make_image("base")).id
    name = f"{prefix}/built:1"

    def start(*steps: str) -> str:
        return Engine().build(context(*steps), name=name, arguments={"BASE_IMAGE": base}, label=(LABEL, prefix))

    yield start
    for image in engine.images.list(filters={"label": f"{LABEL}={prefix}"}):
        engine.images.remove(image.id, force=True)


def all_images(engine: docker.DockerClient) -> set[str]:
    return {image["Id"] for image in engine.api.images(all=True)}


def test_nothing_is_left_of_a_build_that_fails(build: Callable[..., str], engine: docker.DockerClient) -> None:
    before = all_images(engine)
    containers = len(engine.api.containers(all=True))
    with pytest.raises(docker.errors.APIError):
        build("ENV ONE=1", "ENV TWO=2", "COPY nothing /there")
    assert all_images(engine) - before == set()
    assert before <= all_images(engine), "the base is gone"
    assert len(engine.api.containers(all=True)) <= containers


def test_a_build_that_succeeds_keeps_what_it_is_made_of(build: Callable[..., str], engine: docker.DockerClient) -> None:
    found = engine.images.get(build("ENV ONE=1", "ENV TWO=2"))
    assert "TWO=2" in found.attrs["Config"]["Env"]
