# SPDX-License-Identifier: GPL-3.0-or-later
"""How bundles are spoilt."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils import bundle as format_

from .desk import Desk


def resigned(desk: Desk, path: Path, change: Callable[[dict[str, tuple[zipfile.ZipInfo, bytes]]], None]) -> None:
    """A bundle with other members, signed by the vendor all the same."""
    with zipfile.ZipFile(path) as archive:
        members = {entry.filename: (entry, archive.read(entry)) for entry in archive.infolist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in members.values():
            archive.writestr(entry, data)
    desk.seal(path)


def contents(**fields: Any) -> Callable[[Any], None]:
    def change(members: dict[str, tuple[zipfile.ZipInfo, bytes]]) -> None:
        entry, data = members["contents.json"]
        members["contents.json"] = (entry, json.dumps({**json.loads(data), **fields}).encode())

    return change


def unsigned(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"PK\x05\x06") + 20] + b"\0\0")


def altered_seal(change: Callable[[dict[str, Any]], None]) -> Callable[[Path, Desk], None]:
    def spoil(path: Path, desk: Desk) -> None:
        _, seal = format_.split(path.read_bytes()[-format_.MAX_TAIL :], path.stat().st_size)
        fields = {"signature": dict(seal.signature), "roots": list(seal.roots)}
        change(fields)
        unsigned(path)
        text = json.dumps(fields).encode() + b"\n"
        comment = text + b"clms-bundle-1 %05d\n" % (len(text) + 20)
        data = path.read_bytes()
        path.write_bytes(data[:-2] + format_.length_field(comment) + comment)

    return spoil
