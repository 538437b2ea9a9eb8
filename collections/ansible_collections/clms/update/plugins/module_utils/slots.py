# SPDX-License-Identifier: GPL-3.0-or-later
"""Slots: one complete set of network, volumes and containers that can serve CLMS.

An update leaves the slot that serves (A) untouched and builds another one (B) beside it; see architecture.md,
decision 4. A slot is named after the run that made it, and so is everything in it, so that two slots never share
a name and what belongs to a run can be found by its name alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from . import build_plan
from .errors import ClmsError
from .release import Release, parse_release
from .school import School, Service


@dataclass(frozen=True)
class SlotService:
    """One service in a slot."""

    container: str
    image: str
    """what the engine is asked for: ``registry/repository@sha256:…`` or the id of an image built or loaded here"""
    config: str
    """digest of the image's configuration; where the release does not bring the image, the digest in the reference;
    empty as long as the image has to be built"""


@dataclass(frozen=True)
class Slot:
    """A slot; see the module's text."""

    name: str
    run: int
    version: str
    network: str
    services: dict[str, SlotService]
    volumes: dict[str, str]
    """volume of the school's description -> name of the volume in the engine"""
    release: dict[str, Any]
    """the signed release (its health and smoke definitions go with the containers)"""

    def as_dict(self) -> dict[str, Any]:
        """The slot as the journal keeps it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Slot:
        """The opposite of :meth:`as_dict`."""
        services = {name: SlotService(**service) for name, service in data["services"].items()}
        return cls(**{**data, "services": services})

    def parsed_release(self) -> Release:
        """The release as an object."""
        return parse_release(self.release)

    def with_images(self, images: dict[str, str]) -> Slot:
        """This slot, where the engine has the images of some services under other names.

        :param images: service -> what the engine is asked for
        """
        services = {
            name: replace(service, image=images[name], config=service.config or images[name])
            if name in images
            else service
            for name, service in self.services.items()
        }
        return replace(self, services=services)

    def own_volumes(self, other: Slot | None) -> list[str]:
        """Names of this slot's volumes that ``other`` does not use."""
        used = set(other.volumes.values()) if other else set()
        return sorted(set(self.volumes.values()) - used)

    def own_containers(self, other: Slot | None) -> list[str]:
        """Names of this slot's containers that ``other`` does not use."""
        used = {service.container for service in other.services.values()} if other else set()
        return sorted({service.container for service in self.services.values()} - used)


def _image(
    service: Service, release: Release, school: School, architecture: str, current: Slot | None
) -> tuple[str, str]:
    """Reference and configuration digest of a service's image: the release's, or else what runs, or the school's."""
    if service.name in release.images:
        image = release.image(service.name, architecture)
        return f"{school.registry}/{image.repository}@{image.digest}", image.config
    if service.name in release.builds:
        arguments = build_plan.arguments_of(release, service.name, school.build_arguments)
        made_of = build_plan.identity(release, service.name, arguments, architecture)
        return build_plan.name_of(service.name, made_of), ""
    if current is not None and service.name in current.services:
        return current.services[service.name].image, current.services[service.name].config
    if service.image is not None:
        return service.image, service.image.rpartition("@")[2]
    raise ClmsError(
        "RELEASE_INVALID",
        version=release.version,
        detail=f"it does not bring the service {service.name!r} that this school has",
    )


def _goes_on(service: Service, release: Release) -> bool:
    """Whether a service keeps its container in an update that only brings images.

    The database does, and so does what the release does not change (a Redis with data): two containers on one volume
    would spoil it. A cache is flushed at every switch.
    """
    return service.role == "database" or (service.role != "cache" and service.name not in release.services)


def plan_slot(school: School, release: Release, *, run: int, architecture: str, current: Slot | None) -> Slot:
    """The slot that a run with ``release`` will build.

    Without a migration the new slot keeps all volumes of ``current``, the database's container and those that the
    release does not change; with one, every volume that is declared ``copy`` gets a new one, and so does the database.

    :raises ClmsError: RELEASE_ARCHITECTURE, RELEASE_INVALID
    """
    if school.entry_service not in release.health:
        raise ClmsError(
            "RELEASE_INVALID",
            version=release.version,
            detail=f"it does not say when the service {school.entry_service!r} is healthy",
        )
    name = f"r{run}"
    shares_data = current is not None and release.migration is None
    services: dict[str, SlotService] = {}
    for service in school.services:
        reference, config = _image(service, release, school, architecture, current)
        if shares_data and current is not None and _goes_on(service, release):
            kept = current.services[service.name]
            if kept.config != config:
                raise ClmsError(
                    "RELEASE_INVALID",
                    version=release.version,
                    detail=f"it changes the image of {service.name!r} but declares that it has no migration",
                )
            services[service.name] = kept
        else:
            services[service.name] = SlotService(f"{school.project}-{service.name}-{name}", reference, config)
    return Slot(
        name=name,
        run=run,
        version=release.version.text,
        network=f"{school.project}-{name}",
        services=services,
        volumes=_volumes(school, name, current, shares_data),
        release=release.raw,
    )


def _volumes(school: School, name: str, current: Slot | None, shares_data: bool) -> dict[str, str]:
    volumes: dict[str, str] = {}
    for service in school.services:
        for volume in service.volumes:
            fresh = f"{school.project}-{volume.name}-{name}"
            kept = current.volumes.get(volume.name) if current else None
            if volume.on_update == "empty" or kept is None:
                volumes[volume.name] = fresh
            elif volume.on_update == "share" or shares_data:
                volumes[volume.name] = kept
            else:
                volumes[volume.name] = fresh
    return volumes


def restored_slot(school: School, backed_up: Slot, *, run: int, current: Slot | None) -> Slot:
    """The slot that a restore builds: the services of ``backed_up`` on fresh volumes."""
    name = f"r{run}"
    return Slot(
        name=name,
        run=run,
        version=backed_up.version,
        network=f"{school.project}-{name}",
        services={
            key: SlotService(f"{school.project}-{key}-{name}", service.image, service.config)
            for key, service in backed_up.services.items()
        },
        volumes=_volumes(school, name, current, shares_data=False),
        release=backed_up.release,
    )
