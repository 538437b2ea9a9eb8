# SPDX-License-Identifier: GPL-3.0-or-later
"""The same school once more, for the operator who updates it with ``by_hand.sh``."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import wait_until
from tests.base_images.docker_cli import docker

from .ours import BenchError, Ours

SCRIPT = Path(__file__).with_name("by_hand.sh")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_COPIED = {"data": "mysql-data", "uploads": "uploads", "generated": "generated"}
"""volume of the operator's -> volume of the description"""


class ByHand:
    """Containers ``<prefix>-hand-a-…`` of version 1.0.0, and ``<prefix>-hand-b-…`` of the new one after an update."""

    def __init__(self, ours: Ours) -> None:
        self.prefix = f"{ours.stand.prefix}-hand"
        self.backups = ours.home.parent / "by-hand"
        self.secrets = ours.etc / "secrets"
        self.registry = str(ours.stand.settings["vendor"]["registry"])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._ours = ours

    def _name(self, service: str) -> str:
        return f"{self.prefix}-a-{service}"

    def install(self) -> None:
        """Install it with a copy of the data of ours, which must be stopped."""
        engine, slot = self._ours.engine, self._ours.slot()
        docker("network", "create", self.prefix)
        docker("volume", "create", f"{self.prefix}-logs")
        for own, theirs in _COPIED.items():
            docker("volume", "create", f"{self.prefix}-a-{own}")
            source, target = engine.volume_path(slot.volumes[theirs]), engine.volume_path(f"{self.prefix}-a-{own}")
            subprocess.run(["cp", "-a", "--reflink=auto", f"{source}/.", f"{target}/"], check=True)
        volumes = [f"{self.prefix}-a-uploads:/app/uploads", f"{self.prefix}-a-generated:/app/generated"]
        volumes += [f"{self.prefix}-logs:/app/logs"]
        self._create("mysql", ["--env-file", f"{self.secrets}/mysql.env"], [f"{self.prefix}-a-data:/var/lib/mysql"])
        self._create("backend", ["--env-file", f"{self.secrets}/backend.env"], volumes)
        self._create("frontend", ["--publish", f"127.0.0.1:{self.port}:3000"], [])

    def _create(self, service: str, options: list[str], volumes: list[str]) -> None:
        options += [part for volume in volumes for part in ("--volume", volume)]
        docker(
            "create", "--name", self._name(service), "--network", self.prefix, "--network-alias", service,
            *options, self._ours.slot().services[service].image,
        )  # fmt: skip

    def start(self) -> None:
        """Start version 1.0.0."""
        docker("start", self._name("mysql"))
        ping = ["/usr/bin/docker", "exec", self._name("mysql"), "mariadb-admin", "ping"]
        if not wait_until(lambda: subprocess.run(ping, capture_output=True, check=False).returncode == 0, seconds=60):
            raise BenchError("The database of the operator's school does not start.")
        docker("start", self._name("backend"), self._name("frontend"))

    def stop(self) -> None:
        """Stop it, so that it takes nothing from what is measured next."""
        for service in ("frontend", "backend", "mysql"):
            docker("stop", "--time", "300", self._name(service))

    def reset(self) -> None:
        """Remove what an update has made."""
        for container in docker("ps", "-aq", "--filter", f"name=^{self.prefix}-b-").split():
            docker("rm", "--force", "--volumes", container)
        for volume in docker("volume", "ls", "-q", "--filter", f"name=^{self.prefix}-b-").split():
            docker("volume", "rm", volume)
        shutil.rmtree(self.backups, ignore_errors=True)

    def update(self, images: dict[str, str], health: str) -> tuple[float, dict[str, float]]:
        """Run the script.

        :param images: service -> image of the new version
        :returns: its wall clock, and its moments (seconds since 1970)
        """
        self.backups.mkdir(mode=0o700)
        settings = {
            "PREFIX": self.prefix,
            "SECRETS": self.secrets,
            "BACKUPS": self.backups,
            "REGISTRY": self.registry,
            "MYSQL": self._ours.slot().services["mysql"].image,
            "BACKEND": images["backend"],
            "FRONTEND": images["frontend"],
            "HEALTH": health,
            "PORT": self.port,
        }
        command = [str(SCRIPT), *(f"{name}={value}" for name, value in settings.items())]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": _PATH})
        seconds = time.monotonic() - began
        if done.returncode:
            raise BenchError(f"by_hand.sh ended with code {done.returncode}:\n{done.stderr.strip()[-2000:]}")
        moments: dict[str, float] = json.loads(done.stdout)
        return seconds, moments
