# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service's container looks like: decided here, carried out by :mod:`.adapters.engine`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from .errors import ClmsError
from .school import School, Service
from .slots import Slot

# By hand, because urllib refuses some passwords, quoting them, and does not give back exactly what it took apart.
_URL = re.compile(r"(?s)([A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?)(\[[^\]]*\]|[^:/?#]*)(.*)")


THROWAWAY_GRACE = 5
"""Stop grace, in seconds, of containers whose data nobody needs. An engine that was killed waits that long for each
container when it starts again, and serves nobody meanwhile: a database's own grace of minutes would be too much."""


@dataclass(frozen=True)
class ContainerSpec:
    """Everything the engine has to know to create a container."""

    name: str
    image: str
    network: str
    aliases: tuple[str, ...]
    environment: dict[str, str] = field(repr=False)
    binds: tuple[str, ...]
    """``volume-or-path:/path:mode``"""
    labels: dict[str, str]
    stop_grace: int
    """seconds"""
    command: tuple[str, ...] | None = None

    def with_bind(self, bind: str) -> ContainerSpec:
        """The same container with one more bind."""
        return replace(self, binds=(*self.binds, bind))


def parse_env_file(text: str, path: str) -> dict[str, str]:
    """Read an environment file as ``docker run --env-file`` does: ``NAME=value`` lines, no quoting.

    :raises ClmsError: SECRET_FILE
    """
    variables: dict[str, str] = {}
    # not splitlines(), which takes more than line ends for one; a Windows editor may have put the mark in front
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.removesuffix("\r").partition("=")
        if not equals or len(name.split()) != 1:
            raise ClmsError("SECRET_FILE", path=path, detail=f"line {number} is not of the form NAME=value")
        variables[name.strip()] = value
    return variables


def rewrite_url_host(url: str, host: str) -> str:
    """``url`` with another host name, everything else as it was; what is no URL stays as it is."""
    parts = _URL.fullmatch(url)
    return f"{parts[1]}{host}{parts[3]}" if parts else url


def labels(school: School, *, run: int, slot: str, service: str, purpose: str) -> dict[str, str]:
    """The labels by which a run's containers, networks and volumes are found again."""
    return {
        "clms.project": school.project,
        "clms.run": str(run),
        "clms.slot": slot,
        "clms.service": service,
        "clms.purpose": purpose,
    }


def outside_network(school: School) -> str:
    """The one network of a school that is not internal: the gate, and the services that may reach other hosts."""
    return f"{school.project}-outside"


def service_spec(school: School, slot: Slot, service: Service, environment: dict[str, str]) -> ContainerSpec:
    """The container of ``service`` in ``slot``.

    :param environment: the content of the service's environment file
    """
    return ContainerSpec(
        name=slot.services[service.name].container,
        image=slot.services[service.name].image,
        network=slot.network,
        aliases=(service.name,),
        environment={**service.environment, **environment},
        binds=(
            *(f"{slot.volumes[volume.name]}:{volume.path}:rw" for volume in service.volumes),
            *(f"{source}:{target}:ro" for source, target in service.mounts.items()),
        ),
        labels=labels(school, run=slot.run, slot=slot.name, service=service.name, purpose="service"),
        stop_grace=service.stop_grace,
    )


def redirected(
    school: School, environment: dict[str, str], *, database_host: str, cache_hosts: dict[str, str]
) -> dict[str, str]:
    """An application's environment in which every database and cache address names another host.

    A URL is a cache address when its host is the name of one of the school's cache services.
    """
    changed = dict(environment)
    for name, value in environment.items():
        if name == school.database.url_variable:
            changed[name] = rewrite_url_host(value, database_host)
        elif (url := _URL.fullmatch(value)) and (host := url[2].lower()) in cache_hosts:
            changed[name] = rewrite_url_host(value, cache_hosts[host])
    return changed
