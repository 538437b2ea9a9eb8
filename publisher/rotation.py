# SPDX-License-Identifier: GPL-3.0-or-later
"""Going over to another key; each step can be repeated, and what goes on is put down before anything is signed."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from tuf.api.metadata import Root

from . import keys
from .repository import NewTarget, Repository, package_path
from .vendor import Vendor, sync_folder, write_file


def key_target(gpg_home: Path, fingerprint: str) -> NewTarget:
    """The public key with which schools check the signatures of packages.

    :raises ClmsError: SIGNING_FAILED
    """
    return NewTarget(f"keys/{fingerprint}.asc", keys.export_public_key(gpg_home, fingerprint))


def rotate_gpg_key(vendor: Vendor, gpg_home: Path | None, fingerprint: str | None) -> Vendor:
    """Hand root, targets and packages over to another GPG key, or go on with that.

    :param gpg_home: where the other key is or will be made; without it, where the key until now is
    :param fingerprint: an existing key; without it, the one that an interrupted rotation goes to, or a new one
    :returns: the vendor with the other key
    :raises ClmsError: SIGNING_FAILED, PACKAGE_SIGNATURE, ROTATION_UNFINISHED, SECRET_FILE, VENDOR_HOME
    """
    repository = Repository(vendor.repository)
    if vendor.next_key and repository.names(vendor.next_key[1].lower(), Root.type):
        vendor = _finish(vendor, repository, *vendor.next_key)
        if fingerprint is None:
            return vendor
    old = keys.gpg_signer(vendor.gpg_home, vendor.fingerprint)
    online = keys.online_signer(vendor.online_key)
    home, wanted = gpg_home or vendor.gpg_home, fingerprint
    if wanted is not None:
        wanted = keys.find_gpg_key(home, wanted)
    elif vendor.next_key:
        home, wanted = vendor.next_key
    else:
        wanted = keys.create_gpg_key(home, vendor.name)
    if wanted == vendor.fingerprint:
        return vendor
    new = keys.gpg_signer(home, wanted)
    vendor = replace(vendor, next_key=(home, wanted))
    vendor.save()
    files = [key_target(vendor.gpg_home, vendor.fingerprint), key_target(home, wanted)]
    files += _signatures(vendor, repository, home, wanted)
    repository.rotate_offline(old, new, online, files)
    return _finish(vendor, repository, home, wanted)


def rotate_online_key(vendor: Vendor) -> None:
    """Hand snapshot and timestamp over to a new key, or go on with that.

    :raises ClmsError: SIGNING_FAILED, ROTATION_UNFINISHED, SECRET_FILE, VENDOR_HOME
    """
    repository = Repository(vendor.repository)
    offline = keys.gpg_signer(vendor.gpg_home, vendor.fingerprint)
    path = vendor.next_online_key
    new = keys.online_signer(path) if path.exists() else keys.create_online_signer(path)
    old = keys.online_signer(vendor.online_key) if vendor.online_key.exists() else None
    repository.rotate_online(old, new, offline)
    write_file(vendor.root, repository.root_bytes())
    path.replace(vendor.online_key)
    sync_folder(vendor.home)


def _signatures(vendor: Vendor, repository: Repository, gpg_home: Path, fingerprint: str) -> list[NewTarget]:
    """The packages' signatures by the new key, and beside them the old ones, for schools that stand at the old root."""
    files, listed = [], repository.targets()
    with tempfile.TemporaryDirectory(prefix="clms-rotate-") as folder:
        package = Path(folder, "package.zip")
        for release in repository.releases():
            path = package_path(release["version"])
            kept = f"{path}.{vendor.fingerprint}.sig"
            if kept not in listed:
                files.append(NewTarget(kept, repository.read(f"{path}.sig")))
            package.write_bytes(repository.read(path))
            signature = keys.sign_package(gpg_home, fingerprint, package, version=release["version"])
            files.append(NewTarget(f"{path}.sig", signature))
    return files


def _finish(vendor: Vendor, repository: Repository, gpg_home: Path, fingerprint: str) -> Vendor:
    """What follows once the root names the other key; nothing has to be signed for it."""
    write_file(vendor.public_key, repository.read(f"keys/{fingerprint}.asc"))
    write_file(vendor.root, repository.root_bytes())
    vendor = replace(vendor, gpg_home=gpg_home, fingerprint=fingerprint, next_key=None)
    vendor.save()
    return vendor
