# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup is taken over from a drive which somebody else can write, while it is read."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ansible_collections.clms.update.plugins.module_utils.adapters import takeover
from ansible_collections.clms.update.plugins.module_utils.adapters.archive import encrypted, pack_files
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.recovery_sheet import SIGNER
from tests.integration.backup.stage import Live, Stage, secret


@pytest.fixture
def sheet(live: Live, tmp_path: Path) -> Path:
    """The recovery sheet of the school."""
    key = load_pem_private_key((live.folder / "signing.pem").read_bytes(), None).public_key()
    signer = base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    return secret(tmp_path / "sheet", f"{(live.folder / 'recovery.age').read_text()}{SIGNER}{signer}\n")


@pytest.fixture
def drive(made: dict[str, Any], tmp_path: Path) -> Path:
    """The folder of the backup on the drive."""
    return Path(shutil.copytree(made["path"], tmp_path / "drive" / made["backup"]))


def replace_file(live: Live, path: Path) -> None:
    """Put another file in its place, encrypted for the same keys: they are no secret."""
    with encrypted(path, [(live.folder / "recovery").read_text()]) as file:
        pack_files(
            {"school.json": b'{"title": "of somebody else"}', "files/etc/cron.d/foreign": b"* * * * *"}, file.sink
        )


def test_what_was_verified_is_what_is_used(stage: Stage, drive: Path, sheet: Path) -> None:
    manifest = takeover.opened(drive, sheet)
    assert takeover.configuration(drive, manifest, sheet).description["title"] == "Grundschule Süd"
    replace_file(stage.live, drive / "configuration.tar.zst.age")
    with pytest.raises(ClmsError, match=r"configuration\.tar\.zst\.age has changed") as caught:
        takeover.configuration(drive, manifest, sheet)
    assert caught.value.code == "BACKUP_TAMPERED"


def test_a_file_that_is_swapped_before_it_is_written_anew(stage: Stage, drive: Path, sheet: Path) -> None:
    manifest = takeover.opened(drive, sheet)
    replace_file(stage.live, drive / "volume-uploads.tar.zst.age")
    with pytest.raises(ClmsError, match="has changed") as caught:
        takeover.adopt(drive, manifest, sheet, stage.open().school)
    assert caught.value.code == "BACKUP_TAMPERED"
    assert list(stage.backups.iterdir()) == []


def test_it_is_written_anew_for_the_keys_of_this_server(stage: Stage, drive: Path, sheet: Path) -> None:
    school = stage.open().school
    name = takeover.adopt(drive, takeover.opened(drive, sheet), sheet, school)
    assert [path.name for path in stage.backups.iterdir()] == [name]
    assert takeover.adopt(drive, takeover.opened(drive, sheet), sheet, school) == name
