# SPDX-License-Identifier: GPL-3.0-or-later
"""Images in a real engine: what is read of them, and what may be removed."""

from __future__ import annotations

from collections.abc import Callable

import docker
import docker.errors
import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from ansible_collections.clms.update.plugins.module_utils.build_plan import name_of


def test_an_image_that_has_a_name_of_others_stays(
    engine: docker.DockerClient, make_image: Callable[..., str], prefix: str
) -> None:
    reference = make_image("kept", prefix)
    found = engine.images.get(reference).id
    assert Engine().remove_image(found) is False
    assert engine.images.get(reference).id == found


def test_an_image_that_was_built_here_goes(
    engine: docker.DockerClient, make_image: Callable[..., str], prefix: str
) -> None:
    reference = make_image("built", prefix)
    found = engine.images.get(reference).id
    repository, tag = name_of(prefix, "0" * 64).split(":")
    engine.api.tag(found, repository, tag)
    engine.images.remove(reference)
    assert Engine().remove_image(found) is True
    with pytest.raises(docker.errors.ImageNotFound):
        engine.images.get(found)


def test_an_image_is_read(engine: docker.DockerClient, make_image: Callable[..., str]) -> None:
    reference = make_image("read")
    assert Engine().is_whole(reference) is True
    assert Engine().is_whole(f"{reference}-unknown") is False
