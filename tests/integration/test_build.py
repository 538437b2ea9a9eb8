# SPDX-License-Identifier: GPL-3.0-or-later
"""Building an image with the real engine, and what is left where that fails."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress

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
def base(prefix: str, make_image: Callable[..., str], engine: docker.DockerClient) -> str:
    """An image that nobody else builds on."""
    return str(engine.images.get(make_image("base", prefix)).id)


@pytest.fixture
def build(prefix: str, base: str, engine: docker.DockerClient) -> Iterator[Callable[..., str]]:
    """Builds on the base."""
    name = f"{prefix}/built:1"

    def start(*steps: str) -> str:
        return Engine().build(context(*steps), name=name, arguments={"BASE_IMAGE": base}, label=(LABEL, prefix))

    yield start
    for image in engine.images.list(filters={"label": f"{LABEL}={prefix}"}):
        engine.images.remove(image.id, force=True)


def made_on(base: str, engine: docker.DockerClient) -> set[str]:
    """All images whose lowest layer is that of the base, itself among them."""
    lowest = engine.images.get(base).attrs["RootFS"]["Layers"][0]
    found = set()
    for image in engine.api.images(all=True):
        with suppress(docker.errors.ImageNotFound):  # of another test that ends
            if engine.api.inspect_image(image["Id"])["RootFS"].get("Layers", [""])[0] == lowest:
                found.add(image["Id"])
    return found


def test_nothing_is_left_of_a_build_that_fails(
    build: Callable[..., str], base: str, engine: docker.DockerClient
) -> None:
    with pytest.raises(docker.errors.APIError):
        build("ENV ONE=1", "ENV TWO=2", "COPY nothing /there")
    assert made_on(base, engine) == {base}


def test_a_build_that_succeeds_keeps_what_it_is_made_of(
    build: Callable[..., str], base: str, engine: docker.DockerClient
) -> None:
    found = engine.images.get(build("ENV ONE=1", "ENV TWO=2"))
    assert "TWO=2" in found.attrs["Config"]["Env"]
    assert made_on(base, engine) >= {base, found.id}
