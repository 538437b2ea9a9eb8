# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate at work: what stands on the disk whenever something is told to the running process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
        self.answers: dict[str, str] = {"show info": "Name: HAProxy\nPid: 1\nnode: gate\nrelease date: x"}
        self.told: list[tuple[str, str, str]] = []
        """command, mode on the disk, slot on the disk"""

    def on_disk(self) -> tuple[str, str]:
        mode = (self.folder / "state.map").read_text().split()[1]
        config = (self.folder / "haproxy.cfg").read_text()
        named = [name for name in ("r1", "r2") if f"linden-frontend-{name}:" in config]
        return mode, "".join(named)

    def has_read(self, school: School) -> None:
        """The process was started with the files of this school."""
        described = GateControl(school, self.engine)._files(None)["haproxy.cfg"].decode()
        (line,) = [line.strip() for line in described.splitlines() if line.startswith("    description ")]
        self.answers["show info"] = f"Name: HAProxy\nPid: 1\n{line.replace(' ', ': ', 1)}\nnode: gate"

    def command(self, text: str, seconds: float = 10.0) -> str:
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
    found.has_read(school)
    engine.add("linden-gate", labels={})
    engine.calls.clear()
    return found


def test_before_the_first_slot_the_gate_is_closed(school: School, engine: Any) -> None:
    found = Gate(school, engine)
    found.write_files(None)
    assert found.on_disk() == ("closed", "")
    assert found.outdated(None) == {}


def test_files_that_have_not_changed_are_not_written(gate: Gate, old: Slot, new: Slot) -> None:
    def numbers() -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in gate.folder.iterdir()}

    before = numbers()
    assert gate.outdated(old) == {}
    gate.write_files(old)
    assert numbers() == before
    assert list(gate.outdated(new)) == ["haproxy.cfg"]
    gate.write_files(new)
    assert {name for name, number in numbers().items() if number != before[name]} == {"haproxy.cfg"}
    assert gate.on_disk() == ("open", "r2")  # writing files does not change the mode


def another_title(gate: Gate, certificate: Path) -> None:
    gate.has_read(replace(gate.school, title="Oak School"))


def another_certificate(gate: Gate, certificate: Path) -> None:
    certificate.write_text("renewed")


def another_port(gate: Gate, certificate: Path) -> None:
    gate.has_read(replace(gate.school, gate=replace(gate.gate, ports=gate.gate.ports[:1])))


def of_an_older_clms_update(gate: Gate, certificate: Path) -> None:
    gate.answers["show info"] = "Name: HAProxy\nPid: 1\nnode: gate"


def of_another_template(gate: Gate, certificate: Path) -> None:
    gate.answers["show info"] = f"Name: HAProxy\nPid: 1\ndescription: {'0' * 64}\nnode: gate"


READ_OTHERS = [another_title, another_certificate, another_port, of_an_older_clms_update, of_another_template]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "gate.pem"
    path.write_text("first")
    return path


@pytest.fixture
def https_gate(describe: Callable[..., dict[str, Any]], gate: Gate, engine: Any, old: Slot, certificate: Path) -> Gate:
    """The gate, which has a certificate."""
    described = describe()
    described["gate"]["certificate_file"] = str(certificate)
    found = Gate(parse_school(described), engine)
    found.write_files(old)
    found.has_read(found.school)
    return found


def test_which_slot_is_named_does_not_count_for_what_was_read(https_gate: Gate, old: Slot, new: Slot) -> None:
    for slot in (old, new, None):
        https_gate.write_files(slot)
        assert https_gate.has_read_all() is True
    # it is asked, not looked up on the disk: a gate that was not reloaded shows that even when its files are right
    (https_gate.folder / "haproxy.cfg").unlink()
    (https_gate.folder / "haproxy.cfg").touch()
    assert https_gate.has_read_all() is True


@pytest.mark.parametrize("spoil", READ_OTHERS)
def test_what_a_running_gate_has_to_read_anew(
    https_gate: Gate, old: Slot, certificate: Path, spoil: Callable[[Gate, Path], None]
) -> None:
    spoil(https_gate, certificate)
    assert https_gate.has_read_all() is False
    https_gate.write_files(old)  # the files alone do not change that
    assert https_gate.outdated(old) == {}
    assert https_gate.has_read_all() is False
    https_gate.has_read(https_gate.school)
    assert https_gate.has_read_all() is True


def test_a_certificate_is_copied_for_the_gate_alone(https_gate: Gate, old: Slot, certificate: Path) -> None:
    copy = https_gate.folder / "certificate.pem"
    assert (copy.read_text(), copy.stat().st_mode & 0o777) == ("first", 0o600)
    certificate.write_text("renewed")
    assert set(https_gate.outdated(old)) == {"certificate.pem", "haproxy.cfg"}
    https_gate.write_files(old)
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


ROUTES = ("GET /api/books", "GET /assets/*")


def test_blocking_is_on_the_disk_before_the_process_is_told(gate: Gate, old: Slot) -> None:
    gate.block(old, ROUTES)
    assert gate.commands() == [
        "clear map /gate/reading.map",
        "add map /gate/reading.map GET:/api/books yes",
        "clear map /gate/reading-below.map",
        "add map /gate/reading-below.map GET:/assets/ yes",
        "set map /gate/state.map mode blocked",
        # what would stay open for hours: connections to the database, and streams
        "shutdown sessions server live_port_3306/live",
        "shutdown sessions server stream_port_3000/live",
    ]
    assert {(mode, slot) for _, mode, slot in gate.told} == {("blocked", "r1")}
    assert (gate.folder / "reading.map").read_text() == "GET:/api/books yes\n"
    assert (gate.folder / "reading-below.map").read_text() == "GET:/assets/ yes\n"
    assert module.on_disk(gate.folder.parent)[0] is True
    gate.told.clear()
    gate.unblock()
    assert gate.told == [("set map /gate/state.map mode open", "open", "r1")]


def test_a_gate_of_an_older_clms_update_is_blocked_by_its_files(
    gate: Gate, old: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    reloaded: list[tuple[str, str]] = []
    monkeypatch.setattr(gate, "reload", lambda: reloaded.append(gate.on_disk()))
    of_an_older_clms_update(gate, Path("/"))
    gate.block(old, ROUTES)
    assert reloaded == [("blocked", "r1")]
    assert all(command.startswith("shutdown sessions") for command in gate.commands())


@pytest.mark.parametrize("what", ["write_files", "call_operator"])
def test_the_configuration_is_written_last(gate: Gate, old: Slot, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """It names the other files: a process that starts in between, or after a power cut, would not come up."""
    for path in gate.folder.iterdir():
        if path.is_file():
            path.unlink()
    written: list[str] = []
    write = module.write_atomically

    def noted(path: Path, content: str | bytes, **options: int) -> None:
        written.append(path.name)
        write(path, content, **options)

    monkeypatch.setattr(module, "write_atomically", noted)
    monkeypatch.setattr(gate, "reload", lambda: None)
    gate.write_files(old) if what == "write_files" else gate.call_operator(old, "docker start x")
    assert written[-1] == "haproxy.cfg"
    assert {"reading.map", "reading-below.map", "state.map", "phases.map", "blocked.html"} <= set(written)


def test_what_is_read_while_it_is_blocked_is_kept_by_other_writers(gate: Gate, old: Slot) -> None:
    gate.block(old, ROUTES)
    gate.write_files(old)
    assert (gate.folder / "reading.map").read_text() == "GET:/api/books yes\n"
    gate.block(old, ())
    assert (gate.folder / "reading.map").read_text() == ""


def test_progress_is_told_and_nothing_depends_on_it(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    gate.show_progress("migrate", 64)
    assert gate.commands() == ["set map /gate/state.map phase migrate", "set map /gate/state.map percent 64"]

    def unreachable(_text: str, _seconds: float) -> str:
        raise ClmsError("GATE_UNREACHABLE", detail="x", container="linden-gate")

    monkeypatch.setattr(gate, "command", unreachable)
    gate.show_progress("migrate", 65)


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


@pytest.mark.parametrize("spoil", READ_OTHERS)
def test_a_gate_takes_up_changed_files_when_it_is_opened(
    https_gate: Gate,
    engine: Any,
    new: Slot,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Gate, Path], None],
) -> None:
    reloaded: list[tuple[str, str]] = []
    monkeypatch.setattr(https_gate, "reload", lambda: reloaded.append(https_gate.on_disk()))
    engine.set_up(new, "linden")
    spoil(https_gate, certificate)
    https_gate.open(new)
    assert https_gate.commands()[-1] == "set map /gate/state.map mode open"  # who waits need not wait for the reload
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


def test_an_operator_is_called_until_it_is_opened_again(
    gate: Gate, school: School, engine: Any, old: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reload() -> None:  # the process reads its files
        (line,) = [x.strip() for x in (gate.folder / "haproxy.cfg").read_text().splitlines() if "description " in x]
        gate.answers["show info"] = f"Name: HAProxy\nPid: 2\n{line.replace(' ', ': ', 1)}"
        reloaded.append(gate.on_disk())

    reloaded: list[tuple[str, str]] = []
    monkeypatch.setattr(gate, "reload", reload)
    page = gate.folder / "maintenance.html"
    gate.call_operator(old, "docker start linden-mysql-r1")
    assert reloaded == [("closed", "r1")]
    assert "docker start linden-mysql-r1" in page.read_text()
    gate.open(old)
    assert "docker start" not in page.read_text()
    assert reloaded == [("closed", "r1"), ("open", "r1")]  # else the running process would show it at the next closing
    engine.stop("linden-gate", 1)
    gate.call_operator(old, "docker start linden-mysql-r1")
    assert engine.is_running("linden-gate")


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
