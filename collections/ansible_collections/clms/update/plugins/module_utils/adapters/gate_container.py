# SPDX-License-Identifier: GPL-3.0-or-later
"""The container of the gate: what it should be, what it is, and making it so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from typing import Any, NamedTuple

try:
    import docker.errors
except ImportError:
    pass  # the module says so before it comes here

from .. import gate_config, lock
from ..containers import outside_network
from ..errors import ClmsError
from ..journal import Journal
from ..school import School
from ..slots import Slot
from .engine import Engine, wait_until
from .gate import GateControl

_STOP_SECONDS = 10


class Difference(NamedTuple):
    """One thing in which the gate is not as it is described."""

    name: str
    current: str
    desired: str

    def __str__(self) -> str:
        return f"{self.name} is {self.current} instead of {self.desired}"


def differences(control: GateControl, slot: Slot | None) -> list[Difference]:
    """In what the gate differs from its description; nothing is changed.

    :param slot: the slot that serves, None before the first installation
    """
    return [*needs_new_container(control), *_needs_no_new_container(control, slot)]


def needs_new_container(control: GateControl) -> list[Difference]:
    """The differences that only a new container takes up: its image, address and published ports."""
    state = control.engine.state(control.gate.container)
    if state is None:
        return [Difference("container", "absent", "present")]
    found = gate_config.differences(state.labels.get(gate_config.DEFINITION), control.gate)
    return [Difference(*difference) for difference in found]


def _needs_no_new_container(control: GateControl, slot: Slot | None) -> list[Difference]:
    found = [Difference(name, "outdated", "up to date") for name in sorted(control.outdated(slot))]
    state = control.engine.state(control.gate.container)
    if state is None:
        return found
    if not state.running:
        found.append(Difference("container", "stopped", "running"))
    elif control.is_up() and not control.has_read_all():
        found.append(Difference("process", "outdated", "up to date"))
    wanted = {outside_network(control.school), *([slot.network] if slot else [])}
    found += [Difference(f"network {name}", "not connected", "connected") for name in sorted(wanted - state.networks)]
    return found


def converge(school: School, engine: Engine, *, present: bool, check_mode: bool) -> list[Difference]:
    """Bring the gate to its description; a new one is closed until a slot is opened.

    :param check_mode: only say what would be changed
    :returns: what was different
    :raises ClmsError: RUN_ACTIVE or RUN_INTERRUPTED, because a run moves the gate itself; GATE_UNREACHABLE
    """
    control = GateControl(school, engine)
    with closing(Journal(school.home)) if Journal.exists(school.home) else nullcontext() as journal:
        slot = journal.slot("current") if journal else None
        if present:
            found = differences(control, slot)
        else:
            there = engine.state(control.gate.container) is not None
            found = [Difference("container", "present", "absent")] if there else []
        if found and journal and journal.open_run():
            raise journal.in_the_way("RUN_ACTIVE" if lock.is_held(school.home) else "RUN_INTERRUPTED")
    if found and not check_mode:
        if present:
            with _errors(control):
                _install(control, slot)
        else:
            engine.remove(control.gate.container)
            engine.remove(_before(control))
            engine.remove_unused_network(outside_network(school))
    return found


def _install(control: GateControl, slot: Slot | None) -> None:
    outdated = bool(control.outdated(slot))  # also a file that somebody has changed by hand, and had read
    control.write_files(slot)
    if control.engine.state(control.gate.container) is None:
        _create(control, slot)
        control.engine.remove(_before(control))  # of a change that was interrupted
    elif needs_new_container(control):
        _replace(control, slot)
    else:
        _connect(control, slot)
        if control.engine.is_running(control.gate.container):
            if control.is_up() and (outdated or not control.has_read_all()):
                control.reload()
        else:
            _start(control)


def _replace(control: GateControl, slot: Slot | None) -> None:
    """Make the container anew; the one of before comes back where the new one does not start."""
    engine, name = control.engine, control.gate.container
    before = _before(control)
    engine.remove(before)
    engine.stop(name, _STOP_SECONDS)
    engine.rename(name, before)
    try:
        with _errors(control):
            _create(control, slot)
    except ClmsError:
        engine.remove(name)
        engine.rename(before, name)
        with suppress(docker.errors.APIError):  # the cause counts
            engine.start(name)
        raise
    engine.remove(before)


def _before(control: GateControl) -> str:
    """Name of the container that is replaced, until the new one works."""
    return f"{control.gate.container}-before"


def _connect(control: GateControl, slot: Slot | None) -> None:
    control.engine.connect(control.gate.container, outside_network(control.school))
    if slot:
        control.engine.connect(control.gate.container, slot.network)


def _start(control: GateControl) -> None:
    """:raises ClmsError: GATE_UNREACHABLE"""
    engine, name = control.engine, control.gate.container
    engine.start(name)
    if not wait_until(control.is_up, seconds=30):
        said = engine.logs(name, lines=5).strip()[-300:]
        raise ClmsError("GATE_UNREACHABLE", detail=f"it did not start: {said}", container=name)


@contextmanager
def _errors(control: GateControl) -> Iterator[None]:
    """Whatever the engine complains about: no such image, a port that is taken."""
    try:
        yield
    except docker.errors.APIError as error:
        detail = str(error.explanation or error)[:300]
        raise ClmsError("GATE_UNREACHABLE", detail=detail, container=control.gate.container) from None


def _create(control: GateControl, slot: Slot | None) -> None:
    """Make the container and start it.

    :raises ClmsError: GATE_UNREACHABLE
    """
    api: Any = control.engine.api
    gate, project = control.gate, control.school.project
    network = outside_network(control.school)
    control.engine.ensure_network(network, internal=False, labels={"clms.project": project})
    api.create_container(
        gate.image,
        name=gate.container,
        command=["haproxy", "-W", "-db", "-f", "/gate/haproxy.cfg"],
        ports=[port.listen for port in gate.ports],
        labels={
            "clms.project": project,
            "clms.purpose": "gate",
            gate_config.DEFINITION: json.dumps(gate_config.definition(gate)),
        },
        host_config=api.create_host_config(
            binds=[f"{control.folder}:/gate:rw"],
            port_bindings={port.listen: (gate.address, port.listen) for port in gate.ports},
            network_mode=network,
            restart_policy={"Name": "always"},
        ),
    )
    _connect(control, slot)
    _start(control)
