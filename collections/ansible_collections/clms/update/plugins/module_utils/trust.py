# SPDX-License-Identifier: GPL-3.0-or-later
"""What a school believes about the vendor's releases: The Update Framework's client and its local store."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .adapters.files import sync_file_system, sync_folder, write_atomically
from .bundle import Seal
from .errors import ClmsError
from .fetcher import DownloadRefusedError, Fetcher
from .fields import FieldError, Fields
from .https import check_address
from .release import MAX_BYTES, Release, parse_release
from .status import iso
from .target_download import TargetDownload, is_verified, verified_bytes
from .trust_roots import MetadataT, Roots, led_to, verified
from .version import Version

with suppress(ImportError):  # modules say so: module_end.require_libraries
    from securesystemslib.exceptions import UnverifiedSignatureError
    from securesystemslib.signer import Signature
    from tuf.api.exceptions import (
        DownloadError,
        DownloadLengthMismatchError,
        ExpiredMetadataError,
        LengthOrHashMismatchError,
        RepositoryError,
    )
    from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
    from tuf.api.serialization import DeserializationError
    from tuf.ngclient import Updater, UpdaterConfig

_REFRESHED = "refreshed"
_CLOCK_SECONDS = 8 * 86_400
"""Seconds by which the clock may be put back: a bit longer than a timestamp counts on the release server."""


@dataclass(frozen=True)
class ReleaseEntry:
    """A release that the signed list of targets names."""

    version: Version
    sequence: int
    channel: str

    @property
    def path(self) -> str:
        """The target that holds the release."""
        return f"releases/{self.version}.json"


class TrustStore:
    """The vendor's signed metadata as far as this school has verified it.

    Before :meth:`refresh` everything is answered from what was verified last, without the network and without
    looking at expiry dates: enough to show, not enough to install. :meth:`release` and :meth:`package` therefore
    refresh by themselves unless told otherwise.
    """

    def __init__(
        self,
        *,
        state: Path,
        pinned_root: Path,
        url: str,
        fetcher: Fetcher,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Touches neither disk nor network.

        :param state: folder of the store; made on the first refresh, readable for its owner only
        :param pinned_root: the ``root.json`` that was installed with the school
        :param url: the release repository, with ``metadata/`` and ``targets/`` below it
        :param clock: seconds since the epoch; only for :meth:`news_age_seconds`
        :param sleep: waits between two attempts
        :param monotonic: seconds that nobody can put back, for the total time of a download
        :raises ClmsError: SERVER_ADDRESS
        """
        check_address(url)
        self._state = state
        self._pinned_root = pinned_root
        self._url = url.rstrip("/")
        self._fetcher = fetcher
        self._clock = clock
        self._download = TargetDownload(f"{self._url}/targets", fetcher, sleep=sleep, monotonic=monotonic)
        self._updater: Updater | None = None

    def refresh(self) -> None:
        """Fetch and verify the newest metadata.

        :raises ClmsError: CLOCK_WRONG, TRUST_MISSING, TRUST_REFUSED, TRUST_EXPIRED, TRUST_STORE, SERVER_UNREACHABLE or
            SERVER_REFUSED
        """
        pinned = self._roots.pinned_bytes()
        self.check_clock()
        self._updater = None
        with self._guarded(), self._locked():
            updater = Updater(
                metadata_dir=str(self._state / "metadata"),
                metadata_base_url=f"{self._url}/metadata/",
                target_dir=str(self._state / "targets"),
                target_base_url=f"{self._url}/targets/",
                fetcher=self._fetcher,
                config=UpdaterConfig(root_max_length=200_000, targets_max_length=2_000_000),
                bootstrap=pinned,
            )
            updater.refresh()
            write_atomically(self._state / _REFRESHED, b"%d" % self._clock())
            self._updater = updater

    def saw(self, other: TrustStore) -> None:
        """Time has gone on to when another store, of the same vendor, was refreshed last.

        :raises ClmsError: TRUST_STORE
        """
        before, now = self._refreshed(), other._refreshed()
        if before is not None and now is not None and now > before:
            with self._guarded():
                write_atomically(self._state / _REFRESHED, b"%d" % now)

    def news_age_seconds(self) -> int | None:
        """Seconds since metadata was last verified against the server; None when it never was."""
        refreshed = self._refreshed()
        return None if refreshed is None else max(0, int(self._clock()) - refreshed)

    def news_expired(self) -> bool:
        """Whether what was last verified counts no longer, so that nobody knows what is the newest by now.

        :raises ClmsError: TRUST_MISSING, TRUST_REFUSED
        """
        timestamp = self._stored(Timestamp)
        return timestamp is not None and timestamp.expires.timestamp() <= self._clock()

    def _refreshed(self) -> int | None:
        try:
            return int((self._state / _REFRESHED).read_text())
        except (OSError, ValueError):
            return None

    def check_clock(self) -> None:
        """Time does not run backwards: what has expired must not count again because somebody has put the clock back.

        The clock may have been fast by as much as a timestamp counts; a school is not to be locked out for that.

        :raises ClmsError: CLOCK_WRONG
        """
        refreshed, now = self._refreshed(), self._clock()
        if refreshed is not None and now < refreshed - _CLOCK_SECONDS:
            raise ClmsError("CLOCK_WRONG", now=iso(now), seen=iso(refreshed - _CLOCK_SECONDS))

    def releases(self) -> list[ReleaseEntry]:
        """The releases the vendor lists, by sequence; empty when nothing was ever verified.

        :raises ClmsError: TRUST_REFUSED when the local store or the list in it is not valid
        """
        targets = self._stored(Targets)
        if targets is None:
            return []
        with self._guarded():
            entries = [_entry(target) for path, target in targets.targets.items() if path.startswith("releases/")]
        return sorted(entries, key=lambda entry: entry.sequence)

    def release(self, version: str, *, offline: bool = False) -> Release:
        """The verified description of one release.

        :param offline: answer from the last verified metadata, to show something without network
        :raises ClmsError: RELEASE_UNKNOWN, RELEASE_INVALID, RELEASE_OTHER_PRODUCT, and as :meth:`refresh`
        """
        if not offline and self._updater is None:
            self.refresh()
        entry = next((entry for entry in self.releases() if entry.version.text == version), None)
        if entry is None:
            raise ClmsError("RELEASE_UNKNOWN", version=version[:64])
        target = self._target(entry.path)
        if target.length > MAX_BYTES:
            raise ClmsError("RELEASE_INVALID", version=version, detail="it is too large")
        release = parse_release(self._kept(target)[1])
        if (release.version, release.sequence, release.channel) != (entry.version, entry.sequence, entry.channel):
            raise ClmsError("RELEASE_INVALID", version=version, detail="it differs from the entry in the signed list")
        return release

    def package(self, release: Release, destination: Path) -> Path:
        """Download a release's package and, beside it, its detached signature ``<name>.sig``.

        What is already there and as signed is not fetched again. The signature itself is for :mod:`.gpg` to verify.

        :param destination: existing folder that only the caller can write
        :returns: the package
        :raises ClmsError: PACKAGE_CORRUPT, RELEASE_INVALID, and as :meth:`refresh`
        """
        if self._updater is None:
            self.refresh()
        version, path = release.version, release.package.path
        target = self._target(path)
        signature = self._signature(path)
        if (target.length, target.hashes.get("sha256")) != (release.package.size, release.package.sha256):
            raise ClmsError(
                "PACKAGE_CORRUPT", version=version, detail="release and signed list name different packages"
            )
        package = destination / path.rpartition("/")[2]
        for wanted, local in ((target, package), (signature, package.with_name(package.name + ".sig"))):
            if not is_verified(local, wanted):
                with self._guarded(package_of=version):
                    self._fetch(wanted, local)
        return package

    def fingerprints(self) -> frozenset[str]:
        """Primary fingerprints (upper case) of the GPG keys that may sign releases, from the newest trusted root.

        :raises ClmsError: TRUST_MISSING, TRUST_REFUSED
        """
        root = self._local_root()
        keys = (root.keys[keyid] for keyid in root.roles[Targets.type].keyids)
        return frozenset(key.keyid.upper() for key in keys if key.scheme.startswith("pgp+"))

    def public_keys(self) -> dict[str, Path]:
        """The public key of each of the :meth:`fingerprints`, in a verified file of its own below the store's folder.

        :raises ClmsError: as :meth:`refresh`
        """
        if self._updater is None:
            self.refresh()
        return {name: self._kept(self._target(f"keys/{name}.asc"))[0] for name in sorted(self.fingerprints())}

    def newest_root(self) -> Path:
        """The file with the newest root that this school believes.

        :raises ClmsError: TRUST_MISSING, TRUST_REFUSED
        """
        path = self._roots.path(self.root_version())
        return path if path.exists() else self._pinned_root

    def root_expires(self) -> datetime:
        """Until when the newest root counts that this school has verified.

        :raises ClmsError: TRUST_MISSING, TRUST_REFUSED
        """
        return self._local_root().expires.replace(tzinfo=UTC)

    def root_version(self) -> int:
        """The version of that root.

        :raises ClmsError: TRUST_MISSING, TRUST_REFUSED
        """
        return self._local_root().version

    def check_seal(self, statement: bytes, seal: Seal) -> None:
        """Verify the signature of a bundle, by a key that may sign the list of targets.

        The seal's roots can lead to newer keys than this school knows of, by the rules of The Update Framework (5.3).

        :raises ClmsError: TRUST_MISSING, TRUST_REFUSED
        """
        root = self._local_root()
        with self._guarded():
            root = led_to(root, seal.roots)
            signature = Signature.from_dict(dict(seal.signature))
            if signature.keyid not in root.roles[Targets.type].keyids:
                raise RepositoryError(f"it is signed by a key that does not count here ({signature.keyid[:40]})")
            try:
                root.keys[signature.keyid].verify_signature(signature, statement)
            except UnverifiedSignatureError:
                raise RepositoryError("its content is not what was signed") from None

    def learn_roots(self, other: TrustStore) -> None:
        """Follow the newer roots that another store, of the same vendor, has verified: whoever has stolen a key and the
        release server withholds the root that revokes it.

        What the keys before have signed is forgotten, and has to be heard again (The Update Framework, 5.3.11).

        :raises ClmsError: TRUST_MISSING, TRUST_REFUSED, TRUST_STORE
        """
        root = self._local_root()
        with self._guarded():
            learned = list(other._roots.after(root))
            if not learned:
                return
            with self._locked():
                self._forget_unsigned_by(learned[-1][0])
                self._roots.path(root.version).parent.mkdir(exist_ok=True)
                for following, data in learned:
                    write_atomically(self._roots.path(following.version), data)

    def _forget_unsigned_by(self, root: Root) -> None:
        for name in (Timestamp.type, Snapshot.type, Targets.type):
            known = self._state / "metadata" / f"{name}.json"
            try:
                metadata = Metadata[Any].from_file(str(known))
                root.verify_delegate(name, metadata.signed_bytes, metadata.signatures)
            except Exception:  # whatever is wrong with it, it is not what these keys have signed
                known.unlink(missing_ok=True)

    def keep(self, state: Path) -> None:
        """Move what was verified to a folder that is not there yet, so that a power cut leaves all of it or nothing.

        :raises OSError: when it cannot be moved
        """
        sync_file_system(self._state)
        self._state.rename(state)
        sync_folder(state.parent)
        self._state = state

    def another(self, state: Path) -> TrustStore:
        """What was verified in another folder, from the same pinned root."""
        return TrustStore(state=state, pinned_root=self._pinned_root, url=self._url, fetcher=self._fetcher)

    def timestamp_version(self) -> int:
        """The version of the last verified timestamp, which goes up with each change; 0 when there is none.

        :raises ClmsError: TRUST_MISSING, TRUST_REFUSED
        """
        timestamp = self._stored(Timestamp)
        return 0 if timestamp is None else timestamp.version

    def lists(self, version: str, *, as_in: TrustStore) -> bool:
        """Whether the last verified list has a release exactly as another store has it.

        :raises ClmsError: TRUST_MISSING, TRUST_REFUSED
        """
        path = f"releases/{version}.json"
        ours, theirs = ((store._stored(Targets) or Targets()).targets.get(path) for store in (self, as_in))
        return ours is not None and ours == theirs

    @property
    def _roots(self) -> Roots:
        return Roots(self._pinned_root, self._state / "metadata")

    def _local_root(self) -> Root:
        with self._guarded():
            return self._roots.newest()

    def _stored(self, role: type[MetadataT]) -> MetadataT | None:
        """What was verified last; what a power cut has damaged is as if it had never been heard."""
        path = self._state / "metadata" / f"{role.type}.json"
        if not path.exists():
            return None
        root = self._local_root()
        with self._guarded():
            try:
                return verified(path, role, root)
            except DeserializationError:
                return None

    def _signature(self, package: str) -> TargetFile:
        """The signature of a package by a key of the newest trusted root.

        Beside the newest key's lie those of keys before it: while a change of keys is being published, a school may
        see the new list already and the new root not yet.
        """
        targets = self._stored(Targets)
        for fingerprint in sorted(self.fingerprints()):
            if targets is not None and (found := targets.targets.get(f"{package}.{fingerprint}.sig")):
                return found
        return self._target(f"{package}.sig")

    def _target(self, path: str) -> TargetFile:
        targets = self._stored(Targets)
        target = None if targets is None else targets.targets.get(path)
        if target is None:
            raise ClmsError("TRUST_REFUSED", detail=f"the signed list names no file {path}")
        return target

    def _kept(self, target: TargetFile) -> tuple[Path, bytes]:
        """A small target, fetched unless it is in the store: where it lies, and the very bytes that were checked."""
        stored = self._state / "targets" / target.path
        data = verified_bytes(stored, target)
        if data is None:
            with self._guarded():
                self._fetch(target, stored)
            data = verified_bytes(stored, target)
        if data is None:
            raise ClmsError("TRUST_STORE", path=stored, detail="a file changed right after it was written")
        return stored, data

    def _fetch(self, target: TargetFile, local: Path) -> None:
        if self._updater is None:
            raise ClmsError("SERVER_UNREACHABLE", url=self._url, detail="this was asked without the network")
        self._download.fetch(target, local)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One refresh at a time: the client does not support several in one folder."""
        self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._state.chmod(0o700)
        for name in ("metadata", "targets"):
            (self._state / name).mkdir(exist_ok=True)
        with (self._state / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _guarded(self, package_of: Version | None = None) -> Iterator[None]:
        """Turn what the client and the metadata API raise into errors for people.

        :param package_of: the version whose package is being fetched
        """
        try:
            yield
        except ClmsError:
            raise
        except ExpiredMetadataError as error:
            raise ClmsError("TRUST_EXPIRED", detail=_sentence(error)) from error
        except (LengthOrHashMismatchError, DownloadLengthMismatchError) as error:
            if package_of is not None:
                raise ClmsError("PACKAGE_CORRUPT", version=package_of, detail=_sentence(error)) from error
            raise ClmsError("TRUST_REFUSED", detail=_sentence(error)) from error
        except RepositoryError as error:
            raise ClmsError("TRUST_REFUSED", detail=_sentence(error)) from error
        except DownloadRefusedError as error:
            raise ClmsError("SERVER_REFUSED", url=self._url, detail=_sentence(error)) from error
        except DownloadError as error:
            pause = getattr(error, "retry_after", None)
            raise ClmsError("SERVER_UNREACHABLE", url=self._url, detail=_sentence(error), pause=pause) from error
        except OSError as error:
            raise ClmsError("TRUST_STORE", path=self._state, detail=error.strerror or "unknown") from error
        except Exception as error:
            # a signature that is no hexadecimal text, for one, raises ValueError or KeyError deep inside:
            # metadata that cannot be processed is metadata that is not trusted
            detail = f"it cannot be read ({type(error).__name__})"
            raise ClmsError("TRUST_REFUSED", detail=detail) from error


def _entry(target: TargetFile) -> ReleaseEntry:
    """:raises RepositoryError: when the vendor signed an entry that makes no sense"""
    try:
        fields = Fields(target.custom, f"custom data of {target.path}")
        entry = ReleaseEntry(
            version=Version(fields.text("version", limit=64)),
            sequence=fields.number("sequence", low=1),
            channel=fields.text("channel", pattern=r"[a-z][a-z0-9_-]{0,40}"),
        )
        fields.done()
    except (FieldError, ValueError) as error:
        raise RepositoryError(str(error)) from None
    if entry.path != target.path:
        raise RepositoryError(f"{target.path} is listed as version {entry.version}")
    return entry


def _sentence(error: Exception) -> str:
    return (str(error) or type(error).__name__).rstrip(".")[:300]
