# SPDX-License-Identifier: GPL-3.0-or-later
"""A release as the vendor signs it: the content of one TUF target ``releases/<version>.json``.

The format is the one that the decision record ``docs/decisions/0002-release-format.md`` describes. Parsing is
strict: an unknown or missing field refuses the release, because a field that is silently ignored protects nobody.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .errors import ClmsError
from .fields import FieldError, Fields
from .version import Version

FORMAT = 1
PRODUCT = "clms"
MAX_BYTES = 1_000_000

_NAME = r"[a-z][a-z0-9_-]{0,40}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_REPOSITORY = r"[a-z0-9]+(?:[._/-][a-z0-9]+)*"
_ROUTE = r"(?:GET|HEAD|POST) /[A-Za-z0-9._~/:-]*\*?"
_FILE = r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
_ARCHITECTURE = r"[a-z0-9_]{1,20}"
_ARGUMENT = r"[A-Za-z_][A-Za-z0-9_]{0,60}"


@dataclass(frozen=True)
class Image:
    """One image of a service for one architecture."""

    repository: str
    """path in the registry, without host and tag"""
    digest: str
    """digest of the manifest, by which it is pulled"""
    config: str
    """digest of the image configuration"""
    layers: tuple[str, ...]
    """``RootFS.Layers`` of the image: the digests of the uncompressed layers, lowest first"""
    size: int
    """bytes on disk, uncompressed"""


@dataclass(frozen=True)
class Build:
    """Signed source from which the school server builds a service's image."""

    source: str
    """folder inside the release package, with a ``Dockerfile``"""
    arguments: dict[str, str]
    """build arguments; ``${name}`` is filled in from the school's ``clms_build_arguments``"""
    bases: dict[str, dict[str, Image]]
    """build argument -> architecture -> the image that ``FROM ${argument}`` in the Dockerfile stands for"""
    size: int
    """bytes on disk that building takes at most, its result included, the bases left out"""


@dataclass(frozen=True)
class Migration:
    """How the database is brought to this release, in a one-off container of ``service``'s new image."""

    service: str
    command: tuple[str, ...]
    first: str
    """the schema it starts from, for people"""
    last: str
    timeout: int
    """seconds"""


@dataclass(frozen=True)
class Health:
    """When a service counts as healthy: 2xx or 3xx at ``path`` within ``timeout`` seconds of its start."""

    path: str
    port: int
    timeout: int


@dataclass(frozen=True)
class SmokeStep:
    """One request of the smoke test; see :mod:`.smoke` for how variables are filled in."""

    name: str
    method: str
    path: str
    json: Any
    status: tuple[int, ...]
    save: dict[str, str]
    """variable -> dotted path in the JSON answer, which must exist"""
    writes: bool


@dataclass(frozen=True)
class Package:
    """The downloadable ZIP of a release; its detached GPG signature is the target ``path + ".sig"``."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Release:
    """A verified release. ``raw`` is the decoded JSON it was read from."""

    version: Version
    sequence: int
    channel: str
    date: datetime
    expires: datetime
    changelog: str
    breaking_changes: tuple[str, ...]
    critical: bool
    force_after: datetime | None
    grace_days: int
    reading_routes: tuple[str, ...]
    """what stays possible while CLMS is blocked, because this release is overdue: ``GET /api/books``, with ``*`` at the
    end also what is below"""
    minimum: Version | None
    minimum_updater: Version
    estimated_minutes: int
    migration: Migration | None
    images: dict[str, dict[str, Image]]
    """service -> architecture (``amd64``, ``arm64``) -> image"""
    builds: dict[str, Build]
    health: dict[str, Health]
    smoke: tuple[SmokeStep, ...]
    smoke_clean_up: tuple[str, ...]
    """SQL statements that undo the smoke steps that write, with variables like theirs; only for schools that skip
    the rehearsal"""
    package: Package
    raw: dict[str, Any] = field(repr=False, compare=False)

    @property
    def services(self) -> list[str]:
        """Names of the services this release brings."""
        return [*self.images, *self.builds]

    def image(self, service: str, architecture: str) -> Image:
        """The image of ``service`` for ``architecture``.

        :raises ClmsError: RELEASE_ARCHITECTURE
        """
        return self._for(self.images[service], architecture)

    def bases(self, service: str, architecture: str) -> dict[str, Image]:
        """Build argument -> image of everything that ``service`` is built on.

        :raises ClmsError: RELEASE_ARCHITECTURE
        """
        return {name: self._for(images, architecture) for name, images in self.builds[service].bases.items()}

    def all_images(self, architecture: str) -> list[Image]:
        """Every image that a school needs for this release, each once: those of its services and those to build on.

        :raises ClmsError: RELEASE_ARCHITECTURE
        """
        found = [self.image(service, architecture) for service in self.images]
        found += [image for service in self.builds for image in self.bases(service, architecture).values()]
        return list(dict.fromkeys(found))

    def _for(self, images: dict[str, Image], architecture: str) -> Image:
        try:
            return images[architecture]
        except KeyError:
            raise ClmsError("RELEASE_ARCHITECTURE", version=self.version, architecture=architecture) from None


def _time(fields: Fields, name: str, default: Any = ...) -> Any:
    if default is None and fields.get(name, str, None) is None:
        return None
    return datetime.strptime(fields.text(name, pattern=_TIME), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _version(fields: Fields, name: str, default: Any = ...) -> Any:
    if default is None and fields.get(name, str, None) is None:
        return None
    return Version(fields.text(name, limit=64))


def _image(fields: Fields) -> Image:
    image = Image(
        repository=fields.text("repository", pattern=_REPOSITORY, limit=200),
        digest=fields.text("digest", pattern=_DIGEST),
        config=fields.text("config", pattern=_DIGEST),
        layers=tuple(fields.texts("layers", pattern=_DIGEST)),
        size=fields.number("size"),
    )
    fields.done()
    if not image.layers:
        raise FieldError(f"{fields.where('layers')} is empty")
    return image


def _names(fields: Fields, pattern: str) -> list[str]:
    """The names in a mapping that must not be empty."""
    names = fields.names()
    if not names or not all(re.fullmatch(pattern, name) for name in names):
        raise FieldError(f"{fields.where('*')} must have allowed names, at least one")
    return names


def _images(fields: Fields) -> dict[str, Image]:
    """Architecture -> image."""
    images = {name: _image(fields.sub(name)) for name in _names(fields, _ARCHITECTURE)}
    fields.done()
    return images


def _build(fields: Fields) -> Build:
    arguments, bases = fields.sub("arguments", {}), fields.sub("bases", {})
    build = Build(
        source=fields.text("source", pattern=_FILE, limit=200),
        arguments={name: arguments.text(name, pattern="(?s).*", limit=1000) for name in arguments.names()},
        bases={name: _images(bases.sub(name)) for name in bases.names()},
        size=fields.number("size"),
    )
    fields.done()
    names = [*build.arguments, *build.bases]
    if len(set(names)) != len(names) or not all(re.fullmatch(_ARGUMENT, name) for name in names):
        raise FieldError(f"{fields.where('arguments')} and bases must have allowed names, each once")
    return build


def _migration(fields: Fields) -> Migration | None:
    if not fields.is_mapping("migration"):
        fields.text("migration", pattern="none")
        return None
    inner = fields.sub("migration")
    migration = Migration(
        service=inner.text("service", pattern=_NAME),
        command=tuple(inner.texts("command")),
        first=inner.text("from", limit=200),
        last=inner.text("to", limit=200),
        timeout=inner.number("timeoutSeconds", low=1, high=86_400),
    )
    inner.done()
    if not migration.command:
        raise FieldError("migration.command is empty")
    return migration


def parse_health(fields: Fields) -> Health:
    """One entry of ``health``."""
    health = Health(
        path=fields.text("path", pattern=r"/[^\s]*", limit=500),
        port=fields.number("port", low=1, high=65_535),
        timeout=fields.number("timeoutSeconds", low=1, high=3600),
    )
    fields.done()
    return health


def parse_step(fields: Fields) -> SmokeStep:
    """One entry of ``smoke``; the school's own steps have the same form."""
    save = fields.get("save", dict, {})
    if not all(isinstance(value, str) for value in save.values()):
        raise FieldError(f"{fields.where('save')} must map variables to paths")
    status = fields.get("status", list, [200, 201, 202, 204])
    if not status or not all(type(code) is int and 100 <= code <= 599 for code in status):
        raise FieldError(f"{fields.where('status')} must be a list of HTTP status codes")
    step = SmokeStep(
        name=fields.text("name", limit=100),
        method=fields.text("method", pattern="GET|POST|PUT|PATCH|DELETE", default="GET"),
        path=fields.text("path", pattern=r"/[^\s]*", limit=500),
        json=fields.any("json"),
        status=tuple(status),
        save=dict(save),
        writes=fields.get("writes", bool, False),
    )
    fields.done()
    return step


def parse_release(data: bytes | dict[str, Any]) -> Release:
    """Read a release.

    :param data: the bytes of the target, at most :data:`MAX_BYTES`, or the decoded JSON
    :raises ClmsError: RELEASE_INVALID or RELEASE_OTHER_PRODUCT
    """
    version = "?"
    try:
        if isinstance(data, bytes):
            if len(data) > MAX_BYTES:
                raise FieldError("it is too large")
            decoded = json.loads(data)
        else:
            decoded = data
        fields = Fields(decoded)
        product = fields.text("product", limit=100)
        if product != PRODUCT:
            raise ClmsError("RELEASE_OTHER_PRODUCT", product=repr(product))
        version = fields.text("version", limit=64)
        fields.number("format", low=FORMAT, high=FORMAT)
        services = fields.sub("services")
        images: dict[str, dict[str, Image]] = {}
        builds: dict[str, Build] = {}
        for name in _names(services, _NAME):
            service = services.sub(name)
            if service.get("build", dict, None) is not None:
                builds[name] = _build(service.sub("build"))
            else:
                images[name] = _images(service.sub("images"))
            service.done()
        health = fields.sub("health")
        package = fields.sub("package")
        release = Release(
            version=Version(version),
            sequence=fields.number("sequence", low=1),
            channel=fields.text("channel", pattern=_NAME),
            date=_time(fields, "releaseDate"),
            expires=_time(fields, "expires"),
            changelog=fields.text("changelog", limit=200_000),
            breaking_changes=tuple(fields.texts("breakingChanges", default=[])),
            critical=fields.get("critical", bool, False),
            force_after=_time(fields, "forceAfterDate", None),
            grace_days=fields.number("gracePeriodDays", high=365, default=0),
            reading_routes=tuple(fields.texts("readingRoutes", pattern=_ROUTE, default=[])),
            minimum=_version(fields, "minVersion", None),
            minimum_updater=_version(fields, "minUpdaterVersion"),
            estimated_minutes=fields.number("estimatedMinutes", low=1, high=10_000),
            migration=_migration(fields),
            images=images,
            builds=builds,
            health={name: parse_health(health.sub(name)) for name in health.names()},
            smoke=tuple(parse_step(step) for step in fields.each("smoke")),
            smoke_clean_up=tuple(fields.texts("smokeCleanUp", default=[])),
            package=Package(
                path=package.text("path", pattern=_FILE, limit=300),
                size=package.number("size"),
                sha256=package.text("sha256", pattern="[0-9a-f]{64}"),
            ),
            raw=decoded,
        )
        package.done()
        fields.done()
        _check_references(release)
        return release
    except (ValueError, RecursionError) as error:  # JSON, versions, dates and fields alike
        raise ClmsError("RELEASE_INVALID", version=version, detail=str(error)[:300]) from None


def _check_references(release: Release) -> None:
    """:raises FieldError: when the release speaks of a service that it does not bring."""
    named = [*release.health, *([release.migration.service] if release.migration else [])]
    for name in named:
        if name not in release.services:
            raise FieldError(f"it speaks of the service {name!r} but does not bring it")
    if (release.force_after is not None) and not release.critical:
        raise FieldError("only a critical release has a forceAfterDate")
