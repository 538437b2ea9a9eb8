# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives of images on their way into an engine, with the real zstd and an engine that only reads."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters import image_archive
from ansible_collections.clms.update.plugins.module_utils.adapters.image_archive import TooLargeError, load_stream
from ansible_collections.clms.update.plugins.module_utils.adapters.pipes import ArchiveError

CONFIG = b'{"architecture": "amd64"}'
DIGEST = "sha256:" + hashlib.sha256(CONFIG).hexdigest()


def archive(**more: bytes) -> bytes:
    """What ``docker save`` writes of an image."""
    target = io.BytesIO()
    manifest = json.dumps([{"Config": "config.json"}]).encode()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, data in {"config.json": CONFIG, "manifest.json": manifest, **more}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def packed(data: bytes) -> io.BytesIO:
    return io.BytesIO(subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout)


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the engine has been given."""
    command = tmp_path / "docker"
    command.write_text(f"#!/bin/sh\nexec cat > {tmp_path}/loaded\n")
    command.chmod(0o755)
    monkeypatch.setattr(image_archive, "DOCKER", str(command))
    return tmp_path / "loaded"


@pytest.mark.parametrize("most", [None, 1_000_000])
def test_all_of_it_comes_to_the_engine(loaded: Path, most: int | None) -> None:
    data = archive(layer=bytes(500_000))
    assert load_stream(packed(data), most) == DIGEST
    assert loaded.read_bytes() == data


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(archive(layer=bytes(50_000_000)), id="a layer"),
        pytest.param(archive() + bytes(50_000_000), id="behind the archive"),
        pytest.param(bytes(50_000_000), id="no archive"),
    ],
)
def test_a_bomb_is_not_passed_on(loaded: Path, data: bytes) -> None:
    with pytest.raises(TooLargeError, match="more than 1000000 bytes"):
        load_stream(packed(data), 1_000_000)
    assert not loaded.exists() or loaded.stat().st_size <= 1_000_000


@pytest.mark.parametrize("data", [b"no archive", archive()[:1000]], ids=["text", "cut off"])
def test_what_is_no_archive_of_an_image(loaded: Path, data: bytes) -> None:
    with pytest.raises(ArchiveError):
        load_stream(packed(data), 1_000_000)
