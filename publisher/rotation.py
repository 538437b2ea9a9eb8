# SPDX-License-Identifier: GPL-3.0-or-later
"""Going over to another key; each step can be repeated, and what goes on is put down before anything is signed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.metadata import Root, Targets

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from . import keys
from .repository import NewTarget, Repository, package_path
from .vendor import Vendor, sync_folder, write_file


def key_target(gpg_home: Path, fingerprint: str) -> NewTarget:
    """The public key with which schools check the signatures of packages.

    :raises ClmsError: SIGNING_FAILED
    """
    return NewTarget(f"keys/{fingerprint}.asc", keys.export_public_key(gpg_home, fingerprint))


def root_signers(vendor: Vendor, files: Sequence[Path] | None) -> list[Signer]:
    """Who signs the next root.

    :param files: the keys, wherever they are right now; without them, those that lie in the vendor folder
    :raises ClmsError: SECRET_FILE, SIGNING_FAILED
    """
    return [keys.file_signer(file) for file in files or sorted(vendor.root_keys.glob("*.pem"))]


def rotate_gpg_key(
    vendor: Vendor, roots: Sequence[Signer], gpg_home: Path | None, fingerprint: str | None, *, lost: bool = False
) -> Vendor:
    """Hand targets and packages over to another GPG key, or go on with that.

    :param gpg_home: where the other key is or will be made; without it, where the key until now is
    :param fingerprint: an existing key; without it, the one that an interrupted rotation goes to, or a new one
    :param lost: the key until now cannot sign any more
    :returns: the vendor with the other key
    :raises ClmsError: SIGNING_FAILED, PACKAGE_SIGNATURE, ROOT_KEYS_MISSING, ROTATION_UNFINISHED, SECRET_FILE or
        VENDOR_HOME
    """
    repository = Repository(vendor.repository)
    if vendor.next_key and repository.names(vendor.next_key[1].lower(), Targets.type):
        vendor = _finish(vendor, repository, *vendor.next_key)
        if fingerprint is None:
            return vendor
    old = None if lost else keys.gpg_signer(vendor.gpg_home, vendor.fingerprint)
    online = keys.file_signer(vendor.online_key)
    repository.check_roots(roots)  # before a key is made
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
    files = [key_target(home, wanted), *_signatures(vendor, repository, home, wanted)]
    if old is not None:
        files.append(key_target(vendor.gpg_home, vendor.fingerprint))
    repository.rotate_offline(roots, old, new, online, files)
    return _finish(vendor, repository, home, wanted)


def rotate_online_key(vendor: Vendor, roots: Sequence[Signer]) -> None:
    """Hand snapshot and timestamp over to a new key, or go on with that.

    :raises ClmsError: ROOT_KEYS_MISSING, SIGNING_FAILED, SECRET_FILE, VENDOR_HOME
    """
    repository = Repository(vendor.repository)
    repository.check_roots(roots)
    path = vendor.next_online_key
    new = keys.file_signer(path) if path.exists() else keys.create_key_file(path)
    old = keys.file_signer(vendor.online_key) if vendor.online_key.exists() else None
    repository.rotate_online(roots, old, new)
    write_file(vendor.root, repository.root_bytes())
    path.replace(vendor.online_key)
    sync_folder(vendor.home)


def replace_root_key(vendor: Vendor, roots: Sequence[Signer], path: Path) -> None:
    """Let a new key sign the root, in place of the one that is not among ``roots``, or go on with that.

    :param path: where the new key is made; or it is there already
    :raises ClmsError: ROOT_KEYS_MISSING, ROOT_KEYS_ALL, ROOT_KEY_USED, SIGNING_FAILED, SECRET_FILE, VENDOR_HOME
    """
    repository = Repository(vendor.repository)
    new = keys.file_signer(path) if path.exists() else None
    if new is not None and repository.names(keyid := new.public_key.keyid, Root.type):
        if repository.named_before(keyid, Root.type):  # it is no repetition of what was interrupted
            raise ClmsError("ROOT_KEY_USED", path=path)
    else:
        gone = repository.root_keys_beside(roots)
        repository.replace_root_key(roots, gone, new or keys.create_key_file(path))
    write_file(vendor.root, repository.root_bytes())


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
