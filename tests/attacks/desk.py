# SPDX-License-Identifier: GPL-3.0-or-later
"""A release manager's desk in the wrong hands: what can be signed with which of the vendor's keys, or with none."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata, MetaFile

from publisher import keys
from publisher.publish import publish
from publisher.repository import NewTarget, Repository, package_path
from publisher.vendor import Vendor, as_json

STRANGER = CryptoSigner.generate_ed25519()
"""a key that nobody has ever named"""

Change = Callable[[Any], None]


class Desk:
    """A vendor folder with its keys, and beside it what is to be served."""

    def __init__(self, folder: Path, vendor: Vendor) -> None:
        self.folder = folder
        self.vendor = vendor
        self.served = folder / "served"

    @classmethod
    def copied(cls, home: Path, folder: Path) -> Desk:
        """The desk of a vendor as it is now, in another folder."""
        copy = folder / "v"
        shutil.copytree(home, copy, ignore=shutil.ignore_patterns("S.*", "*.lock", ".#*", "staging"))
        copy.chmod(0o700)
        vendor = replace(Vendor.load(copy), gpg_home=copy / "gnupg")
        vendor.save()
        return cls(folder, vendor)

    def remove(self) -> None:
        """It was never there."""
        for home in (self.vendor.gpg_home, self.folder / "g"):
            if home.exists():
                keys.end_agent(home)
        with suppress(OSError):  # gpg's agent is removing its sockets meanwhile
            shutil.rmtree(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def reload(self) -> Desk:
        """The same desk after a command has worked in it."""
        return Desk(self.folder, Vendor.load(self.vendor.home))

    @property
    def repository(self) -> Repository:
        """The signed repository."""
        return Repository(self.vendor.repository)

    @property
    def offline(self) -> Signer:
        """Who signs targets: the vendor's GPG key."""
        return keys.gpg_signer(self.vendor.gpg_home, self.vendor.fingerprint)

    @property
    def roots(self) -> list[Signer]:
        """Who signs the root: two of them are needed."""
        return [keys.file_signer(path) for path in sorted(self.vendor.root_keys.glob("*.pem"))]

    @property
    def online(self) -> Signer:
        """Who signs snapshot and timestamp."""
        return keys.file_signer(self.vendor.online_key)

    @property
    def metadata(self) -> Path:
        """The folder with the metadata that is to be served."""
        return self.served / "metadata"

    def publish(self) -> Path:
        """What a vendor would serve of it."""
        self.served.mkdir(exist_ok=True)
        publish(self.vendor.repository, self.served)
        return self.served

    # releases that are signed as they should be

    def release(self, version: str) -> dict[str, Any]:
        """The description of a release."""
        decoded: dict[str, Any] = json.loads(self.repository.read(f"releases/{version}.json"))
        return decoded

    def sign(
        self,
        version: str,
        *,
        base: str = "1.0.1",
        signature: bytes | None = None,
        public_key: bytes | None = None,
        package: bytes = b"a package",
        **changes: Any,
    ) -> None:
        """Sign a release that is another one but for some fields, with all keys that it takes.

        :param signature: of the package, in place of the vendor's
        :param public_key: what is listed as the vendor's public key
        """
        path = package_path(version)
        described = {"path": path, "size": len(package), "sha256": hashlib.sha256(package).hexdigest()}
        release = {**self.release(base), "version": version, "package": described, **changes}
        custom = {name: release[name] for name in ("version", "sequence", "channel")}
        files = [
            NewTarget(path, package),
            NewTarget(f"{path}.sig", self.signature(package) if signature is None else signature),
            NewTarget(f"releases/{version}.json", as_json(release), custom),
        ]
        if public_key is not None:
            files.append(NewTarget(f"keys/{self.vendor.fingerprint}.asc", public_key))
        self.repository.add(files, self.offline, self.online)

    def signature(self, package: bytes) -> bytes:
        """The vendor's signature of a package."""
        path = self.folder / "package"
        path.write_bytes(package)
        return keys.sign_package(self.vendor.gpg_home, self.vendor.fingerprint, path, version="x")

    # metadata that is not

    def newest(self, role: str) -> Path:
        """The newest metadata of a role that is to be served."""
        if role == "timestamp":
            return self.metadata / "timestamp.json"
        return max(self.metadata.glob(f"*.{role}.json"), key=lambda path: int(path.name.split(".")[0]))

    def resign(self, role: str, signers: Sequence[Signer], change: Change = lambda signed: None) -> bytes:
        """Metadata of a role, changed, and signed by others."""
        metadata: Metadata[Any] = Metadata.from_file(str(self.newest(role)))
        change(metadata.signed)
        metadata.signatures.clear()
        for signer in signers:
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def lead_to_targets(self, targets: bytes, *, timestamp: Change = lambda signed: None) -> None:
        """Serve another list of targets: what somebody can do who holds the online key."""
        listed = json.loads(targets)["signed"]["version"]
        number = json.loads(self.newest("snapshot").read_bytes())["signed"]["version"] + 1

        def to_targets(snapshot: Any) -> None:
            snapshot.version = number
            snapshot.meta["targets.json"] = MetaFile.from_data(listed, targets, ["sha256"])

        snapshot = self.resign("snapshot", [self.online], to_targets)

        def to_snapshot(signed: Any) -> None:
            signed.version += 1
            signed.snapshot_meta = MetaFile.from_data(number, snapshot, ["sha256"])
            timestamp(signed)

        news = self.resign("timestamp", [self.online], to_snapshot)
        (self.metadata / f"{listed}.targets.json").write_bytes(targets)
        (self.metadata / f"{number}.snapshot.json").write_bytes(snapshot)
        (self.metadata / "timestamp.json").write_bytes(news)

    def target(self, path: str) -> Path:
        """The file in which a target is served, with its hash in its name."""
        folder, name = path.rsplit("/", 1)
        wanted = self.repository.targets()[path].hashes["sha256"]
        return self.served / "targets" / folder / f"{wanted}.{name}"


def altered(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Another content in a JSON file."""
    decoded = json.loads(path.read_bytes())
    change(decoded)
    path.write_bytes(json.dumps(decoded).encode())


def flip(path: Path, at: float = 0.5) -> None:
    """One bit of a file turns over."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(bytes(data))


def shorten(path: Path, by: int) -> None:
    """The end of a file is missing."""
    os.truncate(path, path.stat().st_size - by)
