# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a run back that failed before its commit record: the old containers on the untouched slot A.

Called from the rescue of the role `update`, through the role `rollback`. Everything here looks at what is there
and does what is missing, so that it can be repeated after a crash of its own.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any

from .. import lock, reserve
from ..adapters.database import database_of
from ..adapters.engine import Engine, wait_until
from ..adapters.files import write_atomically
from ..adapters.gate import GateControl
from ..adapters.probe import run_smoke, wait_healthy
from ..adapters.slot_files import keep_serving, keep_slot
from ..errors import ClmsError
from ..journal import Journal
from ..journal_run import LEFT_BEHIND, Run
from ..plan import PHASES, events_of, kind_word
from ..restart import PUTTING_BACK, Restart, decide
from ..run import Context, show_progress
from ..smoke import SmokeError
from ..told import told
from .clean_up import free_slot, tidy
from .forward import finish
from .health_check import place_of
from .open import allow_egress, restore_restart
from .rehearse import remove_rehearsal

LINGER_SECONDS = 300
"""How long a process of the run that is still at work may take to end."""

_SERVE_OLD = "serve_old"
"""The step that puts the old version back: once it was begun, it is done whatever the records say."""
_ATTEMPTS = 3
_START_BYTES = 256 * 1024 * 1024
"""free space with which a database surely starts"""
_ENGINE_SECONDS = 60
_REFUSING = ("preflight", "release")
"""A run that fails in these phases has touched nothing."""


def put_back(journal: Journal, run_id: int) -> dict[str, Any]:
    """Put a run back and close it; a run that has been committed is finished instead.

    :returns: ``outcome`` (REFUSED, ABORTED, ROLLED_BACK, NEEDS_OPERATOR, COMPLETED; None where a committed run could
        not be finished yet), ``error``, the cause of the failure, and whether something ``changed``
    :raises ClmsError: RUN_ACTIVE while a process of the run does not end, RUN_FENCED when another one has taken over
    """
    run = journal.run(run_id)
    if run.row.outcome is not None:
        return _ended(run)
    home = journal.path.parent
    reserve.give_back(home)  # whatever has filled the disk, the little that is written from here on has room
    if run.row.fence == 0:
        run.take_over()  # a playbook that was left behind ends at its next step, and nobody has to wait for it
    with lock.at_work(home, LINGER_SECONDS) as alone:
        if not alone:
            raise ClmsError("RUN_ACTIVE", kind=kind_word(run.row.kind), run=run.id, phase=run.phase())
        run = journal.run(run_id)
        if run.row.outcome is not None:  # another process was quicker
            return _ended(run)
        run.take_over()
        what = restart_of(run)
        if what is not Restart.FORWARD:
            return _put_back(Context(journal, run, PUTTING_BACK), what)
    return _finish(run)


def restart_of(run: Run) -> Restart:
    """What becomes of an unfinished run; see :func:`.restart.decide`."""
    closed = run.intended("gate_close", _SERVE_OLD)
    return decide(run.row.phases, run.last_phase(), closed=closed, committed=run.committed())


def _ended(run: Run) -> dict[str, Any]:
    return {"outcome": run.row.outcome, "error": run.failure(), "changed": False}


def _finish(run: Run) -> dict[str, Any]:
    """Try a few times to finish a committed run."""
    error = run.failure()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return {"outcome": finish(run, wait_seconds=LINGER_SECONDS), "error": error, "changed": True}
        except ClmsError as problem:  # the phase has recorded it
            if problem.code in LEFT_BEHIND:
                raise
            time.sleep(attempt)
    return {"outcome": None, "error": error, "changed": True}


def _cause(run: Run) -> dict[str, Any]:
    """Why the run is put back, and in which phase."""
    phase = run.phase() or ""
    interrupted = ClmsError("RUN_INTERRUPTED", run=run.id, kind=kind_word(run.row.kind), phase=phase)
    error = run.cancellation() if run.cancelled() else interrupted
    return run.failure() or {"phase": phase, **error.as_dict()}


def _put_back(context: Context, what: Restart) -> dict[str, Any]:
    run, journal = context.run, context.journal
    cause = _cause(run)
    closed = what is Restart.PUT_BACK
    if closed:
        show_progress(context)
        problem = _attempt(context, _SERVE_OLD, _serve_old)
        if problem is not None:
            return _needs_operator(context, problem)
    # CLMS serves: what cannot be removed now is removed by the next run
    _attempt(context, "remove_new", lambda context: _remove_new(context, keep_data=cause["phase"] == "migrate"))
    _attempt(context, "tidy", tidy)
    outcome = "ROLLED_BACK" if closed else outcome_of(cause["phase"], cancelled=cause["code"] == "RUN_CANCELLED")
    run.close(outcome, cause)
    event = "ROLLBACK_COMPLETED" if outcome == "ROLLED_BACK" else events_of(run.row.kind).failed
    journal.event(event, told("CAUSE", cause=cause), run=run.id)
    lock.release(context.school.home)
    return {"outcome": outcome, "error": cause, "changed": closed}


def _attempt(context: Context, what: str, action: Callable[[Context], object]) -> Exception | None:
    """Try something a few times; returns the last problem, or None when it was done."""
    problem: Exception | None = None
    for number in range(1, _ATTEMPTS + 1):
        context.run.intend(PUTTING_BACK, what, number=number)
        try:
            wait_until(_engine_answers, seconds=_ENGINE_SECONDS, pause=1)
            action(context)
            return None
        except Exception as error:  # each attempt stands for itself; the last problem is reported
            if isinstance(error, ClmsError) and error.code in LEFT_BEHIND:
                raise
            problem = error
            context.run.record(PUTTING_BACK, what, "note", number=number, detail=str(error)[:500])
            time.sleep(number)
    return problem


def _engine_answers() -> bool:
    try:
        Engine()
    except ClmsError:
        return False
    return True


def outcome_of(phase: str, *, cancelled: bool = False) -> str:
    """What a run that failed in ``phase`` and was put back has come to; see architecture.md, phase by phase.

    :param cancelled: it was stopped there, which is possible only before CLMS is closed
    """
    if phase in _REFUSING:
        return "REFUSED"
    if cancelled:
        return "ABORTED"
    return "ROLLED_BACK" if phase in PHASES and PHASES[phase].closed else "ABORTED"


def _serve_old(context: Context) -> None:
    """Start slot A as it was, test it and let the users in."""
    engine, school, slot = context.engine, context.school, context.old
    began = time.monotonic()
    _end_new(context)
    _make_room(context)
    with context.step("start_old", slot=slot.name):
        database = slot.services[school.database.service].container
        engine.start(database)
        database_of(context, slot, wait_seconds=300).close()
        for service in school.application:
            engine.start(slot.services[service.name].container)
    release, place = slot.parsed_release(), place_of(slot)
    try:
        for name, health in release.health.items():
            wait_healthy(engine, place, name, health)
    except ClmsError as error:
        if context.run.row.kind not in ("rollback", "restore"):
            raise
        # somebody wanted to leave this version because it does not work; it is as it was
        context.note("health_failed", detail=error.happened)
    try:
        run_smoke(engine, school, place, release, writes=False)
    except (SmokeError, ClmsError) as error:
        # it is the version that served before, on its own data: better open with a remark than closed
        context.note("smoke_failed", detail=str(error)[:300])
    events = context.run.result("preflight").get("event_scheduler", "OFF")
    keep_slot(school.home, slot, school=context.run.row.school, event_scheduler=events)
    keep_serving(school.home, slot)
    with context.step("gate_open", slot=slot.name) as outcome:
        allow_egress(engine, school, slot)
        GateControl(school, engine).open(slot)
        outcome["opened_at"] = time.time()
        outcome["seconds"] = round(time.monotonic() - began, 3)
    restore_restart(engine, school, slot)


def _make_room(context: Context) -> None:
    """Where the disk has filled up, slot B goes first: a database that starts has to write a little."""
    volumes = (context.engine.volume_path(name) for name in context.old.volumes.values())
    free = min((shutil.disk_usage(path).free for path in volumes if path is not None), default=_START_BYTES)
    if free < _START_BYTES:
        context.note("disk_full", free=free)
        for slot in context.journal.slots("candidate"):
            free_slot(context, slot)


def _end_new(context: Context) -> None:
    """End every container that the run started, and keep what they said."""
    engine = context.engine
    kept = {service.container for service in context.old.services.values()} if context.slot else set()
    made = engine.by_label(project=context.school.project, run=str(context.run.id))
    own = set(made)
    if context.run.row.kind == "rollback" and context.run.result("preflight"):  # else none was started
        made += context.new.own_containers(context.slot)
    for container in made:
        if container in kept or not engine.is_running(container):
            continue
        output = engine.logs(container, lines=1000)
        write_atomically(context.folder / f"{container}.log", output)
        # a database of an earlier slot is to be as it was
        engine.stop(container, 300 if container not in own else 1)


def _remove_new(context: Context, *, keep_data: bool) -> None:
    """Remove what the run made.

    :param keep_data: leave slot B's data for diagnosis, until the next run
    """
    _end_new(context)
    remove_rehearsal(context)
    engine = context.engine
    for container in engine.by_label(project=context.school.project, run=str(context.run.id), purpose="migrate"):
        engine.remove(container)
    for slot in context.journal.slots("candidate"):
        if keep_data:
            for container in slot.own_containers(context.slot):
                engine.remove(container)
            engine.remove_network(slot.network)
            context.journal.set_slot(slot, "kept")
        else:
            free_slot(context, slot)


def _needs_operator(context: Context, problem: Exception | None) -> dict[str, Any]:
    """The maintenance page stays up, and a person has to look."""
    slots = [context.slot] if context.slot else []  # none while CLMS is being installed
    starts = [f"docker start {slot.services[s.name].container}" for slot in slots for s in context.school.services]
    commands = [*starts, "clms-update recover"]
    error = ClmsError("ROLLBACK_FAILED", detail=str(problem)[:300], commands=" && ".join(commands))
    try:
        GateControl(context.school, Engine()).call_operator(context.slot, "\n".join(commands))
    except Exception as shown:  # what it shows without that is a maintenance page too, or it does not run
        context.run.record(PUTTING_BACK, "call_operator", "note", detail=str(shown)[:500])
    record = {"phase": PUTTING_BACK, **error.as_dict()}
    context.run.close("NEEDS_OPERATOR", record)
    failed = events_of(context.run.row.kind).failed
    context.journal.event(failed, told("CAUSE", cause=error), run=context.run.id)
    lock.release(context.school.home)
    return {"outcome": "NEEDS_OPERATOR", "error": record, "changed": True}
