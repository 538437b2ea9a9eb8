# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent: ``clms-update-agent`` on a school server, as root. It does what it may be asked on a unix socket.

At its start it puts an interrupted run in order, before anything else is done (architecture.md, decision 11).
"""

from __future__ import annotations

import argparse
import grp
import logging
import os
import pwd
import signal
import socket
import socketserver
import struct
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.json_log import log_as_json

from . import backups, config, files, notifications, notify, output, protocol, runs
from .accounts import Accounts
from .agent import Agent
from .clockwork import Clockwork
from .enforcer import Enforcer
from .executor import Executor
from .followers import Followers
from .keeper import Keeper
from .planner import Planner

_REQUEST_SECONDS = 10
_DOWNLOAD_SECONDS = 600
"""for which somebody who takes a backup away may take nothing"""
_UNREAD_BYTES = 64 * protocol.MAX_BYTES
_CREDENTIALS = struct.Struct("3i")
"""process, user, group; see unix(7), SO_PEERCRED"""

log = logging.getLogger("clms-update-agent")


class Handler(socketserver.StreamRequestHandler):
    """One connection: one request, its answer, and further ones for a run that ends and events that are followed."""

    timeout = _REQUEST_SECONDS
    server: Server

    def handle(self) -> None:
        """Answer, whatever was sent."""
        try:
            self._serve()
        except ClmsError as error:
            self._say(protocol.refusal(error))
        except Exception as error:  # a request that breaks must not end the agent, and its sender has to learn of it
            log.exception("a request could not be answered")
            detail = f"{type(error).__name__}: {error}"[:300]
            self._say(protocol.refusal(ClmsError("INTERNAL", phase="agent", detail=detail)))
        finally:
            self._end()

    def _end(self) -> None:
        """Let the other side read the answer: a socket that is closed while something is unread loses what was sent."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            unread = 0
            while unread < _UNREAD_BYTES and (chunk := self.rfile.read1()):
                unread += len(chunk)

    def _serve(self) -> None:
        try:
            line = self.rfile.readline(protocol.MAX_BYTES + 1)
        except TimeoutError:
            raise ClmsError("AGENT_REQUEST", detail=f"nothing came within {_REQUEST_SECONDS} seconds") from None
        as_root = self._check_caller()
        request = protocol.parse(line)
        agent = self.server.agent
        if request.follow:
            self._follow(agent, request.after)
            return
        if request.verb == "download":
            self._send(agent.parcel(request))
            return
        if request.verb not in protocol.RUNS:
            self._say(protocol.answer(agent.answer(request, as_root=as_root)))
            return
        job = agent.begin(request, as_root=as_root)
        self._say(protocol.answer({"begun": request.verb}))
        job.ended.wait()
        self._say(protocol.answer({"run": job.run, "exit_code": job.exit_code}))

    def _send(self, parcel: backups.Parcel) -> None:
        self._say(protocol.answer({"name": parcel.name, "bytes": parcel.size}))
        self.connection.settimeout(_DOWNLOAD_SECONDS)
        with suppress(OSError):  # whoever wanted it is gone
            parcel.write(self.wfile)

    def _follow(self, agent: Agent, after: int) -> None:
        def say(result: dict[str, Any]) -> None:
            self.wfile.write(protocol.answer(result))

        with suppress(OSError):  # whoever followed is gone
            self.server.followers.serve(self.connection, agent.home(), after, say)

    def _check_caller(self) -> bool:
        """Whether it is root, or who this agent runs as.

        :raises ClmsError: AGENT_CALLER for whoever is neither that nor in the group
        """
        raw = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, user, group = _CREDENTIALS.unpack(raw)
        if user == os.geteuid():
            return True
        try:
            groups = os.getgrouplist(pwd.getpwuid(user).pw_name, group)
        except KeyError:
            groups = [group]
        if self.server.group is None or self.server.group not in groups:
            raise ClmsError("AGENT_CALLER")
        return False

    def _say(self, line: bytes) -> None:
        with suppress(OSError):  # whoever asked is gone; a run goes on
            self.wfile.write(line)
            self.wfile.flush()


class Server(socketserver.ThreadingUnixStreamServer):
    """The socket: mode 0660, for root and the agent's group. It is gone when the agent was ended in good order."""

    daemon_threads = True

    def __init__(self, path: Path, agent: Agent, group: int | None) -> None:
        self.agent = agent
        self.followers = Followers()
        self.group = group
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        before = os.umask(0o117)
        try:
            super().__init__(str(path), Handler)
        finally:
            os.umask(before)
        if group is not None:
            os.chown(path, -1, group)

    def server_close(self) -> None:
        """Listen no longer."""
        super().server_close()
        Path(str(self.server_address)).unlink(missing_ok=True)


def main() -> int:
    """The command line; it goes on until SIGTERM or SIGINT, and then until a run that it does has ended."""
    parser = argparse.ArgumentParser(prog="clms-update-agent", description="Does the updates of this school server.")
    parser.add_argument("--config", type=Path, default=config.default_folder(), metavar="DIR")
    parser.add_argument("--group", help="group whose members may ask the agent, besides root")
    options = parser.parse_args()
    log_as_json()
    logging.getLogger("apscheduler").setLevel(logging.WARNING)  # it tells of every look at the clock
    try:
        school = config.load(options.config).school
        group = grp.getgrnam(options.group).gr_gid if options.group else None
        executor = Executor(options.config)
        for number in (signal.SIGTERM, signal.SIGINT):
            # in a thread: what the signal interrupts may hold the locks that stop() needs
            signal.signal(number, lambda *_: threading.Thread(target=executor.stop).start())
        with executor.alone():
            try:
                executor.recover()
                if not executor.stopping.is_set():
                    planner = Planner(options.config, executor)
                    enforcer = Enforcer(options.config, planner)
                    agent = Agent(options.config, executor, planner, Accounts(school.home), enforcer)
                    keeper = Keeper(lambda: config.load(options.config).school)
                    notifier = notifications.Notifier(lambda: config.load(options.config).school)
                    _make_upload_folder(school.upload_folder, group)
                    with (
                        Clockwork(planner),
                        keeper.on(),
                        enforcer.on(),
                        notifier.on(),
                        Server(school.agent_socket, agent, group) as server,
                    ):
                        _serve(server, executor.stopping)
            finally:
                executor.stop()
                executor.wait_for_end()
    except ClmsError as error:
        print(output.error_text(error.as_dict()), file=sys.stderr)
        return runs.REFUSED
    except KeyError:
        print(f"There is no group {options.group}. Make it, or name another one.", file=sys.stderr)
        return runs.REFUSED
    return runs.DONE


def _make_upload_folder(folder: Path, group: int | None) -> None:
    """Make it, or say why there is none: uploads are the least of what an agent is for."""
    try:
        files.make_upload_folder(folder, group)
    except OSError as error:
        log.warning("the folder for uploads %s cannot be made: %s", folder, error.strerror or error)


def _serve(server: Server, stopping: threading.Event) -> None:
    """Answer until ``stopping`` is set."""

    def end() -> None:
        stopping.wait()
        server.shutdown()

    threading.Thread(target=end, daemon=True).start()
    log.info("listening on %s", server.server_address)
    notify.tell(notify.READY)
    server.serve_forever(poll_interval=0.2)
    log.info("listening no longer")


if __name__ == "__main__":
    sys.exit(main())
