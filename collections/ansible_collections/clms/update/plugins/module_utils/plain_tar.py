# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of tar archives, as ``docker save`` writes them and in no other way.

Programs read a damaged or an unusual header each in its own way. What has only one meaning is taken, and nothing else:
so whoever gets the archive afterwards finds in it what was found here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

BLOCK = 512
END = bytes(2 * BLOCK)
"""what closes an archive"""
MAX_EXTENDED = 4096
"""bytes of an extended header; ``docker save`` has one only for files of 8 GB and more"""

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAME = re.compile(rf"{_PART}(/{_PART})*")
_LAYER = re.compile(rf"{_PART}/layer\.tar")
_OTHER_LAYER = re.compile(rf"\.\./{_PART}/layer\.tar")
_NUMBERS = re.compile(rb"([0-7]{7}\0){3}([0-7]{11}\0){2}")
"""mode, user, group, size and time"""
_DEVICE = re.compile(rb"([0-7]{7}\0){2}|\0{16}")
_CHECKSUM = re.compile(rb"[0-7]{6}\0 ")
_EXTENDED = ("size", "mtime", "atime", "ctime", "uid", "gid", "uname", "gname")
"""what may be said in an extended header; nothing of it gives a file another name"""


@dataclass(frozen=True)
class Member:
    """What a header says of what follows it."""

    kind: str
    """``file``, ``folder``, ``link`` or ``extended``: a header for the one that comes next"""
    name: str
    size: int

    @property
    def padding(self) -> int:
        """Bytes after the content, up to the next header."""
        return -self.size % BLOCK


def parse_header(block: bytes, large: int | None = None) -> Member:
    """One header.

    :param large: the size that an extended header before it has named
    :raises ValueError: when it could be read in more than one way, or names a place outside of the archive
    """
    checksum = sum(block[:148]) + sum(b" " * 8) + sum(block[156:])
    if not _CHECKSUM.fullmatch(block[148:156]) or int(block[148:154], 8) != checksum:
        raise ValueError("a header is damaged")
    numbers = _NUMBERS.fullmatch(block[100:148]) and _DEVICE.fullmatch(block[329:345])
    if block[257:265] != b"ustar\x0000" or any(block[345:]) or not numbers:
        raise ValueError("a header is of another format")
    size = int(block[124:135], 8)
    if large is not None:
        if block[156:157] != b"0":
            raise ValueError("an extended header belongs to no file")
        size = large
    name, target = (block[at : at + 100].rstrip(b"\0").decode("ascii", "replace") for at in (0, 157))
    match block[156:157]:
        case b"x" if size <= MAX_EXTENDED:
            return Member("extended", "", size)
        case b"0" if _NAME.fullmatch(name) and not target:
            return Member("file", name, size)
        case b"5" if _NAME.fullmatch(name.removesuffix("/")) and not target and not size:
            return Member("folder", name.removesuffix("/"), 0)
        # a layer that is there twice is written once
        case b"2" if _LAYER.fullmatch(name) and _OTHER_LAYER.fullmatch(target) and not size:
            return Member("link", name, 0)
    raise ValueError(f"it holds {name[:100]!r}, which is in no image")


def parse_extended(data: bytes) -> int | None:
    """The size that an extended header names for the file after it, if it does.

    :raises ValueError: when it says something that ``docker save`` does not
    """
    found: dict[str, bytes] = {}
    while data:
        length, _, _ = data.partition(b" ")
        if not re.fullmatch(rb"[1-9][0-9]{0,3}", length):
            raise ValueError("an extended header is damaged")
        record, data = data[: int(length)], data[int(length) :]
        key, equals, value = record[len(length) + 1 :].partition(b"=")
        name = key.decode("ascii", "replace")
        if len(record) != int(length) or not equals or not value.endswith(b"\n") or name in found:
            raise ValueError("an extended header is damaged")
        if name not in _EXTENDED:
            raise ValueError(f"an extended header says something of {name[:50]!r}")
        found[name] = value[:-1]
    if "size" not in found:
        return None
    if not re.fullmatch(rb"0|[1-9][0-9]{0,14}", found["size"]):
        raise ValueError("an extended header is damaged")
    return int(found["size"])
