# SPDX-License-Identifier: GPL-3.0-or-later
"""The docker command line, as the scripts that build test images use it. Standard library only."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# Debian's client fits Debian's engine; a newer one elsewhere on the PATH builds through plugins that may be missing.
DOCKER = "/usr/bin/docker" if os.access("/usr/bin/docker", os.X_OK) else shutil.which("docker")


class BuildError(Exception):
    """An image cannot be built; the text is one sentence with a remedy."""


def docker(*arguments: str) -> str:
    """Run ``docker`` and give its standard output without the last newline.

    :raises BuildError: when it fails; the text has the last lines that it wrote
    """
    if DOCKER is None:
        raise BuildError("There is no docker command here; install it with: apt-get install docker.io")
    done = subprocess.run([DOCKER, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-15:]
        raise BuildError(f"docker {arguments[0]} failed with exit code {done.returncode}:\n" + "\n".join(said))
    return done.stdout.strip()


def require_engine() -> None:
    """:raises BuildError: when no Docker engine answers."""
    try:
        docker("version", "--format", "{{.Server.Version}}")
    except BuildError as error:
        if DOCKER is None:
            raise
        raise BuildError(
            "No Docker engine answers; start it with `systemctl start docker` (or `dockerd &`) and check `docker info`."
        ) from error


def label(image: str, name: str) -> str | None:
    """The label ``name`` of a local image: empty when it has no such label, None when there is no such image."""
    try:
        return docker("image", "inspect", "--format", f'{{{{index .Config.Labels "{name}"}}}}', image)
    except BuildError:
        return None


def build(tag: str, dockerfile: Path, context: Path, labels: Mapping[str, str]) -> None:
    """``docker build`` from the files in ``context``.

    :raises BuildError: when a step of the Dockerfile fails
    """
    named = [part for item in labels.items() for part in ("--label", "=".join(item))]
    docker("build", "--quiet", "--tag", tag, "--file", str(dockerfile), *named, str(context))


@contextmanager
def only_one(name: str) -> Iterator[None]:
    """Wait until no other process on this machine is in the section ``name``."""
    with (Path(tempfile.gettempdir()) / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
