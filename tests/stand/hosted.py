# SPDX-License-Identifier: GPL-3.0-or-later
"""Schools that are whole hosts: one is installed over ssh, as a vendor's operator would, the others are its copies."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import requests

from tests.base_images.docker_cli import docker

from . import host as hosts
from .host import Host, Pool, Ports
from .stand import BIN, LIBRARIAN, Stand, free_port

NAME = "maple"
"""of the school that is installed, in the inventory ``hosts``"""
INSIDE = Path("/srv/school")
AGENT = "clms-update-agent.service"
SEED = ("--students", "60", "--books", "120", "--loans", "900")

_SERVING_SECONDS = 180
_PROGRAMS_FOR_ALL = """
chmod 711 /root
cd /etc/systemd/system && mkdir -p clms-update-page.service.d
printf '[Service]\\nProtectHome=no\\nPrivateTmp=no\\nReadWritePaths=/tmp\\n' > clms-update-page.service.d/programs.conf
"""
"""where this repository, or its Python, lies below /root or /tmp: no school has its programs there"""


class Hosted:
    """A school on a host of its own."""

    def __init__(self, host: Host, ports: Ports) -> None:
        self.host = host
        self.url = f"http://127.0.0.1:{ports.http}"
        self.ports = ports

    @property
    def folder(self) -> Path:
        """The school's folder as this machine sees it; on the host it is :data:`INSIDE`."""
        return self.host.mount / "school"

    def secret(self, name: str) -> dict[str, Any]:
        """One of the school's secret files."""
        decoded: dict[str, Any] = json.loads((self.folder / "etc/secrets" / name).read_text())
        return decoded

    def clms_update(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``clms-update`` on the host."""
        return self.host.popen(str(BIN / "clms-update"), "--config", str(INSIDE / "etc"), *arguments)

    def command(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run ``clms-update … --json`` on the host; its exit code and its answer."""
        with self.clms_update(*arguments, "--json") as process:
            output, _ = process.communicate()
        return process.returncode, json.loads(output)

    def answers(self) -> bool:
        """Whether CLMS serves: its page, and what the page asks the backend for."""
        try:
            with requests.Session() as session:
                session.trust_env = False
                page = session.get(self.url, timeout=2).status_code
                # without a login: refused by the backend itself, not by the gate
                backend = session.get(f"{self.url}/api/students?limit=1", timeout=2).status_code
        except requests.RequestException:
            return False
        return page == 200 and backend == 401

    def wait_serving(self, seconds: float = _SERVING_SECONDS) -> float:
        """Wait until CLMS serves; the seconds that it took.

        :raises TimeoutError: when it does not
        """
        began = time.monotonic()
        while not self.answers():
            if time.monotonic() - began > seconds:
                raise TimeoutError(f"{self.host.name} did not serve within {seconds:.0f} s")
            time.sleep(0.05)
        return time.monotonic() - began

    def create_user(self, username: str, password: str) -> None:
        """Make a user in CLMS."""
        container = self.host.run("docker", "ps", "--quiet", "--filter", "label=clms.service=backend").split()[0]
        done = subprocess.run(
            ["docker", "exec", "-i", self.host.name, "docker", "exec", "-i", container,
             "clms-create-user", "--username", username, "--role", "LIBRARIAN"],
            input=f"{password}\n", text=True, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise hosts.HostError(f"{username} could not be made: {done.stderr[-300:]}")


class Fleet:
    """The hosts of a stand: a template, and copies of it."""

    def __init__(self, stand: Stand, *, page: bool = False) -> None:
        """:param page: whether the page runs on the schools too"""
        self.stand = stand
        self._page = page
        self.pool = Pool(stand.folder / "pool")
        self._key = stand.folder / "ssh" / "id_ed25519"
        self._image = f"{stand.prefix}-host"
        self._made: list[Host] = []

    @property
    def template(self) -> Path:
        """The disk of a school on 1.0.0 that was switched off in good order."""
        return self.pool.disks / "template.ext4"

    def make_template(self) -> None:
        """Install a school over ssh and keep its disk and its host as they are then."""
        if self.template.exists():
            return
        self.pool.create()
        # a host sees the repository read-only, and would compile it at each start of a program
        folders = [hosts.ROOT / name for name in ("agent", "collections")]
        subprocess.run([BIN / "python", "-m", "compileall", "-q", *folders], check=True)
        self._key.parent.mkdir(mode=0o700, exist_ok=True)
        if not self._key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._key], check=True)
        school = self._school("template", hosts.image(), disk=None)
        host = school.host
        settings = self.stand.settings
        host.load(settings["images"]["mysql"], settings["images"]["gate"])
        if self._page:
            host.run("sh", "-c", _PROGRAMS_FOR_ALL)
        settings["schools"][NAME] = {
            "folder": str(INSIDE),
            "http_port": 8080,
            "ssh_port": school.ports.ssh,
            "ssh_key_file": str(self._key),
            "recovery_recipient": "",
            "page": self._page,
        }
        self.stand.save()
        self.stand.playbook("school", "-e", "clms_version=1.0.0", "--limit", NAME, inventory="hosts")
        smoke = school.secret("smoke.json")
        school.create_user(smoke["username"], smoke["password"])
        login = {"username": LIBRARIAN, "password": "a-password-of-the-tests"}
        (school.folder / "etc/secrets/librarian.json").write_text(json.dumps(login))
        school.create_user(login["username"], login["password"])
        self._seed(school)
        docker("commit", host.name, self._image)
        host.stop()
        host.save_disk(self.template)
        host.remove()

    def _seed(self, school: Hosted) -> None:
        uploads = next((school.host.mount / "docker/volumes").glob("clms-*uploads*/_data"))
        self.stand.command(
            BIN / "python", "tests/sample_clms/seed.py", "--host", "127.0.0.1", "--port", str(school.ports.database),
            "--uploads", uploads, "--defaults-file", school.folder / "etc/secrets/database.cnf", *SEED,
        )  # fmt: skip

    def school(self, name: str, *, extra_mounts: tuple[str, ...] = ()) -> Hosted:
        """A school on a new host, a copy of the template; it serves."""
        school = self._school(name, self._image, disk=self.template, extra_mounts=extra_mounts)
        school.wait_serving()
        return school

    def empty(self, name: str) -> Hosted:
        """A host with an engine and the updater, on which nothing was ever installed."""
        return self._school(name, hosts.image(), disk=None)

    def _school(self, name: str, image: str, *, disk: Path | None, extra_mounts: tuple[str, ...] = ()) -> Hosted:
        ports = Ports(*(free_port("127.0.0.1") for _ in range(3)))
        key = f"{self._key}.pub:/root/.ssh/authorized_keys:ro"
        host = Host(self.pool, f"{self.stand.prefix}-{name}", ports, extra_mounts=(key, *extra_mounts))
        self._made.append(host)
        host.remove()  # what a run that was killed has left
        if disk is None:
            host.make_disk()
        else:
            host.copy_disk(disk)
        host.create(image)
        return Hosted(host, ports)

    def reset(self, school: Hosted, disk: Path) -> None:
        """Bring a school to the state of another disk; it serves."""
        school.host.kill()
        school.host.change_disk(disk)
        school.host.boot()
        school.wait_serving()
        school.host.run("systemctl", "start", AGENT)  # where it is just starting, this waits for it

    def remove_hosts(self) -> None:
        """All hosts that were made; the template stays."""
        for host in self._made:
            host.remove()
        self._made.clear()

    def remove(self) -> None:
        """Everything."""
        self.remove_hosts()
        self.pool.remove()
        subprocess.run(["docker", "image", "rm", "--force", self._image], capture_output=True, check=False)
