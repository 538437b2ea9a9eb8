# SPDX-License-Identifier: GPL-3.0-or-later
"""A journal that cannot be read: it is kept aside, and a new one begins with what serves.

The new journal's first run is of kind ``recover`` and has its commit record from the start. So whatever interrupts it,
it is finished like any other committed run: `open` ends what belongs to other slots and opens this one.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from .. import journal_file, lock
from ..adapters import gate, slot_files
from ..adapters.engine import Engine, engine_errors
from ..adapters.files import write_atomically
from ..adapters.slot_files import KeptSlot
from ..errors import ClmsError
from ..journal import Journal
from ..plan import RECOVERY
from ..run import Context
from ..salvage import Choice, Undecided, slot_to_serve
from ..slots import Slot
from ..told import Told, told

_STOP_SECONDS = 300
"""for containers of which it is not known how long they need: a database that is killed has to be repaired"""
_KEPT_LINES = 1000


def rebuild(home: Path, problem: str, *, wait_seconds: float) -> str:
    """Keep the broken journal aside and begin a new one, in which the run that puts CLMS in order is open.

    :param problem: why the journal cannot be read
    :param wait_seconds: how long a process that is still at work may take to end
    :returns: what was done, in words
    :raises ClmsError: JOURNAL_BROKEN when nothing says what has to serve, ENGINE_UNREACHABLE or RUN_ACTIVE; nothing
        was touched then
    """
    with lock.at_work(home, wait_seconds) as alone:
        if not alone:
            raise ClmsError("RUN_ACTIVE", kind="process", run="?", phase="recover")
        kept = slot_files.kept_slots(home)
        gate_open, named = gate.on_disk(home)
        choice = _choose(home, problem, kept, gate_open=gate_open, named=named)
        engine = Engine()
        chosen = next(one for one in kept if one.slot.name == choice.slot)
        others = [one.slot for one in kept if one is not chosen and _has_data(engine, one.slot, chosen.slot)]
        number = _next_number(home, engine, kept, chosen)
        events = (gate_open and _events_on_disk(home, chosen.slot)) or chosen.event_scheduler
        aside = journal_file.set_aside(home)
        facts = {"problem": problem, "version": chosen.slot.version, "detail": choice.why}
        found = told("JOURNAL_KEPT", path=aside, **facts) if aside else told("JOURNAL_GONE", **facts)
        with closing(Journal(home, create=True)) as journal:
            _begin_anew(journal, number, chosen, others, events, found)
        return found.message


def _choose(home: Path, problem: str, kept: list[KeptSlot], *, gate_open: bool, named: frozenset[str]) -> Choice:
    slots = {one.slot.name: frozenset(service.container for service in one.slot.services.values()) for one in kept}
    try:
        return slot_to_serve(gate_open=gate_open, named=named, serving=slot_files.serving(home), slots=slots)
    except Undecided as reason:
        raise ClmsError(
            "JOURNAL_BROKEN",
            path=journal_file.path_in(home),
            problem=problem,
            detail=reason,
            commands=_commands(home, kept),
        ) from None


def _commands(home: Path, kept: list[KeptSlot]) -> str:
    """What a person types to decide it."""
    ways = [
        f"to have version {one.slot.version} serve: echo 'mode closed' > {home}/gate/state.map && "
        f'echo \'{{"slot": "{one.slot.name}"}}\' > {slot_files.serving_file(home)} && clms-update recover'
        for one in kept
    ]
    return "; ".join(["docker ps --all --filter label=clms.project", *ways])


def _has_data(engine: Engine, slot: Slot, serving: Slot) -> bool:
    """Whether anything is left of a slot beside what it shares with the serving one."""
    return any(engine.volume_path(volume) for volume in slot.own_volumes(serving)) or any(
        engine.state(container) for container in slot.own_containers(serving)
    )


def _next_number(home: Path, engine: Engine, kept: list[KeptSlot], chosen: KeptSlot) -> int:
    """A number that no run of the old journal had, as far as it has left traces: numbers name containers."""
    numbers = {one.slot.run for one in kept}
    numbers |= {int(path.name) for path in (home / "runs").glob("*") if path.name.isdecimal()}
    for container in engine.by_label(project=str(chosen.school.get("project", "clms"))):
        state = engine.state(container)
        label = state.labels.get("clms.run", "") if state else ""
        numbers |= {int(label)} if label.isdecimal() else set()
    return max(numbers) + 1


def _events_on_disk(home: Path, slot: Slot) -> str | None:
    """What the database's event scheduler was set to when the slot was opened."""
    try:
        text = (home / "slots" / slot.name / "event_scheduler.cnf").read_text()
    except OSError:
        return None
    return next((line.partition("=")[2] for line in text.splitlines() if line.startswith("event_scheduler=")), None)


def _begin_anew(journal: Journal, number: int, chosen: KeptSlot, others: list[Slot], events: str, found: Told) -> None:
    def write() -> None:  # all of it or nothing: with nothing in it, the journal counts as lost
        run = journal.begin(
            "recover", phases=RECOVERY, school=chosen.school, version=chosen.slot.version, number=number
        )
        for slot in others:
            journal.set_slot(slot, "kept", run=run.id)
        journal.set_slot(chosen.slot, "candidate", run=run.id)
        run.enter("preflight")
        run.leave("preflight", slot=chosen.slot.as_dict(), event_scheduler=events, message=found.message)
        run.commit(chosen.slot)
        journal.event("JOURNAL_BROKEN", found, run=run.id)

    journal.file.write(write)


def end_others(context: Context, slot: Slot) -> None:
    """End and remove everything of this school that is no part of ``slot``, whichever run it belonged to.

    The data of other slots stays until the next run, and what their containers have said is kept with this one's
    evidence: a person may want to look at them.
    """
    engine, project = context.engine, context.school.project
    serving = {service.container for service in slot.services.values()}
    labels: dict[str, Any] = {}
    for name in engine.by_label(project=project):
        state = engine.state(name)
        if name not in serving and state and state.labels.get("clms.purpose") != "gate":
            labels[name] = state.labels
    with context.step("end_others", containers=sorted(labels)), engine_errors("CONTAINER_FAILED"):
        for name, found in labels.items():
            if found.get("clms.purpose") != "service":
                engine.remove(name)
                continue
            engine.set_restart(name, "no")
            if engine.is_running(name):
                engine.stop(name, _STOP_SECONDS)
            write_atomically(context.folder / f"{name}.log", engine.logs(name, lines=_KEPT_LINES))
            engine.remove(name)
        for network in engine.networks_by_label(project=project, purpose="slot"):
            if network != slot.network:
                engine.remove_network(network)
        for volume in engine.volumes_by_label(project=project, purpose="rehearsal"):
            engine.remove_volume(volume)
        for network in engine.networks_by_label(project=project, purpose="rehearsal"):
            engine.remove_network(network)
