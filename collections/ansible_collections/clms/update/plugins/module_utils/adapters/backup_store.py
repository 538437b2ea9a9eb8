# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of the backups: what lies there, whether it is what was written, and making room in it.

Each backup is a folder ``<UTC time>-<version>-r<run>``; while it is written or removed its name ends in
``.partial``. The folder ``images`` holds the images that the backups name, once each.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..backup_manifest import (
    ID_PATTERN,
    MANIFEST,
    MAX_BYTES,
    SIGNATURE,
    SIGNATURE_BYTES,
    Manifest,
    is_signed,
    parse_manifest,
)
from ..backup_manifest import public_key as public_half
from ..disk import Need, check_space
from ..errors import ClmsError
from ..retention import to_delete, unused_images
from ..school import School
from ..secret_file import read_secret
from .archive import hash_file
from .files import OddFileError, chunks_of, file_system_of, mount_of, open_regular, read_small, size_of, sync_folder
from .pipes import ArchiveError

PARTIAL = ".partial"
_IMAGES = "images"
_FAT, _FAT_BYTES = ("vfat", "msdos"), 2**32 - 1
"""file systems with a limit, and the largest file that they take"""
_SPARE_BYTES = 1_000_000
"""for manifests, signatures and what a file system needs itself"""
_IMAGE_FILE = re.compile(r"sha256-([0-9a-f]{64})\.tar\.zst")


@dataclass(frozen=True)
class BackupSummary:
    """A backup as lists show it."""

    id: str
    created: str
    """UTC, ``YYYY-MM-DDThh:mm:ssZ``"""
    version: str
    bytes: int
    proven: str
    """when it was proven by restoring it; UTC"""
    path: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def check_place(path: Path) -> None:
    """Make sure that backups can be written to a folder, by writing there; the folder is made where it is missing.

    :raises ClmsError: BACKUP_PLACE
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".try-", dir=path)
        try:
            os.write(descriptor, b"CLMS Update writes here\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            Path(name).unlink()
    except FileExistsError:
        raise ClmsError("BACKUP_PLACE", path=path, detail="it is not a folder") from None
    except OSError as error:
        raise ClmsError("BACKUP_PLACE", path=path, detail=error.strerror) from None


def image_file(place: Path, config: str) -> Path:
    """Where the image with this configuration digest is kept."""
    return place / _IMAGES / f"{config.replace(':', '-')}.tar.zst"


def backups_in(path: Path) -> list[BackupSummary]:
    """The complete backups in a folder, newest first. Signatures are looked at when one is opened."""
    summaries = []
    for folder in sorted(path.glob("*-r*"), reverse=True) if path.is_dir() else []:
        try:
            manifest = _read(folder)
        except (OSError, ValueError):
            continue
        summaries.append(
            BackupSummary(
                manifest.id, manifest.created, manifest.version, manifest.total_bytes, manifest.proven.at, str(folder)
            )
        )
    return summaries


def _read(folder: Path) -> Manifest:
    """:raises ValueError: when the folder holds no readable manifest of its own."""
    data = read_small(folder / MANIFEST, MAX_BYTES)
    manifest = parse_manifest(data)
    if manifest.id != folder.name:
        raise ValueError(f"it belongs to the backup {manifest.id}")
    return manifest


def find_backup(school: School, backup: str) -> tuple[Path, Manifest]:
    """A backup on this server or on the external drive, by its name, with its signed manifest.

    :raises ClmsError: BACKUP_UNKNOWN, BACKUP_TAMPERED or SECRET_FILE
    """
    return _find(school, backup, (school.backup.path, school.backup.external_path))


def backup_here(school: School, backup: str) -> tuple[Path, Manifest]:
    """A backup on this server, where only root can change it; as :func:`find_backup`."""
    return _find(school, backup, (school.backup.path,))


def _find(school: School, backup: str, places: Iterable[str | None]) -> tuple[Path, Manifest]:
    if re.fullmatch(ID_PATTERN, backup):
        for place in places:
            if place and (Path(place) / backup).is_dir():
                folder = Path(place) / backup
                return folder, open_manifest(folder, Path(school.backup.signing_key_file))
    raise ClmsError("BACKUP_UNKNOWN", backup=backup)


def open_manifest(folder: Path, signing_key_file: Path) -> Manifest:
    """The manifest of a backup, once its signature has been checked.

    :param signing_key_file: the key that signs this school's backups
    :raises ClmsError: BACKUP_TAMPERED or SECRET_FILE
    """
    try:
        public = public_half(read_secret(signing_key_file))
    except ValueError as error:
        raise ClmsError("SECRET_FILE", path=signing_key_file, detail=error) from None
    return verified_manifest(folder, public)


def verified_manifest(folder: Path, public: bytes) -> Manifest:
    """The manifest of a backup, once its signature has been checked.

    :param public: the key that has to have signed it, 32 bytes
    :raises ClmsError: BACKUP_TAMPERED
    """
    try:
        data = read_small(folder / MANIFEST, MAX_BYTES)
        signature = read_small(folder / SIGNATURE, SIGNATURE_BYTES)
    except OSError as error:
        name = Path(str(error.filename)).name
        raise ClmsError("BACKUP_TAMPERED", backup=folder.name, detail=f"{name}: {error.strerror}") from None
    if not is_signed(data, signature, public):
        raise ClmsError("BACKUP_TAMPERED", backup=folder.name, detail="its manifest is not signed by this school")
    try:
        manifest = parse_manifest(data)
    except ValueError as error:
        raise ClmsError("BACKUP_TAMPERED", backup=folder.name, detail=f"its manifest: {error}") from None
    if manifest.id != folder.name:
        raise ClmsError("BACKUP_TAMPERED", backup=folder.name, detail=f"it was written as {manifest.id}")
    return manifest


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare every file of a backup with what the manifest says.

    :raises ClmsError: BACKUP_TAMPERED
    """
    for file in manifest.files:
        try:
            found = hash_file(folder / file.name, file.bytes)
        except ArchiveError as error:
            raise ClmsError("BACKUP_TAMPERED", backup=manifest.id, detail=str(error)) from None
        if (found.bytes, found.sha256) != (file.bytes, file.sha256):
            raise ClmsError("BACKUP_TAMPERED", backup=manifest.id, detail=f"{file.name} has changed")


def check_other_disk(folder: Path, place: Path) -> None:
    """:raises ClmsError: BACKUP_PLACE when a place cannot be written, or is on the disk of a backup already"""
    check_place(place)
    if place.stat().st_dev == folder.stat().st_dev:
        raise ClmsError("BACKUP_PLACE", path=place, detail="it is on the same disk; the drive is not mounted")


def copy_backup(folder: Path, place: Path, manifest: Manifest, *, images: Collection[str]) -> Path:
    """Copy a backup to another place, and compare the copy with the manifest.

    :param images: configuration digests of the images that are copied as well, where the place has them not yet
    :raises ClmsError: BACKUP_PLACE, BACKUP_TAMPERED or DISK_TOO_SMALL
    :raises OSError: when one of the places goes away meanwhile
    """
    _check_sizes(folder, place, manifest, images)
    partial = place / f"{folder.name}{PARTIAL}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(mode=0o700)
        for file in manifest.files:
            copy_file(folder / file.name, partial / file.name, file.bytes)
        for name, most in ((SIGNATURE, SIGNATURE_BYTES), (MANIFEST, MAX_BYTES)):
            copy_file(folder / name, partial / name, most)
        for config in images:
            source, target = image_file(folder.parent, config), image_file(place, config)
            if not target.exists():
                target.parent.mkdir(mode=0o700, exist_ok=True)
                unfinished = target.with_name(f".{target.name}{PARTIAL}")
                copy_file(source, unfinished, source.stat().st_size)
                unfinished.replace(target)
        sync_folder(partial)
        check_files(partial, manifest)
        partial.replace(place / folder.name)
        sync_folder(place)
    except OddFileError as error:
        shutil.rmtree(partial, ignore_errors=True)
        detail = f"{Path(str(error.filename)).name}: {error.strerror}"
        raise ClmsError("BACKUP_TAMPERED", backup=manifest.id, detail=detail) from None
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return place / folder.name


def _check_sizes(folder: Path, place: Path, manifest: Manifest, images: Collection[str]) -> None:
    """Nothing is begun that cannot fit.

    :raises ClmsError: BACKUP_PLACE or DISK_TOO_SMALL
    """
    missing = [image_file(folder.parent, config) for config in images if not image_file(place, config).exists()]
    sizes = [*(file.bytes for file in manifest.files), *(path.stat().st_size for path in missing)]
    if max(sizes, default=0) > _FAT_BYTES and file_system_of(place) in _FAT:
        detail = "it is formatted as FAT32, which takes no file over 4 GB; format the drive as exFAT or ext4"
        raise ClmsError("BACKUP_PLACE", path=place, detail=detail)
    check_space([Need("a copy of the backup", sum(sizes), mount_of(place))], reserve=_SPARE_BYTES)


def copy_file(source: Path, target: Path, size: int) -> None:
    """Copy a file that has up to so many bytes.

    :raises OSError: when the one cannot be read or the other not be written
    :raises OddFileError: when it has more, or is no file
    """
    with open_regular(source) as reader, target.open("wb") as writer:
        if size_of(reader) > size:
            raise OddFileError(errno.EFBIG, f"it has more than {size} bytes", str(source))
        for chunk in chunks_of(reader, size):
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
        # so that a comparison reads what is on the disk; not every file system knows how
        with contextlib.suppress(OSError):
            os.posix_fadvise(writer.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def remove_partial(path: Path) -> list[str]:
    """Remove what interrupted runs left in a folder of backups; returns the names."""
    removed = []
    for folder in path.glob(f"*{PARTIAL}"):
        if re.fullmatch(ID_PATTERN, folder.name.removesuffix(PARTIAL)):
            shutil.rmtree(folder)
            removed.append(folder.name)
    for file in (path / _IMAGES).glob(f".*{PARTIAL}"):
        file.unlink()
    return removed


def prune(path: Path, *, maximum: int, protected: Collection[str] = ()) -> list[str]:
    """Remove the backups that retention does not keep, and the images that then nobody needs.

    :returns: names of the backups that are gone
    :raises OSError: when one cannot be removed
    """
    removed = to_delete((summary.id for summary in backups_in(path)), maximum=maximum, protected=protected)
    for backup in removed:
        # first out of sight: half a backup must never look like one
        hidden = path / f"{backup}{PARTIAL}"
        (path / backup).rename(hidden)
        shutil.rmtree(hidden)
    remove_partial(path)
    needed = [_read(Path(summary.path)).images for summary in backups_in(path)]
    files = [match.group(1) for file in (path / _IMAGES).glob("*") if (match := _IMAGE_FILE.fullmatch(file.name))]
    for config in unused_images((f"sha256:{digest}" for digest in files), needed):
        image_file(path, config).unlink()
    return removed
