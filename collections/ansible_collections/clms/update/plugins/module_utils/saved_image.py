# SPDX-License-Identifier: GPL-3.0-or-later
"""What an archive of ``docker save`` holds, and whether an engine finds in it one image and no name that it moves.

An engine reads such an archive by one of several lists in it, takes the last of two members of a name, and gives images
the names that the archive wants. So there is one member of each name, and all the lists have to say the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any

from .plain_tar import Member

MAX_MEMBERS = 2000
"""in an archive; an image has up to 127 layers, with up to four members each"""
MAX_LIST = 1_000_000
"""bytes of a list in an archive"""
MAX_CONFIG = 4_000_000
"""bytes of the largest configuration of an image that is looked at"""
_LIST, _OLD_LIST, _INDEX = "manifest.json", "repositories", "index.json"
_LISTS = (_LIST, _OLD_LIST, _INDEX)
_KEYS = {"config", "repotags", "layers", "layersources"}
_NAME_KEYS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class Contents:
    """The members of an archive, as far as they decide what an engine makes of it."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._lists: dict[str, Any] = {}
        self._digests: dict[str, str] = {}
        self._leads: dict[str, str] = {}
        """digest of a manifest -> digest of the configuration that it names"""

    def add(self, member: Member) -> None:
        """A member comes.

        :raises ValueError: when it may not
        """
        if member.name in self._names:
            raise ValueError(f"it holds {member.name!r} twice")
        if len(self._names) >= MAX_MEMBERS:
            raise ValueError(f"it has more than {MAX_MEMBERS} members")
        if member.name in _LISTS and (member.kind != "file" or member.size > MAX_LIST):
            raise ValueError(f"its {member.name} is too large or no file")
        self._names.add(member.name)

    def looks_at(self, member: Member) -> bool:
        """Whether the content of a member is to be given to :meth:`look`."""
        return member.kind == "file" and member.size <= MAX_CONFIG

    def look(self, name: str, data: bytes) -> None:
        """Take from the content of a member what counts.

        :raises ValueError: when it is a list that cannot be read
        """
        if name in _LISTS:
            self._lists[name] = _parse(data)
            return
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._digests[name] = digest
        if data[:1] == b"{" and len(data) <= MAX_LIST:
            try:
                self._leads[digest] = str(_parse(data)["config"]["digest"])[:100]
            except (ValueError, TypeError, KeyError, RecursionError):
                pass  # it is no manifest

    def image(self, names: Collection[str] = ()) -> tuple[str, set[str]]:
        """The one image in the archive.

        :param names: that it may be given
        :returns: the digest of its configuration, and all digests by which an engine may call it
        :raises ValueError: when it is no archive of one image, or gives it another name
        """
        listed = self._lists.get(_LIST)
        if not isinstance(listed, list) or len(listed) != 1:
            raise ValueError("it does not list one image")
        try:
            (image,) = listed
            if set(image) - _KEYS:
                raise ValueError("its list of images has fields that nobody knows")
            config = self._digests[image["config"]]
            tags = [*(image.get("repotags") or []), *_old_names(self._lists.get(_OLD_LIST) or {}, names)]
            called = {config}
            for manifest in (self._lists.get(_INDEX) or {}).get("manifests") or []:
                if self._leads.get(manifest["digest"]) != config:
                    raise ValueError("its lists do not name the same image")
                called.add(manifest["digest"])
                tags += [_short(value, names) for value in _names_in(manifest)]
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"its list of images cannot be read ({type(error).__name__})") from None
        for tag in tags:
            if str(tag) not in names:
                raise ValueError(f"it gives its image the name {str(tag)[:100]!r}")
        return config, called


def _parse(data: bytes) -> Any:
    """JSON as an engine reads it: a key counts in any case of its letters, so none may be there twice.

    :raises ValueError: when it cannot be read, or not in one way only
    """
    try:
        return json.loads(data.decode(), object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = {key.casefold(): value for key, value in pairs}
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _old_names(repositories: Any, names: Collection[str]) -> list[str]:
    """The names in the oldest kind of list, of which an engine takes no notice beside a newer one."""
    expected = {name.casefold(): name for name in names}  # as its keys are here
    found = [f"{name}:{tag}".casefold() for name, tags in repositories.items() for tag in tags]
    return [expected.get(name, name) for name in found]


def _names_in(manifest: Any) -> list[str]:
    annotations = manifest.get("annotations") or {}
    return [str(annotations[key]) for key in _NAME_KEYS if annotations.get(key)]


def _short(value: str, names: Collection[str]) -> str:
    """The name as people write it; an index has it in full, and its tag alone beside it."""
    for name in names:
        if value in (f"docker.io/{name}", f"docker.io/library/{name}", name.rpartition(":")[2]):
            return name
    return value
