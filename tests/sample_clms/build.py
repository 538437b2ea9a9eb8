#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the images of the sample CLMS, and say what the release manager needs to publish a release of it.

All releases come from one source tree: the common files, with the few that a release has of its own laid over them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

if not __package__:  # started as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.base_images import build as base_images
from tests.base_images import docker_cli
from tests.base_images.docker_cli import BuildError, docker
from tests.sample_clms.releases import RELEASES, SampleRelease

HERE = Path(__file__).resolve().parent
HASH_LABEL = "clms.sample.hash"
VERSION_LABEL = "org.opencontainers.image.version"
MYSQL_TAG = "clms-sample/mysql:1"
_BASE = {"backend": "python", "frontend": "nginx", "mysql": "mariadb"}


def tags(version: str) -> dict[str, str]:
    """service -> tag of its image; the database's is the same for all releases."""
    return {
        "backend": f"clms-sample/backend:{version}",
        "frontend": f"clms-sample/frontend:{version}",
        "mysql": MYSQL_TAG,
    }


def _backend_context(release: SampleRelease, context: Path) -> None:
    own = context / "release"
    for overlay in release.backend:
        _copy(HERE / "backend/overlays" / overlay, own)
    (own / "migrations").mkdir()
    for migration in release.migrations:
        shutil.copy(HERE / "backend/migrations" / f"{migration}.sql", own / "migrations")
    (own / "release.json").write_text(json.dumps({"version": release.version}) + "\n")
    for part in ("app", "bin"):
        _copy(HERE / "backend" / part, context / part)


def _frontend_context(release: SampleRelease, context: Path) -> None:
    page = (HERE / "frontend/index.html").read_text().replace("@VERSION@", release.version)
    site = context / "release/usr/share/clms"
    site.mkdir(parents=True)
    (site / "index.html").write_text(page)
    for overlay in release.frontend:
        _copy(HERE / "frontend/overlays" / overlay, context / "release")
    for part in ("nginx", "site"):
        _copy(HERE / "frontend" / part, context / part)


def _mysql_context(release: SampleRelease, context: Path) -> None:
    _copy(HERE / "mysql", context)  # the same for every release


_CONTEXTS: dict[str, Callable[[SampleRelease, Path], None]] = {
    "backend": _backend_context,
    "frontend": _frontend_context,
    "mysql": _mysql_context,
}


def _copy(source: Path, to: Path) -> None:
    shutil.copytree(source, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


def _write_context(service: str, release: SampleRelease, context: Path) -> None:
    """Write all that an image is built from."""
    context.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / service / "Dockerfile", context)
    _CONTEXTS[service](release, context)
    _even_modes(context)


def _even_modes(context: Path) -> None:
    # A checkout under a strict umask must not give an image that its unprivileged user cannot read.
    for path in context.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _hash(context: Path, base_id: str) -> str:
    found = hashlib.sha256(base_id.encode())
    for path in sorted(path for path in context.rglob("*") if path.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        found.update(f"{path.relative_to(context)} {content}\n".encode())
    return found.hexdigest()


def _build(service: str, tag: str, release: SampleRelease) -> bool:
    """Build one image unless it is up to date; gives whether it was built."""
    with tempfile.TemporaryDirectory(prefix="clms-sample-") as folder:
        context = Path(folder)
        _write_context(service, release, context)
        base_id = docker("image", "inspect", "--format", "{{.Id}}", base_images.image(_BASE[service]))
        wanted = _hash(context, base_id)
        if docker_cli.label(tag, HASH_LABEL) == wanted:
            return False
        labels = {HASH_LABEL: wanted, VERSION_LABEL: tag.rpartition(":")[2]}
        docker_cli.build(tag, context / "Dockerfile", context, labels)
    return True


def build_releases(versions: Iterable[str]) -> None:
    """Build the images of several releases, the base images first where they are missing.

    :raises BuildError: with what to do about it
    """
    base_images.build_all(tuple(_BASE.values()))
    with docker_cli.only_one("clms-sample-images"):
        wanted: dict[str, tuple[str, SampleRelease]] = {}
        for version in versions:
            release = RELEASES[version]
            made = {service: tag for service, tag in tags(version).items() if service not in release.built}
            wanted.update({tag: (service, release) for service, tag in made.items()})
        for tag, (service, release) in wanted.items():
            started = time.monotonic()
            if _build(service, tag, release):
                print(f"built {tag} ({time.monotonic() - started:.1f} s)", flush=True)


def build_release(version: str) -> dict[str, str]:
    """Build the images of one release; gives service -> local tag.

    :raises BuildError: with what to do about it
    """
    build_releases([version])
    return tags(version)


def write_source(version: str, folder: Path) -> bool:
    """Write the source of what schools build themselves; gives whether there is any."""
    release = RELEASES[version]
    shutil.rmtree(folder, ignore_errors=True)
    for service in release.built:
        _write_context(service, release, folder / service)
    return bool(release.built)


def release_definition(version: str) -> dict[str, Any]:
    """What ``clms-release build`` takes as a file for this release. The images need not be built yet."""
    release = RELEASES[version]
    images = tags(version)
    del images["mysql"]  # as with the real product, the database's image does not come with a release
    return {
        "version": release.version,
        "sequence": release.sequence,
        "channel": release.channel,
        "changelog": release.changelog,
        "critical": False,
        "minVersion": release.min_version,
        "estimatedMinutes": release.estimated_minutes,
        "breakingChanges": list(release.breaking),
        "migration": release.migration,
        "health": release.health,
        "smoke": release.smoke,
        "smokeCleanUp": release.smoke_clean_up,
        "images": {service: tag for service, tag in images.items() if service not in release.built},
        "builds": {
            service: {
                "source": f"source/{service}",
                "arguments": {"API_URL": "${api_url}", "VERSION": release.version},
                "bases": {"BASE_IMAGE": base_images.image(_BASE[service])},
                "size": 50_000_000,
            }
            for service in release.built
        },
    }


def main() -> int:
    """The command line; the exit code is 0 when all images are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"one of {', '.join(RELEASES)}")
    parser.add_argument("--all", action="store_true", help="all releases")
    parser.add_argument("--definition", metavar="VERSION", help="build nothing; print what clms-release build takes")
    arguments = parser.parse_args()
    versions = list(RELEASES) if arguments.all else arguments.versions
    asked = [arguments.definition] if arguments.definition else versions
    unknown = [version for version in asked if version not in RELEASES]
    if unknown or not asked:
        parser.error(f"there is no release {unknown[0]}" if unknown else "name a release, or --all")
    if arguments.definition:
        print(json.dumps(release_definition(arguments.definition), indent=2))
        return 0
    try:
        build_releases(versions)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
