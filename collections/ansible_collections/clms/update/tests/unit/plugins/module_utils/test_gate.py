# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate at work: what stands on the disk whenever something is told to the running process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters import gate as module
from ansible_collections.clms.update.plugins.module_utils.adapters.gate import GateControl
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.school import School, parse_school
from ansible_collections.clms.update.plugins.module_utils.slots import Slot


class Gate(GateControl):
    """A gate whose process answers from a table, and which notes what was on the disk at each command."""

    def __init__(self, school: School, engine: Any) -> None:
        super().__init__(school, engine)
        self.answers: dict[str, str] = {"show info": "Name: HAProxy\nPid: 1"}
        self.told: list[tuple[str, str, str]] = []
        """command, mode on the disk, slot on the disk"""

    def on_disk(self) -> tuple[str, str]:
        mode = (self.folder / "state.map").read_text().split()[1]
        config = (self.folder / "haproxy.cfg").read_text()
        named = [name for name in ("r1", "r2") if f"linden-frontend-{name}:" in config]
        return mode, "".join(named)

    def command(self, text: str) -> str:
        self.told.append((text, *self.on_disk()))
        return next((answer for start, answer in self.answers.items() if text.startswith(start)), "")

    def commands(self) -> list[str]:
        return [text for text, _, _ in self.told if not text.startswith("show")]


@pytest.fixture
def gate(school: School, engine: Any, old: Slot) -> Gate:
    """The gate of a school that serves 1.0.0."""
    engine.set_up(old, "linden")
    engine.ensure_network("linden-front", internal=False, labels={})
    found = Gate(school, engine)
    found.write_files(old)
    found._write_mode("open")
    engine.add("linden-gate", labels={})
    engine.calls.clear()
    return found


def test_before_the_first_slot_the_gate_is_closed(school: School, engine: Any) -> None:
    found = Gate(school, engine)
    assert found.write_files(None) is True
    assert found.on_disk() == ("closed", "")
    assert found.write_files(None) is False


def test_files_that_have_not_changed_are_not_written(gate: Gate, old: Slot, new: Slot) -> None:
    def numbers() -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in gate.folder.iterdir()}

    before = numbers()
    assert gate.outdated(old) == {}
    assert gate.write_files(old) is False
    assert numbers() == before
    assert list(gate.outdated(new)) == ["haproxy.cfg"]
    gate.write_files(new)
    assert {name for name, number in numbers().items() if number != before[name]} == {"haproxy.cfg"}
    assert gate.on_disk() == ("open", "r2")  # writing files does not change the mode


def another_title(gate: Gate) -> None:
    (gate.folder / "maintenance.html").write_text("that of another school")


def another_template(gate: Gate) -> None:
    config = gate.folder / "haproxy.cfg"
    config.write_text(config.read_text().replace("timeout client 75s", "timeout client 60s"))


def no_configuration(gate: Gate) -> None:
    (gate.folder / "haproxy.cfg").unlink()


@pytest.mark.parametrize(
    ("spoil", "of_old", "of_new"),
    [
        # a running gate can be told where the slot's servers are
        pytest.param(lambda gate: None, False, False, id="nothing"),
        pytest.param(another_title, True, True, id="title"),
        pytest.param(another_template, True, True, id="template"),
        pytest.param(no_configuration, True, True, id="no configuration"),
    ],
)
def test_what_a_running_gate_has_to_read_anew(
    gate: Gate, old: Slot, new: Slot, spoil: Callable[[Gate], None], of_old: bool, of_new: bool
) -> None:
    for slot, expected in ((old, of_old), (new, of_new)):
        gate.write_files(old)
        spoil(gate)
        assert gate.write_files(slot) is expected
        assert gate.write_files(slot) is False


def test_a_certificate_is_copied_for_the_gate_alone(
    describe: Callable[..., dict[str, Any]], engine: Any, old: Slot, tmp_path: Path
) -> None:
    certificate = tmp_path / "gate.pem"
    certificate.write_text("first")
    described = describe()
    described["gate"]["certificate_file"] = str(certificate)
    found = Gate(parse_school(described), engine)
    assert found.write_files(old) is True
    copy = found.folder / "certificate.pem"
    assert (copy.read_text(), copy.stat().st_mode & 0o777) == ("first", 0o600)
    certificate.write_text("renewed")
    assert found.write_files(old) is True
    assert copy.read_text() == "renewed"


def test_closing_is_on_the_disk_before_the_process_is_told(gate: Gate) -> None:
    gate.close()
    assert gate.told == [("set map /gate/state.map mode closed", "closed", "r1")]


def test_a_gate_that_holds_is_closed_on_the_disk(gate: Gate) -> None:
    gate.hold()
    assert gate.told == [
        ("set server held_port_3000/live addr 127.0.0.1 port 1", "closed", "r1"),
        ("set map /gate/state.map mode held", "closed", "r1"),
    ]


def test_opening_is_on_the_disk_before_the_process_is_told(gate: Gate, engine: Any, new: Slot, school: School) -> None:
    engine.set_up(new, "linden")
    gate.close()
    gate.told.clear()
    gate.open(new)
    assert ("connect", "linden-gate", "linden-r2") in engine.calls
    assert {(mode, slot) for _, mode, slot in gate.told} == {("open", "r2")}
    commands = gate.commands()
    assert commands == [
        "set server live_port_3000/live fqdn linden-frontend-r2",
        "set server live_port_3000/live addr 192.0.2.1 port 3000",
        "set server live_port_3000/live state ready",
        "set server stream_port_3000/live fqdn linden-frontend-r2",
        "set server stream_port_3000/live addr 192.0.2.1 port 3000",
        "set server stream_port_3000/live state ready",
        "set server held_port_3000/live addr 192.0.2.1 port 3000",
        "set server live_port_3306/live fqdn linden-mysql-r2",
        "set server live_port_3306/live addr 192.0.2.1 port 3306",
        "set server live_port_3306/live state ready",
        "set map /gate/state.map mode open",  # users last
    ]
    assert engine.did("kill") == []


def test_a_gate_that_is_down_reads_everything_from_the_disk(gate: Gate, engine: Any, new: Slot) -> None:
    engine.set_up(new, "linden")
    engine.stop("linden-gate", 1)
    gate.open(new)
    assert ("start", "linden-gate") in engine.calls
    assert gate.commands() == []
    assert gate.on_disk() == ("open", "r2")


@pytest.fixture
def reloaded(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Mode and slot on the disk at each reload."""
    found: list[tuple[str, str]] = []
    monkeypatch.setattr(gate, "reload", lambda: found.append(gate.on_disk()))
    return found


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        pytest.param(
            "set server live_port_3000/live addr",
            "Update for a different address family is not allowed",
            id="never had an address",
        ),
        pytest.param("set server stream_port_3000/live", "No such backend.", id="files of an older CLMS Update"),
        pytest.param("set server live_port_3306/live", "No such backend.", id="a port that it does not know"),
    ],
)
def test_a_gate_that_cannot_be_told_reads_its_files_anew(
    gate: Gate, engine: Any, new: Slot, reloaded: list[tuple[str, str]], command: str, answer: str
) -> None:
    engine.set_up(new, "linden")
    gate.answers[command] = answer
    gate.open(new)
    assert reloaded == [("open", "r2")]
    assert "set map /gate/state.map mode open" not in gate.commands()  # the files say so


@pytest.mark.parametrize("spoil", [another_title, another_template])
def test_a_gate_takes_up_changed_files_when_it_is_opened(
    gate: Gate, engine: Any, new: Slot, reloaded: list[tuple[str, str]], spoil: Callable[[Gate], None]
) -> None:
    engine.set_up(new, "linden")
    spoil(gate)
    gate.open(new)
    assert gate.commands()[-1] == "set map /gate/state.map mode open"  # those who wait need not wait for that
    assert reloaded == [("open", "r2")]


def test_a_reload_has_come_about_when_another_process_answers(
    gate: Gate, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def once(test: Callable[[], bool], **_: Any) -> bool:
        return test()

    monkeypatch.setattr(module, "wait_until", once)
    with pytest.raises(ClmsError, match="it did not reload") as caught:
        gate.reload()
    assert caught.value.code == "GATE_UNREACHABLE"
    assert engine.did("kill") == [("kill", "linden-gate", "SIGUSR2")]

    def other_process(test: Callable[[], bool], **_: Any) -> bool:
        gate.answers["show info"] = "Name: HAProxy\nPid: 2"
        return test()

    monkeypatch.setattr(module, "wait_until", other_process)
    gate.reload()


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        pytest.param("", False, id="silent"),
        pytest.param("IP changed from '192.0.2.9' to '192.0.2.1', port changed", False, id="changed"),
        pytest.param("no need to change the addr, port unchanged", False, id="the-same"),
        pytest.param("nothing changed", False, id="nothing"),
        pytest.param("No such server.", True, id="no-such-server"),
        pytest.param("Permission denied", True, id="denied"),
    ],
)
def test_what_the_process_answers(gate: Gate, answer: str, refused: bool) -> None:
    gate.answers["set map"] = answer
    if not refused:
        gate.close()
        return
    with pytest.raises(ClmsError) as caught:
        gate.close()
    assert caught.value.code == "GATE_UNREACHABLE"
    assert answer in caught.value.happened
    assert "docker start linden-gate" in caught.value.remedy


@pytest.mark.parametrize(
    ("answer", "mode"),
    [
        ('type=str, case=sensitive, found=yes, idx=tree, key="mode", value="open", type="str"', "open"),
        ('type=str, case=sensitive, found=yes, idx=tree, key="mode", value="held", type="str"', "held"),
        ("type=str, case=sensitive, found=no", "closed"),
        ("", "closed"),
    ],
)
def test_mode(gate: Gate, answer: str, mode: str) -> None:
    gate.answers["get map"] = answer
    assert gate.mode() == mode


def statistics(**requests: int) -> str:
    rows = "".join(f"{backend},BACKEND,{number},\n" for backend, number in requests.items())
    return f"# pxname,svname,scur,\n{rows}"


def test_only_http_requests_have_to_end(gate: Gate) -> None:
    gate.answers["show stat"] = statistics(live_port_3000=0, live_port_3306=7, held_port_3000=9, stream_port_3000=5)
    assert gate.in_flight() == 0
    assert gate.wait_drained(0) is True


def test_requests_that_do_not_end_in_time(gate: Gate) -> None:
    gate.answers["show stat"] = statistics(live_port_3000=2)
    assert gate.in_flight() == 2
    assert gate.wait_drained(0.05) is False


def test_connections_that_are_cut(gate: Gate) -> None:
    gate.cut_connections()
    assert gate.commands() == [
        "shutdown sessions server live_port_3000/live",
        "shutdown sessions server live_port_3306/live",
        "shutdown sessions server stream_port_3000/live",
    ]


def test_a_process_that_is_not_there(school: School, engine: Any) -> None:
    found = GateControl(school, engine)
    with pytest.raises(ClmsError) as caught:
        found.command("show info")
    assert caught.value.code == "GATE_UNREACHABLE"
    assert found.is_up() is False
