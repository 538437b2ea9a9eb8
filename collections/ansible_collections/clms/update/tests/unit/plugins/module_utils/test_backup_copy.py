# SPDX-License-Identifier: GPL-3.0-or-later
"""A second copy of a backup on a drive: what is looked at before anything is copied."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters import backup_store
from ansible_collections.clms.update.plugins.module_utils.adapters.files import file_system_of
from ansible_collections.clms.update.plugins.module_utils.disk import Mount
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

FOUR_GB = 2**32


def mountinfo(path: Path, kind: str) -> str:
    """A line of proc(5)'s table for the file system of a folder, after one of another one."""
    device = path.stat().st_dev
    return (
        "22 1 0:1 / /proc rw,nosuid shared:1 - proc proc rw\n"
        f"36 35 {os.major(device)}:{os.minor(device)} / /media/stick rw,relatime shared:2 - {kind} /dev/sdb1 rw\n"
    )


@pytest.mark.parametrize("kind", ["vfat", "ext4", "fuse.sshfs"])
def test_the_kind_of_a_file_system(tmp_path: Path, kind: str) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(mountinfo(tmp_path, kind))
    assert file_system_of(tmp_path, table) == kind


def test_a_file_system_that_is_not_in_the_table(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text("damaged\n")
    assert file_system_of(tmp_path, tmp_path / "mountinfo") == ""


def test_the_kind_of_a_real_one() -> None:
    assert file_system_of(Path("/proc")) == "proc"


@pytest.mark.parametrize(
    ("kind", "size", "free", "code"),
    [
        pytest.param("vfat", FOUR_GB, 10**12, "BACKUP_PLACE", id="one byte too much for FAT32"),
        pytest.param("vfat", FOUR_GB - 1, 10**12, "", id="just right for FAT32"),
        pytest.param("ext4", FOUR_GB, 10**12, "", id="ext4 takes it"),
        pytest.param("ext4", FOUR_GB, FOUR_GB, "DISK_TOO_SMALL", id="no room"),
    ],
)
def test_what_does_not_fit_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, size: int, free: int, code: str
) -> None:
    monkeypatch.setattr(backup_store, "file_system_of", lambda _: kind)
    monkeypatch.setattr(backup_store, "mount_of", lambda path: Mount(1, str(path), free))
    manifest: Any = SimpleNamespace(files=[SimpleNamespace(bytes=10), SimpleNamespace(bytes=size)])
    if not code:
        backup_store._check_sizes(tmp_path, tmp_path, manifest, ())
        return
    with pytest.raises(ClmsError) as caught:
        backup_store._check_sizes(tmp_path, tmp_path, manifest, ())
    assert (caught.value.code, "FAT32" in caught.value.happened) == (code, kind == "vfat")
