# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `clean_up`: old backups by retention, images that no slot needs, the report. Slot A stays."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from ..adapters.bundle_file import bundles_in
from ..adapters.files import write_atomically
from ..adapters.images import reference_of, tidy_builds
from ..adapters.offline import folder_of, remove_old
from ..adapters.slot_files import forget_slot
from ..errors import ClmsError
from ..run import Context
from ..slots import Slot
from ..status import describe_run
from .backup import remove_old_backups

_KEPT_PARTS = 7 * 86_400
"""seconds for which a download that broke off is kept"""
_KEPT_RUNS = 20
"""runs whose evidence and report stay"""


def work(context: Context) -> dict[str, Any]:
    """Do the phase; returns what was removed. What cannot be removed is named, and tried again by the next run."""
    backups, problems = tidy(context)
    images = _remove_images(context)
    report = describe_run(context.run.row, context.journal.records(context.run.id))
    write_atomically(context.folder / "report.json", json.dumps(report, indent=2))
    return {"backups": backups, "images": images, "problems": problems}


def tidy(context: Context) -> tuple[list[str], list[str]]:
    """What every run does at its end, also one that failed: old backups and files of the vendor, its package, the
    folders of old runs, what a build has left that was killed.

    :returns: the backups that are gone, and what could not be removed
    """
    runs = context.folder.parent
    with context.step("retention"):
        backups, problems = remove_old_backups(context)
        _remove_downloads(context.school.home / "downloads")
        tidy_builds(context.engine, context.school)
        problems += _remove_bundles(context)
        folders = {int(path.name): path for path in runs.iterdir() if path.name.isdecimal()}
        for number in sorted(folders)[:-_KEPT_RUNS]:
            shutil.rmtree(folders[number], ignore_errors=True)
    return backups, problems


def _remove_bundles(context: Context) -> list[str]:
    """Remove files of the vendor that are out of date; returns what could not be removed."""
    if not bundles_in(folder_of(context.school)):
        return []
    try:
        slots = context.journal.slots("current", "previous", "candidate")
        remove_old(context.school, [slot.parsed_release() for slot in slots])
    except (OSError, ClmsError) as error:
        return [str(error)]
    return []


def _remove_downloads(folder: Path) -> None:
    """Remove packages, which have done their work, and what was got of one too long ago to be worth going on with."""
    oldest = time.time() - _KEPT_PARTS
    for path in folder.iterdir() if folder.is_dir() else []:
        if not path.name.endswith(".part") or path.stat().st_mtime < oldest:
            path.unlink()


def _remove_images(context: Context) -> list[str]:
    """Remove the images of freed slots that neither the current nor the previous slot uses or was built on."""
    kept = _images(context, context.journal.slots("current", "previous", "candidate"))
    unused = _images(context, context.journal.slots("freed")) - kept
    with context.step("remove_images", images=sorted(unused)):
        return sorted(image for image in unused if context.engine.remove_image(image))


def _images(context: Context, slots: list[Slot]) -> set[str]:
    architecture = context.engine.architecture()
    found = {service.image for slot in slots for service in slot.services.values()}
    for release in (slot.parsed_release() for slot in slots):
        for service in release.builds:
            for image in release.bases(service, architecture).values():
                found |= {reference_of(context.school, image), image.config}
    return found


def free_slot(context: Context, slot: Slot) -> None:
    """Remove a slot that does not serve: its containers, volumes and network, as far as no other slot uses them.

    :raises ClmsError: SLOT_FAILED when it is the slot that serves
    """
    others = [other for other in context.journal.slots("current", "previous") if other.name != slot.name]
    if context.slot is not None and slot.name == context.slot.name:
        raise ClmsError("SLOT_FAILED", detail=f"slot {slot.name} serves and may not be removed")
    containers = {container for other in others for container in other.own_containers(None)}
    volumes = {volume for other in others for volume in other.own_volumes(None)}
    with context.step("free_slot", slot=slot.name):
        for container in slot.own_containers(None):
            if container in containers:
                context.engine.disconnect(container, slot.network)
            else:
                context.engine.remove(container)
        for volume in slot.own_volumes(None):
            if volume not in volumes:
                context.engine.remove_volume(volume)
        context.engine.remove_network(slot.network)
        forget_slot(context.school.home, slot)
    context.journal.set_slot(slot, "freed")
