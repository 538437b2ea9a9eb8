# SPDX-License-Identifier: GPL-3.0-or-later
"""The ZIP of a release."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import zipfile
from pathlib import Path

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from publisher.package import pack, source_files


def test_source_files(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.sh").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "b" / "run.sh").chmod(0o755)
    (tmp_path / "a.txt").write_bytes(b"a")
    for skipped in (".git", "__pycache__", "b/node_modules"):
        (tmp_path / skipped).mkdir()
        (tmp_path / skipped / "x").touch()
    assert source_files(tmp_path) == {"a.txt": (b"a", False), "b/run.sh": (b"#!/bin/sh\n", True)}


@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "dangling link", "pipe"])
def test_source_files_are_files(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "source" / "x"
    path.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"link to a file": "/etc/passwd", "link to a folder": "/etc", "dangling link": "/no"}[kind])
    with pytest.raises(ClmsError) as caught:
        source_files(tmp_path / "source")
    assert caught.value.code == "DEFINITION_INVALID"


def test_the_zip_lists_its_contents_first() -> None:
    data = pack({"z.sh": (b"#!", True), "a.txt": (b"a" * 1000, False)})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["contents.json", "a.txt", "z.sh"]
        contents = json.loads(archive.read("contents.json"))["files"]
        assert list(contents) == ["a.txt", "z.sh"]
        assert contents["z.sh"] == {"size": 2, "sha256": hashlib.sha256(b"#!").hexdigest()}
        modes = [info.external_attr >> 16 for info in archive.infolist()]
        assert modes == [stat.S_IFREG | mode for mode in (0o644, 0o644, 0o755)]


def test_the_same_content_gives_the_same_bytes() -> None:
    one, two = ("a", (b"1", False)), ("b", (b"2", True))
    assert pack(dict([one, two])) == pack(dict([two, one]))
