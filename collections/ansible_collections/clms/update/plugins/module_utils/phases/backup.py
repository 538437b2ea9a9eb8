# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `backup`: everything that CLMS consists of, encrypted, and proven by restoring it.

The folder gets its name only when it is complete, proven and signed.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

from ..adapters.accounts import read_accounts
from ..adapters.archive import encrypted, pack_files, pack_folder, recipient_of
from ..adapters.backup_store import (
    PARTIAL,
    check_other_disk,
    check_place,
    copy_backup,
    image_file,
    prune,
    remove_partial,
)
from ..adapters.database import Database, database_of
from ..adapters.dump import Dumped, as_clms_error, dump
from ..adapters.engine import engine_errors
from ..adapters.files import sync_folder, write_atomically
from ..adapters.image_archive import save_image
from ..adapters.pipes import ArchiveError
from ..backup_manifest import MANIFEST, SIGNATURE, BackupFile, DatabaseFacts, Manifest, Proof, sign
from ..errors import ClmsError
from ..run import Context
from ..secret_file import read_secret
from ..slots import Slot
from ..told import told
from .proof import HOW, live_image, prove, start_throwaway
from .rehearse import remove_rehearsal

__all__ = ["check_place", "remove_old_backups", "work"]

T = TypeVar("T")


def work(context: Context) -> dict[str, Any]:
    """Do the phase.

    :returns: ``backup`` (its name), ``path``, ``bytes``, ``tables``, ``rows``, ``seconds`` (of each part),
        ``locked_seconds`` (how long writers had to wait), ``external`` (path of the second copy or None) and
        ``warnings``
    """
    place = Path(context.school.backup.path)
    check_place(place)
    remove_partial(place)
    remove_rehearsal(context)  # of an earlier attempt
    created = datetime.now(UTC)
    name = f"{created:%Y%m%dT%H%M%SZ}-{context.old.version}-r{context.run.id}"
    unfinished = place / f"{name}{PARTIAL}"
    try:
        with _failures("BACKUP_FAILED"), context.step("folder", path=str(unfinished)):
            unfinished.mkdir(mode=0o700)
        manifest, seconds, locked = _fill(context, unfinished, name, created)
        with _failures("BACKUP_FAILED"), context.step("publish", path=str(place / name)):
            sync_folder(unfinished)
            unfinished.rename(place / name)
            sync_folder(place)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        with contextlib.suppress(Exception):  # the cause counts; putting the run back removes it as well
            remove_rehearsal(context)
        raise
    if "rehearse" not in context.run.row.phases:  # otherwise the rehearsal goes on with the restored copy
        remove_rehearsal(context)
    external, warnings = _second_copy(context, place / name, manifest)
    context.journal.event("BACKUP_CREATED", told("BACKUP_MADE", backup=name), run=context.run.id)
    return {
        "backup": name,
        "path": str(place / name),
        "bytes": manifest.total_bytes,
        "tables": len(manifest.database.tables),
        "rows": sum(manifest.database.tables.values()),
        "seconds": seconds,
        "locked_seconds": locked,
        "external": external,
        "warnings": warnings,
    }


@contextmanager
def _failures(code: str) -> Iterator[None]:
    """Turn what goes wrong in the body into a ClmsError with ``code``."""
    try:
        with engine_errors(code):
            yield
    except ArchiveError as error:
        raise as_clms_error(code, error) from None
    except OSError as error:
        raise ClmsError(code, detail=f"{error.filename or 'the backup place'}: {error.strerror or error}") from None


def _fill(context: Context, path: Path, name: str, created: datetime) -> tuple[Manifest, dict[str, float], float]:
    """Write and prove everything; returns the manifest, seconds of each part and of the read lock."""
    school, slot = context.school, context.old
    folder = _Folder(context, path, _recipients(context))
    seconds: dict[str, float] = {}
    with _timed(seconds, "start"), _failures("BACKUP_UNPROVEN"):
        start_throwaway(context)  # it gets ready while the dump is made
    with database_of(context, slot) as database:
        with _timed(seconds, "dump"), _failures("BACKUP_FAILED"):
            dump_file, dumped = _dump(folder, database)
        with _failures("BACKUP_FAILED"):
            files = [dump_file, _accounts(folder, database)]
    with _timed(seconds, "files"), _failures("BACKUP_FAILED"):
        files += [*_volumes(folder), _configuration(folder)]
    with _timed(seconds, "images"), _failures("BACKUP_FAILED"):
        slot = _with_configurations(context, slot)
        images = _images(context, slot) if school.backup.images else ()
    with _timed(seconds, "restore"), _failures("BACKUP_UNPROVEN"):
        prove(context, path, files, dumped.rows, dumped.schema)
    manifest = Manifest(
        id=name,
        created=_utc(created),
        school=school.title,
        version=slot.version,
        slot=slot,
        files=tuple(files),
        images=images,
        database=DatabaseFacts(school.database.name, live_image(context), dumped.rows, dumped.schema),
        proven=Proof(_utc(datetime.now(UTC)), HOW, seconds["restore"]),
    )
    with _failures("BACKUP_FAILED"), context.step("sign", backup=name):
        _sign(manifest, path, Path(school.backup.signing_key_file))
    return manifest, seconds, dumped.locked_seconds


@contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[part] = round(time.monotonic() - began, 3)


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _recipients(context: Context) -> tuple[str, str]:
    """Who can read this school's backups: this server and the holder of the recovery sheet.

    :raises ClmsError: SECRET_FILE
    """
    path = Path(context.school.backup.host_key_file)
    read_secret(path)  # for its complaints about mode and owner
    try:
        return recipient_of(path), context.school.backup.recovery_recipient
    except ArchiveError:
        raise ClmsError("SECRET_FILE", path=path, detail="it is not a key file as age-keygen writes it") from None


@dataclass(frozen=True)
class _Folder:
    """The folder that a backup is written to."""

    context: Context
    path: Path
    recipients: tuple[str, ...]

    def write(
        self, name: str, kind: str, produce: Callable[[IO[bytes]], T], volume: str | None = None
    ) -> tuple[BackupFile, T]:
        """Write one encrypted file.

        :param produce: writes the plaintext into the stream it is given
        :returns: the file, and what ``produce`` returned
        """
        with self.context.step(kind, file=name) as outcome:
            with encrypted(self.path / name, self.recipients) as file:
                result = produce(file.sink)
            written = file.result()
            outcome["bytes"] = written.bytes
        return BackupFile(name, kind, volume, written.bytes, written.sha256), result


def _dump(folder: _Folder, database: Database) -> tuple[BackupFile, Dumped]:
    school, slot = folder.context.school, folder.context.old
    container = slot.services[school.database.service].container
    return folder.write("database.sql.zst.age", "database", lambda sink: dump(container, database, sink))


def _accounts(folder: _Folder, database: Database) -> BackupFile:
    statements = read_accounts(database).encode()
    return folder.write("accounts.sql.zst.age", "accounts", lambda sink: sink.write(statements))[0]


def _volumes(folder: _Folder) -> list[BackupFile]:
    """The files of the services; the database's own are in the dump."""
    context = folder.context
    files = []
    for service in context.school.application:
        for volume in service.volumes:
            source = context.engine.volume_path(context.old.volumes[volume.name])
            if volume.on_update == "copy" and source is not None:
                name = f"volume-{volume.name}.tar.zst.age"
                files.append(folder.write(name, "volume", partial(pack_folder, source), volume.name)[0])
    return files


def _configuration(folder: _Folder) -> BackupFile:
    """Description, environment files, mounted files, credentials and container definitions; no key of ours."""
    context, school = folder.context, folder.context.school
    gate = context.engine.image(school.gate.image) or {"Id": school.gate.image}
    contents: dict[str, bytes | Path] = {
        "school.json": json.dumps(school.raw, indent=1).encode(),
        # the image that the description names by a digest of a registry goes by another one where it is loaded
        "gate-image.txt": str(gate["Id"]).encode(),
    }
    named = [school.database.credentials_file, school.smoke_credentials_file, school.gate.certificate_file]
    named += [school.registry_credentials_file, school.registry_ca_file]
    # whom the school believes is no secret, and a backup must not fail for what only an update needs
    named += [path for path in (school.trust.root_file, school.trust.ca_file) if path and Path(path).exists()]
    for service in school.services:
        named += [service.env_file, *service.mounts]
        container = context.old.services[service.name].container
        definition = context.engine.api.inspect_container(container)
        contents[f"containers/{service.name}.json"] = json.dumps(definition, indent=1).encode()
    for path in dict.fromkeys(path for path in named if path):
        contents[f"files{path}"] = Path(path)
    return folder.write("configuration.tar.zst.age", "configuration", partial(pack_files, contents))[0]


def _with_configurations(context: Context, slot: Slot) -> Slot:
    """The slot, with the digest of the configuration of every image.

    Of an image that the school's description names, it has only the digest in a registry, and by that nobody can tell
    whether a saved archive holds it.
    """
    services = dict(slot.services)
    for name, service in slot.services.items():
        found = context.engine.image(service.image) if service.image.endswith(f"@{service.config}") else None
        if found is not None and found["Id"] != service.image:  # as of one that is damaged
            services[name] = replace(service, config=found["Id"])
    return replace(slot, services=services)


def _images(context: Context, slot: Slot) -> tuple[str, ...]:
    """Keep the running images, the gate's too, each once; returns their configuration digests."""
    images = {service.config: service.image for service in slot.services.values()}
    gate = context.engine.image(context.school.gate.image)
    if gate is not None:
        images[gate["Id"]] = context.school.gate.image
    for config, image in images.items():
        target = image_file(Path(context.school.backup.path), config)
        if not target.exists():
            with context.step("image", image=image, file=str(target)):
                # by its id: an archive with a name in it would move that name where it is loaded
                save_image(str((context.engine.image(image) or {"Id": image})["Id"]), target)
    return tuple(sorted(images))


def _sign(manifest: Manifest, folder: Path, key_file: Path) -> None:
    data = manifest.to_json()
    try:
        signature = sign(data, read_secret(key_file))
    except ValueError as error:
        raise ClmsError("SECRET_FILE", path=key_file, detail=error) from None
    write_atomically(folder / SIGNATURE, signature)
    write_atomically(folder / MANIFEST, data)


# afterwards


def _second_copy(context: Context, folder: Path, manifest: Manifest) -> tuple[str | None, list[str]]:
    """Copy the backup to the external drive; that it cannot be done is a warning and no failure."""
    place = context.school.backup.copied_to(context.run.result("preflight").get("backup_location"))
    if place is None:
        return None, []
    try:
        with context.step("external", path=f"{place}/{folder.name}"):
            check_other_disk(folder, Path(place))
            return str(copy_backup(folder, Path(place), manifest, images=manifest.images)), []
    except (ClmsError, OSError) as error:
        missing = (
            told("NO_SECOND_COPY", cause=error)
            if isinstance(error, ClmsError)
            else told("NO_SECOND_COPY_DRIVE", path=place, detail=error.strerror)
        )
        context.note("external_missing", detail=missing.message)
        context.journal.event("BACKUP_EXTERNAL_MISSING", missing, run=context.run.id)
        return None, [missing.message]


def remove_old_backups(context: Context) -> tuple[list[str], list[str]]:
    """Remove the backups that are more than the settings keep, here and on the external drive.

    :returns: the backups that are gone, and what could not be removed
    """
    settings = context.school.backup
    used = {str(context.run.result("preflight").get("backup") or ""), context.run.result("backup").get("backup", "")}
    removed: list[str] = []
    problems: list[str] = []
    for place in (settings.path, settings.external_path):
        if place is None or not Path(place).is_dir():
            continue
        try:
            removed += [f"{place}/{name}" for name in prune(Path(place), maximum=settings.maximum, protected=used)]
        except OSError as error:
            problems.append(f"{error.filename or place}: {error.strerror}")
    return removed, problems
