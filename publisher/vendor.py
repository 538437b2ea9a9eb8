# SPDX-License-Identifier: GPL-3.0-or-later
"""The vendor folder: where keys, staged releases and the signed repository lie."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fields import Fields

SETTINGS = "vendor.json"


@dataclass(frozen=True)
class Vendor:
    """An initialised vendor folder."""

    home: Path
    name: str
    gpg_home: Path
    fingerprint: str
    """primary fingerprint of the vendor's GPG key, 40 hexadecimal digits in upper case"""
    next_key: tuple[Path, str] | None = None
    """GPG home and fingerprint of the key that a rotation goes to, until it has ended"""

    @property
    def repository(self) -> Path:
        """The signed repository: ``metadata/`` and ``targets/``."""
        return self.home / "repository"

    @property
    def online_key(self) -> Path:
        """The private key of the roles snapshot and timestamp (PEM)."""
        return self.home / "online.pem"

    @property
    def next_online_key(self) -> Path:
        """The online key that a rotation goes to, until it has ended."""
        return self.home / "online.next.pem"

    @property
    def root_keys(self) -> Path:
        """Folder in which the keys of the root are made, until they are moved to drives of their own."""
        return self.home / "root-keys"

    @property
    def public_key(self) -> Path:
        """The vendor's public GPG key, for people; schools find it in the repository."""
        return self.home / "vendor.asc"

    @property
    def root(self) -> Path:
        """The root metadata with the newest keys, for schools to pin."""
        return self.home / "root.json"

    def staging(self, version: str) -> Path:
        """Where a release waits between ``build`` and ``sign``."""
        return self.home / "staging" / version

    def save(self) -> None:
        """Write the settings; a folder counts as initialised from here on."""
        data: dict[str, Any] = {"name": self.name, "gpgHome": str(self.gpg_home), "fingerprint": self.fingerprint}
        if self.next_key:
            data["next"] = {"gpgHome": str(self.next_key[0]), "fingerprint": self.next_key[1]}
        write_file(self.home / SETTINGS, as_json(data))

    @classmethod
    def load(cls, home: Path) -> Vendor:
        """:raises ClmsError: VENDOR_HOME when ``home`` is no vendor folder or others can read it"""
        try:
            fields = Fields(json.loads((home / SETTINGS).read_bytes()))
            gpg_home, fingerprint = _key(fields)
            next_key = _key(fields.sub("next")) if fields.is_mapping("next") else None
            vendor = cls(home, fields.text("name"), gpg_home, fingerprint, next_key)
            fields.done()
        except OSError:
            raise ClmsError("VENDOR_HOME", path=home, detail="it was not initialised") from None
        except ValueError as error:
            raise ClmsError("VENDOR_HOME", path=home, detail=f"{SETTINGS} is damaged: {error}") from None
        if stat.S_IMODE(home.stat().st_mode) & 0o077:
            raise ClmsError("VENDOR_HOME", path=home, detail="others can look into it (it needs mode 0700)")
        return vendor


def _key(fields: Fields) -> tuple[Path, str]:
    return Path(fields.text("gpgHome")), fields.text("fingerprint", pattern="[0-9A-F]{40}")


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Let only one command at a time change a vendor folder.

    :raises ClmsError: VENDOR_HOME
    """
    try:
        file = (home / ".lock").open("wb")
    except OSError as error:
        raise ClmsError("VENDOR_HOME", path=home, detail=error.strerror) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClmsError("VENDOR_HOME", path=home, detail="another clms-release is working in it") from None
        yield


def as_json(data: Any) -> bytes:
    """JSON for people and machines, the same bytes for the same data."""
    return json.dumps(data, indent=2, ensure_ascii=False).encode() + b"\n"


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file so that it is there completely or not at all, also after a power cut."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(file.fileno(), mode)  # whatever the umask says
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
