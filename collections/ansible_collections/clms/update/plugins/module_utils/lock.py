# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a school: one run at a time (architecture.md, decision 10).

It is a ``flock`` on ``home/lock``, never a row in a table. An agent holds it for the length of the run, and so does
the process that it starts for the run. Where there is no agent, a small guard process takes it over from the module
that opened the run, and keeps it until the run ends or the process that drives the run (``ansible-playbook``, or the
ssh session) is gone. What is not promised then: a run whose controller is lost stops where it is, until ``recover``
is run.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TRIES = 5
"""of taking the lock: who asks whether it is held has it for a moment"""
_ASKED_SECONDS = 0.2
"""for which a lock that is only asked for may look taken"""
_GUARD = "clms-update-guard"
# The guard lives longer than the module, whose own files are gone by then: so its program is this text.
_PROGRAM = """
import sys, time
owner, start = sys.argv[2], sys.argv[3]
def started():
    try:
        with open(f"/proc/{owner}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None
while started() == start:
    time.sleep(0.5)
"""


def _stat(pid: int) -> tuple[str, int, str] | None:
    """Name, parent and start time (clock ticks since boot) of a process; see proc(5)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    name, rest = text.split("(", 1)[1].rsplit(")", 1)
    fields = rest.split()
    return name, int(fields[1]), fields[19]


def driver() -> int:
    """The process that drives this run: the nearest one above that is no part of a module's execution."""
    pid = os.getppid()
    topmost = pid
    while pid > 1:
        stat = _stat(pid)
        if stat is None:
            break
        name, parent, _ = stat
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if name.startswith("sshd"):
            return pid
        if any(part.endswith(b"ansible-playbook") for part in command[:3]):
            # the playbook forks a worker for each task: the outermost is the one that lives as long as the run
            topmost = pid
        elif topmost != os.getppid():
            return topmost
        pid = parent
    return topmost


def acquire(home: Path) -> int | None:
    """Try to take the lock.

    :returns: a file descriptor that holds it, or None when someone else does
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            time.sleep(0.01)
    os.close(descriptor)
    return None


@contextmanager
def at_work(home: Path, wait_seconds: float) -> Iterator[bool]:
    """Held by the process that carries out a phase or puts a run back, so that never two do at once.

    The lock of the run does not say that: a process may outlive the guard, when its ssh connection is lost.

    :param wait_seconds: how long to wait for another one to end
    :returns: whether this process is the only one
    """
    descriptor = os.open(home / "phase.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + max(wait_seconds, _ASKED_SECONDS)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield True
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
            time.sleep(0.05)
    finally:
        os.close(descriptor)


def is_held(home: Path) -> bool:
    """Whether a run holds the lock right now."""
    return _is_taken(home / "lock")


def is_at_work(home: Path) -> bool:
    """Whether a process carries out a phase right now, or puts a run back; see :func:`at_work`."""
    return _is_taken(home / "phase.lock")


def _is_taken(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who ask do not see each other
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def sign(descriptor: int) -> None:
    """Write down that this process works under the lock, which another one (the agent) holds for it."""
    os.pwrite(descriptor, f"{os.getpid():<10}".encode(), 0)


def is_ours(home: Path) -> bool:
    """Whether the lock is held for this process: by an agent that started it, or one of the processes above it."""
    holder = _signed(home)
    pid = os.getpid()
    while pid > 1:
        if pid == holder:
            return is_held(home)
        stat = _stat(pid)
        if stat is None:
            break
        pid = stat[1]
    return False


def _signed(home: Path) -> int | None:
    """The process that was written down last, see :func:`sign` and :func:`hand_to_guard`."""
    try:
        return int((home / "lock").read_text() or 0)
    except (OSError, ValueError):
        return None


def hand_to_guard(home: Path, descriptor: int) -> None:
    """Start the guard process with the lock; this process lets go of its own descriptor."""
    owner = driver()
    stat = _stat(owner)
    guard = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, _GUARD, str(owner), stat[2] if stat else ""],
        pass_fds=(descriptor,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    os.pwrite(descriptor, f"{guard.pid:<10}".encode(), 0)
    os.close(descriptor)
    guard.returncode = 0  # it outlives us on purpose; silences the warning of Popen's destructor


def release(home: Path) -> None:
    """End the guard, and with it the lock; nothing happens where there is no guard."""
    pid = _signed(home)
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return
    if pid is None or _GUARD.encode() not in command:
        return
    os.kill(pid, signal.SIGTERM)
    # the next run may start as soon as this one has said that it ended
    for _ in range(500):
        if not is_held(home):
            return
        time.sleep(0.02)
