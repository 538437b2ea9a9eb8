# SPDX-License-Identifier: GPL-3.0-or-later
"""USB drives with files of the vendor: what the rule of the role `school_server` has udev and systemd do.

A loop device stands for the drive, and ext4 for its file system, because kernels of virtual machines know neither USB
nor FAT. The rule is the role's in everything else, and udev and systemd are Debian's.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.base_images.docker_cli import BuildError, build, docker
from tests.stand import host as hosts
from tests.stand.stand import ROOT

RULE = (ROOT / "roles/school_server/templates/clms-update-drives.rules.j2").read_text()
_DOCKERFILE = """
FROM {base}
RUN apt-get update -q && apt-get install -y -q --no-install-recommends udev && rm -rf /var/lib/apt/lists/* \\
 && ln -sf /lib/systemd/system/systemd-udevd.service /etc/systemd/system/systemd-udevd.service \\
 && systemctl mask docker.service docker.socket containerd.service ssh.service systemd-udev-trigger.service
"""
FILE = "clms-1.0.1-amd64.zip"


def run(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class Server:
    """A host with udev and systemd, and a drive."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._drive = folder / "drive.img"
        self.device = ""

    def start(self, image: str, folder: Path) -> None:
        run("truncate", "-s", "32M", self._drive)
        content = folder / "content"
        content.mkdir()
        (content / FILE).write_text("a file of the vendor")
        run("mkfs.ext4", "-q", "-d", content, self._drive)
        self.device = run("losetup", "--find", "--show", self._drive)
        docker("run", "--detach", "--name", self.name, *hosts.RIGHTS, "--volume", "/sys:/sys", image)
        self.wait("systemctl is-active systemd-udevd")
        # it was not there yet when the first process began, which then does not listen to it
        self.does("systemctl daemon-reexec")
        major, minor = run("stat", "--format", "%Hr %Lr", self.device).split()
        self.does(f"test -e {self.device} || mknod {self.device} b {major} {minor}")

    def does(self, script: str) -> str:
        return docker("exec", self.name, "sh", "-c", script)

    def wait(self, script: str) -> str:
        """What a script says as soon as it succeeds."""
        end = time.monotonic() + 60
        while True:
            try:
                return self.does(script)
            except BuildError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def event(self, action: str) -> None:
        """The kernel says something of the drive, and udev has done what it does then."""
        self.does(f"udevadm trigger --settle --action={action} /sys/class/block/{Path(self.device).name}")

    def remove(self) -> None:
        with suppress(BuildError):
            docker("rm", "--force", self.name)
        if self.device:
            run("losetup", "--detach", self.device)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("drive")
    name = f"clms-drives-{folder.parent.name.rpartition('-')[2]}-{time.time_ns() % 10**6}"
    (folder / "Dockerfile").write_text(_DOCKERFILE.format(base=hosts.image()))
    build(name, folder / "Dockerfile", folder, {})
    server = Server(name, folder)
    try:
        server.start(name, folder)
        yield server
    finally:
        server.remove()
        docker("image", "rm", "--force", name)


@pytest.fixture
def rule(server: Server) -> Iterator[None]:
    text = RULE
    for real, here in (('SUBSYSTEMS=="usb", ', ""), ('"vfat|exfat"', '"ext4"')):
        assert text.count(real) == 1
        text = text.replace(real, here)
    path = "/etc/udev/rules.d/85-clms-update-drives.rules"
    server.does(f": > /etc/fstab; cat > {path} <<'END'\n{text}\nEND\nudevadm control --reload")
    yield
    server.event("remove")
    server.does(f"rm {path}; : > /etc/fstab; udevadm control --reload")


def test_a_drive_is_mounted_to_be_read_only(server: Server, rule: None) -> None:
    place = f"/run/media/usb-{Path(server.device).name}"
    server.event("add")
    options = server.wait(f"findmnt --noheadings --output OPTIONS {place}").strip().split(",")
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(options)
    assert server.does(f"cat {place}/{FILE}") == "a file of the vendor"
    with pytest.raises(BuildError, match="Read-only"):
        server.does(f"touch {place}/x")
    server.event("remove")
    server.wait(f"! findmnt {place}")


def test_a_drive_that_fstab_names_is_left_alone(server: Server, rule: None) -> None:
    server.does(f"echo UUID=$(blkid -o value -s UUID {server.device}) /srv/backups ext4 noauto 0 0 > /etc/fstab")
    server.event("add")
    assert "PROGRAM" in server.does(f"udevadm test --action=add /sys/class/block/{Path(server.device).name} 2>&1")
    time.sleep(2)  # no event tells that nothing is mounted
    assert "usb-" not in server.does("systemctl list-units --all --plain --no-legend --type=mount; findmnt --raw")


def test_another_disk_is_none_of_its_business(server: Server) -> None:
    """The rule as it is: what is no USB drive, and no file system of one."""
    device = f"/sys/class/block/{Path(server.device).name}"
    server.does(f"mkdir -p /run/udev/rules.d; cat > /run/udev/rules.d/85-real.rules <<'END'\n{RULE}\nEND\n")
    said = server.does(f"udevadm test --action=add {device} 2>&1; rm /run/udev/rules.d/85-real.rules")
    assert "85-real.rules" in said
    assert "systemd-mount" not in said
    assert "Invalid" not in said
