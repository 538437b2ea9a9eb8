# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `preflight`: may this run be done, on this server, now? It opens the run or refuses, with nothing touched."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .. import journal_file, lock, reserve
from ..adapters.backup_store import check_place, find_backup
from ..adapters.database import database_of
from ..adapters.engine import Engine
from ..adapters.files import folder_bytes, mount_of
from ..adapters.gate import GateControl
from ..adapters.gate_container import needs_new_container
from ..adapters.images import to_get
from ..adapters.probe import run_smoke
from ..adapters.slot_files import keep_serving, keep_slot
from ..adapters.supply import Supply, supply, take_in_files
from ..adapters.vendor import registry_of
from ..backup_manifest import Manifest
from ..disk import Mount, Need, check_space, human
from ..errors import ClmsError
from ..journal import Journal
from ..plan import KINDS, events_of, kind_word
from ..release import Release
from ..run import Context, failures_recorded, looking, read_env_file
from ..school import School, parse_school
from ..secret_file import read_credentials, read_secret
from ..slots import Slot, plan_slot, restored_slot
from ..smoke import SmokeError
from ..version import UPDATER, Version, check_path
from .clean_up import free_slot
from .health_check import place_of
from .loss import lost_writes, shares_data, slot_before, written_since
from .restore import bring_here, load_saved_images, space_for_copy, to_reinstall

INSTALLS = ("install", "reinstall")
"""Kinds of runs on a server where nothing is installed."""
_DUMP_SHARE = 0.5
"""Bytes of an encrypted, compressed dump for each byte of data, as an upper bound seen with text."""


@dataclass(frozen=True)
class Request:
    """What a person asked for."""

    kind: str
    """``install``, ``update``, ``rollback``, ``restore`` or ``backup``"""
    version: str | None = None
    """for an installation or update; None is the newest of the school's channel"""
    backup: str | None = None
    """for a restore"""
    confirm: str | None = None
    """for a rollback or a restore: the version to go back to, typed by the person"""
    backup_location: str | None = None
    """of the run's own backup; see :meth:`.school.BackupPlace.copied_to`"""


@dataclass(frozen=True)
class Findings:
    """What preflight found out; enough to do the run, or to say what it would do."""

    kind: str
    slot: Slot | None
    arithmetic: list[str]
    event_scheduler: str
    lost: dict[str, int]
    backup: str | None
    supply: Supply | None = None
    backup_location: str | None = None


def begin(description: dict[str, Any], request: Request) -> dict[str, Any]:
    """Open a run and carry out its preflight.

    :param description: the school's variables, without their prefix
    :returns: number, kind and version of the run; the number is 0 when the version is already running
    :raises ClmsError: with the reason why it cannot be done; the attempt is in the journal then
    """
    school = parse_school(description)
    installing = request.kind in INSTALLS
    if problem := journal_file.problem(school.home):  # to install would go over what there is
        raise ClmsError("JOURNAL_UNREADABLE", path=journal_file.path_in(school.home), detail=problem)
    journal = Journal(school.home, create=installing)
    try:
        descriptor = lock.acquire(school.home)
        running = journal.open_run()
        if descriptor is None and not lock.is_ours(school.home):
            raise journal.in_the_way()
        if running is not None:
            if descriptor is not None:
                os.close(descriptor)
            raise journal.in_the_way("RUN_INTERRUPTED")
        _set_space_aside(school)
        run = journal.begin(
            request.kind, phases=KINDS[request.kind], school=description, version=request.version, from_version=None
        )
        if descriptor is not None:  # no agent holds it for us
            lock.hand_to_guard(school.home, descriptor)
        context = Context(journal, run, "preflight")
        run.enter("preflight")
        try:
            with failures_recorded(context):
                findings = examine(context, request)
                _settle(context, findings)
        except ClmsError as error:
            if error.code != "RELEASE_SAME":
                raise
            run.discard()
            lock.release(school.home)
            return {"run": 0, **_nothing_to_do(request, error)}
        return {
            "run": run.id,
            "kind": context.run.row.kind,
            "version": context.run.row.version,
            "phases": list(context.run.row.phases),
            "arithmetic": findings.arithmetic,
        }
    except ClmsError as error:
        _refuse(journal, error)
        raise
    finally:
        journal.close()


def _set_space_aside(school: School) -> None:
    """:raises ClmsError: DISK_TOO_SMALL when not even that much is free"""
    try:
        reserve.set_aside(school.home)
    except OSError as error:
        needed = f"{school.home} needs {human(reserve.BYTES)} for the journal ({error.strerror})"
        raise ClmsError("DISK_TOO_SMALL", detail=needed) from None


def look(description: dict[str, Any], request: Request) -> dict[str, Any]:
    """Everything that :func:`begin` checks, without opening a run; returns what it would return, but the number.

    :raises ClmsError: as :func:`begin`
    """
    school = parse_school(description)
    if request.kind in INSTALLS and not Journal.exists(school.home):
        with TemporaryDirectory() as folder:  # a journal with nothing in it, to look at
            return _look(Journal(Path(folder), create=True), description, request)
    return _look(Journal(school.home), description, request)


def _look(journal: Journal, description: dict[str, Any], request: Request) -> dict[str, Any]:
    school = parse_school(description)
    try:
        if journal.open_run() is not None:
            raise journal.in_the_way("RUN_ACTIVE" if lock.is_held(school.home) else "RUN_INTERRUPTED")
        try:
            findings = examine(looking(journal, description, request.kind, request.version), request)
        except ClmsError as error:
            if error.code != "RELEASE_SAME":
                raise
            return _nothing_to_do(request, error)
        return {
            "kind": findings.kind,
            "version": findings.slot.version if findings.slot else None,
            "phases": list(phases_of(findings.kind, school)),
            "arithmetic": findings.arithmetic,
        }
    finally:
        journal.close()


def _nothing_to_do(request: Request, error: ClmsError) -> dict[str, Any]:
    return {"kind": request.kind, "version": str(error.values["version"]), "phases": [], "arithmetic": []}


def _refuse(journal: Journal, error: ClmsError) -> None:
    """Close the run that this process opened, if it came to that."""
    if error.code in ("RUN_ACTIVE", "RUN_INTERRUPTED"):
        return
    row = journal.open_run()
    if row is not None:
        run = journal.run(row.id)
        run.close("REFUSED", {"phase": "preflight", **error.as_dict()})
        journal.event(events_of(row.kind).failed, error.happened, run=run.id)
        lock.release(journal.path.parent)


def _settle(context: Context, findings: Findings) -> None:
    """Everything holds: make room and write down what will be done."""
    if findings.kind == "restore":  # first: one that was tampered with must not cost the way back
        bring_here(context, findings.backup or "")
    if context.slot is not None:
        home, events = context.school.home, findings.event_scheduler
        keep_slot(home, context.slot, school=context.run.row.school, event_scheduler=events)
        keep_serving(home, context.slot)
    for slot in context.journal.slots("candidate", "kept"):
        free_slot(context, slot)
    if findings.kind not in ("rollback", "backup"):
        for slot in context.journal.slots("previous"):
            free_slot(context, slot)
        if findings.slot:
            context.journal.set_slot(findings.slot, "candidate")
    target = findings.slot or context.slot
    version = f" to version {target.version}" if target and findings.kind != "backup" else ""
    begun = f"A run of kind {kind_word(findings.kind)}{version} has begun."
    context.journal.event(events_of(findings.kind).started, begun, run=context.run.id)
    context.run.use(
        kind=findings.kind,
        phases=phases_of(findings.kind, context.school),
        version=target.version if target else "",
        from_version=context.slot.version if context.slot else None,
    )
    context.run.leave(
        "preflight",
        slot=target.as_dict() if target else None,
        arithmetic=findings.arithmetic,
        event_scheduler=findings.event_scheduler,
        lost=findings.lost,
        backup=findings.backup,
        backup_location=findings.backup_location,
        **_supplied(context, findings.supply),
    )


def _supplied(context: Context, found: Supply | None) -> dict[str, Any]:
    """Where the release comes from, for the journal; people are told when it does not come from the network."""
    if found is None:
        return {}
    away = found.away or _registry_away(context.school, found)
    if away is not None and found.bundle is not None:
        message = f"{away.happened} The update goes on with the file {found.bundle.name}."
        context.journal.event("UPDATE_OFFLINE", message, run=context.run.id)
    return {"bundle": str(found.bundle) if found.bundle else None, "offline": found.away is not None}


def _registry_away(school: School, found: Supply) -> ClmsError | None:
    """Why the registry cannot be asked for images that a bundle has."""
    if found.bundle is None:
        return None
    try:
        registry_of(school).check_answers()
    except ClmsError as error:
        return error
    return None


def examine(context: Context, request: Request) -> Findings:
    """Look at everything that the run depends on, and change nothing.

    :raises ClmsError: the first thing that is in the way
    """
    school, engine, current = context.school, context.engine, context.slot
    architecture = engine.architecture()
    kind = request.kind
    slot: Slot | None = None
    supplied: Supply | None = None
    lost: dict[str, int] = {}
    copied: list[Need] = []
    if current is not None:
        check_description(school, current)
    if request.kind in ("install", "update"):
        if Journal.exists(school.home):  # else nothing is to be left here
            take_in_files(school, context.journal)
        supplied = supply(school, request.version, architecture)
        release = supplied.release
        check_release(release, current, request.kind)
        slot = plan_slot(school, release, run=context.run.id, architecture=architecture, current=current)
        if request.kind == "update" and release.migration is None:
            kind = "update_images"
    check_secrets(school)
    check_place(Path(school.backup.path))
    school.backup.copied_to(request.backup_location)  # it is a refusal where there is no such place
    events = "OFF"
    if request.kind not in INSTALLS:
        if request.kind != "backup":
            check_gate(school, engine)
        events = check_serving(context, request.kind)
    if request.kind == "reinstall":
        slot = to_reinstall(context, request.backup or "")
    if request.kind == "restore":
        folder, manifest = find_backup(school, request.backup or "")
        slot, lost = _to_restore(context, request, manifest)
        copied = space_for_copy(school, folder, manifest)
    if request.kind == "rollback":
        slot, lost = _to_go_back_to(context, request)
    needs = space_needed(context, supplied.release if supplied else None, slot, architecture, kind)
    arithmetic = check_space([*needs, *copied], reserve=school.reserve_bytes)
    return Findings(kind, slot, arithmetic, events, lost, request.backup, supplied, request.backup_location)


def _to_restore(context: Context, request: Request, manifest: Manifest) -> tuple[Slot, dict[str, int]]:
    """The slot that a restore builds, and what it would lose.

    :raises ClmsError: SCHOOL_CHANGED, IMAGE_MISSING or CONFIRMATION_MISSING
    """
    school = context.school
    check_description(school, manifest.slot)
    planned = restored_slot(school, manifest.slot, run=context.run.id, current=context.old)
    slot = load_saved_images(context, planned)
    missing = [service.image for service in slot.services.values() if context.engine.image(service.image) is None]
    if missing:
        raise ClmsError("IMAGE_MISSING", image=missing[0], backup=manifest.id)
    lost = written_since(context, manifest)
    if request.confirm != slot.version:
        since = f"the backup was made on {manifest.created[:10]} at {manifest.created[11:16]} UTC"
        raise ClmsError("CONFIRMATION_MISSING", writes=_words(lost), since=since, word=slot.version)
    return slot, lost


def _to_go_back_to(context: Context, request: Request) -> tuple[Slot, dict[str, int]]:
    """The slot that a rollback goes back to, and what it would lose.

    :raises ClmsError: ROLLBACK_UNAVAILABLE, SCHOOL_CHANGED or CONFIRMATION_MISSING
    """
    slot = slot_before(context)
    check_description(context.school, slot)
    lost = lost_writes(context, slot)
    if not shares_data(context.school, slot, context.old) and request.confirm != slot.version:
        since = f"version {context.old.version} was opened to users"
        raise ClmsError("CONFIRMATION_MISSING", writes=_words(lost), since=since, word=slot.version)
    return slot, lost


def phases_of(kind: str, school: School) -> tuple[str, ...]:
    """The phases of a run at this school."""
    return tuple(phase for phase in KINDS[kind] if phase != "rehearse" or school.rehearse)


def _words(lost: dict[str, int]) -> str:
    """``at least 7 writes (5 in borrows, 2 in books)``: rows that were changed more than once count once at most."""
    total = sum(lost.values())
    if not total:
        return "what was changed, although no new rows were found,"
    parts = ", ".join(f"{count} in {table}" for table, count in sorted(lost.items()) if count)
    return f"at least {total} {'write' if total == 1 else 'writes'} ({parts})"


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
