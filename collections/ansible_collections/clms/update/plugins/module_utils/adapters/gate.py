# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate at work: its files on disk and its runtime socket; :mod:`.gate_container` makes it.

What must hold after a crash is written to disk first and told to the running process second.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .. import gate_config, maintenance
from ..errors import ClmsError
from ..school import School
from ..slots import Slot
from .engine import Engine, wait_until
from .files import write_atomically

_SOCKET_SECONDS = 10.0
_SHORT_SECONDS = 2.0


def mode_on_disk(home: Path) -> str:
    """The mode that the gate's files say: ``open``, ``closed`` or ``blocked``; ``closed`` where there are none."""
    with suppress(OSError):
        return gate_config.mode_of((_folder(home) / "state.map").read_text(errors="replace"))
    return "closed"


def on_disk(home: Path) -> tuple[bool, frozenset[str]]:
    """Whether the gate's files say that it is open, and the containers that they name; without asking the gate."""

    def text(name: str) -> str:
        try:
            return (_folder(home) / name).read_text(errors="replace")
        except OSError:
            return ""

    return gate_config.is_open(text("state.map")), gate_config.named_containers(text("haproxy.cfg"))


def running_mode(school: School) -> str | None:
    """The mode of the running process; None where it does not answer."""
    with suppress(ClmsError):
        return _mode(_ask(school, f"get map /gate/state.map {gate_config.MODE_KEY}", _SHORT_SECONDS))
    return None


def _mode(answer: str) -> str:
    return answer.split('value="', 1)[1].split('"', 1)[0] if 'value="' in answer else "closed"


def _ask(school: School, text: str, seconds: float) -> str:
    """:raises ClmsError: GATE_UNREACHABLE"""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(str(_folder(school.home) / "run" / "admin.sock"))
            connection.sendall(f"{text}\n".encode())
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
    except OSError as error:
        raise ClmsError("GATE_UNREACHABLE", detail=error, container=school.gate.container) from None
    return answer.decode(errors="replace").strip()


def _folder(home: Path) -> Path:
    return home / "gate"


class GateControl:
    """The gate of one school."""

    def __init__(self, school: School, engine: Engine) -> None:
        self.school = school
        self.gate = school.gate
        self.engine = engine
        self.folder = _folder(school.home)
        self._names = [gate_config.port_name(port.listen) for port in self.gate.ports]
        self._http = [gate_config.port_name(port.listen) for port in self.gate.ports if port.mode == "http"]

    # the files

    def _files(self, slot: Slot | None, commands: str = "") -> dict[str, bytes]:
        """Name -> content of every file but the mode, as it has to be for ``slot``."""
        texts = maintenance.files(self.school.title, self.school.contact, commands)
        files = {name: text.encode() for name, text in texts.items()}
        if self.gate.certificate_file:
            files["certificate.pem"] = Path(self.gate.certificate_file).read_bytes()
        config = gate_config.render(self.gate, slot, gate_config.fingerprint(self.gate, files))
        return {**files, "haproxy.cfg": config.encode()}

    def outdated(self, slot: Slot | None, commands: str = "") -> dict[str, bytes]:
        """Name -> content of the files that are not on the disk as they have to be for ``slot``."""

        def on_disk(path: Path) -> bytes | None:
            return path.read_bytes() if path.exists() else None

        files = self._files(slot, commands)
        return {name: content for name, content in files.items() if on_disk(self.folder / name) != content}

    def write_files(self, slot: Slot | None) -> None:
        """Write everything but the mode, which a new gate has on ``closed``."""
        (self.folder / "run").mkdir(mode=0o755, parents=True, exist_ok=True)
        self._write_files(slot)

    def _write_files(self, slot: Slot | None, commands: str = "") -> None:
        # first what the configuration names: without it, no process starts
        for name in (gate_config.READING, gate_config.READING_BELOW):
            if not (self.folder / name).exists():
                write_atomically(self.folder / name, "")
        if not (self.folder / "state.map").exists():
            self._write_mode("closed")
        outdated = self.outdated(slot, commands)
        for name in sorted(outdated, key=lambda name: name == "haproxy.cfg"):
            write_atomically(self.folder / name, outdated[name])

    def has_read_all(self) -> bool:
        """Whether the running process has read the files as they are now; the slot's names do not count."""
        files = self._files(None)
        del files["haproxy.cfg"]
        return f"description: {gate_config.fingerprint(self.gate, files)}" in self.command("show info")

    def _write_mode(self, mode: str) -> None:
        write_atomically(self.folder / "state.map", gate_config.state(mode))

    # the runtime

    def is_up(self) -> bool:
        """Whether the gate answers on its socket."""
        try:
            return "Name: HAProxy" in self.command("show info")
        except ClmsError:
            return False

    def command(self, text: str, seconds: float = _SOCKET_SECONDS) -> str:
        """Send a command to the running process and return its answer (HAProxy management guide 9.3).

        :raises ClmsError: GATE_UNREACHABLE
        """
        return _ask(self.school, text, seconds)

    def _tell(self, *commands: str) -> None:
        for command in commands:
            answer = self.command(command)
            if not _took(answer):
                raise ClmsError("GATE_UNREACHABLE", detail=f"'{command}': {answer}", container=self.gate.container)

    def _set_mode(self, mode: str) -> None:
        self._tell(f"set map /gate/state.map {gate_config.MODE_KEY} {mode}")

    def mode(self) -> str:
        """The mode of the running process: ``open``, ``held``, ``closed`` or ``blocked``."""
        return _mode(self.command(f"get map /gate/state.map {gate_config.MODE_KEY}"))

    # what phases do

    def hold(self) -> None:
        """New requests wait; a gate that is restarted meanwhile shows the maintenance page."""
        self._write_mode("closed")
        self._park()
        self._set_mode("held")

    def close(self) -> None:
        """New requests get the maintenance page, connections to other ports are refused."""
        self._write_mode("closed")
        self._set_mode("closed")

    def block(self, slot: Slot, routes: Sequence[str]) -> None:
        """A forced update is overdue: only ``routes`` go to ``slot`` until the gate is unblocked or opened.

        :raises ClmsError: GATE_UNREACHABLE
        """
        maps = gate_config.reading_maps(routes)
        self.write_files(slot)
        for name, found in maps.items():
            write_atomically(self.folder / name, "".join(f"{route} yes\n" for route in found))
        self._write_mode("blocked")
        if not self.has_read_all():
            self.reload()
        else:
            for name, found in maps.items():
                self._tell(f"clear map /gate/{name}", *(f"add map /gate/{name} {route} yes" for route in found))
            self._set_mode("blocked")
        self._cut_streams()

    def unblock(self) -> None:
        """Users may do everything again.

        :raises ClmsError: GATE_UNREACHABLE
        """
        self._write_mode("open")
        self._set_mode("open")

    def show_progress(self, phase: str, percent: int) -> None:
        """What the maintenance page says of an update; a process that cannot be told shows less, and that is all."""
        for key, value in ((gate_config.PHASE_KEY, phase), (gate_config.PERCENT_KEY, str(percent))):
            with suppress(ClmsError):
                self.command(f"set map /gate/state.map {key} {value}", _SHORT_SECONDS)

    def call_operator(self, slot: Slot | None, commands: str) -> None:
        """Stay closed, with a page that says what has to be done by hand; :meth:`open` puts the usual one back.

        :raises ClmsError: GATE_UNREACHABLE
        """
        self._write_mode("closed")
        self._write_files(slot, commands)
        if self.engine.is_running(self.gate.container):
            self.reload()
        else:
            self.engine.start(self.gate.container)

    def wait_drained(self, seconds: float) -> bool:
        """Wait until no request is in flight; returns whether that came about within ``seconds``."""
        return wait_until(lambda: self.in_flight() == 0, seconds=seconds, pause=0.02)

    def in_flight(self) -> int:
        """Number of HTTP requests that CLMS is working on."""
        statistics = self.command("show stat")
        return sum(gate_config.sessions(statistics, backend=f"live_{name}") for name in self._http)

    def cut_connections(self) -> None:
        """End what still goes through the gate to the slot: requests, streams, connections to the database's port."""
        backends = [f"live_{name}" for name in self._names] + [f"stream_{name}" for name in self._http]
        for backend in backends:
            self.command(f"shutdown sessions server {backend}/live")

    def _cut_streams(self) -> None:
        """End what would stay open for hours: streams, and connections to ports that are not HTTP."""
        plain = [f"live_{name}" for name in self._names if name not in self._http]
        for backend in [*plain, *(f"stream_{name}" for name in self._http)]:
            self.command(f"shutdown sessions server {backend}/live")

    def _park(self) -> None:
        for name in self._http:
            self._tell(f"set server held_{name}/live addr {gate_config.PARKED}")

    def open(self, slot: Slot) -> None:
        """Send requests to ``slot``; those that are held go there first.

        :raises ClmsError: GATE_UNREACHABLE
        """
        self.engine.connect(self.gate.container, slot.network)
        self.write_files(slot)
        self._write_mode("open")
        if not self.engine.is_running(self.gate.container):
            self.engine.start(self.gate.container)  # it reads all it needs from disk
            if not wait_until(self.is_up, seconds=30):
                raise ClmsError("GATE_UNREACHABLE", detail="it did not start", container=self.gate.container)
            return
        pointed = self._point_at(slot)
        if pointed:
            self._set_mode("open")
        if not pointed or not self.has_read_all():
            self.reload()

    def _point_at(self, slot: Slot) -> bool:
        """Tell the running process where ``slot`` is; False when it cannot take that without reading its files."""
        for port in self.gate.ports:
            name = gate_config.port_name(port.listen)
            container = slot.services[port.service].container
            address = self.engine.address(container, slot.network)
            for kind in ("live", "stream") if port.mode == "http" else ("live",):
                self.command(f"set server {kind}_{name}/live fqdn {container}")
                answer = self.command(f"set server {kind}_{name}/live addr {address} port {port.port}")
                # the server never had an address; or the process was started with files of an older CLMS Update
                if not _took(answer):
                    return False
                self.command(f"set server {kind}_{name}/live state ready")
            if port.mode == "http":
                self._tell(f"set server held_{name}/live addr {address} port {port.port}")
        return True

    def reload(self) -> None:
        """Have the gate read its files anew; open connections stay with the old process until they end.

        :raises ClmsError: GATE_UNREACHABLE
        """
        process = self._process()
        self.engine.api.kill(self.gate.container, "SIGUSR2")
        if not wait_until(lambda: self.is_up() and self._process() != process, seconds=30):
            raise ClmsError("GATE_UNREACHABLE", detail="it did not reload", container=self.gate.container)

    def _process(self) -> str:
        """The number of the process that answers on the socket."""
        return next((line for line in self.command("show info").splitlines() if line.startswith("Pid:")), "")


def _took(answer: str) -> bool:
    """Whether a command worked: it says nothing then, or what it changed."""
    return not answer or any(word in answer for word in ("changed", "nothing", "no need to change"))
