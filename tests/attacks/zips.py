# SPDX-License-Identifier: GPL-3.0-or-later
"""The vendor's files with something wrong in them: other members under a good seal, or another seal."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import subprocess
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils import bundle as form
from publisher import bundle as maker

from .desk import STRANGER, Desk

Members = dict[str, tuple[zipfile.ZipInfo, bytes]]
Change = Callable[[Members], None]
PASSWD = "/etc/cron.d/clms-attack"
MOVED = "clms-attack:moved"
"""a name that an archive would give to its image"""
Entries = list[tuple[tarfile.TarInfo, bytes]]


def resigned(desk: Desk, path: Path, change: Change) -> None:
    """A bundle with other members, sealed by the vendor's key."""
    with zipfile.ZipFile(path) as archive:
        members = {entry.filename: (entry, archive.read(entry)) for entry in archive.infolist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in members.values():
            archive.writestr(entry, data)
    seal(desk, path)


def seal(desk: Desk, path: Path) -> None:
    """The vendor's signature over a ZIP without a comment."""
    maker._seal(path, desk.repository.later_roots(), desk.offline)


def member(name: str, data: bytes = b"x", mode: int = stat.S_IFREG | 0o644) -> tuple[zipfile.ZipInfo, bytes]:
    """One member."""
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, mode << 16
    return entry, data


def table(members: Members, change: Callable[[dict[str, Any]], None]) -> None:
    """Another table of contents."""
    entry, data = members[form.CONTENTS]
    decoded = json.loads(data)
    change(decoded)
    members[form.CONTENTS] = (entry, json.dumps(decoded).encode())


def image_name(members: Members) -> str:
    """The member with an image."""
    return next(name for name in members if name.startswith("images/"))


def extra(name: str, *, listed: bool, mode: int = stat.S_IFREG | 0o644, data: bytes = b"x") -> Change:
    """One member more, which the table of contents may name too."""

    def change(members: Members) -> None:
        members[name] = member(name, data, mode)
        if listed:
            described = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            table(members, lambda decoded: decoded["members"].update({name: described}))

    return change


def mode_of(mode: int) -> Change:
    """A member that is no regular file."""
    return lambda members: setattr(members["metadata/timestamp.json"][0], "external_attr", mode << 16)


def other_case(members: Members) -> None:
    """Two members that are one on a disk that takes no notice of case."""
    name = next(name for name in members if name.startswith("targets/releases/"))
    extra(name.replace("targets/releases", "targets/Releases"), listed=True)(members)


def other_letter(members: Members) -> None:
    """Two members that are one on a disk that makes no difference between an é and an e with an accent."""
    for name in ("targets/cl\u00e9.json", "targets/cle\u0301.json"):
        extra(name, listed=False)(members)


def bomb(members: Members) -> None:
    """1 GB of nothing, packed to 1 MB."""
    entry, _ = members[image_name(members)]
    entry.compress_type = zipfile.ZIP_DEFLATED
    members[entry.filename] = (entry, bytes(1_000_000_000))


def bomb_inside(members: Members) -> None:
    """An image archive that becomes a gigabyte when it is unpacked, and is no archive."""
    done = subprocess.run(["zstd", "-q", "-c"], input=bytes(1_000_000_000), capture_output=True, check=True)
    replaced_image(done.stdout)(members)


def packed_image(change: Callable[[Entries], None]) -> Change:
    """Other members in the archive of an image."""

    def whole(members: Members) -> None:
        _, data = members[image_name(members)]
        done = subprocess.run(["zstd", "-d", "-c"], input=data, capture_output=True, check=True)
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            entries = [
                (entry, content.read() if (content := archive.extractfile(entry)) and entry.isreg() else b"")
                for entry in archive
            ]
        change(entries)
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as archive:
            for entry, content in entries:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        packed = subprocess.run(["zstd", "-q", "-c"], input=sink.getvalue(), capture_output=True, check=True)
        replaced_image(packed.stdout)(members)

    return whole


def named_list(entries: Entries) -> tuple[tarfile.TarInfo, bytes]:
    """The list of images in an archive, with a name."""
    (data,) = (content for entry, content in entries if entry.name == "manifest.json")
    (image,) = json.loads(data)
    return tarfile.TarInfo("manifest.json"), json.dumps([{**image, "RepoTags": [MOVED]}]).encode()


def name_in_list(entries: Entries) -> None:
    """The archive of an image gives it a name, which an engine would take from another one."""
    at = [entry.name for entry, _ in entries].index("manifest.json")
    entries[at] = named_list(entries)


def second_list(entries: Entries) -> None:
    """The list of images is there twice; engines take the last."""
    entries.append(named_list(entries))


def other_path(entries: Entries) -> None:
    """The same, by another path to it."""
    entry, content = named_list(entries)
    entry.name = "./manifest.json"
    entries.append((entry, content))


def large_list(entries: Entries) -> None:
    """The list of images is larger than what is looked at."""
    name_in_list(entries)
    at = [entry.name for entry, _ in entries].index("manifest.json")
    entries[at] = (entries[at][0], entries[at][1] + b" " * 5_000_000)


def list_behind_a_link(entries: Entries) -> None:
    """A link in place of the list, to another one."""
    entry, content = named_list(entries)
    at = [entry.name for entry, _ in entries].index("manifest.json")
    entries.append((tarfile.TarInfo("other.json"), content))
    entry.type, entry.linkname = tarfile.SYMTYPE, "other.json"
    entries[at] = (entry, b"")


def large_header(entries: Entries) -> None:
    """A header of 150 MB, which a reader of archives takes into its memory."""
    entry = tarfile.TarInfo("x")
    entry.pax_headers = {"comment": "x" * 150_000_000}
    entries.insert(0, (entry, b""))


def replaced_image(data: bytes) -> Change:
    """Another archive in place of an image, with the size and the hash that fit."""

    def change(members: Members) -> None:
        name = image_name(members)
        members[name] = (members[name][0], data)
        described = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        table(members, lambda decoded: decoded["members"].update({name: described}))

    return change


def swapped_images(members: Members) -> None:
    """Each of two images under the name of the other."""
    one, two = [name for name in members if name.startswith("images/")]
    contents = members[one][1], members[two][1]
    for name, data in ((one, contents[1]), (two, contents[0])):
        members[name] = (members[name][0], data)
        described = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        table(members, partial(_describe, name, described))


def _describe(name: str, described: dict[str, Any], decoded: dict[str, Any]) -> None:
    decoded["members"][name] = described


def missing(members: Members) -> None:
    """A member that the table of contents names is not there."""
    del members[image_name(members)]


def wrong_hash(members: Members) -> None:
    """The release's description is not what the table of contents and the metadata say."""
    name = next(name for name in members if name.startswith("targets/releases/"))
    entry, data = members[name]
    members[name] = (entry, data.replace(b'"critical": false', b'"critical": true '))


def twice(desk: Desk, path: Path) -> None:
    """A name is there twice."""
    with zipfile.ZipFile(path) as archive:
        members = [(entry, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for entry, data in [*members, members[1]]:
            archive.writestr(entry, data)
    seal(desk, path)


def overlapping(desk: Desk, path: Path) -> None:
    """Two members of the directory lead to the same place."""
    with zipfile.ZipFile(path) as archive:
        first, second = sorted(archive.infolist(), key=lambda entry: entry.header_offset)[1:3]
        start = archive.start_dir
    data = path.read_bytes()
    at = start + data[start:].index(second.filename.encode()) - 4
    patched = data[:at] + first.header_offset.to_bytes(4, "little") + data[at + 4 :]
    path.write_bytes(unsealed(patched))
    seal(desk, path)


def unsealed(data: bytes) -> bytes:
    """A bundle's bytes without its comment."""
    return data[: data.rindex(b"PK\x05\x06") + 20] + b"\0\0"


def stranger(desk: Desk, path: Path) -> None:
    """Sealed by a key that nobody knows."""
    path.write_bytes(unsealed(path.read_bytes()))
    maker._seal(path, [], STRANGER)


def online_key(desk: Desk, path: Path) -> None:
    """Sealed by the key that lies on the vendor's server."""
    path.write_bytes(unsealed(path.read_bytes()))
    maker._seal(path, [], desk.online)


def no_seal(desk: Desk, path: Path) -> None:
    """Sealed by nobody."""
    path.write_bytes(unsealed(path.read_bytes()))


def second_end(desk: Desk, path: Path) -> None:
    """An end record in the comment, which leads other programs to other members."""
    data = path.read_bytes()
    at = data.rindex(b"PK\x05\x06")
    comment = b"PK\x05\x06" + bytes(18) + data[at + 22 :]
    comment = comment[:-6] + b"%05d\n" % len(comment)
    path.write_bytes(data[: at + 20] + form.length_field(comment) + comment)


def prepended(desk: Desk, path: Path) -> None:
    """Something lies before the ZIP, which many programs pass over."""
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())


def appended(desk: Desk, path: Path) -> None:
    """Something lies behind it."""
    path.write_bytes(path.read_bytes() + b"\n")


def changed(change: Change) -> Callable[[Desk, Path], None]:
    """Another content, sealed by the vendor."""
    return lambda desk, path: resigned(desk, path, change)
