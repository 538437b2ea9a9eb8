# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies on a drive in place of the files of a backup: nothing waits for it, and no more is read than was named."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ansible_collections.clms.update.plugins.module_utils.adapters import archive, backup_store, files, takeover
from ansible_collections.clms.update.plugins.module_utils.adapters.backup_store import (
    backups_in,
    check_files,
    copy_backup,
    copy_file,
    image_file,
    verified_manifest,
)
from ansible_collections.clms.update.plugins.module_utils.adapters.files import OddFileError, read_small
from ansible_collections.clms.update.plugins.module_utils.backup_manifest import (
    MANIFEST,
    SIGNATURE,
    BackupFile,
    Manifest,
    public_key,
    sign,
)
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.school import School

PEM = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
DATA = b"of the school" * 1000
NAME = "database.sql.zst.age"
IMAGE = f"sha256:{'ab' * 32}"
Spoil = Callable[[Path], None]


def sparse(size: int) -> Spoil:
    """A file that takes no room where it lies, and all there is elsewhere."""

    def spoil(path: Path) -> None:
        path.unlink()
        path.touch()
        os.truncate(path, size)

    return spoil


def link(path: Path) -> None:
    """It leads to what never ends."""
    path.unlink()
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    """Nobody writes into it."""
    path.unlink()
    os.mkfifo(path)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def more(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def less(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


ODD = {"1 TB of nothing": sparse(1 << 40), "link": link, "pipe": pipe, "folder": folder_instead, "longer": more}
SPOILT = [
    *(pytest.param(name, spoil, id=f"{name}, {what}") for name in (NAME, SIGNATURE) for what, spoil in ODD.items()),
    *(pytest.param(MANIFEST, spoil, id=f"manifest, {what}") for what, spoil in ODD.items() if spoil is not more),
    pytest.param(NAME, less, id="shorter"),
]


@pytest.fixture
def signed(manifest: Manifest) -> Manifest:
    """The manifest of a backup of one file."""
    file = BackupFile(NAME, "database", None, len(DATA), hashlib.sha256(DATA).hexdigest())
    return replace(manifest, files=(file,), images=(IMAGE,), database=replace(manifest.database, schema="ab" * 32))


@pytest.fixture
def drive(signed: Manifest, tmp_path: Path) -> Path:
    """The folder of the backup on a drive."""
    folder = tmp_path / "drive" / signed.id
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(DATA)
    (folder / MANIFEST).write_bytes(signed.to_json())
    (folder / SIGNATURE).write_bytes(sign(signed.to_json(), PEM))
    image_file(folder.parent, IMAGE).parent.mkdir()
    image_file(folder.parent, IMAGE).write_bytes(b"an image")
    return folder


def verify(folder: Path, signed: Manifest) -> None:
    """Look at all of it, as a restore does."""
    assert verified_manifest(folder, public_key(PEM)) == signed
    check_files(folder, signed)


@pytest.mark.parametrize(("name", "spoil"), SPOILT)
def test_it_is_not_believed(signed: Manifest, drive: Path, name: str, spoil: Spoil) -> None:
    verify(drive, signed)
    assert [summary.id for summary in backups_in(drive.parent)] == [signed.id]
    spoil(drive / name)
    with pytest.raises(ClmsError) as caught:
        verify(drive, signed)
    assert caught.value.code == "BACKUP_TAMPERED"
    assert len(backups_in(drive.parent)) == (name != MANIFEST)


def test_a_signature_of_a_gigabyte_is_not_read(signed: Manifest, drive: Path) -> None:
    sparse(10**9)(drive / SIGNATURE)
    with pytest.raises(ClmsError, match=r"manifest\.sig: it has more than 64 bytes"):
        verify(drive, signed)


@pytest.mark.parametrize(("name", "spoil"), SPOILT)
def test_it_is_not_copied(signed: Manifest, drive: Path, tmp_path: Path, name: str, spoil: Spoil) -> None:
    place = tmp_path / "here"
    place.mkdir()
    spoil(drive / name)
    with pytest.raises(ClmsError) as caught:
        copy_backup(drive, place, signed, images=())
    assert caught.value.code == "BACKUP_TAMPERED"
    assert list(place.iterdir()) == []


def test_a_good_one_is_copied_with_its_images(signed: Manifest, drive: Path, tmp_path: Path) -> None:
    place = tmp_path / "here"
    place.mkdir()
    verify(copy_backup(drive, place, signed, images=signed.images), signed)
    assert image_file(place, IMAGE).read_bytes() == b"an image"


def test_an_image_that_vanishes_from_the_drive_is_copied(
    signed: Manifest, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when the room was looked at."""
    place = tmp_path / "here"
    there = image_file(place, IMAGE)
    there.parent.mkdir(parents=True)
    there.touch()
    monkeypatch.setattr(backup_store, "check_space", lambda *_, **__: there.unlink())
    copy_backup(drive, place, signed, images=signed.images)
    assert there.read_bytes() == b"an image"


def growing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody goes on writing to a file as soon as its size was looked at."""
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        if found.st_ino == path.stat().st_ino:
            with path.open("ab") as file:
                file.write(b"x" * 1000)
        return found

    monkeypatch.setattr(files.os, "fstat", fstat)


def test_no_more_is_copied_than_was_named(drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growing(drive / NAME, monkeypatch)
    size = len(DATA) + 1000  # its size is asked for once before that
    copy_file(drive / NAME, tmp_path / "copy", size)
    assert (drive / NAME).stat().st_size > size
    assert (tmp_path / "copy").read_bytes() == DATA + b"x" * 1000


def test_no_more_is_hashed_than_was_named(drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growing(drive / NAME, monkeypatch)
    found = archive.hash_file(drive / NAME, len(DATA) + 1000)
    assert found.sha256 == hashlib.sha256(DATA + b"x" * 1000).hexdigest()


def test_a_small_file_that_becomes_large(drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growing(drive / SIGNATURE, monkeypatch)
    with pytest.raises(OddFileError, match="more than 1064 bytes"):
        read_small(drive / SIGNATURE, 1064)


def test_what_is_decrypted_ends_where_it_was_said_to_end(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
    with archive.encrypted(tmp_path / NAME, [archive.recipient_of(key)]) as file:
        file.sink.write(DATA)
    with (tmp_path / NAME).open("ab") as more_of_it:
        more_of_it.truncate(1 << 40)
    with archive.decrypted(tmp_path / NAME, key, file.result()) as stream:
        assert stream.read() == DATA
    link(tmp_path / NAME)
    with pytest.raises(archive.ArchiveError, match="it is a link"), archive.decrypted(tmp_path / NAME, key):
        pass


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        pytest.param(sparse(1 << 43), "DISK_TOO_SMALL", id="8 TB of nothing"),
        pytest.param(link, "BACKUP_TAMPERED", id="link"),
        pytest.param(pipe, "BACKUP_TAMPERED", id="pipe"),
        pytest.param(folder_instead, "BACKUP_TAMPERED", id="folder"),
    ],
)
def test_what_lies_in_place_of_an_image_is_not_taken_over(
    signed: Manifest, drive: Path, school: School, spoil: Spoil, code: str
) -> None:
    here = image_file(Path(school.backup.path), IMAGE)
    here.parent.parent.mkdir(exist_ok=True)
    spoil(image_file(drive.parent, IMAGE))
    with pytest.raises(ClmsError) as caught:
        takeover._copy_image(drive, signed, school, IMAGE)
    assert caught.value.code == code
    assert list(here.parent.iterdir()) == []


def test_a_good_image_is_taken_over(signed: Manifest, drive: Path, school: School) -> None:
    here = image_file(Path(school.backup.path), IMAGE)
    here.parent.parent.mkdir(exist_ok=True)
    takeover._copy_image(drive, signed, school, IMAGE)
    assert here.read_bytes() == b"an image"
