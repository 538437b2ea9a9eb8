# SPDX-License-Identifier: GPL-3.0-or-later
"""What phase `preflight` looks at, one function for each question; they change nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ..adapters.database import database_of
from ..adapters.engine import Engine
from ..adapters.files import folder_bytes, mount_of
from ..adapters.gate import GateControl
from ..adapters.gate_container import needs_new_container
from ..adapters.images import to_get
from ..adapters.probe import run_smoke
from ..disk import Mount, Need
from ..errors import ClmsError
from ..release import Release
from ..run import Context, read_env_file
from ..school import School
from ..secret_file import read_credentials, read_secret
from ..slots import Slot
from ..smoke import SmokeError
from ..version import UPDATER, Version, check_path
from .health_check import place_of

_DUMP_SHARE = 0.5
"""Bytes of an encrypted, compressed dump for each byte of data, as an upper bound seen with text."""


def check_image_store(engine: Engine) -> None:
    """:raises ClmsError: ENGINE_IMAGE_STORE when it names images otherwise than releases and backups do"""
    if engine.names_images_by_manifest():
        raise ClmsError("ENGINE_IMAGE_STORE")


def check_release(release: Release, current: Slot | None, kind: str, *, now: datetime | None = None) -> None:
    """Decide whether the release may be installed over what runs.

    :param now: the reference time
    :raises ClmsError: RELEASE_SAME, RELEASE_OLDER, RELEASE_MIN_VERSION, RELEASE_UPDATER_TOO_OLD, RELEASE_EXPIRED or
        NOT_INSTALLED
    """
    if release.minimum_updater > UPDATER:
        raise ClmsError(
            "RELEASE_UPDATER_TOO_OLD", version=release.version, minimum=release.minimum_updater, current=UPDATER
        )
    if kind == "install":
        if current is not None:
            raise ClmsError("RELEASE_SAME", version=current.version)
    elif current is None:
        raise ClmsError("NOT_INSTALLED")
    else:
        check_path(current=Version(current.version), wanted=release.version, minimum=release.minimum)
    if release.expires <= (now or datetime.now(UTC)):
        raise ClmsError("RELEASE_EXPIRED", version=release.version, expires=f"{release.expires:%Y-%m-%d}")


def check_secrets(school: School) -> None:
    """:raises ClmsError: SECRET_FILE for the first file of the description that cannot be used."""
    for service in school.services:
        if service.env_file:
            read_env_file(Path(service.env_file))
    read_secret(Path(school.database.credentials_file))
    read_secret(Path(school.backup.host_key_file))
    read_secret(Path(school.backup.signing_key_file))
    read_credentials(Path(school.smoke_credentials_file))
    if school.registry_credentials_file:
        read_credentials(Path(school.registry_credentials_file))


def check_description(school: School, slot: Slot) -> None:
    """Decide whether a school's description and a slot have the same services and volumes.

    :raises ClmsError: SCHOOL_CHANGED
    """
    volumes = {volume.name for service in school.services for volume in service.volumes}
    services = {service.name for service in school.services}
    for what, described, there in (("service", services, set(slot.services)), ("volume", volumes, set(slot.volumes))):
        for name in sorted(described ^ there):
            where = f"names the {what} '{name}'" if name in described else f"does not name the {what} '{name}'"
            raise ClmsError("SCHOOL_CHANGED", version=slot.version, detail=where)


def check_gate(school: School, engine: Engine) -> None:
    """:raises ClmsError: GATE_DIFFERS when only a new container would make the gate what the description says."""
    differing = needs_new_container(GateControl(school, engine))
    if differing:
        raise ClmsError("GATE_DIFFERS", detail="; ".join(str(difference) for difference in differing))


def check_serving(context: Context, kind: str) -> str:
    """What serves is in a state from which the run can be done.

    Before an update everything has to work: a version that does not cannot be told from an update that spoilt it. To
    go back from a version that does not work must be possible, so then only the database has to answer, and the other
    containers have to be there.

    :returns: the database's event scheduler setting
    :raises ClmsError: SCHOOL_NOT_RUNNING, a DATABASE_ code or GATE_UNREACHABLE
    """
    database_service = context.school.database.service
    for name, service in context.old.services.items():
        state = context.engine.state(service.container)
        if state is None:
            raise ClmsError("SCHOOL_NOT_RUNNING", detail=f"the container {service.container} of '{name}' is gone")
        if not state.running and (kind == "update" or name == database_service):
            raise ClmsError("SCHOOL_NOT_RUNNING", detail=f"the container {service.container} of '{name}' does not run")
    database = database_of(context, context.old)
    try:
        problems = database.settings_problems()
        if problems:
            raise ClmsError("DATABASE_SETTINGS", detail="; ".join(problems))
        events = database.event_scheduler()
    finally:
        database.close()
    gate_is_open = GateControl(context.school, context.engine).mode() in ("open", "blocked")
    if kind == "update":
        if not gate_is_open:
            raise ClmsError("SCHOOL_NOT_RUNNING", detail="the gate is closed")
        try:
            run_smoke(context.engine, context.school, place_of(context.old), context.old.parsed_release(), writes=False)
        except (SmokeError, ClmsError) as error:
            detail = error.values.get("detail", error.happened) if isinstance(error, ClmsError) else error
            raise ClmsError("SCHOOL_NOT_RUNNING", detail=f"its smoke test fails: {detail}") from None
    return events


def space_needed(
    context: Context, release: Release | None, slot: Slot | None, architecture: str, kind: str
) -> list[Need]:
    """What a run will write, and where."""
    school, engine, current = context.school, context.engine, context.slot
    needs: list[Need] = []
    freed = _bytes_to_free(context) if kind not in ("rollback", "backup") else 0
    root = mount_of(engine.root())

    def place(path: Path) -> Mount:
        """The mount of a path, with the space that earlier slots will give back before the run needs it."""
        mount = mount_of(path)
        return replace(mount, free=mount.free + freed) if mount.identity == root.identity else mount

    docker = place(engine.root())
    if release is not None:
        images, build_bytes = to_get(engine, school, release, slot, architecture) if slot else ([], 0)
        needs.append(Need("images", sum(image.size for image in images), docker))
        needs.append(Need("build", build_bytes, docker))
    if current is not None:
        data, files = _data_bytes(context, current)
        needs.append(Need("backup", int(data * _DUMP_SHARE) + files, place(Path(school.backup.path))))
        needs.append(Need("restore test", data, docker))
        if kind in ("update", "restore"):
            needs.append(Need("slot", data + files, docker))
    return [need for need in needs if need.size]


def _bytes_to_free(context: Context) -> int:
    """Bytes in the volumes of earlier slots, which :func:`_settle` removes."""
    kept = set(context.slot.volumes.values()) if context.slot else set()
    names = {name for slot in context.journal.slots("previous", "kept", "candidate") for name in slot.volumes.values()}
    paths = [context.engine.volume_path(name) for name in names - kept]
    return sum(folder_bytes(path) for path in paths if path)


def _data_bytes(context: Context, slot: Slot) -> tuple[int, int]:
    """Bytes of the database's volumes and of the file volumes of a slot."""
    data = files = 0
    for service in context.school.services:
        for volume in service.volumes:
            path = context.engine.volume_path(slot.volumes[volume.name])
            if path is None or volume.on_update != "copy":
                continue
            if service.role == "database":
                data += folder_bytes(path)
            else:
                files += folder_bytes(path)
    return data, files
