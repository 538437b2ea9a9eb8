# SPDX-License-Identifier: GPL-3.0-or-later
"""Going back to a backup or to an earlier slot: what other phases need for it. No phase of its own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..adapters.accounts import apply_accounts
from ..adapters.archive import decrypted, unpack_folder
from ..adapters.backup_store import backup_here, check_files, check_place, copy_backup, find_backup, image_file
from ..adapters.database import database_of
from ..adapters.dump import as_clms_error, check_restored, restore
from ..adapters.files import empty_folder, mount_of
from ..adapters.image_archive import load_saved
from ..adapters.pipes import ArchiveError
from ..backup_manifest import Manifest
from ..disk import Need
from ..errors import ClmsError
from ..run import Context
from ..school import School
from ..slots import Slot, SlotService, restored_slot

_START_SECONDS = 300


def load_saved_images(context: Context, slot: Slot, place: Path) -> Slot:
    """Load the images of a slot which this server does not have any more from its folder of backups, or another one.

    Why one cannot be loaded is noted in the journal; it may still be pulled.

    :param place: the other folder, in which the slot's backup lies: perhaps on the external drive
    :returns: the slot, with the images it now has; one that could not be had keeps its reference
    :raises ClmsError: DISK_TOO_SMALL
    """
    services, places = dict(slot.services), dict.fromkeys((Path(context.school.backup.path), place))
    for name, service in slot.services.items():
        if context.engine.image(service.image) is not None:
            continue
        saved = (image_file(folder, service.config) for folder in places)
        if any(_is_loaded(context, service, file) for file in saved if os.path.lexists(file)):
            # what was loaded goes by its digest only; the reference to a registry is lost
            services[name] = replace(service, image=service.config)
    return replace(slot, services=services)


def _is_loaded(context: Context, service: SlotService, saved: Path) -> bool:
    """Load the image of a service from a file; returns whether the engine has it now."""
    engine, reserve = context.engine, context.school.reserve_bytes
    try:
        load_saved(saved, service.config, root=engine.root(), reserve=reserve, names=(service.image,))
    except ArchiveError as error:
        context.note("image_not_loaded", image=service.image, file=str(saved), detail=str(error)[:300])
        return False
    return engine.image(service.config) is not None


def to_reinstall(context: Context, backup: str) -> Slot:
    """The slot that a reinstallation builds from a backup, with images that this server has or that can be pulled.

    :raises ClmsError: RELEASE_SAME where something is installed, a BACKUP_ code, SCHOOL_CHANGED, IMAGE_MISSING or
        DISK_TOO_SMALL
    """
    if context.slot is not None:
        raise ClmsError("RELEASE_SAME", version=context.slot.version)
    school = context.school
    folder, manifest = find_backup(school, backup)
    planned = restored_slot(school, manifest.slot, run=context.run.id, current=None)
    slot = load_saved_images(context, planned, folder.parent)
    for service in slot.services.values():
        if context.engine.image(service.image) is None and "@" not in service.image:
            raise ClmsError("IMAGE_MISSING", image=service.image, backup=manifest.id)
    return slot


def space_for_copy(school: School, folder: Path, manifest: Manifest) -> list[Need]:
    """What :func:`bring_here` will write."""
    place = Path(school.backup.path)
    return [] if folder.parent == place else [Need("copy of the backup", manifest.total_bytes, mount_of(place))]


def bring_here(context: Context, backup: str) -> None:
    """Copy a backup that lies on the external drive to this server, where nobody can change it while it is restored.

    :raises ClmsError: a BACKUP_ code or DISK_TOO_SMALL
    """
    folder, manifest = find_backup(context.school, backup)
    place = Path(context.school.backup.path)
    if folder.parent == place:
        return
    check_place(place)
    try:
        with context.step("copy", backup=manifest.id, path=str(folder)):
            copy_backup(folder, place, manifest, images=())  # the slot's images are on this server: preflight has seen
    except OSError as error:
        raise ClmsError("BACKUP_PLACE", path=error.filename or place, detail=error.strerror or error) from None


def fill_slot_from_backup(context: Context) -> None:
    """Start slot B's database, and fill it and the file volumes from the backup that preflight recorded.

    Slot B's network, volumes and containers exist already, see :func:`.prepare.prepare`.

    :raises ClmsError: BACKUP_UNKNOWN, BACKUP_TAMPERED, SLOT_FAILED or a DATABASE_ code
    """
    folder, manifest = backup_here(context.school, str(context.run.result("preflight")["backup"]))
    check_files(folder, manifest)
    try:
        _fill_volumes(context, folder, manifest)
        _fill_database(context, folder, manifest)
    except ArchiveError as error:
        raise as_clms_error("SLOT_FAILED", error) from None


def _fill_volumes(context: Context, folder: Path, manifest: Manifest) -> None:
    for file in manifest.of_kind("volume"):
        name = context.new.volumes.get(file.volume or "")
        target = context.engine.volume_path(name) if name else None
        if target is None:
            raise ClmsError("SLOT_FAILED", detail=f"the volume '{file.volume}' is missing")
        if context.slot is not None and name in context.slot.volumes.values():
            raise ClmsError("SLOT_FAILED", detail=f"the volume '{file.volume}' is in use")
        with context.step("fill", file=file.name, volume=name):
            empty_folder(target)
            with decrypted(folder / file.name, Path(context.school.backup.host_key_file)) as stream:
                unpack_folder(stream, target)


def _fill_database(context: Context, folder: Path, manifest: Manifest) -> None:
    identity = Path(context.school.backup.host_key_file)
    container = context.new.services[context.school.database.service].container
    with context.step("start", container=container):
        context.engine.start(container)
    with (
        context.step("fill", file=manifest.of_kind("database")[0].name, container=container),
        database_of(context, context.new, wait_seconds=_START_SECONDS) as database,
    ):
        with decrypted(folder / manifest.of_kind("database")[0].name, identity) as stream:
            restore(container, database, stream)
        check_restored(database, manifest.database.tables, manifest.database.schema)
        for file in manifest.of_kind("accounts"):
            with decrypted(folder / file.name, identity) as stream:
                apply_accounts(database, stream.read().decode())
