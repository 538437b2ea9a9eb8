# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate at work: its files on disk and its runtime socket.

What must hold after a crash is written to disk first and told to the running process second.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

from .. import gate_config
from ..containers import outside_network
from ..errors import ClmsError
from ..school import School
from ..slots import Slot
from .engine import Engine, wait_until
from .files import write_atomically

_SOCKET_SECONDS = 10


class GateControl:
    """The gate of one school."""

    def __init__(self, school: School, engine: Engine) -> None:
        self.school = school
        self.gate = school.gate
        self.engine = engine
        self.folder = school.home / "gate"
        self._network = outside_network(school)
        self._names = [gate_config.port_name(port.listen) for port in self.gate.ports]
        self._http = [gate_config.port_name(port.listen) for port in self.gate.ports if port.mode == "http"]

    # the installation

    def write_files(self, slot: Slot | None) -> bool:
        """Write everything but the mode; returns whether something changed."""
        (self.folder / "run").mkdir(mode=0o755, parents=True, exist_ok=True)
        files: dict[str, str | bytes] = {
            "haproxy.cfg": gate_config.render(self.gate, slot),
            **gate_config.maintenance_files(self.school.title),
        }
        if self.gate.certificate_file:
            files["certificate.pem"] = Path(self.gate.certificate_file).read_bytes()
        changed = False
        for name, content in files.items():
            path = self.folder / name
            data = content.encode() if isinstance(content, str) else content
            if not path.exists() or path.read_bytes() != data:
                write_atomically(path, data)
                changed = True
        if not (self.folder / "state.map").exists():
            self._write_mode("closed")
        return changed

    def _write_mode(self, mode: str) -> None:
        write_atomically(self.folder / "state.map", f"{gate_config.MODE_KEY} {mode}\n")

    # the runtime

    def is_up(self) -> bool:
        """Whether the gate answers on its socket."""
        try:
            return "Name: HAProxy" in self.command("show info")
        except ClmsError:
            return False

    def command(self, text: str) -> str:
        """Send a command to the running process and return its answer (HAProxy management guide 9.3).

        :raises ClmsError: GATE_UNREACHABLE
        """
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_SOCKET_SECONDS)
                connection.connect(str(self.folder / "run" / "admin.sock"))
                connection.sendall(f"{text}\n".encode())
                answer = b""
                while chunk := connection.recv(65536):
                    answer += chunk
        except OSError as error:
            raise ClmsError("GATE_UNREACHABLE", detail=error, container=self.gate.container) from None
        return answer.decode(errors="replace").strip()

    def _tell(self, *commands: str) -> None:
        for command in commands:
            answer = self.command(command)
            # a command that worked says nothing, or what it changed
            if answer and not any(word in answer for word in ("changed", "nothing", "no need to change")):
                raise ClmsError("GATE_UNREACHABLE", detail=f"'{command}': {answer}", container=self.gate.container)

    def _set_mode(self, mode: str) -> None:
        self._tell(f"set map /gate/state.map {gate_config.MODE_KEY} {mode}")

    def mode(self) -> str:
        """The mode of the running process: ``open``, ``held`` or ``closed``."""
        answer = self.command(f"get map /gate/state.map {gate_config.MODE_KEY}")
        return answer.split('value="', 1)[1].split('"', 1)[0] if 'value="' in answer else "closed"

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

    def wait_drained(self, seconds: float) -> bool:
        """Wait until no request is in flight; returns whether that came about within ``seconds``."""
        return wait_until(lambda: self.in_flight() == 0, seconds=seconds, pause=0.02)

    def in_flight(self) -> int:
        """Number of HTTP requests that CLMS is working on."""
        statistics = self.command("show stat")
        return sum(gate_config.sessions(statistics, backend=f"live_{name}") for name in self._http)

    def cut_connections(self) -> None:
        """End what still goes through the gate to the slot: streams, and connections to the database's port."""
        for name in self._names:
            self.command(f"shutdown sessions server live_{name}/live")

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
        if self._point_at(slot):
            self._set_mode("open")
        else:
            self._reload()

    def _point_at(self, slot: Slot) -> bool:
        """Tell the running process where ``slot`` is; False when it cannot take that without reading its files."""
        for port in self.gate.ports:
            name = gate_config.port_name(port.listen)
            container = slot.services[port.service].container
            address = self.engine.address(container, slot.network)
            self._tell(f"set server live_{name}/live fqdn {container}")
            answer = self.command(f"set server live_{name}/live addr {address} port {port.port}")
            if "address family" in answer:  # the server never had an address
                return False
            self.command(f"set server live_{name}/live state ready")
            if port.mode == "http":
                self._tell(f"set server held_{name}/live addr {address} port {port.port}")
        return True

    def _reload(self) -> None:
        """Have the gate read its files anew; open connections stay with the old process until they end."""
        process = self._process()
        self.engine.api.kill(self.gate.container, "SIGUSR2")
        if not wait_until(lambda: self.is_up() and self._process() != process, seconds=30):
            raise ClmsError("GATE_UNREACHABLE", detail="it did not reload", container=self.gate.container)

    def _process(self) -> str:
        """The number of the process that answers on the socket."""
        return next((line for line in self.command("show info").splitlines() if line.startswith("Pid:")), "")

    def install(self) -> bool:
        """Make the gate's container, closed until a slot is opened; returns whether something changed."""
        slot_named = (self.folder / "haproxy.cfg").exists()
        changed = False if slot_named else self.write_files(None)
        name = self.gate.container
        state = self.engine.state(name)
        if state is None:
            self.engine.ensure_network(self._network, internal=False, labels={"clms.project": self.school.project})
            self._create()
            changed = True
        if not self.engine.is_running(name):
            self.engine.start(name)
            changed = True
        if not wait_until(self.is_up, seconds=30):
            said = self.engine.logs(name, lines=5).strip()[-300:]
            raise ClmsError("GATE_UNREACHABLE", detail=f"it did not start: {said}", container=name)
        return changed

    def _create(self) -> None:
        api = self.engine.api
        api.create_container(
            self.gate.image,
            name=self.gate.container,
            command=["haproxy", "-W", "-db", "-f", "/gate/haproxy.cfg"],
            ports=[port.listen for port in self.gate.ports],
            labels={"clms.project": self.school.project, "clms.purpose": "gate"},
            host_config=api.create_host_config(
                binds=[f"{self.folder}:/gate:rw"],
                port_bindings={port.listen: (self.gate.address, port.listen) for port in self.gate.ports},
                network_mode=self._network,
                restart_policy={"Name": "always"},
            ),
        )

    def remove(self) -> None:
        """Remove the gate's container and its network."""
        self.engine.remove(self.gate.container)
        self.engine.remove_network(self._network)

    def wait_serving(self, seconds: float) -> bool:
        """Wait until the gate is open and resolves its servers."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.is_up() and self.mode() == "open":
                return True
            time.sleep(0.05)
        return False
