# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle: one ZIP with everything that a school needs for a release, to be carried there without a network.

It is a ZIP whose members are stored as they are, and whose comment carries the vendor's signature over everything that
lies before the comment and its length (decision record 0014). So there is one file to carry, and it is verified as a
whole before anything in it is looked at::

    local headers and members, central directory, end record without the length of the comment   <- signed
    length of the comment (2 bytes)
    the seal as JSON, newline, "clms-bundle-1 NNNNN\\n" with the length of the comment             <- the comment

``contents.json`` names every other member with its size and SHA-256:

=======================  =============================================================================
``metadata/…``           The Update Framework's, as on the release server, but with a timestamp and a
                         snapshot that count for longer
``targets/…``            the release's description, its package with its signature, the vendor's keys
``images/<digest>…``     one ``docker save`` archive, compressed with zstd, for each image; ``<digest>``
                         is the image configuration's
=======================  =============================================================================
"""

from __future__ import annotations

import json
import re
import struct
import unicodedata
import zipfile
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from .fields import FieldError, Fields
from .version import Version

CONTENTS = "contents.json"
SUFFIX = ".zip"
MAX_CONTENTS = 4_000_000
MAX_TAIL = 22 + 0xFFFF
"""Bytes at the end of a file in which the end record and the comment lie (APPNOTE.TXT 4.3.16)."""

_FORMAT = 1
_END = b"PK\x05\x06"
_LENGTH = struct.Struct("<H")
_FOOTER = re.compile(rb"clms-bundle-1 ([0-9]{5})\n\Z")
_FOOTER_BYTES = len(b"clms-bundle-1 00000\n")
_NAME = re.compile(
    r"metadata/(?:timestamp|\d{1,9}\.(?:root|snapshot|targets))\.json"
    r"|targets(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,200}){1,4}"
    r"|images/sha256-[0-9a-f]{64}\.tar\.zst"
)
_LOCAL_HEADER = 30


class BundleError(ValueError):
    """A file is no bundle, or not a good one; the text says why."""


@dataclass(frozen=True)
class Member:
    """What ``contents.json`` says of one member."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Contents:
    """What is in a bundle."""

    version: Version
    architecture: str
    """``amd64`` or ``arm64``; of the images in it"""
    created: str
    """UTC, ``YYYY-MM-DDThh:mm:ssZ``"""
    members: dict[str, Member]

    @property
    def name(self) -> str:
        """The file name of such a bundle."""
        return f"clms-{self.version}-{self.architecture}{SUFFIX}"


def image_member(config: str) -> str:
    """The name of the member with the image of this configuration digest."""
    return f"images/{config.replace(':', '-')}.tar.zst"


@dataclass(frozen=True)
class Seal:
    """Who vouches for a bundle; a signature of The Update Framework, by a key that signs the list of targets."""

    signature: dict[str, Any]
    """over :func:`statement`"""
    roots: tuple[str, ...]
    """root metadata from the second one on, oldest first: they lead from the root that a school has to the key"""


def statement(sha256: str, size: int) -> bytes:
    """What is signed.

    :param sha256: of the signed part
    :param size: of the signed part, in bytes
    """
    return f"clms-bundle-1 {sha256} {size}\n".encode()


def comment(seal: Seal) -> bytes:
    """The comment of a bundle.

    :raises BundleError: when it is too long for a ZIP
    """
    encoded = json.dumps(asdict(seal)).encode() + b"\n"
    length = len(encoded) + _FOOTER_BYTES
    if length > 0xFFFF:
        raise BundleError("the chain of roots is too long")
    return encoded + b"clms-bundle-1 %05d\n" % length


def length_field(comment_: bytes) -> bytes:
    """The length of the comment, as the end record has it."""
    return _LENGTH.pack(len(comment_))


def split(tail: bytes, size: int) -> tuple[int, Seal]:
    """Where the signed part of a bundle ends, and its seal.

    The end record has to lie exactly where the comment's own words say, and nowhere in the comment: whatever program
    opens the file later finds the same members.

    :param tail: the last bytes of the file, :data:`MAX_TAIL` or all
    :param size: bytes of the whole file
    :raises BundleError: when it is no bundle
    """
    footer = _FOOTER.search(tail[-_FOOTER_BYTES:])
    if not footer:
        raise BundleError("it is no file of the vendor with a release")
    length = int(footer.group(1))
    start = len(tail) - length - 22
    if start < 0 or not tail[start:].startswith(_END) or tail[start + 20 : start + 22] != _LENGTH.pack(length):
        raise BundleError("its end is damaged")
    text = tail[start + 22 : -_FOOTER_BYTES]
    if _END in text:
        raise BundleError("its end is damaged")
    return size - length - 2, _parse_seal(text)


def _parse_seal(text: bytes) -> Seal:
    try:
        fields = Fields(json.loads(text), "seal")
        seal = Seal(fields.get("signature", dict), tuple(fields.texts("roots", pattern="(?s).*")))
        fields.done()
    except (ValueError, RecursionError):
        raise BundleError("its signature is damaged") from None
    return seal


def parse_contents(data: bytes) -> Contents:
    """Read ``contents.json``.

    :raises BundleError: when something in it is unknown, missing or of the wrong type
    """
    try:
        fields = Fields(json.loads(data), CONTENTS)
        fields.number("format", low=_FORMAT, high=_FORMAT)
        fields.text("product", pattern="clms")
        listed = fields.sub("members")
        members = {}
        for name in listed.names():
            if not _NAME.fullmatch(name):
                raise FieldError(f"it names a member {name[:80]!r}, which no bundle has")
            member = listed.sub(name)
            members[name] = Member(member.number("size"), member.text("sha256", pattern="[0-9a-f]{64}"))
            member.done()
        _check_distinct(members)
        contents = Contents(
            version=Version(fields.text("version", limit=64)),
            architecture=fields.text("architecture", pattern="[a-z0-9_]{1,20}"),
            created=fields.text("created", pattern=r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
            members=members,
        )
        listed.done()
        fields.done()
    except BundleError:
        raise
    except (ValueError, RecursionError) as error:
        raise BundleError(f"its table of contents cannot be used: {str(error)[:200]}") from None
    return contents


def _check_distinct(names: Iterable[str]) -> None:
    """:raises BundleError: when two names are one on a disk that takes no notice of case, or of how a letter is made"""
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()), name)
        if other != name:
            raise BundleError(f"two members have the same name on some disks: {other[:80]!r} and {name[:80]!r}")


def check_entries(entries: Collection[zipfile.ZipInfo], contents: Contents, *, directory: int) -> None:
    """Compare a ZIP's own directory with the table of contents: the same names, regular files, stored as they are.

    :param directory: where the ZIP's directory begins; members lie before it, each behind the other
    :raises BundleError: at the first difference
    """
    names = [entry.filename for entry in entries]
    if len(names) != len(set(names)):
        raise BundleError("a member is there twice")
    _check_distinct(names)
    unexpected = set(names) ^ {CONTENTS, *contents.members}
    if unexpected:
        raise BundleError(f"it does not hold what its table of contents says: {sorted(unexpected)[0][:80]!r}")
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        what = f"member {entry.filename!r}"
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise BundleError(f"{what} is packed")
        if entry.flag_bits & 0x1:
            raise BundleError(f"{what} is encrypted")
        kind = entry.external_attr >> 16 & 0o170000
        if entry.is_dir() or kind not in (0, 0o100000):
            raise BundleError(f"{what} is no file")
        if entry.filename != CONTENTS and entry.file_size != contents.members[entry.filename].size:
            raise BundleError(f"{what} has another size than its table of contents says")
        if entry.header_offset < end:
            raise BundleError(f"{what} overlaps with another one")
        end = entry.header_offset + _LOCAL_HEADER + len(entry.orig_filename.encode()) + entry.file_size
    if end > directory:
        raise BundleError("a member overlaps with the directory")
