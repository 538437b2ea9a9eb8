# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``bundle`` does: one signed ZIP with a release and its images, for schools without a network."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from securesystemslib.signer import Signer

from ansible_collections.clms.update.plugins.module_utils import bundle
from ansible_collections.clms.update.plugins.module_utils.adapters.image_archive import save_image
from ansible_collections.clms.update.plugins.module_utils.adapters.pipes import ArchiveError
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.release import Release, parse_release

from .images import engine, inspect
from .keys import signing_errors
from .repository import Repository
from .settings import BUNDLE_LIFETIME
from .vendor import Vendor, as_json, sync_folder

_EARLIEST = (1980, 1, 1, 0, 0, 0)
_TIME = "%Y-%m-%dT%H:%M:%SZ"

Content = bytes | Path
"""A member: what is in it, or the file that it comes from."""


@dataclass(frozen=True)
class Made:
    """A bundle that was made."""

    path: Path
    until: datetime
    """when something in it expires, so that no school takes it any more"""

    @property
    def counts_until(self) -> str:
        """The same as text."""
        return self.until.strftime(_TIME)


def make_bundle(
    vendor: Vendor,
    version: str,
    destination: Path,
    *,
    architecture: str,
    offline: Signer,
    online: Signer,
    now: datetime | None = None,
) -> Made:
    """Write the bundle of a signed release.

    It counts for :data:`.settings.BUNDLE_LIFETIME`, unless the release or the root expires sooner. The list of targets
    is signed anew where it would.

    :param destination: folder for it; made where it is missing
    :param architecture: of the images that go into it; the engine here has them
    :param offline: signs the bundle, and where need be the list of targets
    :param online: signs the snapshot and the timestamp in it
    :raises ClmsError: RELEASE_UNKNOWN, RELEASE_ARCHITECTURE, RELEASE_IMAGE_MISSING, ENGINE_UNREACHABLE,
        ROTATION_UNFINISHED, SIGNING_FAILED, VENDOR_HOME or PUBLISH_FAILED
    """
    now = now or datetime.now(UTC)
    repository = Repository(vendor.repository, now=now)
    path = f"releases/{version}.json"
    if path not in repository.targets():
        raise ClmsError("RELEASE_UNKNOWN", version=version)
    release = parse_release(repository.read(path))
    # each bundle is a state of its own, so that a school can tell which of two is newer
    repository.refresh_for(BUNDLE_LIFETIME, offline, online)
    members: dict[str, Content] = dict(repository.offline_files(online))
    for target in _targets(repository, release):
        name, data = repository.target_file(target)
        members[name] = data
    try:
        destination.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".bundle-", dir=destination) as folder:
            members.update(_images(release, architecture, Path(folder)))
            contents = _contents(release, architecture, now, members)
            unsigned = Path(folder) / "unsigned.zip"
            _write(unsigned, {bundle.CONTENTS: contents, **members})
            _seal(unsigned, repository.later_roots(), offline)
            target_file = destination / bundle.parse_contents(contents).name
            unsigned.replace(target_file)
            sync_folder(destination)
    except OSError as error:
        raise ClmsError("PUBLISH_FAILED", path=destination, detail=error.strerror) from None
    return Made(target_file, min(repository.offline_until(), release.expires))


def _targets(repository: Repository, release: Release) -> Iterator[str]:
    """The targets that a school needs for a release."""
    package = release.package.path
    for path in repository.targets():
        if path in (f"releases/{release.version}.json", package, f"{package}.sig") or path.startswith("keys/"):
            yield path


def _images(release: Release, architecture: str, folder: Path) -> dict[str, Content]:
    """Member -> file with an image of the release; of what schools build, the images to build on.

    :raises ClmsError: RELEASE_ARCHITECTURE, RELEASE_IMAGE_MISSING or ENGINE_UNREACHABLE
    """
    found: dict[str, Content] = {}
    with engine() as client:
        for image in release.all_images(architecture):
            local = inspect(client, image.config)
            if local.layers != image.layers:
                raise ClmsError("RELEASE_IMAGE_MISSING", image=image.config, detail="it has other layers here")
            name = bundle.image_member(image.config)
            file = folder / name.rpartition("/")[2]
            try:
                save_image(local.id, file)
            except ArchiveError as error:
                raise ClmsError("RELEASE_IMAGE_MISSING", image=image.config, detail=str(error)) from None
            found[name] = file
    return found


def _contents(release: Release, architecture: str, now: datetime, members: Mapping[str, Content]) -> bytes:
    return as_json(
        {
            "format": 1,
            "product": "clms",
            "version": release.version.text,
            "architecture": architecture,
            "created": now.strftime(_TIME),
            "members": {name: _described(content) for name, content in sorted(members.items())},
        }
    )


def _described(content: Content) -> dict[str, object]:
    if isinstance(content, bytes):
        return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    with content.open("rb") as file:
        return {"size": content.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _write(path: Path, members: Mapping[str, Content]) -> None:
    """A ZIP whose members are stored as they are: what is in it is packed already."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, _EARLIEST)
            info.create_system = 3  # Unix, whatever this runs on
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            large = isinstance(content, Path) and content.stat().st_size >= zipfile.ZIP64_LIMIT
            with archive.open(info, "w", force_zip64=large) as member:
                _copy(content, member)


def _copy(content: Content, member: IO[bytes]) -> None:
    if isinstance(content, bytes):
        member.write(content)
        return
    with content.open("rb") as file:
        shutil.copyfileobj(file, member, 1 << 20)


def _seal(path: Path, roots: Sequence[bytes], offline: Signer) -> None:
    """Put the signature into the comment; see :mod:`.bundle` of the collection for what it is over.

    :raises ClmsError: SIGNING_FAILED
    """
    with path.open("r+b") as file:
        # the end record ends with the length of the comment, which is empty so far
        file.truncate(path.stat().st_size - 2)
        statement = bundle.statement(hashlib.file_digest(file, "sha256").hexdigest(), file.tell())
        with signing_errors():
            signature = offline.sign(statement).to_dict()
        comment = bundle.comment(bundle.Seal(signature, tuple(root.decode() for root in roots)))
        file.write(bundle.length_field(comment) + comment)
        file.flush()
        os.fsync(file.fileno())
