# SPDX-License-Identifier: GPL-3.0-or-later
"""What people do with a backup that is there: look whether it is whole, copy it to the drive, take it with them."""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.adapters.archive import decrypted
from ansible_collections.clms.update.plugins.module_utils.adapters.backup_store import (
    backup_here,
    check_files,
    check_other_disk,
    copy_backup,
    image_file,
)
from ansible_collections.clms.update.plugins.module_utils.adapters.pipes import ArchiveError
from ansible_collections.clms.update.plugins.module_utils.backup_manifest import (
    MANIFEST,
    SIGNATURE,
    Manifest,
)
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.told import told

from .schedule import tell

_busy = threading.Lock()


def verify(school: School, backup: str) -> dict[str, Any]:
    """Compare every file of a backup with its signed manifest, and open what is encrypted with this server's key.

    :returns: ``backup``, ``files`` (their number) and ``bytes``
    :raises ClmsError: BACKUP_UNKNOWN, BACKUP_TAMPERED, SECRET_FILE or BACKUP_BUSY
    """
    with _one_at_a_time():
        try:
            folder, manifest = backup_here(school, backup)
            check_files(folder, manifest)
            for file in manifest.files:
                _open(folder / file.name, Path(school.backup.host_key_file))
        except ClmsError as error:
            if not (Path(school.backup.path) / backup).is_dir():  # a run has removed it meanwhile: it was too old
                raise ClmsError("BACKUP_UNKNOWN", backup=backup) from None
            if error.code == "BACKUP_TAMPERED":
                tell(school.home, error.code, told("FAILURE", failure=error))
            raise
    tell(school.home, "BACKUP_VERIFIED", told("BACKUP_WHOLE", backup=backup))
    return {"backup": backup, "files": len(manifest.files), "bytes": manifest.total_bytes}


def _open(path: Path, identity: Path) -> None:
    try:
        with decrypted(path, identity):
            pass  # it is read to its end
    except ArchiveError:  # the words of age are for those who know it
        detail = f"{path.name} does not open with the key of this server"
        raise ClmsError("BACKUP_TAMPERED", backup=path.parent.name, detail=detail) from None


def copy_out(school: School, backup: str) -> dict[str, Any]:
    """Copy a backup, and the images that it names, to the external drive.

    :returns: ``path`` of the copy
    :raises ClmsError: BACKUP_LOCATION, BACKUP_UNKNOWN, BACKUP_TAMPERED, BACKUP_PLACE, DISK_TOO_SMALL, SECRET_FILE or
        BACKUP_BUSY
    """
    place = str(school.backup.copied_to("external"))
    with _one_at_a_time():
        folder, manifest = backup_here(school, backup)
        try:
            check_other_disk(folder, Path(place))
            if not (Path(place) / backup).is_dir():
                copy_backup(folder, Path(place), manifest, images=_kept_images(folder, manifest))
        except OSError as error:
            raise ClmsError("BACKUP_PLACE", path=place, detail=error.strerror or error) from None
    tell(school.home, "BACKUP_COPIED", told("BACKUP_COPIED", backup=backup, path=place))
    return {"path": f"{place}/{backup}"}


class Parcel:
    """A backup and the images that it names, as one tar archive; what is in it stays encrypted."""

    def __init__(self, school: School, backup: str) -> None:
        """:raises ClmsError: BACKUP_UNKNOWN, BACKUP_TAMPERED or SECRET_FILE"""
        folder, manifest = backup_here(school, backup)
        self.name = f"{backup}.tar"
        names = (*(file.name for file in manifest.files), SIGNATURE, MANIFEST)
        self._files = {f"{backup}/{name}": folder / name for name in names}
        for config in _kept_images(folder, manifest):
            path = image_file(folder.parent, config)
            self._files[f"{path.parent.name}/{path.name}"] = path

    @property
    def size(self) -> int:
        """In bytes: each file with its header, in blocks, and an end; see tar(5)."""
        blocks = sum(1 + -(-path.stat().st_size // tarfile.BLOCKSIZE) for path in self._files.values()) + 2
        return -(-blocks * tarfile.BLOCKSIZE // tarfile.RECORDSIZE) * tarfile.RECORDSIZE

    def write(self, sink: BufferedIOBase) -> None:
        """:raises OSError: when a file or the other side is gone"""
        with tarfile.open(fileobj=sink, mode="w|", format=tarfile.GNU_FORMAT) as archive:
            for name, path in self._files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = path.stat().st_size, 0o600
                with path.open("rb") as file:
                    archive.addfile(entry, file)


def _kept_images(folder: Path, manifest: Manifest) -> list[str]:
    return [config for config in manifest.images if image_file(folder.parent, config).is_file()]


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """They read much, and whoever asks again and again gets no more for it; runs go on meanwhile.

    :raises ClmsError: BACKUP_BUSY
    """
    if not _busy.acquire(blocking=False):
        raise ClmsError("BACKUP_BUSY")
    try:
        yield
    finally:
        _busy.release()
