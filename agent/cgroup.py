# SPDX-License-Identifier: GPL-3.0-or-later
"""The control group of a run's processes: whatever they start can be ended, all of it at once (cgroups(7), version 2).

A playbook starts modules, and modules start clients of the database, copies and compressors. After kill -9 of the agent
they go on; before anything is put back they all have to be gone (architecture.md, decision 10).
"""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

_END_SECONDS = 30.0
_PAUSE = 0.05


class Group:
    """A control group; made when the first process joins it."""

    def __init__(self, path: Path) -> None:
        """:param path: of the group, see :meth:`beside`"""
        self.path = path

    @classmethod
    def beside(cls, name: str, process: Path = Path("/proc/self")) -> Group | None:
        """The group ``name`` below the one of this process; None where the kernel has no groups of version 2.

        :param process: what the kernel says of this process: ``mounts`` and ``cgroup``
        """
        root = _mount(process / "mounts")
        own = _own(process / "cgroup")
        return cls(root / own.lstrip("/") / name) if root and own is not None else None

    def make(self) -> None:
        """Make the group, or leave it where it is.

        :raises OSError: where this process may not, or the hierarchy is not what it seems to be
        """
        self.path.mkdir(exist_ok=True)

    def join(self) -> None:
        """Put this process into the group, and with it all that it starts.

        :raises OSError: as :meth:`make`
        """
        self.make()
        self._file("procs").write_text(str(os.getpid()))

    def processes(self) -> list[int]:
        """The processes that are in the group."""
        try:
            return [int(line) for line in self._file("procs").read_text().split()]
        except OSError:
            return []

    def end(self, seconds: float = _END_SECONDS) -> bool:
        """Kill everything in the group and wait until it is gone; returns whether there was something.

        :param seconds: how long to try; a process that waits for a disk does not die before the disk has answered
        :raises ClmsError: PROCESSES_STAY
        """
        found = bool(self.processes())
        deadline = time.monotonic() + seconds
        while left := self.processes():
            if time.monotonic() > deadline:
                raise ClmsError("PROCESSES_STAY", processes=",".join(map(str, left)))
            self._kill(left)
            time.sleep(_PAUSE)
        with suppress(OSError):  # an empty group that stays does no harm
            self.path.rmdir()
        return found

    def _kill(self, processes: list[int]) -> None:
        try:
            # without O_CREAT, or a folder that is no group would get such a file; it cannot be read, hence no "r+"
            descriptor = os.open(self._file("kill"), os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, b"1")
            finally:
                os.close(descriptor)
        except OSError:  # kernels before 5.14
            for process in processes:
                if process > 0:  # 0 stands for a process of another namespace, and to kill() for this one's own group
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)

    def _file(self, name: str) -> Path:
        return self.path / f"cgroup.{name}"


def _mount(mounts: Path) -> Path | None:
    """Where the hierarchy of version 2 is mounted."""
    for line in mounts.read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), where))
    return None


def _own(groups: Path) -> str | None:
    """The path of this process's group in that hierarchy."""
    for line in groups.read_text().splitlines():
        number, _, path = line.split(":", 2)
        if number == "0":
            return path
    return None
