# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `preflight`: may this run be done, on this server, now? It opens the run or refuses, with nothing touched."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .. import journal_file, lock, reserve
from ..adapters.backup_store import check_place, find_backup
from ..adapters.slot_files import keep_serving, keep_slot
from ..adapters.supply import Supply, supply, take_in_files
from ..adapters.vendor import registry_of
from ..backup_manifest import Manifest
from ..disk import Need, check_space, human
from ..errors import ClmsError
from ..journal import Journal
from ..plan import KINDS, events_of, kind_word
from ..run import Context, failures_recorded, looking
from ..school import School, parse_school
from ..slots import Slot, plan_slot, restored_slot
from ..told import told
from .clean_up import free_slot
from .loss import lost_writes, shares_data, slot_before, written_since
from .preflight_checks import (
    check_description,
    check_gate,
    check_image_store,
    check_release,
    check_secrets,
    check_serving,
    space_needed,
)
from .restore import bring_here, load_saved_images, space_for_copy, to_reinstall

INSTALLS = ("install", "reinstall")
"""Kinds of runs on a server where nothing is installed."""


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
        journal.event(events_of(row.kind).failed, told("CAUSE", cause=error), run=run.id)
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
    kind = kind_word(findings.kind)
    begun = told("BEGUN", kind=kind)
    if target is not None and kind != "backup":
        begun = told("BEGUN_VERSION", kind=kind, version=target.version)
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
        goes_on = told("OFFLINE", cause=away, file=found.bundle.name)
        context.journal.event("UPDATE_OFFLINE", goes_on, run=context.run.id)
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
    check_image_store(engine)
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
        slot, lost = _to_restore(context, request, manifest, folder.parent)
        copied = space_for_copy(school, folder, manifest)
    if request.kind == "rollback":
        slot, lost = _to_go_back_to(context, request)
    needs = space_needed(context, supplied.release if supplied else None, slot, architecture, kind)
    arithmetic = check_space([*needs, *copied], reserve=school.reserve_bytes)
    return Findings(kind, slot, arithmetic, events, lost, request.backup, supplied, request.backup_location)


def _to_restore(context: Context, request: Request, manifest: Manifest, place: Path) -> tuple[Slot, dict[str, int]]:
    """The slot that a restore builds, and what it would lose.

    :param place: the folder in which the backup lies
    :raises ClmsError: SCHOOL_CHANGED, IMAGE_MISSING, DISK_TOO_SMALL or CONFIRMATION_MISSING
    """
    school = context.school
    check_description(school, manifest.slot)
    planned = restored_slot(school, manifest.slot, run=context.run.id, current=context.old)
    slot = load_saved_images(context, planned, place)
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
