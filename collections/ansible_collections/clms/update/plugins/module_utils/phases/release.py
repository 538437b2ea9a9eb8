# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `release`: the release's package is fetched and its signatures are checked, and its images can be had.

Where a bundle on this server has the release, all of it comes from there, and nothing goes through the network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..adapters.offline import opened
from ..adapters.vendor import fetch_package, registry_of, store_of
from ..errors import ClmsError
from ..run import Context
from ..told import told


def work(context: Context) -> dict[str, Any]:
    """Do the phase; returns the path of the verified package, who signed it, and the bundle that it came from."""
    preflight = context.run.result("preflight")
    bundle: str | None = preflight.get("bundle")
    if bundle is not None:
        try:
            package, signer = _from_bundle(context, Path(bundle))
        except ClmsError as error:
            if preflight["offline"] or error.code != "BUNDLE_REFUSED":
                raise
            context.note("bundle_refused", path=bundle, detail=error.happened)
            bundle = None
    if bundle is None:
        package, signer = _from_network(context)
    verified = told("DOWNLOADED", version=context.release.version)
    context.journal.event("UPDATE_DOWNLOADED", verified, run=context.run.id)
    return {"package": str(package), "signer": signer, "bundle": bundle}


def _from_bundle(context: Context, bundle: Path) -> tuple[Path, str]:
    with opened(context.school, bundle) as (_, store):
        return fetch_package(store, context.release, downloads(context))


def _from_network(context: Context) -> tuple[Path, str]:
    registry = registry_of(context.school)
    for image in context.release.all_images(context.engine.architecture()):
        registry.manifest(image.repository, image.digest)
    return fetch_package(store_of(context.school), context.release, downloads(context))


def downloads(context: Context) -> Path:
    """Where packages are put; what a run has got of one, a later run goes on with."""
    folder = context.school.home / "downloads"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
