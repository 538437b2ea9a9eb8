# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `release`: the release's package is fetched and its signatures are checked; the registry has its images."""

from __future__ import annotations

from typing import Any

from ..adapters.vendor import fetch_package, registry_of
from ..run import Context


def work(context: Context) -> dict[str, Any]:
    """Do the phase; returns the path of the verified package and who signed it."""
    architecture = context.engine.architecture()
    registry = registry_of(context.school)
    for service in context.release.images:
        image = context.release.image(service, architecture)
        registry.manifest(image.repository, image.digest)
    package, signer = fetch_package(context.school, context.release, context.folder)
    context.journal.event(
        "UPDATE_DOWNLOADED", f"The package of version {context.release.version} was verified.", run=context.run.id
    )
    return {"package": str(package), "signer": signer}
