# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a release's images the engine has, and how more are got: pulled, loaded from a bundle, or built."""

from __future__ import annotations

import tempfile
from pathlib import Path

try:
    import docker.errors
    import requests.exceptions
except ImportError:
    pass  # the module says so before it comes here

from .. import build_plan
from ..bundle import BundleError, image_member
from ..errors import ClmsError
from ..release import Image, Release
from ..school import School
from ..slots import Slot
from .bundle_file import Bundle
from .engine import Engine
from .image_archive import OtherImageError, TooLargeError, load_stream
from .image_build import build_image, remove_left
from .pipes import ArchiveError
from .source import SourceError, write_context


def reference_of(school: School, image: Image) -> str:
    """What the engine is asked for to have an image of a release."""
    return f"{school.registry}/{image.repository}@{image.digest}"


def find_signed(engine: Engine, reference: str, signed: Image, *, unnamed: bool) -> str | None:
    """What the engine calls an image of a release; None where it has none with exactly the signed layers.

    :param unnamed: also one without a name, which goes by the digest of its configuration: it came in a bundle
    """
    for name in (reference, signed.config) if unnamed else (reference,):
        found = engine.image(name)
        if found is not None and tuple(found["RootFS"]["Layers"]) == signed.layers:
            return name
    return None


def find_built(engine: Engine, reference: str, identity: str) -> str | None:
    """The id of an image that was built here from exactly this, or None."""
    found = engine.image(reference)
    if found is None or ((found.get("Config") or {}).get("Labels") or {}).get(build_plan.LABEL) != identity:
        return None
    return str(found["Id"])


def identity_of(school: School, release: Release, service: str, architecture: str) -> str:
    """Over all that the image of a service is built from; see :func:`.build_plan.identity`.

    :raises ClmsError: BUILD_ARGUMENT or RELEASE_ARCHITECTURE
    """
    arguments = build_plan.arguments_of(release, service, school.build_arguments)
    return build_plan.identity(release, service, arguments, architecture)


def to_get(engine: Engine, school: School, release: Release, slot: Slot, architecture: str) -> tuple[list[Image], int]:
    """What this server does not have yet of a release.

    :returns: the images to pull or to load, and how many bytes building the others takes
    """
    wanted: list[Image] = []
    to_build = 0
    for service, planned in slot.services.items():
        if service in release.images:
            wanted.append(release.image(service, architecture))
        elif service in release.builds:
            made_of = identity_of(school, release, service, architecture)
            if find_built(engine, planned.image, made_of) is None:
                wanted += release.bases(service, architecture).values()
                to_build += release.builds[service].size
    return [
        image
        for image in dict.fromkeys(wanted)
        if find_signed(engine, reference_of(school, image), image, unnamed=True) is None
    ], to_build


def load(bundle: Path, config: str, most: int) -> None:
    """Give the engine an image from a bundle.

    :param most: bytes that may come of it, unpacked
    :raises ClmsError: BUNDLE_REFUSED, IMAGE_MISMATCH, IMAGE_TOO_LARGE or DISK_TOO_SMALL
    """
    try:
        with Bundle(bundle) as opened, opened.stream(image_member(config)) as stream:
            load_stream(stream, config, most=most)
    except TooLargeError:
        raise ClmsError("IMAGE_TOO_LARGE", image=config) from None
    except OtherImageError as error:
        detail = f"the bundle holds {error.found} in its place"
        raise ClmsError("IMAGE_MISMATCH", image=config, detail=detail) from None
    except (BundleError, KeyError, ArchiveError, OSError) as error:
        if "no space left" in str(error).lower():
            raise ClmsError("DISK_TOO_SMALL", detail=str(error)[:200]) from None
        detail = f"the image {config[:19]} cannot be loaded from it: {error}"[:300]
        raise ClmsError("BUNDLE_REFUSED", path=bundle, detail=detail) from None


def build(
    engine: Engine,
    school: School,
    release: Release,
    service: str,
    *,
    package: Path,
    bases: dict[str, str],
    architecture: str,
    scratch: Path,
) -> str:
    """Build the image of a service from the release's verified package, without any network.

    :param bases: build argument -> what the engine calls the base image
    :param scratch: folder for a file that is gone afterwards
    :returns: the id of the image
    :raises ClmsError: BUILD_FAILED, DISK_TOO_SMALL or ENGINE_UNREACHABLE
    """
    arguments = build_plan.arguments_of(release, service, school.build_arguments)
    made_of = build_plan.identity(release, service, arguments, architecture)
    try:
        with tempfile.TemporaryFile(dir=scratch) as context:
            write_context(package, release.builds[service].source, context)
            context.seek(0)
            return build_image(
                engine,
                context,
                name=build_plan.name_of(service, made_of),
                arguments={**arguments, **bases},
                label=(build_plan.LABEL, made_of),
                record=_record(school),
            )
    except (SourceError, OSError, docker.errors.DockerException) as error:
        answered = isinstance(error, docker.errors.DockerException)
        if isinstance(error, requests.exceptions.RequestException) and not answered:
            raise ClmsError("ENGINE_UNREACHABLE", detail=str(error)[:200]) from None
        text = str(getattr(error, "explanation", None) or error)
        if "no space left" in text.lower():
            raise ClmsError("DISK_TOO_SMALL", detail=text[:200]) from None
        raise ClmsError("BUILD_FAILED", version=release.version, service=service, detail=text[:400]) from None


def tidy_builds(engine: Engine, school: School) -> None:
    """Remove what is left of a build whose process was killed."""
    remove_left(engine, _record(school))


def _record(school: School) -> Path:
    return school.home / "build"
