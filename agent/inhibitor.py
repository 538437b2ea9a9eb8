# SPDX-License-Identifier: GPL-3.0-or-later
"""No shutdown while CLMS is closed: where systemd is at work, it is asked to wait (systemd-inhibit(1)).

It keeps nobody from pulling the plug, and a run survives that too; but a school that was shut down in the middle of a
run is closed until it is up again and put in order.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .progress import Silent, View

COMMAND = (
    "systemd-inhibit",
    "--what=shutdown:sleep",
    "--mode=block",
    "--who=CLMS Update",
    "--why=CLMS is being updated; it takes a few minutes",
    "cat",  # ends when its standard input does, whatever has become of the agent
)
_END_SECONDS = 5

log = logging.getLogger("clms-update-agent")


def is_offered(running: Path = Path("/run/systemd/system")) -> bool:
    """Whether systemd manages this server, and can be asked."""
    return running.is_dir() and shutil.which(COMMAND[0]) is not None


def _start(command: tuple[str, ...]) -> subprocess.Popen[bytes]:
    # a session of its own: Ctrl-C ends the agent only after the run
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


class Inhibitor:
    """Keeps this server from being shut down between :meth:`hold` and :meth:`release`; both may be repeated.

    Where it cannot, it says so once in the log; a run goes on without it.
    """

    def __init__(
        self,
        start: Callable[[tuple[str, ...]], subprocess.Popen[bytes]] = _start,
        offered: Callable[[], bool] = is_offered,
    ) -> None:
        """:param start: starts a process with a pipe as its standard input"""
        self._start = start
        self._offered = offered
        self._process: subprocess.Popen[bytes] | None = None
        self._in_vain = False
        self._said = False

    def hold(self) -> None:
        """No shutdown from now on."""
        if self._process is not None:
            self._look()
        elif not self._in_vain and self._offered():
            try:
                self._process = self._start(COMMAND)
            except OSError as error:
                self._fail(str(error))

    def release(self) -> None:
        """A shutdown does no harm any more."""
        self._look()
        if self._process is not None:
            self._end(self._process)
        self._process = None
        self._in_vain = False

    def _look(self) -> None:
        """Notice a process that has ended by itself: systemd has refused, or cannot be reached."""
        if self._process is not None and self._process.poll() is not None:
            code = self._process.returncode
            self._end(self._process)
            self._process = None
            self._fail(f"{COMMAND[0]} ended with exit code {code}")

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _fail(self, why: str) -> None:
        self._in_vain = True
        if not self._said:
            self._said = True
            log.warning("systemd does not keep this server from being shut down while CLMS is closed: %s", why)


class WhileClosed(Silent):
    """Shows nothing, and holds an :class:`Inhibitor` while the run keeps CLMS closed.

    The end of the playbook releases nothing, because the run may have to be put back after it.
    """

    def __init__(self, inhibitor: Inhibitor) -> None:
        self._inhibitor = inhibitor

    def show(self, view: View) -> None:
        """Hold or release."""
        if view.closed:
            self._inhibitor.hold()
        else:
            self._inhibitor.release()

    def say(self, text: str) -> None:
        """Write it to the log."""
        log.info("%s", text)
