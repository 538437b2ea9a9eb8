# SPDX-License-Identifier: GPL-3.0-or-later
"""The control group of a run's processes: whatever they start can be ended, all of it at once (cgroups(7), version 2).

A playbook starts modules, and modules start clients of the database, copies and compressors. After kill -9 of the agent
they go on; before anything is put back they all have to be gone (architecture.md, decision 10).
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

_END_SECONDS = 30
_PAUSE = 0.05


class Group:
    """A control group; made when the first process joins it."""

    def __init__(self, path: Path) -> None:
        """:param path: of the group, see :meth:`beside`"""
        self.path = path

    @classmethod
    def beside(cls, name: str) -> Group | None:
        """The group ``name`` below the one of this process; None where the kernel has no groups of version 2."""
        root = _mount()
        own = _own()
        return cls(root / own.lstrip("/") / name) if root and own is not None else None

    def join(self) -> None:
        """Put this process into the group, and with it all that it starts.

        :raises OSError: where this process may not
        """
        self.path.mkdir(exist_ok=True)
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def processes(self) -> list[int]:
        """The processes that are in the group."""
        try:
            return [int(line) for line in (self.path / "cgroup.procs").read_text().split()]
        except OSError:
            return []

    def end(self) -> bool:
        """Kill everything in the group and wait until it is gone; returns whether there was something."""
        found = bool(self.processes())
        deadline = time.monotonic() + _END_SECONDS
        while self.processes():
            self._kill()
            if time.monotonic() > deadline:
                raise TimeoutError(f"the processes {self.processes()} do not end")
            time.sleep(_PAUSE)
        if self.path.is_dir():
            self.path.rmdir()
        return found

    def _kill(self) -> None:
        try:
            (self.path / "cgroup.kill").write_text("1")
        except OSError:  # kernels before 5.14
            for process in self.processes():
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue


def _mount() -> Path | None:
    """Where the hierarchy of version 2 is mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    return None


def _own() -> str | None:
    """The path of this process's group in that hierarchy."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, _, path = line.split(":", 2)
        if number == "0":
            return path
    return None
