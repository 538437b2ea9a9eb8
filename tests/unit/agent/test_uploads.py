# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that the page was given: taken in or refused, and gone afterwards."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import files
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.told import Told


@pytest.fixture
def school(tmp_path: Path) -> Any:
    (tmp_path / "uploads").mkdir()
    Journal(tmp_path, create=True).close()
    return SimpleNamespace(home=tmp_path, reserve_bytes=0, upload_folder=tmp_path / "uploads")


def newest_event(school: Any) -> tuple[str, str]:
    with closing(Journal(school.home)) as journal:
        (event,) = journal.events()
        return event["type"], event["message"]


@pytest.mark.parametrize("refused", [False, True])
def test_an_upload_is_gone_afterwards(school: Any, monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    upload = school.upload_folder / "clms.zip"
    upload.write_bytes(b"x")

    def import_file(_: Any, path: Path) -> Any:
        assert path == upload
        assert path.exists()
        if refused:
            raise ClmsError("BUNDLE_REFUSED", path=path, detail="no")
        return SimpleNamespace(as_dict=lambda: {"version": "1.0.1"}, told=Told("Version 1.0.1 was taken in.", "", {}))

    monkeypatch.setattr(files.offline, "import_file", import_file)
    if refused:
        with pytest.raises(ClmsError) as caught:
            files.import_upload(school, "clms.zip")
        assert newest_event(school) == ("FILE_REFUSED", str(caught.value))
    else:
        assert files.import_upload(school, "clms.zip")["version"] == "1.0.1"
        assert newest_event(school) == ("FILE_IMPORTED", "Version 1.0.1 was taken in.")
    assert not upload.exists()


def test_a_link_in_its_place_is_not_followed(school: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write there must not have the agent remove something else."""
    other = tmp_path / "other.zip"
    other.write_bytes(b"x")
    (school.upload_folder / "clms.zip").symlink_to(other)
    monkeypatch.setattr(files.offline, "_stores", lambda _: (SimpleNamespace(check_seal=None), None))
    with pytest.raises(ClmsError) as caught:
        files.import_upload(school, "clms.zip")
    assert caught.value.code == "BUNDLE_MISSING"
    assert other.exists()


def test_the_folder_is_made_for_the_group_and_tidied(tmp_path: Path) -> None:
    folder, other = tmp_path / "made/here", tmp_path / "other"
    other.write_bytes(b"x")
    files.make_upload_folder(folder, 12345)
    found = folder.stat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o1770, 0, 12345)
    (folder / "old.zip").write_bytes(b"x")
    os.utime(folder / "old.zip", (0, 0))
    (folder / "new.zip").write_bytes(b"x")
    (folder / "link.zip").symlink_to(other)
    os.utime(folder / "link.zip", (0, 0), follow_symlinks=False)
    files.make_upload_folder(folder, None)
    assert sorted(path.name for path in folder.iterdir()) == ["new.zip"]
    assert other.exists()
    assert folder.stat().st_mode & 0o7777 == 0o700


def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "uploads").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="uploads"):
        files.make_upload_folder(tmp_path / "uploads", 12345)
    assert (tmp_path / "elsewhere").stat().st_gid != 12345
