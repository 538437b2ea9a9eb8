# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate's container: in what it differs from its description, and what is done about it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.adapters import gate_container
from ansible_collections.clms.update.plugins.module_utils.adapters.gate import GateControl
from ansible_collections.clms.update.plugins.module_utils.adapters.gate_container import (
    converge,
    differences,
    needs_new_container,
)
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.gate_config import DEFINITION, definition
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.school import School, parse_school
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

Begin = Callable[..., Context]
GATE = "linden-gate"
BEFORE = "linden-gate-before"
ABSENT = [("container", "absent", "present")]


@dataclass
class Process:
    """What runs in the container. It reads its files when it is started or told to."""

    number: int = 0
    description: str = ""

    def read(self, config: Path) -> None:
        self.number += 1
        (self.description,) = re.findall(r"(?m)^ +description (.*)$", config.read_text())


class Control(GateControl):
    """A gate whose process answers while its container runs."""

    process = Process()

    def command(self, text: str) -> str:
        if not self.engine.is_running(self.gate.container):
            raise ClmsError("GATE_UNREACHABLE", detail="x", container=self.gate.container)
        return f"Name: HAProxy\nPid: {self.process.number}\ndescription: {self.process.description}\nnode: gate"


@pytest.fixture(autouse=True)
def process(school: School, engine: Any, monkeypatch: pytest.MonkeyPatch) -> Process:
    found = Process()

    def read_at(change: Callable[[str, str], None]) -> Callable[[str, str], None]:
        def call(name: str, *arguments: str) -> None:
            change(name, *arguments)
            if name == GATE:
                found.read(school.home / "gate" / "haproxy.cfg")

        return call

    monkeypatch.setattr(engine, "start", read_at(engine.start))
    monkeypatch.setattr(engine.api, "kill", read_at(engine.api.kill))
    monkeypatch.setattr(Control, "process", found)
    monkeypatch.setattr(gate_container, "GateControl", Control)
    return found


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "gate.pem"
    path.write_text("first")
    return path


@pytest.fixture
def school(describe: Callable[..., dict[str, Any]], certificate: Path) -> School:
    """The school, whose gate has a certificate."""
    described = describe()
    described["gate"]["certificate_file"] = str(certificate)
    return parse_school(described)


@pytest.fixture
def installed(begin: Begin, engine: Any, school: School) -> School:
    """The school, which serves 1.0.0 through a gate as it is described; no run is open."""
    context = begin()
    context.run.close("ABORTED")
    converge(school, engine, present=True, check_mode=False)
    (school.home / "gate" / "state.map").write_text("mode open\n")
    engine.calls.clear()
    return school


def gate_of(school: School, **changes: Any) -> School:
    """The same school with another gate."""
    return replace(school, gate=replace(school.gate, **changes))


def labelled(engine: Any, label: str | None) -> None:
    labels = {"clms.project": "linden", **({DEFINITION: label} if label is not None else {})}
    engine.containers[GATE] = replace(engine.containers[GATE], labels=labels)


def on_disk(school: School) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (school.home / "gate").iterdir() if path.is_file()}


# what differs

Case = Callable[[School, Any, Path], School]


def absent(school: School, engine: Any, certificate: Path) -> School:
    engine.containers.pop(GATE)
    return school


def another_port(school: School, engine: Any, certificate: Path) -> School:
    return gate_of(school, ports=(*school.gate.ports, replace(school.gate.ports[0], listen=443)))


def another_image(school: School, engine: Any, certificate: Path) -> School:
    return gate_of(school, image="clms-gate:2")


def another_address(school: School, engine: Any, certificate: Path) -> School:
    return gate_of(school, address="192.0.2.7")


def no_label(school: School, engine: Any, certificate: Path) -> School:
    labelled(engine, None)
    return school


def broken_label(school: School, engine: Any, certificate: Path) -> School:
    labelled(engine, "{")
    return school


def label_of_others(school: School, engine: Any, certificate: Path) -> School:
    labelled(engine, '["image"]')
    return school


def stopped(school: School, engine: Any, certificate: Path) -> School:
    engine.stop(GATE, 1)
    return school


def not_in_the_slot(school: School, engine: Any, certificate: Path) -> School:
    engine.disconnect(GATE, "linden-r1")
    return school


def not_outside(school: School, engine: Any, certificate: Path) -> School:
    engine.disconnect(GATE, "linden-outside")
    return school


def renewed_certificate(school: School, engine: Any, certificate: Path) -> School:
    certificate.write_text("renewed")
    return school


def another_title(school: School, engine: Any, certificate: Path) -> School:
    return replace(school, title="Oak School")


def another_template(school: School, engine: Any, certificate: Path) -> School:
    """Its files were written and read by another CLMS Update."""
    config = school.home / "gate" / "haproxy.cfg"
    config.write_text(re.sub(r"(?m)^ +description .*$", f"    description {'0' * 64}", config.read_text()))
    Control.process.read(config)
    return school


def without_fingerprint(school: School, engine: Any, certificate: Path) -> School:
    """Its files were written and read by a CLMS Update that did not describe them."""
    config = school.home / "gate" / "haproxy.cfg"
    config.write_text(re.sub(r"(?m)^ +description .*\n", "", config.read_text()))
    Control.process.description = ""
    return school


def not_read(school: School, engine: Any, certificate: Path) -> School:
    """Its files are right, and somebody was interrupted before it was told so."""
    Control.process.description = "0" * 64
    return school


UNKNOWN = [
    ("image", "unknown", "clms-gate:1"),
    ("address", "unknown", "0.0.0.0"),  # noqa: S104
    ("ports", "unknown", "3000, 3306"),
]
NEW_CONTAINER = [
    pytest.param(absent, ABSENT, id="absent"),
    pytest.param(another_port, [("ports", "3000, 3306", "443, 3000, 3306")], id="ports"),
    pytest.param(another_image, [("image", "clms-gate:1", "clms-gate:2")], id="image"),
    pytest.param(another_address, [("address", "0.0.0.0", "192.0.2.7")], id="address"),  # noqa: S104
    pytest.param(no_label, UNKNOWN, id="of an older CLMS Update"),
    pytest.param(broken_label, UNKNOWN, id="broken label"),
    pytest.param(label_of_others, UNKNOWN, id="label that is no object"),
]
SAME_CONTAINER = [
    pytest.param(stopped, [("container", "stopped", "running")], [("start", GATE)], id="stopped"),
    pytest.param(
        not_in_the_slot,
        [("network linden-r1", "not connected", "connected")],
        [],
        id="network of the slot",
    ),
    pytest.param(
        not_outside,
        [("network linden-outside", "not connected", "connected")],
        [],
        id="network to the outside",
    ),
    *(
        pytest.param(
            change, [(name, "outdated", "up to date") for name in differing], [("kill", GATE, "SIGUSR2")], id=change_id
        )
        for change, differing, change_id in (
            # the configuration describes what goes with it
            (renewed_certificate, ("certificate.pem", "haproxy.cfg", "process"), "certificate"),
            (
                another_title,
                (
                    "blocked.de.html",
                    "blocked.html",
                    "haproxy.cfg",
                    "maintenance.de.html",
                    "maintenance.html",
                    "process",
                ),
                "title",
            ),
            (another_template, ("haproxy.cfg", "process"), "template"),
            (without_fingerprint, ("haproxy.cfg", "process"), "without fingerprint"),
            (not_read, ("process",), "not read"),
        )
    ),
]


def test_a_gate_that_is_as_it_is_described(installed: School, engine: Any, old: Slot) -> None:
    assert differences(Control(installed, engine), old) == []
    assert converge(installed, engine, present=True, check_mode=False) == []
    assert engine.calls == []


@pytest.mark.parametrize(("change", "expected"), NEW_CONTAINER)
def test_what_only_a_new_container_takes_up(
    installed: School, engine: Any, old: Slot, certificate: Path, change: Case, expected: list[tuple[str, str, str]]
) -> None:
    control = Control(change(installed, engine, certificate), engine)
    assert needs_new_container(control) == expected
    assert differences(control, old)[: len(expected)] == expected


@pytest.mark.parametrize(("change", "expected", "_"), SAME_CONTAINER)
def test_what_needs_no_new_container(
    installed: School,
    engine: Any,
    old: Slot,
    certificate: Path,
    change: Case,
    expected: list[tuple[str, str, str]],
    _: Any,
) -> None:
    control = Control(change(installed, engine, certificate), engine)
    assert needs_new_container(control) == []
    assert differences(control, old) == expected


def test_all_that_differs_is_named(installed: School, engine: Any, old: Slot, certificate: Path) -> None:
    stopped(installed, engine, certificate)
    renewed_certificate(installed, engine, certificate)
    not_outside(installed, engine, certificate)
    found = differences(Control(another_image(installed, engine, certificate), engine), old)
    assert [str(difference) for difference in found] == [
        "image is clms-gate:1 instead of clms-gate:2",
        "certificate.pem is outdated instead of up to date",
        "haproxy.cfg is outdated instead of up to date",
        "container is stopped instead of running",
        "network linden-outside is not connected instead of connected",
    ]


# making it so


def everything(school: School, engine: Any) -> Any:
    return on_disk(school), dict(engine.containers), set(engine.networks), replace(Control.process)


@pytest.mark.parametrize(
    ("change", "expected"),
    [*NEW_CONTAINER, *(pytest.param(*case.values[:2], id=case.id) for case in SAME_CONTAINER)],
)
def test_check_mode_says_the_same_and_changes_nothing(
    installed: School, engine: Any, certificate: Path, change: Case, expected: list[tuple[str, str, str]]
) -> None:
    wanted = change(installed, engine, certificate)
    before = everything(installed, engine)
    engine.calls.clear()
    seen = converge(wanted, engine, present=True, check_mode=True)
    assert engine.calls == []
    assert everything(installed, engine) == before
    assert seen[: len(expected)] == expected
    assert converge(wanted, engine, present=True, check_mode=False) == seen
    assert everything(installed, engine) != before
    after = everything(installed, engine)
    for check_mode in (True, False):
        assert converge(wanted, engine, present=True, check_mode=check_mode) == []
    assert everything(installed, engine) == after


@pytest.mark.parametrize(("change", "_"), NEW_CONTAINER)
def test_a_new_container_is_made(installed: School, engine: Any, certificate: Path, change: Case, _: Any) -> None:
    wanted = change(installed, engine, certificate)
    engine.calls.clear()
    converge(wanted, engine, present=True, check_mode=False)
    # the one of before is kept until the new one runs, and a change that was interrupted may have left one
    made = [("create", GATE), ("start", GATE), ("remove", BEFORE)]
    if change is not absent:
        made = [("remove", BEFORE), ("stop", GATE, "10"), ("rename", GATE, BEFORE), *made]
    assert engine.did("remove", "stop", "rename", "create", "start", "kill") == made
    assert BEFORE not in engine.containers
    assert engine.containers[GATE].networks == {"linden-outside", "linden-r1"}
    assert json.loads(engine.containers[GATE].labels[DEFINITION]) == definition(wanted.gate)
    assert on_disk(wanted)["state.map"] == b"mode open\n"  # users are served again at once


@pytest.mark.parametrize(("change", "_", "calls"), SAME_CONTAINER)
def test_the_container_stays_where_it_can(
    installed: School, engine: Any, certificate: Path, change: Case, _: Any, calls: list[tuple[str, ...]]
) -> None:
    wanted = change(installed, engine, certificate)
    engine.calls.clear()
    converge(wanted, engine, present=True, check_mode=False)
    assert engine.did("remove", "create", "start", "kill") == calls
    assert engine.containers[GATE].running
    assert engine.containers[GATE].networks == {"linden-outside", "linden-r1"}


def test_what_a_stopped_gate_needs_it_reads_at_its_start(installed: School, engine: Any, certificate: Path) -> None:
    stopped(installed, engine, certificate)
    renewed_certificate(installed, engine, certificate)
    converge(installed, engine, present=True, check_mode=False)
    assert engine.did("start", "kill") == [("start", GATE)]
    assert on_disk(installed)["certificate.pem"] == b"renewed"


@pytest.mark.parametrize("renamed", [True, False], ids=["before the new one was made", "after that"])
def test_what_is_left_of_a_crash_goes(installed: School, engine: Any, renamed: bool) -> None:
    if renamed:
        engine.rename(GATE, BEFORE)
    else:
        engine.add(BEFORE, running=False, image="of long ago", labels={})
    wanted = gate_of(installed, image="clms-gate:2")
    converge(wanted, engine, present=True, check_mode=False)
    assert engine.containers[GATE].image == "clms-gate:2"
    assert GATE in engine.running()
    assert BEFORE not in engine.containers


# when it cannot be made so

NEW_IMAGE = "clms-gate:2"


def no_such_image(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = docker.errors.ImageNotFound("404 Client Error", explanation="No such image: clms-gate:2")
    engine.fails["create", GATE] = refusal


def port_taken(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    start = engine.start

    def refuse_the_new_one(name: str) -> None:
        if engine.containers[name].image == NEW_IMAGE:
            raise docker.errors.APIError("500 Server Error", explanation="port is already allocated")
        start(name)

    monkeypatch.setattr(engine, "start", refuse_the_new_one)


def no_answer(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    is_up = Control.is_up
    engine.outputs[GATE] = "[NOTICE] (1) : haproxy version is 3\n[ALERT] (1) : config : unknown keyword"
    monkeypatch.setattr(
        Control, "is_up", lambda self: is_up(self) and engine.state(self.gate.container).image != NEW_IMAGE
    )
    monkeypatch.setattr(gate_container, "wait_until", lambda test, **_: test())


def no_network(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = engine.connect

    def refuse_the_new_one(name: str, network: str) -> None:
        if engine.containers[name].image == NEW_IMAGE and network == "linden-r1":
            raise docker.errors.APIError("404 Client Error", explanation="network linden-r1 not found")
        connect(name, network)

    monkeypatch.setattr(engine, "connect", refuse_the_new_one)


@pytest.mark.parametrize(
    ("spoil", "detail"),
    [
        pytest.param(no_such_image, "No such image: clms-gate:2", id="image"),
        pytest.param(port_taken, "port is already allocated", id="port"),
        pytest.param(no_answer, "config : unknown keyword", id="does not come up"),
        pytest.param(
            no_network,
            "network linden-r1 not found",
            id="network",
        ),
    ],
)
def test_the_gate_of_before_comes_back(
    installed: School,
    engine: Any,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Any, pytest.MonkeyPatch], None],
    detail: str,
) -> None:
    before = dict(engine.containers)
    wanted = gate_of(installed, image=NEW_IMAGE)
    with monkeypatch.context() as patch:
        spoil(engine, patch)
        with pytest.raises(ClmsError, match=detail) as caught:
            converge(wanted, engine, present=True, check_mode=False)
    assert caught.value.code == "GATE_UNREACHABLE"
    assert engine.containers == before  # under its own name, connected, and running
    assert on_disk(installed)["state.map"] == b"mode open\n"
    engine.fails.clear()
    assert converge(wanted, engine, present=True, check_mode=False) == [("image", "clms-gate:1", NEW_IMAGE)]
    assert engine.containers[GATE].image == NEW_IMAGE
    assert BEFORE not in engine.containers


@pytest.mark.parametrize(
    ("call", "detail"), [("create", "No such image: clms-gate:1"), ("start", "port is already allocated")]
)
def test_the_engine_refuses_the_first_container(school: School, engine: Any, call: str, detail: str) -> None:
    engine.fails[call, GATE] = docker.errors.APIError("x", explanation=detail)
    with pytest.raises(ClmsError, match=detail) as caught:
        converge(school, engine, present=True, check_mode=False)
    assert caught.value.code == "GATE_UNREACHABLE"
    assert engine.did("rename") == []


def test_the_engine_refuses_to_start_a_gate_that_was_stopped(installed: School, engine: Any) -> None:
    engine.stop(GATE, 1)
    engine.fails["start", GATE] = docker.errors.APIError("x", explanation="port is already allocated")
    with pytest.raises(ClmsError, match="port is already allocated") as caught:
        converge(installed, engine, present=True, check_mode=False)
    assert caught.value.code == "GATE_UNREACHABLE"
    assert GATE in engine.containers


def test_what_the_container_is_made_of(installed: School, engine: Any) -> None:
    made = engine.api.created[GATE]
    assert (made["image"], made["ports"]) == ("clms-gate:1", [3000, 3306])
    assert made["command"] == ["haproxy", "-W", "-db", "-f", "/gate/haproxy.cfg"]
    assert made["labels"]["clms.project"] == "linden"
    assert made["host_config"] == {
        "binds": [f"{installed.home}/gate:/gate:rw"],
        "port_bindings": {3000: ("0.0.0.0", 3000), 3306: ("0.0.0.0", 3306)},  # noqa: S104
        "network_mode": "linden-outside",
        "restart_policy": {"Name": "always"},
    }


def test_before_the_first_installation_the_gate_is_closed(school: School, engine: Any) -> None:
    for check_mode, there in ((True, False), (False, True)):
        found = converge(school, engine, present=True, check_mode=check_mode)
        assert found[0] == ABSENT[0]
        assert (GATE in engine.running()) is there
    assert on_disk(school)["state.map"] == b"mode closed\nphase -\npercent 0\n"
    assert engine.containers[GATE].networks == {"linden-outside"}
    assert not Journal.exists(school.home)
    assert converge(school, engine, present=True, check_mode=False) == []


def test_a_gate_that_does_not_start(school: School, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.outputs[GATE] = "[ALERT] (1) : config : no such file"
    monkeypatch.setattr(Control, "is_up", lambda self: False)
    monkeypatch.setattr(gate_container, "wait_until", lambda test, **_: test())
    with pytest.raises(ClmsError, match="no such file") as caught:
        converge(school, engine, present=True, check_mode=False)
    assert caught.value.code == "GATE_UNREACHABLE"


# while a run is open


@pytest.mark.parametrize("check_mode", [True, False], ids=["check mode", "real"])
@pytest.mark.parametrize(("held", "code"), [(True, "RUN_ACTIVE"), (False, "RUN_INTERRUPTED")], ids=["active", "left"])
@pytest.mark.parametrize(
    ("change", "present"),
    [(another_image, True), (renewed_certificate, True), (lambda school, *_: school, False)],
    ids=["new container", "files", "removal"],
)
def test_a_run_moves_the_gate_itself(
    installed: School,
    engine: Any,
    journal: Journal,
    certificate: Path,
    change: Case,
    present: bool,
    held: bool,
    code: str,
    check_mode: bool,
) -> None:
    run = journal.begin("update_images", phases=("preflight", "backup"), school=installed.raw)
    run.leave("preflight")
    wanted = change(installed, engine, certificate)
    before = everything(installed, engine)
    descriptor = lock.acquire(installed.home) if held else None
    try:
        with pytest.raises(ClmsError) as caught:
            converge(wanted, engine, present=present, check_mode=check_mode)
    finally:
        if descriptor is not None:
            os.close(descriptor)
    assert caught.value.code == code
    assert caught.value.values == {"kind": "update", "run": run.id, "phase": "backup"}
    assert everything(installed, engine) == before


@pytest.mark.parametrize("check_mode", [True, False], ids=["check mode", "real"])
def test_a_gate_that_is_as_it_is_described_is_in_no_runs_way(
    installed: School, engine: Any, journal: Journal, check_mode: bool
) -> None:
    journal.begin("update", phases=("preflight",), school=installed.raw)
    assert converge(installed, engine, present=True, check_mode=check_mode) == []
    engine.containers.pop(GATE)
    assert converge(installed, engine, present=False, check_mode=check_mode) == []
    assert engine.calls == []


# removing it


@pytest.mark.parametrize("used", [False, True], ids=["gate alone", "CLMS uses the network"])
def test_removal(installed: School, engine: Any, used: bool) -> None:
    if used:
        engine.connect("linden-backend-r1", "linden-outside")
    before = everything(installed, engine)
    expected = [("container", "present", "absent")]
    assert converge(installed, engine, present=False, check_mode=True) == expected
    assert everything(installed, engine) == before
    assert converge(installed, engine, present=False, check_mode=False) == expected
    assert GATE not in engine.containers
    assert ("linden-outside" in engine.networks) is used
    assert "linden-backend-r1" in engine.running()
    for check_mode in (True, False):
        assert converge(installed, engine, present=False, check_mode=check_mode) == []


def test_removal_where_nothing_was_ever_installed(school: School, engine: Any) -> None:
    assert converge(school, engine, present=False, check_mode=False) == []
    assert engine.calls == []
    assert not school.home.exists()
