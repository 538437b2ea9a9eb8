# SPDX-License-Identifier: GPL-3.0-or-later
"""A school as a whole host: a container with systemd, sshd and an engine of its own, on a disk of its own.

The disk is an ext4 file system in a file, and the files of all hosts lie on one XFS: there a copy takes no time and is
what the disk held at that instant (``FICLONE``). So a power cut can be had for real (what was not written to the
disk is gone), and a host is back at the state of its template in a few seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.base_images import build as base_images
from tests.base_images.docker_cli import DOCKER, BuildError, docker

ROOT = Path(__file__).resolve().parents[2]
POOL_BYTES = 60 * 1024**3
DISK_BYTES = 6 * 1024**3
"""both sparse: only what is written takes space"""

_BOOT_SECONDS = 120
RIGHTS = (
    "--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--security-opt", "seccomp=unconfined",
    "--security-opt", "apparmor=unconfined", "--device-cgroup-rule", "a *:* rwm", "--cgroupns", "host",
    "--volume", "/sys/fs/cgroup:/sys/fs/cgroup", "--tmpfs", "/run", "--tmpfs", "/tmp",
)  # fmt: skip


_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid")
_ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8")


class HostError(Exception):
    """A host could not be made or started; the text says what it said."""


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostError(f"{' '.join(map(str, command))}: {(done.stdout + done.stderr).strip()[-500:]}")


_WATCHERS = Path("/proc/sys/fs/inotify/max_user_instances")
_ENOUGH_WATCHERS = 1024


class Pool:
    """The XFS that the disks of hosts lie on."""

    def __init__(self, folder: Path) -> None:
        """:param folder: made by :meth:`create`"""
        self.folder = folder
        self._file = folder / "pool.xfs"
        self.disks = folder / "disks"

    def create(self) -> None:
        """Make the file system, unless it is there, and mount it."""
        # each systemd watches files, all as the same user of this machine; without any left, it does not start
        if int(_WATCHERS.read_text()) < _ENOUGH_WATCHERS:
            _WATCHERS.write_text(str(_ENOUGH_WATCHERS))
        if self.disks.is_mount():
            return
        self.disks.mkdir(parents=True, exist_ok=True)
        if not self._file.exists():
            with self._file.open("wb") as file:
                file.truncate(POOL_BYTES)
            _run("mkfs.xfs", "-q", "-m", "reflink=1", self._file)
        _run("mount", "-o", "loop", self._file, self.disks)

    def remove(self) -> None:
        """Unmount and delete it, with all disks."""
        if self.disks.is_mount():
            _run("umount", self.disks)
        self._file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Ports:
    """Ports on 127.0.0.1 of this machine that lead to the host."""

    http: int
    database: int
    ssh: int


class Host:
    """One host of a pool. Its disk is mounted below ``/srv`` and holds everything that an update touches."""

    def __init__(self, pool: Pool, name: str, ports: Ports, *, extra_mounts: tuple[str, ...] = ()) -> None:
        """:param name: of the container

        :param extra_mounts: for ``docker run --volume``
        """
        self.pool = pool
        self.name = name
        self.ports = ports
        self._extra = extra_mounts
        self.disk = pool.disks / f"{name}.ext4"
        self.mount = pool.folder / name
        self._first_process: str | None = None
        """its number on this machine; another one after each start"""

    # its disk

    def make_disk(self) -> None:
        """An empty disk."""
        with self.disk.open("wb") as file:
            file.truncate(DISK_BYTES)
        # no blocks for root alone: whatever is freed on a full disk, a database can use
        _run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1,nodiscard", self.disk)

    def copy_disk(self, source: Path) -> None:
        """The content of another disk, as it is at this instant."""
        # another file: what still holds the old one mounted for a moment must not write into this one
        self.disk.unlink(missing_ok=True)
        _run("cp", "--reflink=always", source, self.disk)

    def change_disk(self, source: Path) -> None:
        """Put the content of another disk in place of this one's; the host is switched off."""
        self._unmount()
        self.copy_disk(source)

    def save_disk(self, target: Path) -> None:
        """Keep a copy of the disk, as it is at this instant."""
        _run("cp", "--reflink=always", self.disk, target)

    def _mount(self) -> None:
        self.mount.mkdir(parents=True, exist_ok=True)
        if not self.mount.is_mount():
            _run("mount", "-o", "loop", self.disk, self.mount)
        for folder in ("docker", "school"):
            (self.mount / folder).mkdir(exist_ok=True)

    def _unmount(self) -> None:
        deadline = time.monotonic() + 30
        while self.mount.is_mount():
            try:
                _run("umount", self.mount)
            except HostError:  # a process of the container is still going away
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        # unmounted here, the file system may still be there for a container that is just starting or ending
        while self._is_attached() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _is_attached(self) -> bool:
        """Whether a file system on the disk is mounted anywhere."""
        if not self.disk.exists():
            return False
        found = subprocess.run(["losetup", "--associated", self.disk], capture_output=True, text=True, check=False)
        return bool(found.stdout.strip())

    # its power

    def create(self, image: str) -> None:
        """Make the container on the disk that is there, and boot it."""
        self._mount()
        python = Path(sys.base_prefix)
        mounts = [f"{ROOT}:{ROOT}:ro", f"{self._engine_settings()}:/etc/docker/daemon.json:ro", *self._extra]
        if python != Path("/usr"):
            mounts.append(f"{python}:{python}:ro")
        mounts += [f"{self.mount}/docker:/var/lib/docker", f"{self.mount}/school:/srv/school"]
        self._first_process = None
        ports = [(self.ports.http, 8080), (self.ports.database, 3306), (self.ports.ssh, 22)]
        docker(
            "run", "--detach", "--name", self.name, "--hostname", self.name, *RIGHTS,
            *(part for mount in mounts for part in ("--volume", mount)),
            *(part for outer, inner in ports for part in ("--publish", f"127.0.0.1:{outer}:{inner}")),
            image,
        )  # fmt: skip
        self.wait_booted()

    def _engine_settings(self) -> Path:
        """Two hosts made from one disk have containers with the same ids, so their control groups need other names."""
        path = self.pool.folder / f"{self.name}.engine.json"
        pools = [{"base": "10.200.0.0/16", "size": 24}]
        path.write_text(
            json.dumps({"bip": "10.201.0.1/24", "cgroup-parent": f"/{self.name}", "default-address-pools": pools})
        )
        return path

    def boot(self) -> None:
        """Switch the host on; returns as soon as it can be asked something."""
        self._mount()
        self._first_process = None
        docker("start", self.name)
        self.wait_booted()

    def wait_booted(self) -> None:
        """Wait until the engine of the host answers."""
        deadline = time.monotonic() + _BOOT_SECONDS
        while True:
            try:
                self.run("docker", "version", "--format", "{{.Server.Version}}")
                return
            except BuildError as error:
                if time.monotonic() > deadline:
                    raise HostError(f"{self.name} does not come up: {error}") from None
            time.sleep(0.3)

    def cut_power(self) -> None:
        """Everything stops at this instant, and what was not written to the disk is lost."""
        kept = self.disk.with_suffix(".cut")
        # nobody is told anything any more that is not on the disk at the instant of the copy
        _run("ip", "link", "set", "dev", self._interface(), "down")
        self.save_disk(kept)
        docker("kill", self.name)
        self._unmount()
        kept.rename(self.disk)

    def _interface(self) -> str:
        """This machine's end of the cable to the host."""
        number = self.run("cat", "/sys/class/net/eth0/iflink")
        return next(
            path.parent.name for path in Path("/sys/class/net").glob("*/ifindex") if path.read_text().strip() == number
        )

    def kill(self) -> None:
        """Everything stops at this instant; the disk keeps what was written to the page cache."""
        with suppress(BuildError):  # it is off already
            docker("kill", self.name)

    def stop(self) -> None:
        """Switch it off in good order."""
        docker("stop", "--time", "120", self.name)
        self._unmount()

    def remove(self) -> None:
        """The container and its disk."""
        with suppress(BuildError):
            docker("rm", "--force", "--volumes", self.name)
        self._unmount()
        self.disk.unlink(missing_ok=True)
        with suppress(OSError):
            self.mount.rmdir()

    # what is done on it

    def run(self, *command: str) -> str:
        """Run a command on the host as root; its standard output.

        :raises BuildError: when it fails
        """
        done = subprocess.run(
            self._inside(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = (done.stdout + done.stderr).strip().splitlines()[-15:]
            raise BuildError(f"{command[0]} ended with exit code {done.returncode}:\n" + "\n".join(said))
        return done.stdout.strip()

    def _inside(self, command: tuple[str, ...]) -> list[str]:
        """A command in the host's namespaces; a tenth of what `docker exec` takes, and faults need many."""
        if self._first_process is None:
            self._first_process = docker("inspect", "--format", "{{.State.Pid}}", self.name)
        return ["nsenter", "--target", self._first_process, *_NAMESPACES, "--", "env", "-i", *_ENVIRONMENT, *command]

    def popen(self, *command: str) -> subprocess.Popen[str]:
        """Start a command on the host as root; the caller waits for it."""
        return subprocess.Popen(
            self._inside(command),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    def load(self, *images: str) -> None:
        """Bring images of this machine into the host's engine."""
        with subprocess.Popen([DOCKER or "docker", "save", *images], stdout=subprocess.PIPE) as save:
            subprocess.run(
                [DOCKER or "docker", "exec", "-i", self.name, "docker", "load"],
                stdin=save.stdout, check=True, capture_output=True,
            )  # fmt: skip


def image() -> str:
    """The image of hosts, which is made where it is missing."""
    base_images.build_all(("host",))
    return base_images.image("host")
