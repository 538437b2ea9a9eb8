# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles that somebody has spoilt, on the way or although they are signed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from ansible_collections.clms.update.plugins.module_utils import bundle as format_
from ansible_collections.clms.update.plugins.module_utils.adapters import offline
from publisher import bundle as maker

from .desk import CONFIG, Desk, flip, refused
from .spoilt import altered_seal, contents, resigned, unsigned


def with_member(name: str, *, mode: int = stat.S_IFREG | 0o644, data: bytes = b"x") -> Callable[[Any], None]:
    def change(members: dict[str, tuple[zipfile.ZipInfo, bytes]]) -> None:
        entry = zipfile.ZipInfo(name)
        entry.create_system, entry.external_attr = 3, mode << 16
        members[name] = (entry, data)

    return change


def changed_mode(mode: int) -> Callable[[Any], None]:
    def change(members: dict[str, tuple[zipfile.ZipInfo, bytes]]) -> None:
        members["metadata/timestamp.json"][0].external_attr = mode << 16

    return change


def packed(members: dict[str, tuple[zipfile.ZipInfo, bytes]]) -> None:
    entry, _ = members[format_.image_member(CONFIG)]
    entry.compress_type = zipfile.ZIP_DEFLATED


def longer(members: dict[str, tuple[zipfile.ZipInfo, bytes]]) -> None:
    entry, data = members[format_.image_member(CONFIG)]
    members[entry.filename] = (entry, data + b"more")


def missing(members: dict[str, tuple[zipfile.ZipInfo, bytes]]) -> None:
    del members[format_.image_member(CONFIG)]


def names(*listed: str) -> Callable[[Any], None]:
    """Members that the table of contents names too."""

    def change(members: dict[str, tuple[zipfile.ZipInfo, bytes]]) -> None:
        entry, data = members["contents.json"]
        table = json.loads(data)
        for name in listed:
            with_member(name)(members)
            table["members"][name] = {"size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
        members["contents.json"] = (entry, json.dumps(table).encode())

    return change


def two_letters(members: dict[str, tuple[zipfile.ZipInfo, bytes]]) -> None:
    """An é, and an e with an accent."""
    for name in ("targets/\u00e9", "targets/e\u0301"):
        with_member(name)(members)


SAME = "same name on some disks"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(with_member("../../etc/cron.d/x"), "does not hold what", id="climbing"),
        pytest.param(names("../../etc/cron.d/x"), "which no bundle has", id="climbing and listed"),
        pytest.param(names("/etc/passwd"), "which no bundle has", id="absolute and listed"),
        pytest.param(names("targets/../../x"), "which no bundle has", id="dots in the middle"),
        pytest.param(names("targets\\x"), "which no bundle has", id="backslash"),
        pytest.param(with_member("targets/extra.json"), "does not hold what", id="not listed"),
        pytest.param(names("METADATA/timestamp.json"), "which no bundle has", id="other case"),
        pytest.param(names("targets/releases/a.json", "targets/Releases/a.json"), SAME, id="same but for the case"),
        pytest.param(with_member("METADATA/timestamp.json"), SAME, id="other case, not listed"),
        pytest.param(two_letters, SAME, id="same but for how a letter is made"),
        pytest.param(changed_mode(stat.S_IFLNK | 0o777), "is no file", id="link"),
        pytest.param(changed_mode(stat.S_IFCHR | 0o666), "is no file", id="device"),
        pytest.param(changed_mode(stat.S_IFIFO | 0o666), "is no file", id="pipe"),
        pytest.param(packed, "is packed", id="bomb"),
        pytest.param(longer, "another size", id="longer"),
        pytest.param(missing, "does not hold what", id="missing"),
        pytest.param(contents(product="other"), "table of contents", id="other product"),
        pytest.param(contents(format=2), "table of contents", id="other format"),
        pytest.param(contents(more=1), "table of contents", id="unknown field"),
        pytest.param(contents(version="latest"), "table of contents", id="version"),
        pytest.param(contents(members=[]), "table of contents", id="no members"),
    ],
)
def test_malicious_although_signed(desk: Desk, school: Any, change: Callable[[Any], None], words: str) -> None:
    path = desk.bundle("1.0.1")
    resigned(desk, path, change)
    error = refused(lambda: offline.import_file(school, path))
    assert error.code == "BUNDLE_REFUSED"
    assert words in error.happened
    assert list(offline.folder_of(school).iterdir()) == []


def other_description(members: dict[str, tuple[zipfile.ZipInfo, bytes]]) -> None:
    (name,) = [name for name in members if name.startswith("targets/releases/")]
    members[name] = (members[name][0], members[name][1].replace(b"a search", b"a smirch"))


def test_what_its_metadata_names_is_not_in_it(desk: Desk, school: Any) -> None:
    """That is said of the file, and not of a server that nobody has asked."""
    path = desk.bundle("1.0.1")
    resigned(desk, path, other_description)
    error = refused(lambda: offline.import_file(school, path))
    assert (error.code, "releases/" in error.happened) == ("BUNDLE_REFUSED", True), error.happened
    assert list(offline.folder_of(school).iterdir()) == []


def cut_member(path: Path, desk: Desk) -> None:
    """The first member is said to be longer than the whole file, there and in the directory."""
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x05\x06")
    directory = int.from_bytes(data[at + 16 : at + 20], "little")
    for field in (18, 22):
        data[field : field + 4] = (10**6).to_bytes(4, "little")
    for field in (directory + 20, directory + 24):
        data[field : field + 4] = (10**6).to_bytes(4, "little")
    path.write_bytes(bytes(data[: at + 20]) + b"\0\0")
    desk.seal(path)


def test_a_member_that_ends_too_early(desk: Desk, school: Any) -> None:
    path = desk.bundle("1.0.1")
    cut_member(path, desk)
    assert refused(lambda: offline.import_file(school, path)).code == "BUNDLE_REFUSED"


def twice(path: Path, desk: Desk) -> None:
    with zipfile.ZipFile(path) as archive:
        members = [(entry, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in members:
            archive.writestr(entry, data)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(*members[1])
    desk.seal(path)


def overlapping(path: Path, desk: Desk) -> None:
    """Two members of the directory that name the same place."""
    with zipfile.ZipFile(path) as archive:
        first, second = sorted(archive.infolist(), key=lambda entry: entry.header_offset)[1:3]
        start = archive.start_dir
    data = path.read_bytes()
    directory = data[start:]
    at = directory.index(second.filename.encode()) - 4
    patched = directory[:at] + first.header_offset.to_bytes(4, "little") + directory[at + 4 :]
    whole = data[:start] + patched
    end = whole.rindex(b"PK\x05\x06")
    path.write_bytes(whole[: end + 20] + b"\0\0")
    desk.seal(path)


@pytest.mark.parametrize(("spoil", "words"), [(twice, "there twice"), (overlapping, "overlaps")])
def test_a_directory_that_lies(desk: Desk, school: Any, spoil: Callable[[Path, Desk], None], words: str) -> None:
    path = desk.bundle("1.0.1")
    spoil(path, desk)
    error = refused(lambda: offline.import_file(school, path))
    assert (error.code, words in error.happened) == ("BUNDLE_REFUSED", True), error.happened


def stranger(path: Path, desk: Desk) -> None:
    unsigned(path)
    maker._seal(path, [], CryptoSigner.generate_ed25519())


def online_key(path: Path, desk: Desk) -> None:
    """Whoever holds it can say what is new, but not what is in a release."""
    unsigned(path)
    maker._seal(path, [], desk.online_key)


def second_end(path: Path, desk: Desk) -> None:
    """An end record in the comment, which leads other programs to other members."""
    data = path.read_bytes()
    at = data.rindex(b"PK\x05\x06")
    comment = b"PK\x05\x06" + bytes(18) + data[at + 22 :]
    comment = comment[:-6] + b"%05d\n" % len(comment)
    path.write_bytes(data[: at + 20] + format_.length_field(comment) + comment)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda path, desk: flip(path, 0.1), "not what was signed", id="byte at the beginning"),
        pytest.param(lambda path, desk: flip(path, 0.5), "not what was signed", id="byte in the middle"),
        pytest.param(lambda path, desk: os.truncate(path, path.stat().st_size // 2), "no file of", id="cut off"),
        pytest.param(lambda path, desk: path.write_bytes(b""), "no file of", id="empty"),
        pytest.param(lambda path, desk: path.write_bytes(path.read_bytes() + b"x"), "no file of", id="longer"),
        pytest.param(
            lambda path, desk: path.write_bytes(b"x" + path.read_bytes()), "not what was signed", id="something before"
        ),
        pytest.param(lambda path, desk: unsigned(path), "no file of", id="unsigned"),
        pytest.param(stranger, "does not count here", id="another key"),
        pytest.param(online_key, "does not count here", id="online key"),
        pytest.param(altered_seal(lambda seal: seal["signature"].update(sig="00")), "signed", id="no signature"),
        pytest.param(altered_seal(lambda seal: seal["signature"].clear()), "KeyError", id="empty signature"),
        pytest.param(altered_seal(lambda seal: seal.update(more=1)), "signature is damaged", id="more in the seal"),
        pytest.param(altered_seal(lambda seal: seal.update(roots=["{}"])), "deserialize", id="no root"),
        pytest.param(altered_seal(lambda seal: seal.update(roots=1)), "signature is damaged", id="roots are no list"),
        pytest.param(second_end, "damaged", id="second end record"),
    ],
)
def test_spoilt_on_the_way(desk: Desk, school: Any, spoil: Callable[[Path, Desk], None], words: str) -> None:
    path = desk.bundle("1.0.1")
    spoil(path, desk)
    error = refused(lambda: offline.import_file(school, path))
    assert error.code == "BUNDLE_REFUSED"
    assert words in error.happened, error.happened
    assert list(offline.folder_of(school).iterdir()) == []
