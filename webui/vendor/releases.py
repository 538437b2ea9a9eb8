# SPDX-License-Identifier: GPL-3.0-or-later
"""``/api/latest`` and ``/api/updates/<version>``: signed releases in the shapes of the original design, section 6.1.

They are for people and simple programs. What a school installs it takes from the signed metadata itself.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask_smorest import Blueprint

from ansible_collections.clms.update.plugins.module_utils.disk import human
from ansible_collections.clms.update.plugins.module_utils.release import Release

from .access import needs
from .catalogue import Published
from .documented import KEY, problems
from .schemas import LatestAnswer, ReleaseQuery, UpdateAnswer
from .services import services

blueprint = Blueprint("releases", __name__, url_prefix="/api", description="What the vendor has published")


@blueprint.route("/latest")
@needs("read")
@blueprint.doc(security=[{KEY: []}])
@blueprint.arguments(ReleaseQuery, location="query", error_status_code=400)
@blueprint.response(200, LatestAnswer)
@problems(blueprint, 401, 403, 404, 503)
def latest(query: dict[str, str]) -> dict[str, Any]:
    """The newest release of a channel."""
    published = services().catalogue.latest(query["channel"])
    return describe_latest(published.release, services().settings.registry, query["architecture"])


@blueprint.route("/updates/<version>")
@needs("read")
@blueprint.doc(security=[{KEY: []}])
@blueprint.arguments(ReleaseQuery, location="query", error_status_code=400)
@blueprint.response(200, UpdateAnswer)
@problems(blueprint, 401, 403, 404, 503)
def update(query: dict[str, str], version: str) -> dict[str, Any]:
    """One release of a channel, and where its package lies."""
    published = services().catalogue.release(version, query["channel"])
    settings = services().settings
    return describe_update(published, settings.files_url, settings.registry, query["architecture"])


def describe_latest(release: Release, registry: str, architecture: str) -> dict[str, Any]:
    """:raises ClmsError: RELEASE_ARCHITECTURE"""
    return {
        "version": release.version.text,
        "releaseDate": _day(release.date),
        "changelog": release.changelog,
        "critical": release.critical,
        "dockerTags": docker_tags(release, registry, architecture),
    }


def describe_update(published: Published, files_url: str, registry: str, architecture: str) -> dict[str, Any]:
    """:raises ClmsError: RELEASE_ARCHITECTURE"""
    release = published.release
    return {
        "version": release.version.text,
        "downloadUrl": f"{files_url}/targets/{published.package}",
        "signatureUrl": f"{files_url}/targets/{published.signature}",
        "size": human(release.package.size),
        "sha256": release.package.sha256,
        "changelog": release.changelog,
        "critical": release.critical,
        "forceAfterDate": _day(release.force_after),
        "minVersion": release.minimum and release.minimum.text,
        "dockerTags": docker_tags(release, registry, architecture),
    }


def docker_tags(release: Release, registry: str, architecture: str) -> dict[str, str]:
    """Service -> image, by digest: a tag can be moved to another image. Services that schools build have none.

    :raises ClmsError: RELEASE_ARCHITECTURE
    """
    images = {service: release.image(service, architecture) for service in release.images}
    return {service: f"{registry}/{image.repository}@{image.digest}" for service, image in images.items()}


def _day(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%d")
