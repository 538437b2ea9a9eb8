# SPDX-License-Identifier: GPL-3.0-or-later
"""Copying the signed repository to the folder that the release server serves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .repository import timestamp_version
from .vendor import write_file


def publish(source: Path, destination: Path) -> list[str]:
    """Copy what is new, so that a client sees a state that verifies at every instant.

    Files come first, then targets and snapshot metadata, then the timestamp, which leads to all of them. A root that
    names another key follows the timestamp that was made with it, which the keys before and after it have signed.
    Nothing is removed: a client may be in the middle of the old state.

    :returns: the paths that were written; empty when everything was there
    :raises ClmsError: PUBLISH_FAILED
    """
    newest, there = (timestamp_version(folder / "metadata" / "timestamp.json") for folder in (source, destination))
    if there > newest:
        detail = f"it holds newer metadata (timestamp {there}) than this vendor folder (timestamp {newest})"
        raise ClmsError("PUBLISH_FAILED", path=destination, detail=detail)
    written = []
    try:
        for path, name in _in_order(source, destination):
            copy = destination / name
            data = (source / path).read_bytes()
            if copy.is_file() and copy.read_bytes() == data:
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_file(copy, data)
            written.append(name.as_posix())
    except OSError as error:
        raise ClmsError("PUBLISH_FAILED", path=destination, detail=error.strerror) from None
    return written


def _in_order(source: Path, destination: Path) -> Iterator[tuple[Path, Path]]:
    """What is copied, and under which name."""
    metadata, timestamp = Path("metadata"), Path("metadata/timestamp.json")
    for path in sorted((source / "targets").rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield path.relative_to(source), path.relative_to(source)
    for role in ("targets", "snapshot"):
        for name in _versions(source / metadata, role):
            yield metadata / name, metadata / name
    for name in _versions(source / metadata, "root"):
        bridge = metadata / name.replace("root", "timestamp")
        if not (destination / metadata / name).exists() and (
            timestamp_version(destination / timestamp) < timestamp_version(source / bridge)
        ):
            yield bridge, timestamp
        yield metadata / name, metadata / name
    yield timestamp, timestamp


def _versions(metadata: Path, role: str) -> list[str]:
    """The files of a role, oldest first: a client goes from one root to the next."""
    found = (path.name for path in metadata.iterdir() if re.fullmatch(rf"\d+\.{role}\.json", path.name))
    return sorted(found, key=lambda name: int(name.partition(".")[0]))
