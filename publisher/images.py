# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of a release: what the local engine has, and how they get into the registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.registry import Registry
from ansible_collections.clms.update.plugins.module_utils.secret_file import Credentials

from .settings import ENGINE_TIMEOUT


@dataclass(frozen=True)
class LocalImage:
    """An image as the engine had it when the release was built."""

    name: str
    """the name in the definition"""
    id: str
    architecture: str
    layers: tuple[str, ...]
    size: int

    def as_dict(self) -> dict[str, Any]:
        """For the draft of a release."""
        return {**asdict(self), "layers": list(self.layers)}

    def entry(self, *, repository: str, digest: str, config: str) -> dict[str, Any]:
        """The image as a release describes it."""
        return {
            "repository": repository,
            "digest": digest,
            "config": config,
            "layers": list(self.layers),
            "size": self.size,
        }


@contextmanager
def engine() -> Iterator[docker.DockerClient]:
    """The local Docker engine.

    :raises ClmsError: ENGINE_UNREACHABLE
    """
    try:
        client = docker.from_env(timeout=ENGINE_TIMEOUT)
    except DockerException as error:
        raise ClmsError("ENGINE_UNREACHABLE", detail=str(error)[:200]) from None
    with closing(client):
        try:
            client.ping()
        except (DockerException, OSError) as error:
            raise ClmsError("ENGINE_UNREACHABLE", detail=str(error)[:200]) from None
        yield client


def inspect(client: docker.DockerClient, name: str) -> LocalImage:
    """What the engine knows of an image.

    :raises ClmsError: RELEASE_IMAGE_MISSING
    """
    try:
        attributes = client.images.get(name).attrs
    except ImageNotFound:
        raise ClmsError("RELEASE_IMAGE_MISSING", image=name, detail="there is none of that name") from None
    except APIError as error:
        raise ClmsError("RELEASE_IMAGE_MISSING", image=name, detail=str(error.explanation)) from None
    if attributes["Os"] != "linux":
        raise ClmsError("RELEASE_IMAGE_MISSING", image=name, detail=f"it is made for {attributes['Os']}")
    return LocalImage(
        name=name,
        id=attributes["Id"],
        architecture=attributes["Architecture"],
        layers=tuple(attributes["RootFS"]["Layers"]),
        size=attributes["Size"],
    )


def push(
    client: docker.DockerClient,
    image: LocalImage,
    *,
    address: str,
    repository: str,
    tag: str,
    credentials: Credentials,
) -> str:
    """Push exactly the image that was built, whatever its name means by now.

    :returns: the digest that the engine names, still to be verified
    :raises ClmsError: RELEASE_IMAGE_MISSING, PUSH_FAILED
    """
    target = f"{address}/{repository}"
    login = {"username": credentials.username, "password": credentials.password}
    digest = None
    try:
        client.api.tag(image.id, target, tag)
        try:
            for line in client.api.push(target, tag=tag, auth_config=login, stream=True, decode=True):
                if "error" in line:
                    raise ClmsError("PUSH_FAILED", image=image.name, registry=address, detail=line["error"][:300])
                digest = line.get("aux", {}).get("Digest", digest)
        finally:
            client.api.remove_image(f"{target}:{tag}", noprune=True)
    except ImageNotFound:
        raise ClmsError("RELEASE_IMAGE_MISSING", image=image.name, detail="it was removed after the build") from None
    except (DockerException, OSError) as error:
        raise ClmsError("PUSH_FAILED", image=image.name, registry=address, detail=str(error)[:300]) from None
    if digest is None:
        raise ClmsError("PUSH_FAILED", image=image.name, registry=address, detail="the engine named no digest")
    return str(digest)


def read_back(registry: Registry, image: LocalImage, *, repository: str, digest: str) -> dict[str, Any]:
    """The entry of an image in a release, from what the registry really serves for ``digest``.

    :raises ClmsError: IMAGE_MISMATCH when that is not the image that was built, and as :meth:`Registry.manifest`
    """
    manifest = registry.manifest(repository, digest)
    configuration = registry.configuration(repository, manifest)
    if (configuration.architecture, configuration.layers) != (image.architecture, image.layers):
        detail = "the registry serves other layers than the engine had"
        raise ClmsError("IMAGE_MISMATCH", image=f"{repository}@{digest}", detail=detail)
    return image.entry(repository=repository, digest=digest, config=manifest.config)
