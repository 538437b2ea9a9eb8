# SPDX-License-Identifier: GPL-3.0-or-later
"""The ZIP of a release: the same content gives the same bytes."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .vendor import as_json

CONTENTS = "contents.json"
_SKIPPED = {".git", "__pycache__", "node_modules"}
_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The first time a ZIP can name; real times would make every build different."""


def source_files(folder: Path) -> dict[str, tuple[bytes, bool]]:
    """The files below a source folder: path -> content and whether it can be executed.

    :raises ClmsError: DEFINITION_INVALID for links and other special files, which a school would refuse to unpack
    """
    found: dict[str, tuple[bytes, bool]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if _SKIPPED.intersection(name.parts):
            continue
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            found[name.as_posix()] = (path.read_bytes(), bool(mode & 0o100))
        elif not stat.S_ISDIR(mode):
            raise ClmsError("DEFINITION_INVALID", path=path, detail="the source holds something that is no file")
    return found


def pack(files: Mapping[str, tuple[bytes, bool]]) -> bytes:
    """A ZIP of ``files`` and, first, ``contents.json`` with size and SHA-256 of each of them."""
    contents = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, (data, _executable) in sorted(files.items())
    }
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        for name, (data, executable) in [(CONTENTS, (as_json({"files": contents}), False)), *sorted(files.items())]:
            info = zipfile.ZipInfo(name, _EARLIEST)
            info.create_system = 3  # Unix, whatever this runs on
            info.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data, compresslevel=9)
    return output.getvalue()
