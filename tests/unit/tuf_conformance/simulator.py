# SPDX-License-Identifier: GPL-3.0-or-later
"""A release repository in memory, of which every version of every role can be made as somebody would like it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from ansible_collections.clms.update.plugins.module_utils.fetcher import Fetcher

from .client import URL

ROLES = ("root", "timestamp", "snapshot", "targets")
REST = ("targets", "snapshot", "timestamp")
"""all but root, in the order in which they are published"""
_GENERATE = {
    "rsa": CryptoSigner.generate_rsa,
    "ecdsa": CryptoSigner.generate_ecdsa,
    "ed25519": CryptoSigner.generate_ed25519,
}
SIGNERS = [CryptoSigner.generate_ed25519() for _ in range(16)]
"""made once; a test takes the ones it needs by number, or from the end with :meth:`Repository.new_signer`"""


class Repository(Fetcher):
    """Serves itself below :data:`URL`; begins with version 1 of every role, signed by one key each."""

    def __init__(self) -> None:
        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
        self.metadata: dict[str, Metadata[Any]] = {
            "root": Metadata(Root(expires=expires)),
            "timestamp": Metadata(Timestamp(expires=expires)),
            "snapshot": Metadata(Snapshot(expires=expires)),
            "targets": Metadata(Targets(expires=expires)),
        }
        self.signers: dict[str, list[CryptoSigner]] = {role: [] for role in ROLES}
        self.served: dict[str, list[bytes]] = {role: [] for role in ROLES}
        """what is served as version 1, 2, … of a role"""
        self.contents: dict[str, bytes] = {}
        """what is served for a target"""
        self.with_hashes = False
        """whether snapshot and timestamp carry length and hash of what they name"""
        self.asked: list[str] = []
        self._unused = list(SIGNERS)
        for role in ROLES:
            self.add_key(role)
        self.publish("root", *REST)

    def signed(self, role: str) -> Any:
        """What the next version of a role will say."""
        return self.metadata[role].signed

    @property
    def root(self) -> Root:
        """What the next root will say."""
        root: Root = self.signed("root")
        return root

    def new_signer(self, kind: str = "") -> CryptoSigner:
        """A key that nobody has used yet."""
        return _GENERATE[kind]() if kind else self._unused.pop()

    def add_key(self, role: str, signer: CryptoSigner | None = None) -> CryptoSigner:
        """Let one more key sign for a role, and sign with it from now on."""
        signer = signer or self.new_signer()
        self.root.add_key(signer.public_key, role)
        self.signers[role].append(signer)
        return signer

    def set_keys(self, role: str, keys: list[int], threshold: int, signed_by: list[int]) -> None:
        """Let these of the :data:`SIGNERS` count for a role, and sign with those."""
        self.root.roles[role].keyids.clear()
        for number in keys:
            self.root.add_key(SIGNERS[number].public_key, role)
        self.root.roles[role].threshold = threshold
        self.signers[role] = [SIGNERS[number] for number in signed_by]

    def rotate(self, role: str) -> None:
        """Replace the key of a role."""
        self.root.roles[role].keyids.clear()
        self.signers[role].clear()
        self.add_key(role)

    def publish(self, *roles: str, again: bool = False) -> None:
        """Sign the next version of each of ``roles`` and serve it.

        :param again: serve it in the place of the newest one, under the same version
        """
        for role in roles:
            metadata, versions = self.metadata[role], self.served[role]
            if versions and not again:
                metadata.signed.version += 1
            metadata.signatures.clear()
            for signer in self.signers[role]:
                metadata.sign(signer, append=True)
            data = metadata.to_bytes()
            if again:
                versions[-1] = data
            else:
                versions.append(data)
            named = MetaFile(metadata.signed.version)
            if self.with_hashes:
                named = MetaFile.from_data(metadata.signed.version, data, ["sha256"])
            if role == "targets":
                self.signed("snapshot").meta["targets.json"] = named
            elif role == "snapshot":
                self.signed("timestamp").snapshot_meta = named

    def start_over(self, role: str) -> None:
        """Forget all versions of a role; the next one that is published is version 1 again."""
        self.served[role].clear()
        self.signed(role).version = 1

    def add_target(self, path: str, content: bytes, *hashes: str) -> None:
        """List a target in the next targets, with SHA-256 by default."""
        self.signed("targets").targets[path] = TargetFile.from_data(path, content, list(hashes) or ["sha256"])
        self.contents[path] = content

    def _fetch(self, url: str) -> Iterator[bytes]:
        """:raises DownloadHTTPError: for what is not served"""
        path = url.removeprefix(f"{URL}/")
        self.asked.append(path)
        data = self._metadata(path) if path.startswith("metadata/") else self._target(path)
        if not data:
            raise DownloadHTTPError("it answered 404", 404)
        yield data

    def _metadata(self, path: str) -> bytes | None:
        name = path.removeprefix("metadata/").removesuffix(".json")
        if name == "timestamp":
            return self.served[name][-1] if self.served[name] else None
        version, _, role = name.partition(".")
        position = int(version) - 1
        return self.served[role][position] if position < len(self.served[role]) else None

    def _target(self, path: str) -> bytes | None:
        folder, _, name = path.removeprefix("targets/").rpartition("/")
        prefix, _, name = name.partition(".")
        path = f"{folder}/{name}".lstrip("/")
        target = self.signed("targets").targets.get(path)
        if target is None or prefix not in target.hashes.values():
            return None
        return self.contents[path]
