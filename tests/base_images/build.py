#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the base images of the tests and of the demo from Debian packages; no image registry is needed.

``clms-base:bookworm`` is a minimal Debian made by debootstrap; the others are built from it. What exists and is
up to date is left alone, so a second call takes a second.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

if not __package__:  # started as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.base_images import docker_cli
from tests.base_images.docker_cli import BuildError, docker

HERE = Path(__file__).resolve().parent
SUITE = "bookworm"
ROOT_IMAGE = f"clms-base:{SUITE}"
NAMES = ("python", "nginx", "mariadb", "haproxy", "registry", "host")
HASH_LABEL = "clms.base.hash"

# Small files that make a Debian tree behave in a container.
_TREE_FILES = {
    "usr/sbin/policy-rc.d": "#!/bin/sh\n# services are not started when their package is installed\nexit 101\n",
    "etc/dpkg/dpkg.cfg.d/container": "force-unsafe-io\n"
    "path-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n",
    "etc/apt/apt.conf.d/container": 'Acquire::Languages "none";\nAPT::Install-Recommends "false";\n'
    'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n',
}
_LEFT_OUT = ("./var/cache/apt/*", "./var/lib/apt/lists/*", "./var/log/*", "./dev/*", "./usr/share/doc/*",
             "./usr/share/man/*", "./usr/share/locale/*")  # fmt: skip


def image(name: str) -> str:
    """The tag of the base image ``name``."""
    return f"clms-base-{name}:{SUITE}"


def _make_root() -> None:
    debootstrap = shutil.which("debootstrap", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if debootstrap is None:
        raise BuildError("debootstrap is missing; install it with: apt-get install debootstrap")
    if os.geteuid() != 0:
        raise BuildError("debootstrap needs root; run this with sudo.")
    with tempfile.TemporaryDirectory(prefix="clms-debootstrap-") as folder:
        tree = Path(folder) / "tree"
        log = Path(folder) / "log"
        with log.open("w") as output:
            command = [debootstrap, "--variant=minbase", SUITE, str(tree)]
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            said = "\n".join(log.read_text().splitlines()[-10:])
            raise BuildError(f"debootstrap failed; check that Debian's mirror can be reached, then try again:\n{said}")
        for path, text in _TREE_FILES.items():
            (tree / path).write_text(text)
        (tree / "usr/sbin/policy-rc.d").chmod(0o755)
        archive = Path(folder) / "tree.tar"
        left_out = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
        subprocess.run(["tar", "-C", tree, "--numeric-owner", *left_out, "-cf", archive, "."], check=True)
        docker("import", "--change", "ENV LANG=C.UTF-8", "--change", 'CMD ["bash"]', str(archive), ROOT_IMAGE)


def _make(name: str, dockerfile: Path, wanted: str) -> None:
    with tempfile.TemporaryDirectory(prefix="clms-base-") as empty:
        docker_cli.build(image(name), dockerfile, Path(empty), {HASH_LABEL: wanted})


def _report(tag: str, wanted: bool, make: Callable[..., None], *arguments: object) -> None:
    if wanted:
        started = time.monotonic()
        make(*arguments)
        print(f"built {tag} ({time.monotonic() - started:.1f} s)", flush=True)


def build_all(names: tuple[str, ...] = NAMES) -> None:
    """Make every base image in ``names`` that is missing or out of date; one line on standard output for each.

    :raises BuildError: with what to do about it
    """
    docker_cli.require_engine()
    with docker_cli.only_one("clms-base-images"):
        _report(ROOT_IMAGE, docker_cli.label(ROOT_IMAGE, HASH_LABEL) is None, _make_root)
        root_id = docker("image", "inspect", "--format", "{{.Id}}", ROOT_IMAGE)
        for name in names:
            dockerfile = HERE / f"{name}.Dockerfile"
            wanted = hashlib.sha256(root_id.encode() + dockerfile.read_bytes()).hexdigest()
            stale = docker_cli.label(image(name), HASH_LABEL) != wanted
            _report(image(name), stale, _make, name, dockerfile, wanted)


def main() -> int:
    """The command line; the exit code is 0 when all images are there."""
    try:
        build_all()
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
