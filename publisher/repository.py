# SPDX-License-Identifier: GPL-3.0-or-later
"""The signed repository: metadata of The Update Framework with consistent snapshots, and the files it speaks of.

What counts is what ``timestamp.json`` leads to. It is written last, so that a crash in the middle of a change leaves
the state before it; the next change writes over what was left. Only a root that names other keys comes after it: what
the timestamp leads to is signed by the old and the new key by then, and counts at either root.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.release import PRODUCT
from ansible_collections.clms.update.plugins.module_utils.version import Version

from .keys import signing_errors
from .settings import BUNDLE_LIFETIME, EXPIRES, ROOT_THRESHOLD
from .vendor import write_file

_S = TypeVar("_S", Root, Timestamp, Snapshot, Targets)

_WITHDRAWN = "withdrawn"
"""Field of the targets metadata that is ours; The Update Framework lets clients pass over it."""


@dataclass(frozen=True)
class NewTarget:
    """A file to be added."""

    path: str
    data: bytes
    custom: dict[str, Any] | None = None


class Repository:
    """The repository in one folder, with ``metadata/`` and ``targets/`` below it."""

    def __init__(self, folder: Path, *, now: datetime | None = None) -> None:
        """:param now: the time from which expiry is counted, in UTC"""
        self._metadata = folder / "metadata"
        self._targets = folder / "targets"
        self._now = now or datetime.now(UTC)

    @classmethod
    def create(
        cls,
        folder: Path,
        roots: Sequence[Signer],
        offline: Signer,
        online: Signer,
        files: Sequence[NewTarget] = (),
        *,
        now: datetime | None = None,
    ) -> Repository:
        """Make a repository without releases.

        :param roots: sign the root, from then on :data:`.settings.ROOT_THRESHOLD` of them where there are as many
        :param offline: signs targets
        :param online: signs snapshot and timestamp
        """
        repository = cls(folder, now=now)
        for part in (repository._metadata, repository._targets):
            part.mkdir(parents=True)
        root = Root(consistent_snapshot=True)
        for role, signer in (("targets", offline), ("snapshot", online), ("timestamp", online)):
            root.add_key(signer.public_key, role)
        for signer in roots:
            root.add_key(signer.public_key, Root.type)
        root.roles[Root.type].threshold = min(ROOT_THRESHOLD, len(roots))
        repository._write_root(root, roots)
        targets = Targets()
        repository._store(files, targets)
        repository._write_news(Snapshot(), Timestamp(), repository._write_targets(targets, offline), online)
        return repository

    def root_bytes(self) -> bytes:
        """The newest root metadata as it was signed."""
        return (self._metadata / f"{self._root().version}.root.json").read_bytes()

    def names(self, keyid: str, role: str) -> bool:
        """Whether the newest root lets a key sign for a role."""
        return keyid in self._root().roles[role].keyids

    def targets(self) -> dict[str, TargetFile]:
        """The files that count now, by path.

        :raises ClmsError: VENDOR_HOME when metadata is missing or damaged
        """
        return self._current_targets().targets

    def read(self, path: str) -> bytes:
        """The content of a target, compared with its signed hash.

        :raises ClmsError: VENDOR_HOME
        """
        target = self.targets()[path]
        try:
            data = self._local(target).read_bytes()
            target.verify_length_and_hashes(data)
        except (OSError, RepositoryError) as error:
            raise ClmsError("VENDOR_HOME", path=self._targets, detail=f"{path} is damaged: {error}") from None
        return data

    def releases(self) -> list[dict[str, Any]]:
        """The custom data of all releases (``version``, ``sequence``, ``channel``), by channel and sequence."""
        found = [target.custom for path, target in self.targets().items() if path.startswith("releases/")]
        return sorted(found, key=lambda entry: (entry["channel"], entry["sequence"]))

    def withdrawn(self) -> list[dict[str, Any]]:
        """What :meth:`releases` said of releases before they were withdrawn, in that order."""
        return list(self._current_targets().unrecognized_fields.get(_WITHDRAWN, []))

    def check_unused(self, version: str, sequence: int, channel: str) -> None:
        """:raises ClmsError: RELEASE_USED unless version and sequence both go on where the channel stands"""
        for entry in [*self.releases(), *self.withdrawn()]:
            if Version(entry["version"]) == Version(version):
                raise ClmsError("RELEASE_USED", version=version, detail="it was signed before")
            if entry["channel"] == channel and entry["sequence"] >= sequence:
                detail = f"sequence {sequence} is not above {entry['sequence']} of version {entry['version']}"
                raise ClmsError("RELEASE_USED", version=version, detail=detail)

    def add(self, files: Sequence[NewTarget], offline: Signer, online: Signer) -> None:
        """Add files and sign the change.

        :raises ClmsError: ROTATION_UNFINISHED, SIGNING_FAILED, VENDOR_HOME
        """
        self._check_keys(online, offline)
        targets = self._current_targets()
        self._store(files, targets)
        targets.version += 1
        self._renew(self._write_targets(targets, offline), online)

    def withdraw(self, version: str, offline: Signer, online: Signer) -> list[str]:
        """Take a release off the list for good. To do it twice changes nothing.

        That it was there is put down in the signed list itself: one signature says both, whenever this is interrupted.

        :returns: the files that no list names any more; they stay, because somebody may be fetching them
        :raises ClmsError: RELEASE_NOT_LISTED, ROTATION_UNFINISHED, SIGNING_FAILED, VENDOR_HOME
        """
        self._check_keys(online, offline)
        if any(entry["version"] == version for entry in self.withdrawn()):
            return []
        targets = self._current_targets()
        release = targets.targets.get(f"releases/{version}.json")
        if release is None:
            raise ClmsError("RELEASE_NOT_LISTED", version=version)
        package = package_path(version)
        paths = [path for path in targets.targets if path == release.path or path.startswith(package)]
        gone = [self._local(targets.targets.pop(path)) for path in paths]
        targets.unrecognized_fields.setdefault(_WITHDRAWN, []).append(release.custom)
        targets.version += 1
        self._renew(self._write_targets(targets, offline), online)
        return sorted(path.relative_to(self._targets.parent).as_posix() for path in gone)

    def refresh(self, online: Signer) -> None:
        """Give snapshot and timestamp a new expiry date.

        :raises ClmsError: ROTATION_UNFINISHED, SIGNING_FAILED, VENDOR_HOME
        """
        self._check_keys(online, None)
        self._renew(None, online)

    def refresh_for(self, lifetime: timedelta, offline: Signer, online: Signer) -> None:
        """As :meth:`refresh`, and so for the list of targets where that expires within this time.

        :raises ClmsError: ROTATION_UNFINISHED, SIGNING_FAILED, VENDOR_HOME
        """
        if _utc(self._current_targets()) < self._now + lifetime:
            self.add((), offline, online)
        else:
            self.refresh(online)

    def refresh_all(
        self, roots: Sequence[Signer], offline: Signer, online: Signer, files: Sequence[NewTarget] = ()
    ) -> None:
        """Give root and targets a new expiry date as well.

        :param files: files to be added to the targets
        :raises ClmsError: ROOT_KEYS_MISSING, ROTATION_UNFINISHED, SIGNING_FAILED, VENDOR_HOME
        """
        self._check_keys(online, offline)
        self.check_roots(roots)
        root, targets = self._root(), self._current_targets()
        self._store(files, targets)
        root.version += 1
        targets.version += 1
        self._write_root(root, roots)
        self._renew(self._write_targets(targets, offline), online)

    def rotate_offline(
        self,
        roots: Sequence[Signer],
        old: Signer | None,
        new: Signer,
        online: Signer,
        files: Sequence[NewTarget],
    ) -> None:
        """Hand targets over to another key; where the newest root names that key already, do nothing.

        :param old: the key until now; where it is lost, a school that asks while this is published is refused once
        :param files: what comes with the new key
        :raises ClmsError: ROOT_KEYS_MISSING, ROTATION_UNFINISHED, SIGNING_FAILED, VENDOR_HOME
        """
        if self.names(new.public_key.keyid, Targets.type):
            return
        self._check_keys(online, old)
        self.check_roots(roots)
        targets = self._current_targets()
        self._store(files, targets)
        targets.version += 1
        self._renew(self._write_targets(targets, *([new] if old is None else [old, new])), online)
        self._write_next_root((Targets.type,), new, roots)

    def rotate_online(self, roots: Sequence[Signer], old: Signer | None, new: Signer) -> None:
        """Hand snapshot and timestamp over to another key; where the newest root names that key already, do nothing.

        :param old: the key until now; where it is lost, a school that asks while this is published is refused once
        :raises ClmsError: ROOT_KEYS_MISSING, ROTATION_UNFINISHED, SIGNING_FAILED, VENDOR_HOME
        """
        if self.names(new.public_key.keyid, Timestamp.type):
            return
        self.check_roots(roots)
        self._renew(None, *([new] if old is None else [old, new]))
        self._write_next_root((Snapshot.type, Timestamp.type), new, roots)

    def named_before(self, keyid: str, role: str) -> bool:
        """Whether the root before the newest one let a key sign for a role as well; the first root has none before."""
        version = self._root().version - 1
        return version == 0 or keyid in self._load(f"{version}.root.json", Root).roles[role].keyids

    def root_keys_beside(self, roots: Sequence[Signer]) -> frozenset[str]:
        """Ids of the root keys that are not among ``roots``, to be replaced.

        :raises ClmsError: ROOT_KEYS_MISSING, ROOT_KEYS_ALL
        """
        self.check_roots(roots)
        others = frozenset(self._root().roles[Root.type].keyids) - {signer.public_key.keyid for signer in roots}
        if not others:
            raise ClmsError("ROOT_KEYS_ALL")
        return others

    def replace_root_key(self, roots: Sequence[Signer], gone: Collection[str], new: Signer) -> None:
        """Let a new key sign the root in place of others.

        :param gone: see :meth:`root_keys_beside`
        :raises ClmsError: SIGNING_FAILED, VENDOR_HOME
        """
        self._write_next_root((Root.type,), new, roots, gone=gone)

    def expires(self) -> dict[str, str]:
        """When each role's metadata expires (UTC)."""
        timestamp, snapshot = self._timestamp_and_snapshot()
        roles: list[Signed] = [self._root(), self._current_targets(), snapshot, timestamp]
        return {role.type: role.expires.strftime("%Y-%m-%dT%H:%M:%SZ") for role in roles}

    def _check_keys(self, online: Signer | None, offline: Signer | None) -> None:
        for signer, role in ((online, Timestamp.type), (offline, Targets.type)):
            if signer is not None and not self.names(signer.public_key.keyid, role):
                raise ClmsError("ROTATION_UNFINISHED", path=self._metadata.parent.parent)

    def check_roots(self, roots: Sequence[Signer]) -> None:
        """:raises ClmsError: ROOT_KEYS_MISSING unless these keys can sign the next root"""
        role = self._root().roles[Root.type]
        found = {signer.public_key.keyid for signer in roots} & set(role.keyids)
        if len(found) < role.threshold:
            raise ClmsError("ROOT_KEYS_MISSING", found=len(found), needed=role.threshold)

    def _store(self, files: Sequence[NewTarget], targets: Targets) -> None:
        for file in files:
            target = TargetFile.from_data(file.path, file.data, ["sha256"])
            if file.custom is not None:
                target.unrecognized_fields["custom"] = file.custom
            local = self._local(target)
            local.parent.mkdir(parents=True, exist_ok=True)
            write_file(local, file.data)
            targets.targets[file.path] = target

    def offline_files(self, online: Signer) -> dict[str, bytes]:
        """Everything that a client needs to believe the present state without this server, by its name on the server.

        Snapshot and timestamp are signed once more, to count for :data:`.settings.BUNDLE_LIFETIME`; the timestamp says
        so with ``offline``, and a release server that serves it is refused.

        :raises ClmsError: SIGNING_FAILED, VENDOR_HOME
        """
        timestamp, snapshot = self._timestamp_and_snapshot()
        targets = f"{snapshot.meta['targets.json'].version}.targets.json"
        files = {f"metadata/{path.name}": path.read_bytes() for path in self._metadata.glob("*.root.json")}
        files[f"metadata/{targets}"] = (self._metadata / targets).read_bytes()
        data = self._sign(snapshot, online, lifetime=BUNDLE_LIFETIME)
        files[f"metadata/{snapshot.version}.snapshot.json"] = data
        timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, data, ["sha256"])
        timestamp.unrecognized_fields["offline"] = True
        files["metadata/timestamp.json"] = self._sign(timestamp, online, lifetime=BUNDLE_LIFETIME)
        return files

    def offline_until(self) -> datetime:
        """Until when the :meth:`offline_files` count, by whatever in them expires first."""
        return min(self._now + BUNDLE_LIFETIME, _utc(self._root()), _utc(self._current_targets()))

    def later_roots(self) -> list[bytes]:
        """Root metadata from the second one on, oldest first."""
        return [(self._metadata / f"{number}.root.json").read_bytes() for number in range(2, self._root().version + 1)]

    def target_file(self, path: str) -> tuple[str, bytes]:
        """A target's name on the server, and its content.

        :raises ClmsError: VENDOR_HOME
        """
        name = self._local(self.targets()[path]).relative_to(self._targets.parent)
        return name.as_posix(), self.read(path)

    def _renew(self, targets: MetaFile | None, *online: Signer) -> None:
        timestamp, snapshot = self._timestamp_and_snapshot()
        snapshot.version += 1
        timestamp.version += 1
        self._write_news(snapshot, timestamp, targets or snapshot.meta["targets.json"], *online)

    def _write_news(self, snapshot: Snapshot, timestamp: Timestamp, targets: MetaFile, *online: Signer) -> None:
        snapshot.meta["targets.json"] = targets
        data = self._sign(snapshot, *online)
        write_file(self._metadata / f"{snapshot.version}.snapshot.json", data)
        timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, data, ["sha256"])
        write_file(self._metadata / "timestamp.json", self._sign(timestamp, *online))

    def _write_targets(self, targets: Targets, *offline: Signer) -> MetaFile:
        data = self._sign(targets, *offline)
        write_file(self._metadata / f"{targets.version}.targets.json", data)
        return MetaFile.from_data(targets.version, data, ["sha256"])

    def _write_next_root(
        self, roles: Sequence[str], new: Signer, roots: Sequence[Signer], gone: Collection[str] = ()
    ) -> None:
        """A root that names one other key, and beside it the timestamp that counts before and after it.

        :param gone: the keys in whose place it comes; without them, those of the roles

        The timestamp is kept for :mod:`.publish`: when later ones have followed, by the new key alone, schools that
        stand at the root before can still be led over.
        """
        root = self._root()
        root.version += 1
        for role in roles:
            for keyid in tuple(gone or root.roles[role].keyids):
                root.revoke_key(keyid, role)
            root.add_key(new.public_key, role)
        bridge = self._metadata / f"{root.version}.timestamp.json"
        write_file(bridge, (self._metadata / "timestamp.json").read_bytes())
        self._write_root(root, [*roots, new] if Root.type in roles else roots)

    def _write_root(self, root: Root, signers: Sequence[Signer]) -> None:
        """Write a root, signed by those that it and the root before it name."""
        known = set(root.roles[Root.type].keyids)
        if root.version > 1:
            known |= set(self._root().roles[Root.type].keyids)
        data = self._sign(root, *(signer for signer in signers if signer.public_key.keyid in known))
        write_file(self._metadata / f"{root.version}.root.json", data)

    def _sign(
        self, signed: Root | Timestamp | Snapshot | Targets, *signers: Signer, lifetime: timedelta | None = None
    ) -> bytes:
        signed.expires = self._now + (lifetime or EXPIRES[signed.type])
        metadata: Metadata[Any] = Metadata(signed)
        with signing_errors():
            for signer in signers:
                metadata.sign(signer, append=True)
        return metadata.to_bytes(JSONSerializer(compact=False, validate=True))

    def _root(self) -> Root:
        version = max((int(path.name.split(".")[0]) for path in self._metadata.glob("*.root.json")), default=1)
        return self._load(f"{version}.root.json", Root)

    def _timestamp_and_snapshot(self) -> tuple[Timestamp, Snapshot]:
        timestamp = self._load("timestamp.json", Timestamp)
        return timestamp, self._load(f"{timestamp.snapshot_meta.version}.snapshot.json", Snapshot)

    def _current_targets(self) -> Targets:
        _timestamp, snapshot = self._timestamp_and_snapshot()
        return self._load(f"{snapshot.meta['targets.json'].version}.targets.json", Targets)

    def _load(self, name: str, role: type[_S]) -> _S:
        try:
            metadata: Metadata[Any] = Metadata.from_file(str(self._metadata / name))
        except (RepositoryError, OSError) as error:
            raise ClmsError("VENDOR_HOME", path=self._metadata, detail=f"{name} is damaged: {error}") from None
        return cast(_S, metadata.signed)

    def _local(self, target: TargetFile) -> Path:
        folder, _slash, name = target.path.rpartition("/")
        return self._targets / folder / f"{target.hashes['sha256']}.{name}"


def _utc(signed: Signed) -> datetime:
    """When it expires."""
    return signed.expires.replace(tzinfo=UTC)


def package_path(version: str) -> str:
    """The target that holds a release's package; what begins with it belongs to the package."""
    return f"packages/{PRODUCT}-{version}.zip"


def timestamp_version(path: Path) -> int:
    """The version of a timestamp file, 0 when it is missing or damaged; its signature is not looked at."""
    try:
        return int(json.loads(path.read_bytes())["signed"]["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
