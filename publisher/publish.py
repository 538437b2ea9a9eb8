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
    """Copy what is new, so that a client sees the old state or the new one at every instant.

    Files come first, then root, targets and snapshot metadata, and the timestamp, which leads to all of them, last.
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
        for path in _in_order(source):
            copy = destination / path
            data = (source / path).read_bytes()
            if copy.is_file() and copy.read_bytes() == data:
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_file(copy, data)
            written.append(path.as_posix())
    except OSError as error:
        raise ClmsError("PUBLISH_FAILED", path=destination, detail=error.strerror) from None
    return written


def _in_order(source: Path) -> Iterator[Path]:
    for path in sorted((source / "targets").rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield path.relative_to(source)
    for role in ("root", "targets", "snapshot"):
        for path in sorted((source / "metadata").iterdir()):
            if re.fullmatch(rf"\d+\.{role}\.json", path.name):
                yield path.relative_to(source)
    yield Path("metadata/timestamp.json")
