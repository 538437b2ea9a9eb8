# SPDX-License-Identifier: GPL-3.0-or-later
"""The roots that a school believes: the pinned one, and those after it that each one before has signed.

The Update Framework's specification, 5.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from .errors import ClmsError

with suppress(ImportError):  # modules say so: module_end.require_libraries
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
    from tuf.api.serialization import DeserializationError

MetadataT = TypeVar("MetadataT", "Root", "Timestamp", "Snapshot", "Targets")


class Roots:
    """The chain of roots in a school's store.

    What is raised by the library for metadata that cannot be read is for the caller to catch.
    """

    def __init__(self, pinned: Path, metadata: Path) -> None:
        """Nothing is read yet.

        :param pinned: the ``root.json`` that was installed with the school
        :param metadata: folder of the verified metadata
        """
        self.pinned = pinned
        self._history = metadata / "root_history"

    def path(self, version: int) -> Path:
        """Where a verified root lies."""
        return self._history / f"{version}.root.json"

    def pinned_bytes(self) -> bytes:
        """The pinned root as it is.

        :raises ClmsError: TRUST_MISSING
        """
        try:
            data = self.pinned.read_bytes()
            root = Metadata[Root].from_bytes(data)
            root.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
        except Exception:  # whatever is wrong with it, it is no root of trust
            raise ClmsError("TRUST_MISSING", path=self.pinned) from None
        return data

    def newest(self) -> Root:
        """The newest root that the pinned one leads to, by the chain that was stored.

        :raises ClmsError: TRUST_MISSING
        :raises RepositoryError: when what was stored does not follow
        """
        pinned = Metadata[Root].from_bytes(self.pinned_bytes()).signed
        return [pinned, *(root for root, _ in self.after(pinned))][-1]

    def after(self, trusted: Root) -> Iterator[tuple[Root, bytes]]:
        """The stored roots that follow one after another, each with its file; one that a power cut has damaged is none.

        :raises RepositoryError: when one does not follow
        """
        while (path := self.path(trusted.version + 1)).exists():
            data = path.read_bytes()
            try:
                following = Metadata[Root].from_bytes(data)
            except DeserializationError:
                return
            trusted = _followed(trusted, following)
            yield trusted, data


def led_to(trusted: Root, texts: Iterable[str]) -> Root:
    """The newest root to which some lead that came along; others than the next ones do not count.

    :raises RepositoryError: when one is not signed as it has to be
    """
    for text in texts:
        following = Metadata[Root].from_bytes(text.encode())
        if following.signed.version == trusted.version + 1:
            trusted = _followed(trusted, following)
    return trusted


def verified(path: Path, role: type[MetadataT], root: Root) -> MetadataT:
    """Stored metadata of a role.

    :raises RepositoryError: when it is not signed as ``root`` wants it
    :raises DeserializationError: when it is damaged
    :raises OSError: when it cannot be read
    """
    metadata: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
    if not isinstance(metadata.signed, role):
        raise RepositoryError(f"{path.name} holds other metadata")
    root.verify_delegate(role.type, metadata.signed_bytes, metadata.signatures)
    return metadata.signed


def _followed(trusted: Root, following: Metadata[Root]) -> Root:
    """:raises RepositoryError: unless a root is the next one after ``trusted``, and signed as both of them want it"""
    if following.signed.type != Root.type or following.signed.version != trusted.version + 1:
        raise RepositoryError("it is not the next root")
    for signed_by in (trusted, following.signed):
        signed_by.verify_delegate(Root.type, following.signed_bytes, following.signatures)
    return following.signed
