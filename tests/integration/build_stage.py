# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds with a real engine, and what is left of them."""

from __future__ import annotations

import io
import secrets
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine, wait_until
from ansible_collections.clms.update.plugins.module_utils.adapters.image_build import build_image

LABEL = "clms.test.build"
SHELL_IMAGE = "clms-base-haproxy:bookworm"


def context(*steps: str, files: dict[str, bytes] | None = None) -> io.BytesIO:
    """A build context whose Dockerfile has these steps after its base."""
    text = "\n".join(("ARG BASE_IMAGE", "FROM ${BASE_IMAGE}", *steps, "")).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in {"Dockerfile": text, **(files or {})}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    packed.seek(0)
    return packed


@dataclass
class Bench:
    """Builds on an image that nobody else builds on."""

    client: docker.DockerClient
    base: str
    record: Path
    name: str = field(default_factory=lambda: f"clms-test-{secrets.token_hex(4)}/built:1")

    def build(self, *steps: str, seconds: float = 600, files: dict[str, bytes] | None = None) -> str:
        """Build these steps; the id of the image."""
        engine = Engine()
        with closing(engine.client):
            return build_image(
                engine,
                context(*steps, files=files),
                name=self.name,
                arguments={"BASE_IMAGE": self.base},
                label=(LABEL, self.name),
                record=self.record,
                seconds=seconds,
            )

    def images(self) -> set[str]:
        """The base and all images that were made on it."""
        parents = {image["Id"]: image["ParentId"] for image in _steadily(lambda: self.client.api.images(all=True))}
        found = {self.base}
        while more := {image for image, parent in parents.items() if parent in found} - found:
            found |= more
        return found

    def containers(self) -> dict[str, str]:
        """The containers of these images, running or not: id -> command."""
        images = self.images()
        listed = _steadily(lambda: self.client.api.containers(all=True))
        return {found["Id"]: found["Command"] for found in listed if found["ImageID"] in images}

    def runs(self, words: str) -> bool:
        """Whether a container runs right now whose command has these words, of nobody else's builds."""
        return any(words in found["Command"] for found in _steadily(lambda: self.client.api.containers()))

    def assert_nothing_left(self) -> None:
        """No image without a name, no container, and nothing to remember."""
        parts = {image: self.client.api.history(image) for image in self.images() - {self.base}}
        named = {image for image, history in parts.items() if history[0]["Tags"]}
        below = {step["Id"] for image in named for step in parts[image]}
        assert parts.keys() <= named | below
        assert self.containers() == {}
        assert not self.record.exists()

    def remove(self) -> None:
        """Remove what was built, and what a failed test has left."""
        for container in self.containers():
            self.client.api.remove_container(container, force=True)
        for image in self.images() - {self.base}:
            with suppress(docker.errors.APIError):
                self.client.images.remove(image, force=True)


def _steadily(ask: Callable[[], list[dict[str, str]]]) -> list[dict[str, str]]:
    """Ask the engine for a list; it fails where another test removes something meanwhile."""
    for _ in range(20):
        with suppress(docker.errors.APIError):
            return ask()
        time.sleep(0.1)
    return ask()


class SmallEngine:
    """An engine of its own, whose storage is a file system of a few megabytes; DOCKER_HOST names it meanwhile."""

    client: docker.DockerClient

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.disk = folder / "disk"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        folder = self._folder
        places = {"data-root": self.disk, "exec-root": folder / "exec", "pidfile": folder / "pid", "bridge": "none",
                  "config-file": folder / "settings.json", "host": f"unix://{folder}/socket", "iptables": "false",
                  "ip6tables": "false", "containerd-namespace": folder.name,
                  "containerd-plugins-namespace": f"{folder.name}-plugins"}  # fmt: skip
        (folder / "settings.json").write_text("{}")
        # whoever ends the first process of a namespace ends them all, with whatever they have mounted
        command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
                   "dockerd", *(f"--{name}={value}" for name, value in places.items())]  # fmt: skip
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        process = self._process
        if not wait_until(lambda: (folder / "socket").exists() or process.poll() is not None, seconds=60):
            raise AssertionError(self.log())
        self.client = docker.DockerClient.from_env(timeout=120, version="auto")

    def log(self) -> str:
        """What it has said last."""
        return (self._folder / "log").read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """It ends at this instant, with its containers; it can be started again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.client.close()
        assert wait_until(self._is_gone, seconds=60)
        # as after a power cut: what lies in /run elsewhere
        for name in ("socket", "pid"):
            (self._folder / name).unlink(missing_ok=True)
        shutil.rmtree(self._folder / "exec", ignore_errors=True)

    def _is_gone(self) -> bool:
        return bool(subprocess.run(["pgrep", "-f", self._folder], stdout=subprocess.DEVNULL, check=False).returncode)


@contextmanager
def small_engine(megabytes: int) -> Iterator[SmallEngine]:
    """An engine with so much storage."""
    folder = Path(tempfile.mkdtemp(prefix="clms-"))  # not tmp_path: the path of a socket is short
    engine = SmallEngine(folder)
    engine.disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "clms-test", engine.disk], check=True)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", f"unix://{folder}/socket")
            engine.start()
            try:
                yield engine
            finally:
                engine.stop()
    finally:
        _unmount(engine.disk)
        shutil.rmtree(folder)


def _unmount(folder: Path) -> None:
    """Unmount it as soon as the last process has gone away."""

    def done() -> bool:
        return not subprocess.run(["umount", folder], capture_output=True, check=False).returncode

    assert wait_until(done, seconds=60)
