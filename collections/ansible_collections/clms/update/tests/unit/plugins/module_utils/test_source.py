# SPDX-License-Identifier: GPL-3.0-or-later
"""Source in a package: what comes out of it to be built, and what refuses it."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters import source
from ansible_collections.clms.update.plugins.module_utils.adapters.source import SourceError, write_context

FILE = stat.S_IFREG | 0o644
GOOD = {"source/web/Dockerfile": b"FROM scratch\n", "source/web/app/run": b"#!", "source/other/x": b"no"}


def package(
    path: Path,
    files: Mapping[str, bytes] = GOOD,
    *,
    modes: Mapping[str, int] = {},
    contents: Any = None,
    listed: Mapping[str, Any] = {},
    twice: str = "",
) -> Path:
    described = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    described.update(listed)
    table = contents if contents is not None else json.dumps({"files": described}).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        archive.writestr("contents.json", table)
        for name, data in [*files.items(), *([(twice, b"second")] if twice else [])]:
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = modes.get(name, FILE) << 16
            archive.writestr(info, data)
    return path


def unpacked(path: Path) -> dict[str, tuple[bytes, int]]:
    output = io.BytesIO()
    count = write_context(path, "source/web", output)
    output.seek(0)
    with tarfile.open(fileobj=output) as archive:
        found = {}
        for entry in archive:
            assert entry.isreg()
            assert (entry.uid, entry.gid, entry.mtime) == (0, 0, 0)
            content = archive.extractfile(entry)
            assert content is not None
            found[entry.name] = (content.read(), entry.mode)
    assert len(found) == count
    return found


def test_what_is_built_from(tmp_path: Path) -> None:
    modes = {"source/web/app/run": stat.S_IFREG | 0o4755}
    assert unpacked(package(tmp_path / "p.zip", modes=modes)) == {
        "Dockerfile": (b"FROM scratch\n", 0o644),
        "app/run": (b"#!", 0o755),
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"files": {"source/web/x": b""}}, "no Dockerfile", id="no-dockerfile"),
        pytest.param({"contents": b"{"}, "cannot be read", id="no-contents"),
        pytest.param({"contents": b"[" * 100_000}, "cannot be read", id="nested-contents"),
        pytest.param({"contents": b'{"files": []}'}, "cannot be read", id="contents-of-another-form"),
        pytest.param({"contents": b'{"files": {}}'}, "cannot be read", id="not-listed"),
        pytest.param({"twice": "source/web/Dockerfile"}, "twice", id="twice"),
        pytest.param(
            {"listed": {"source/web/app/run": {"size": 2, "sha256": "0" * 64}}}, "is not what", id="another-content"
        ),
        pytest.param(
            {"listed": {"source/web/app/run": {"size": 1, "sha256": "0" * 64}}}, "too large", id="larger-than-listed"
        ),
        pytest.param(
            {"listed": {"source/web/app/run": {"size": 3_000_000_000, "sha256": "0" * 64}}}, "from 0 to", id="huge"
        ),
        pytest.param({"modes": {"source/web/app/run": stat.S_IFLNK | 0o777}}, "no regular file", id="link"),
        pytest.param({"modes": {"source/web/app/run": stat.S_IFCHR | 0o644}}, "no regular file", id="device"),
        *(
            pytest.param({"files": {**GOOD, f"source/web/{name}": b"x"}}, "with the name", id=f"name-{number}")
            for number, name in enumerate(["../x", "a/../../x", "./x", "a//b", "a\\b", "a\nb", "a/", "\u202ex"])
        ),
    ],
)
def test_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SourceError) as caught:
        write_context(package(tmp_path / "p.zip", **changes), "source/web", io.BytesIO())
    assert words in str(caught.value)


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_MAX_FILES", 1)
    with pytest.raises(SourceError, match="too many"):
        write_context(package(tmp_path / "p.zip"), "source/web", io.BytesIO())


@pytest.mark.parametrize("length", [0, 1, 30, 100, -1, -30])
def test_damaged(tmp_path: Path, length: int) -> None:
    path = package(tmp_path / "p.zip")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(SourceError):
        write_context(path, "source/web", io.BytesIO())
