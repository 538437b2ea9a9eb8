# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `image_pull`: every image of the release, by digest; nothing after it needs the network.

Where the release came in a bundle, its images are loaded from there, and compared with the signed description. What
the release brings as source is built, on base images that are got and compared in the same way.
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

from ..adapters.engine import engine_errors
from ..adapters.files import sync_file_system
from ..adapters.images import build, find_built, find_signed, identity_of, load, reference_of
from ..errors import ClmsError
from ..pull_watch import PullWatch, most_bytes
from ..release import Image
from ..run import Context
from ..secret_file import read_credentials
from .prepare import prepare

_RUNS = 50
"""how far back it is looked for images that are whole on the disk"""
_TRIES = 4


def work(context: Context) -> dict[str, Any]:
    """Do the phase; returns what was pulled, loaded or built, what was here, and which of it is whole on the disk."""
    images = _Images(context)
    other_names = {}
    for name, service in context.new.services.items():
        found = images.of(name)
        if found != service.image:
            other_names[name] = found
    if set(images.durable) - images.known:
        with context.step("sync"):
            sync_file_system(context.engine.root())
    if other_names:
        context.use_images(other_names)
    if context.run.row.kind in ("update", "update_images"):
        # whoever tidies this server up now (`docker image prune --all`) leaves alone what a container is made of
        with engine_errors("CONTAINER_FAILED"):
            prepare(context)
    return {
        "pulled": images.pulled,
        "present": images.present,
        "loaded": other_names,
        "built": images.built,
        "durable": images.durable,
    }


class _Images:
    """Gets one image after the other, and knows what became of them."""

    def __init__(self, context: Context) -> None:
        self.known = _durable(context)
        self.pulled: list[str] = []
        self.present: list[str] = []
        self.built: list[str] = []
        self.durable: list[str] = []
        self._context = context
        self._architecture = context.engine.architecture()
        results = context.run.result("release")
        self._bundle: str | None = results.get("bundle")
        self._package: str | None = results.get("package")

    def of(self, service: str) -> str:
        """The image of a service; returns what the engine calls it.

        :raises ClmsError: why it cannot be had
        """
        release, reference = self._context.release, self._context.new.services[service].image
        if service in release.builds and self._package is not None:
            found = self._build(service, reference)
        elif service in release.images:
            found = self._signed(reference, release.image(service, self._architecture))
        else:
            found = self._named(reference)
        self.durable.append(found)
        return found

    def _signed(self, reference: str, image: Image) -> str:
        """An image that the release describes."""
        engine, unnamed = self._context.engine, self._bundle is not None
        found = self._whole(find_signed(engine, reference, image, unnamed=unnamed))
        if found is not None:
            self.present.append(reference)
            return found
        if self._bundle is not None:
            with self._context.step("load", image=reference, bundle=self._bundle):
                load(Path(self._bundle), image.config, most_bytes(image.size))
        else:
            self._pull(reference, image.size)
        found = find_signed(engine, reference, image, unnamed=unnamed)
        if found is None:
            raise ClmsError("IMAGE_MISMATCH", image=reference, detail="its layers are not the signed ones")
        return found

    def _named(self, reference: str) -> str:
        """An image that the description of the school or a backup names."""
        engine = self._context.engine
        if self._whole(reference if engine.image(reference) is not None else None):
            self.present.append(reference)
        elif "@" in reference:
            self._pull(reference, None)
        else:
            backup = self._context.run.result("preflight").get("backup") or "of this school"
            raise ClmsError("IMAGE_MISSING", image=reference, backup=backup)
        return reference

    def _build(self, service: str, reference: str) -> str:
        context, release = self._context, self._context.release
        made_of = identity_of(context.school, release, service, self._architecture)
        found = self._whole(find_built(context.engine, reference, made_of))
        if found is not None:
            self.present.append(reference)
            return found
        for last in (False, True):
            bases = {
                argument: self._signed(reference_of(context.school, image), image)
                for argument, image in release.bases(service, self._architecture).items()
            }
            try:
                with context.step("build", image=reference, service=service):
                    made = build(
                        context.engine,
                        context.school,
                        release,
                        service,
                        package=Path(str(self._package)),
                        bases=bases,
                        architecture=self._architecture,
                        scratch=context.folder,
                    )
                break
            except ClmsError as error:
                gone = error.code == "BUILD_FAILED" and [b for b in bases.values() if context.engine.image(b) is None]
                if not gone:
                    raise
                # somebody tidies this server up (`docker image prune --all`)
                context.note("base_gone", images=gone)
                if last:
                    detail = f"{gone[0]} was removed, on which it is built"
                    raise ClmsError("BUILD_FAILED", version=release.version, service=service, detail=detail) from None
        self.built.append(reference)
        self.durable += bases.values()
        return made

    def _whole(self, found: str | None) -> str | None:
        """None in place of an image that a power cut has damaged, which is removed."""
        if found is None or found in self.known or self._context.engine.is_whole(found):
            return found
        self._context.note("image_damaged", image=found)
        self._context.engine.remove_image(found, force=True)
        return None

    def _pull(self, reference: str, size: int | None) -> None:
        with self._context.step("pull", image=reference):
            _pull(self._context, reference, PullWatch(reference, size))
        self.pulled.append(reference)


def _durable(context: Context) -> set[str]:
    """The images of which it is known that they are whole on the disk: earlier runs have made sure, or they run."""
    known = {service.image for service in context.slot.services.values()} if context.slot else set()
    for row in context.journal.rows(limit=_RUNS):
        known.update(context.journal.run(row.id).result("image_pull").get("durable", []))
    return known


def _pull(context: Context, reference: str, watch: PullWatch) -> None:
    repository, digest = reference.split("@", 1)
    credentials = context.school.registry_credentials_file
    login = asdict(read_credentials(Path(credentials))) if credentials else None
    for attempt in range(1, _TRIES + 1):
        try:
            context.engine.pull(repository, digest, login, watch)
            return
        except docker.errors.APIError as error:
            cause = explain_pull(str(error.explanation or error), reference, context.school.registry)
            if cause.code != "REGISTRY_UNREACHABLE" or attempt == _TRIES:
                raise cause from None
            context.note("retry", image=reference, attempt=attempt, cause=cause.happened)
            time.sleep(2**attempt)
            watch.check_time()


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
