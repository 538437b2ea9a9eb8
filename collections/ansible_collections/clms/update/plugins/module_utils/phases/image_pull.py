# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `image_pull`: every image of the release, by digest; nothing after it needs the network.

Where the release came in a bundle, its images are loaded from there, and compared with the signed description.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

try:
    import docker.errors
except ImportError:
    pass  # the module says so before it comes here

from ..adapters.bundle_file import Bundle
from ..adapters.engine import Engine, engine_errors
from ..adapters.files import sync_file_system
from ..adapters.image_archive import load_stream
from ..adapters.pipes import ArchiveError
from ..bundle import BundleError, image_member
from ..errors import ClmsError
from ..release import Release
from ..run import Context
from ..secret_file import read_credentials
from ..slots import Slot
from .prepare import prepare

_RUNS = 50
"""how far back it is looked for images that are whole on the disk"""
_TRIES = 4


def work(context: Context) -> dict[str, Any]:
    """Do the phase; returns what was pulled, what was here already, and what was loaded under another name."""
    engine, release, architecture = context.engine, context.release, context.engine.architecture()
    bundle: str | None = context.run.result("release").get("bundle")
    known = _durable(context)
    pulled, present, loaded, durable = [], [], {}, []
    for name, service in context.new.services.items():
        found = found_as(engine, context.new, release, name, architecture, unnamed=bundle is not None)
        if found is not None and found not in known and not engine.is_whole(found):
            context.note("image_damaged", image=found)
            engine.remove_image(found, force=True)
            found = None
        if found is not None:
            present.append(service.image)
        elif bundle is not None and name in release.images:
            config = release.image(name, architecture).config
            with context.step("load", image=service.image, bundle=bundle):
                _load(Path(bundle), config)
        else:
            with context.step("pull", image=service.image):
                _pull(context, service.image)
            pulled.append(service.image)
        found = found or found_as(engine, context.new, release, name, architecture, unnamed=bundle is not None)
        if found is None:
            raise ClmsError("IMAGE_MISMATCH", image=service.image, detail="its layers are not the signed ones")
        if found != service.image:
            loaded[name] = found
        durable.append(found)
    if set(durable) - known:
        with context.step("sync"):
            sync_file_system(engine.root())
    if loaded:
        context.use_images(loaded)
    if context.run.row.kind in ("update", "update_images"):
        # whoever tidies this server up now (`docker image prune --all`) leaves alone what a container is made of
        with engine_errors("CONTAINER_FAILED"):
            prepare(context)
    return {"pulled": pulled, "present": present, "loaded": loaded, "durable": durable}


def _durable(context: Context) -> set[str]:
    """The images of which it is known that they are whole on the disk: earlier runs have made sure, or they run."""
    known = {service.image for service in context.slot.services.values()} if context.slot else set()
    for row in context.journal.rows(limit=_RUNS):
        known.update(context.journal.run(row.id).result("image_pull").get("durable", []))
    return known


def found_as(
    engine: Engine, slot: Slot, release: Release, service: str, architecture: str, *, unnamed: bool
) -> str | None:
    """What the engine calls a service's image; None where it has none with exactly the signed layers.

    :param unnamed: also one without a name, which goes by the digest of its configuration: it came in a bundle
    """
    reference = slot.services[service].image
    if service not in release.images:
        return reference if engine.image(reference) is not None else None
    signed = release.image(service, architecture)
    for name in (reference, signed.config) if unnamed else (reference,):
        found = engine.image(name)
        if found is not None and tuple(found["RootFS"]["Layers"]) == signed.layers:
            return name
    return None


def _load(bundle: Path, config: str) -> None:
    """:raises ClmsError: BUNDLE_REFUSED, IMAGE_MISMATCH or DISK_TOO_SMALL"""
    try:
        with Bundle(bundle) as opened, opened.stream(image_member(config)) as stream:
            found = load_stream(stream)
    except (BundleError, KeyError, ArchiveError, OSError) as error:
        if "no space left" in str(error).lower():
            raise ClmsError("DISK_TOO_SMALL", detail=str(error)[:200]) from None
        detail = f"the image {config[:19]} cannot be loaded from it: {error}"[:300]
        raise ClmsError("BUNDLE_REFUSED", path=bundle, detail=detail) from None
    if found != config:
        raise ClmsError("IMAGE_MISMATCH", image=config, detail=f"the bundle holds {found} in its place")


def _pull(context: Context, reference: str) -> None:
    repository, digest = reference.split("@", 1)
    credentials = context.school.registry_credentials_file
    login = asdict(read_credentials(Path(credentials))) if credentials else None
    for attempt in range(1, _TRIES + 1):
        try:
            context.engine.pull(repository, digest, login)
            return
        except docker.errors.APIError as error:
            cause = explain_pull(str(error.explanation or error), reference, context.school.registry)
            if cause.code != "REGISTRY_UNREACHABLE" or attempt == _TRIES:
                raise cause from None
            context.note("retry", image=reference, attempt=attempt, cause=cause.happened)
            time.sleep(2**attempt)


def explain_pull(text: str, reference: str, registry: str) -> ClmsError:
    """What the engine's complaint about a pull means."""
    lower = text.lower()
    if "unauthorized" in lower or "authentication required" in lower or "denied" in lower:
        return ClmsError("REGISTRY_LOGIN", registry=registry)
    if "manifest unknown" in lower or "not found" in lower:
        return ClmsError("REGISTRY_DIGEST_MISSING", image=reference)
    if any(words in lower for words in ("verification failed", "does not match", "unexpected commit")):
        return ClmsError("IMAGE_MISMATCH", image=reference, detail=text[:200])
    if "no space left" in lower:
        return ClmsError("DISK_TOO_SMALL", detail=text[:200])
    return ClmsError("REGISTRY_UNREACHABLE", registry=registry, detail=text[:200])
