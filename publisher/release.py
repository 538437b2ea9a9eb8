# SPDX-License-Identifier: GPL-3.0-or-later
"""From a definition to a signed release: what ``build`` and ``sign`` do."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fields import FieldError, Fields
from ansible_collections.clms.update.plugins.module_utils.registry import Registry
from ansible_collections.clms.update.plugins.module_utils.release import FORMAT, PRODUCT, Release, parse_release
from ansible_collections.clms.update.plugins.module_utils.secret_file import Credentials

from . import settings
from .dockerfile import DockerfileError, check_dockerfile
from .images import LocalImage, engine, inspect, push, read_back
from .keys import sign_package
from .package import pack, source_files
from .repository import NewTarget, Repository, package_path
from .rotation import key_target
from .vendor import Vendor, as_json, write_file

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_DRAFT = "draft.json"
_UNKNOWN_DIGEST = "sha256:" + "0" * 64

_OPTIONAL: dict[str, Any] = {
    "channel": settings.CHANNEL,
    "breakingChanges": [],
    "critical": False,
    "forceAfterDate": None,
    "gracePeriodDays": 0,
    "readingRoutes": [],
    "minVersion": None,
    "minUpdaterVersion": settings.MINIMUM_UPDATER,
    "estimatedMinutes": settings.ESTIMATED_MINUTES,
    "migration": "none",
    "health": {},
    "smoke": [],
    "smokeCleanUp": [],
}


def build(
    vendor: Vendor,
    definition: Path,
    *,
    source: Path | None = None,
    changelog: Path | None = None,
    now: datetime | None = None,
) -> Path:
    """Stage a release: inspect its images, make its package, check everything that can be checked without a registry.

    :param source: folder that goes into the package as ``source/``
    :param changelog: file whose text replaces the definition's ``changelog``
    :returns: the staging folder
    :raises ClmsError: DEFINITION_INVALID, RELEASE_IMAGE_MISSING, ENGINE_UNREACHABLE, RELEASE_USED
    """
    given = _read_definition(definition)
    if changelog is not None:
        given["changelog"] = _read(changelog).decode("utf-8", "replace")
    release, names = _draft(definition, given, now or datetime.now(UTC))
    files = {f"source/{name}": file for name, file in source_files(source).items()} if source else {}
    images: dict[str, LocalImage] = {}
    if names:
        with engine() as client:
            images = {place: inspect(client, name) for place, name in names.items()}
    for place, image in images.items():
        entry = image.entry(repository=_repository(place), digest=_UNKNOWN_DIGEST, config=_UNKNOWN_DIGEST)
        _entries(release, place)[image.architecture] = entry
    parsed = _parse(definition, release)
    for service in parsed.builds:
        _check_source(definition, parsed, service, files)
    version = parsed.version.text
    Repository(vendor.repository).check_unused(version, parsed.sequence, parsed.channel)

    summary = {key: release[key] for key in ("product", "version", "sequence", "channel", "releaseDate")}
    for name, data in (
        ("version.json", as_json(summary)),
        ("definition.json", as_json(given)),
        ("CHANGELOG.md", release["changelog"].encode()),
    ):
        files[name] = (data, False)
    package = pack(files)
    release["package"] |= {"size": len(package), "sha256": hashlib.sha256(package).hexdigest()}
    staging = vendor.staging(version)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    write_file(staging / _package_name(version), package)
    draft = {"release": release, "images": {place: image.as_dict() for place, image in images.items()}}
    write_file(staging / _DRAFT, as_json(draft))
    return staging


def sign(
    vendor: Vendor,
    version: str,
    *,
    registry: Registry,
    address: str,
    credentials: Credentials,
    offline: Signer,
    online: Signer,
) -> Release:
    """Push the images of a staged release, complete it with their digests and add it to the signed repository.

    :param address: ``host:port`` of the registry, as the Docker engine names it
    :raises ClmsError: RELEASE_NOT_BUILT, RELEASE_USED, RELEASE_IMAGE_MISSING, IMAGE_MISMATCH, PUSH_FAILED, REGISTRY_*,
        SIGNING_FAILED, PACKAGE_SIGNATURE, ROTATION_UNFINISHED
    """
    staging = vendor.staging(version)
    package = staging / _package_name(version)
    try:
        draft = json.loads((staging / _DRAFT).read_bytes())
        data = package.read_bytes()
    except OSError:
        raise ClmsError("RELEASE_NOT_BUILT", version=version) from None
    release = draft["release"]
    repository = Repository(vendor.repository)
    repository.check_unused(version, release["sequence"], release["channel"])
    if draft["images"]:
        with engine() as client:
            for place, fields in draft["images"].items():
                image = LocalImage(**{**fields, "layers": tuple(fields["layers"])})
                name = _repository(place)
                digest = push(client, image, address=address, repository=name, tag=version, credentials=credentials)
                entry = read_back(registry, image, repository=name, digest=digest)
                _entries(release, place)[image.architecture] = entry
    parsed = parse_release(release)
    signature = sign_package(vendor.gpg_home, vendor.fingerprint, package, version=version)
    custom = {"version": version, "sequence": parsed.sequence, "channel": parsed.channel}
    repository.add(
        [
            NewTarget(parsed.package.path, data),
            NewTarget(f"{parsed.package.path}.sig", signature),
            key_target(vendor.gpg_home, vendor.fingerprint),
            NewTarget(f"releases/{version}.json", as_json(release), custom),
        ],
        offline,
        online,
    )
    return parsed


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ClmsError("DEFINITION_INVALID", path=path, detail=error.strerror) from None


def _read_definition(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise ClmsError("DEFINITION_INVALID", path=path, detail=f"it is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise ClmsError("DEFINITION_INVALID", path=path, detail="it must be a mapping")
    return data


def _draft(path: Path, given: Mapping[str, Any], now: datetime) -> tuple[dict[str, Any], dict[str, str]]:
    """The release without digests and package, and the local names of its images by their place in it.

    A place is ``service``, or ``service/argument`` for an image that a service is built on. The form of the release
    itself is for ``parse_release`` to check.
    """
    try:
        fields = Fields(given)
        names = fields.sub("images", {})
        images = {service: names.text(service, limit=300) for service in names.names()}
        services: dict[str, Any] = {service: {"images": {}} for service in images}
        builds = fields.sub("builds", {})
        for service in builds.names():
            if service in images:
                raise FieldError(f"service {service} is both an image and a build")
            given_build = builds.sub(service)
            bases = given_build.sub("bases", {})
            images |= {f"{service}/{name}": bases.text(name, limit=300) for name in bases.names()}
            services[service] = {
                "build": {
                    "size": settings.BUILD_BYTES,
                    **{name: given_build.any(name) for name in given_build.names()},
                    "bases": {name: {} for name in bases.names()},
                }
            }
        version = fields.text("version", limit=64)
        release: dict[str, Any] = {
            "product": PRODUCT,
            "format": FORMAT,
            "version": version,
            "sequence": fields.any("sequence"),
            "changelog": fields.any("changelog"),
            "releaseDate": fields.text("releaseDate", default=now.strftime(_TIME)),
            "expires": fields.text("expires", default=(now + settings.RELEASE_LIFETIME).strftime(_TIME)),
            "services": services,
            "package": {"path": package_path(version), "size": 0, "sha256": "0" * 64},
        }
        for name, default in _OPTIONAL.items():
            value = fields.any(name)
            release[name] = default if value is None else value
        fields.done()
    except FieldError as error:
        raise ClmsError("DEFINITION_INVALID", path=path, detail=str(error)) from None
    return release, images


def _parse(path: Path, release: dict[str, Any]) -> Release:
    try:
        return parse_release(release)
    except ClmsError as error:
        detail = str(error.values.get("detail", error.happened))
        raise ClmsError("DEFINITION_INVALID", path=path, detail=detail) from None


def _entries(release: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Architecture -> image, where the release has those of a place; see :func:`_draft`."""
    service, _, argument = place.partition("/")
    described = release["services"][service]
    entries: dict[str, Any] = described["build"]["bases"][argument] if argument else described["images"]
    return entries


def _check_source(path: Path, release: Release, service: str, files: Mapping[str, tuple[bytes, bool]]) -> None:
    """:raises ClmsError: DEFINITION_INVALID"""
    build_ = release.builds[service]
    dockerfile = files.get(f"{build_.source}/Dockerfile")
    if dockerfile is None:
        detail = f"service {service} is built from {build_.source}, whose Dockerfile is not in the package (--source)"
        raise ClmsError("DEFINITION_INVALID", path=path, detail=detail)
    try:
        check_dockerfile(dockerfile[0], build_.bases)
    except DockerfileError as error:
        detail = f"the Dockerfile of service {service} cannot be used: {error}"
        raise ClmsError("DEFINITION_INVALID", path=path, detail=detail) from None


def _package_name(version: str) -> str:
    return package_path(version).rpartition("/")[2]


def _repository(place: str) -> str:
    return settings.REPOSITORY_PREFIX + place.lower()
