# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups, with a folder in place of the kernel's: its files hold what a test puts there."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cgroup import Group
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

MODERN = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev 0 0\n"
HYBRID = "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
OLD = "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n"
SERVICE = "/system.slice/clms-update-agent.service"


class FakeGroup(Group):
    """A group that counts how often it was killed; what it holds dies at one of the attempts, or never."""

    def __init__(self, path: Path, *held: int, dies_at: int | None = 1) -> None:
        super().__init__(path)
        path.mkdir()
        self.hold(*held)
        self._file("kill").touch()
        self.kills = 0
        self._dies_at = dies_at

    def hold(self, *processes: int) -> None:
        self._file("procs").write_text("".join(f"{process}\n" for process in processes))

    def _kill(self, processes: list[int]) -> None:
        super()._kill(processes)
        self.kills += 1
        if self.kills == self._dies_at:
            self.hold()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that would go on for a long time."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("mounts", "groups", "expected"),
    [
        (MODERN, f"0::{SERVICE}\n", f"/sys/fs/cgroup{SERVICE}/clms-run"),
        (MODERN, "0::/\n", "/sys/fs/cgroup/clms-run"),
        (HYBRID, f"7:pids:/x\n1:name=systemd:/y\n0::{SERVICE}\n", f"/sys/fs/cgroup/unified{SERVICE}/clms-run"),
        (MODERN, "0::/a:b\n", "/sys/fs/cgroup/a:b/clms-run"),
        (r"none /my\040groups cgroup2 rw 0 0", "0::/\n", "/my groups/clms-run"),
        (OLD, "7:pids:/x\n", None),
        (MODERN, "7:pids:/x\n", None),
        (OLD, "0::/\n", None),
        ("", "", None),
    ],
    ids=["modern", "root", "hybrid", "colon", "blank", "old", "not in it", "not mounted", "nothing"],
)
def test_where_the_group_lies(tmp_path: Path, mounts: str, groups: str, expected: str | None) -> None:
    (tmp_path / "mounts").write_text(mounts)
    (tmp_path / "cgroup").write_text(groups)
    group = Group.beside("clms-run", tmp_path)
    assert (str(group.path) if group else None) == expected


def test_this_kernel_can_be_asked() -> None:
    group = Group.beside("clms-run")
    assert group is None or group.path.name == "clms-run"


def test_a_process_joins(tmp_path: Path) -> None:
    group = Group(tmp_path / "run")
    group.join()
    assert group.processes() == [os.getpid()]
    group.make()  # it may be there already
    assert group.processes() == [os.getpid()]


def test_a_group_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Group(tmp_path / "container" / "run").make()


@pytest.mark.parametrize("made", [True, False], ids=["empty", "never made"])
def test_nothing_to_end(tmp_path: Path, made: bool) -> None:
    group = Group(tmp_path / "run")
    if made:
        group.make()
    assert group.end() is False
    assert not group.path.exists()


def test_it_is_killed_until_it_is_empty(tmp_path: Path) -> None:
    group = FakeGroup(tmp_path / "run", 2**22 + 1, 2**22 + 2, dies_at=3)
    assert group.end() is True
    assert (group.kills, group.processes()) == (3, [])
    assert (group.path / "cgroup.kill").read_text() == "1"


def test_processes_that_do_not_die_are_named(tmp_path: Path) -> None:
    group = FakeGroup(tmp_path / "run", 2**22 + 1, 2**22 + 2, dies_at=None)
    with pytest.raises(ClmsError) as caught:
        group.end(seconds=0.2)
    assert caught.value.code == "PROCESSES_STAY"
    assert "4194305,4194306" in caught.value.happened
    assert "ps -o pid,stat,wchan:30,args -p 4194305,4194306" in caught.value.remedy
    assert group.kills > 1


def test_a_kernel_that_cannot_kill_groups(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    """Its processes get the signal one by one; number 0, a process of another namespace, gets none."""
    group = FakeGroup(tmp_path / "run", 0, sleeper.pid, 2**22 + 1, dies_at=None)
    (group.path / "cgroup.kill").unlink()

    def empty() -> None:
        sleeper.wait()
        group.hold()

    thread = threading.Thread(target=empty)
    thread.start()
    assert group.end() is True
    thread.join()
    assert sleeper.returncode == -signal.SIGKILL
    assert not (group.path / "cgroup.kill").exists()
