# SPDX-License-Identifier: GPL-3.0-or-later
"""A new server takes over a backup of the one before it, with the recovery sheet.

The backup is opened with the sheet, and written anew for the keys of the new server. So the sheet need not stay here,
and from then on it is a backup like any other.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..backup_manifest import MANIFEST, SIGNATURE, BackupFile, Manifest, sign
from ..disk import Need, check_space
from ..errors import ClmsError
from ..recovery_sheet import Sheet, parse_sheet
from ..school import School
from ..secret_file import read_secret
from .archive import ChangedError, Written, decrypted, encrypted, recipient_of
from .backup_store import PARTIAL, check_files, check_place, copy_file, image_file, open_manifest, verified_manifest
from .engine import Engine
from .files import OddFileError, mount_of, open_regular, size_of, sync_folder, write_atomically
from .image_archive import load_saved
from .pipes import ArchiveError, copy_stream

_CONFIGURATION_BYTES = 50_000_000


def read_sheet(path: Path) -> Sheet:
    """:raises ClmsError: RECOVERY_SHEET or SECRET_FILE"""
    try:
        return parse_sheet(read_secret(path).decode("ascii", "replace"))
    except ValueError as error:
        raise ClmsError("RECOVERY_SHEET", path=path, detail=error) from None


def opened(folder: Path, sheet_file: Path) -> Manifest:
    """The manifest of a backup, as the recovery sheet vouches for it; every file is compared with it.

    :raises ClmsError: RECOVERY_SHEET, SECRET_FILE or BACKUP_TAMPERED
    """
    manifest = verified_manifest(folder, read_sheet(sheet_file).signer)
    check_files(folder, manifest)
    return manifest


@dataclass(frozen=True)
class Configuration:
    """What a backup knows of the server that made it."""

    description: dict[str, Any]
    """of the school, without the prefix of its variables"""
    files: dict[str, bytes]
    """the files that the description names: path -> content"""
    gate_image: str
    """configuration digest of the gate's image"""


def configuration(folder: Path, manifest: Manifest, sheet_file: Path) -> Configuration:
    """Read the configuration in a backup.

    :raises ClmsError: RECOVERY_SHEET when the sheet does not open it, BACKUP_TAMPERED when it is not complete
    """
    (file,) = manifest.of_kind("configuration")
    with _opening(manifest, sheet_file), decrypted(folder / file.name, sheet_file, _expected(file)) as stream:
        data = stream.read(_CONFIGURATION_BYTES)
    description: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    gate_image = ""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is None:
                continue
            if member.name == "school.json":
                description = json.loads(content.read())
            elif member.name == "gate-image.txt":
                gate_image = content.read().decode()
            elif member.name.startswith("files/"):
                files[member.name.removeprefix("files")] = content.read()
    if not description:
        raise ClmsError("BACKUP_TAMPERED", backup=manifest.id, detail="it holds no description of the school")
    return Configuration(description, files, gate_image)


def load_gate_image(school: School, engine: Engine, config: str) -> str:
    """Load the gate's image from the folder of the backups, where this server does not have it.

    :returns: what the engine calls it
    :raises ClmsError: IMAGE_MISSING or DISK_TOO_SMALL
    """
    if engine.image(school.gate.image) is not None:
        return school.gate.image
    saved = image_file(Path(school.backup.path), config)
    why = ""
    try:
        load_saved(saved, config, root=engine.root(), reserve=school.reserve_bytes, names=(school.gate.image,))
    except ArchiveError as error:
        why = f" ({error})"[:300]
    if not config or engine.image(config) is None:
        raise ClmsError("IMAGE_MISSING", image=school.gate.image, backup=f"{saved}{why}")
    return config


def adopt(folder: Path, manifest: Manifest, sheet_file: Path, school: School) -> str:
    """Write a backup anew for the keys of this server, into its own folder of backups, with the images it names.

    :returns: the name of the backup
    :raises ClmsError: RECOVERY_SHEET, BACKUP_PLACE, BACKUP_FAILED or SECRET_FILE
    """
    place = Path(school.backup.path)
    check_place(place)
    recipients = (recipient_of(Path(school.backup.host_key_file)), school.backup.recovery_recipient)
    partial, target = place / f"{manifest.id}{PARTIAL}", place / manifest.id
    if target.exists() and _is_ours(target, school):
        return manifest.id  # an earlier attempt has done it
    if target.exists() and target.samefile(folder):
        folder = folder.rename(place / f"{manifest.id}.as-it-was")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(mode=0o700)
        files = []
        for file in manifest.files:
            with (
                _opening(manifest, sheet_file),
                encrypted(partial / file.name, recipients) as sink,
                decrypted(folder / file.name, sheet_file, _expected(file)) as stream,
            ):
                copy_stream(stream, sink.sink)
            written = sink.result()
            files.append(BackupFile(file.name, file.kind, file.volume, written.bytes, written.sha256))
        for config in manifest.images:
            _copy_image(folder, manifest, school, config)
        data = replace(manifest, files=tuple(files)).to_json()
        write_atomically(partial / SIGNATURE, sign(data, read_secret(Path(school.backup.signing_key_file))))
        write_atomically(partial / MANIFEST, data)
        sync_folder(partial)
        partial.rename(target)
        sync_folder(place)
    except OSError as error:
        raise ClmsError("BACKUP_PLACE", path=place, detail=error.strerror or error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest.id


def _is_ours(folder: Path, school: School) -> bool:
    try:
        check_files(folder, open_manifest(folder, Path(school.backup.signing_key_file)))
    except ClmsError:
        return False
    return True


def _copy_image(folder: Path, manifest: Manifest, school: School, config: str) -> None:
    """Nothing vouches for the file but the digest in its name, which is compared when it is loaded.

    :raises ClmsError: BACKUP_TAMPERED or DISK_TOO_SMALL
    """
    place = Path(school.backup.path)
    source, target = image_file(folder.parent, config), image_file(place, config)
    if target.exists() or not os.path.lexists(source):  # one that is missing can be pulled
        return
    target.parent.mkdir(mode=0o700, exist_ok=True)
    unfinished = target.with_name(f".{target.name}{PARTIAL}")
    try:
        with open_regular(source) as file:
            size = size_of(file)
        check_space([Need("an image of the backup", size, mount_of(place))], reserve=school.reserve_bytes)
        copy_file(source, unfinished, size)
        unfinished.replace(target)
    except OddFileError as error:
        raise ClmsError("BACKUP_TAMPERED", backup=manifest.id, detail=f"{source.name}: {error.strerror}") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _expected(file: BackupFile) -> Written:
    """What was compared once counts no longer when a file is read again: it lies on a drive that others can write."""
    return Written(file.bytes, file.sha256)


@contextmanager
def _opening(manifest: Manifest, sheet_file: Path) -> Iterator[None]:
    """:raises ClmsError: BACKUP_TAMPERED for a file that has changed, RECOVERY_SHEET in place of what age says"""
    try:
        yield
    except ChangedError as error:
        raise ClmsError("BACKUP_TAMPERED", backup=manifest.id, detail=error) from None
    except ArchiveError as error:
        raise ClmsError("RECOVERY_SHEET", path=sheet_file, detail=f"it does not open this backup ({error})") from None
