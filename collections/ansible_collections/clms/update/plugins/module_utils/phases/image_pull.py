# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `image_pull`: every image of the release, by digest; nothing after it needs the network."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

try:
    import docker.errors
except ImportError:
    pass  # the module says so before it comes here

from ..adapters.engine import Engine, engine_errors
from ..errors import ClmsError
from ..release import Release
from ..run import Context
from ..secret_file import read_credentials
from ..slots import Slot
from .prepare import prepare

_TRIES = 4


def work(context: Context) -> dict[str, Any]:
    """Do the phase; returns the references that were pulled and those that were here already."""
    architecture = context.engine.architecture()
    pulled, present = [], []
    for name, service in context.new.services.items():
        if is_present(context.engine, context.new, context.release, name, architecture):
            present.append(service.image)
            continue
        with context.step("pull", image=service.image):
            _pull(context, service.image)
        if not is_present(context.engine, context.new, context.release, name, architecture):
            raise ClmsError("IMAGE_MISMATCH", image=service.image, detail="its layers are not the signed ones")
        pulled.append(service.image)
    if context.run.row.kind in ("update", "update_images"):
        # whoever tidies this server up now (`docker image prune --all`) leaves alone what a container is made of
        with engine_errors("CONTAINER_FAILED"):
            prepare(context)
    return {"pulled": pulled, "present": present}


def is_present(engine: Engine, slot: Slot, release: Release, service: str, architecture: str) -> bool:
    """Whether the engine has a service's image, with exactly the signed layers where the release brings it."""
    found = engine.image(slot.services[service].image)
    if found is None or service not in release.images:
        return found is not None
    return tuple(found["RootFS"]["Layers"]) == release.image(service, architecture).layers


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
