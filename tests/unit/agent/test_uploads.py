# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that the page was given: taken in or refused, and gone afterwards."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import service
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError


@pytest.fixture
def school(tmp_path: Path) -> Any:
    (tmp_path / "uploads").mkdir()
    return SimpleNamespace(home=tmp_path)


@pytest.mark.parametrize("refused", [False, True])
def test_an_upload_is_gone_afterwards(school: Any, monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    upload = school.home / "uploads/clms.zip"
    upload.write_bytes(b"x")

    def import_file(_: Any, path: Path) -> Any:
        assert path == upload
        assert path.exists()
        if refused:
            raise ClmsError("BUNDLE_REFUSED", path=path, detail="no")
        return SimpleNamespace(as_dict=lambda: {"version": "1.0.1"})

    monkeypatch.setattr(service.offline, "import_file", import_file)
    if refused:
        with pytest.raises(ClmsError):
            service.take_upload(school, "clms.zip")
    else:
        assert service.take_upload(school, "clms.zip") == {"version": "1.0.1"}
    assert not upload.exists()


def test_a_link_in_its_place_is_not_followed(school: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write there must not have the agent remove something else."""
    other = tmp_path / "other.zip"
    other.write_bytes(b"x")
    (school.home / "uploads/clms.zip").symlink_to(other)
    monkeypatch.setattr(service.offline, "_newest_of", lambda _: SimpleNamespace(check_seal=None))
    with pytest.raises(ClmsError) as caught:
        service.take_upload(school, "clms.zip")
    assert caught.value.code == "BUNDLE_MISSING"
    assert other.exists()
