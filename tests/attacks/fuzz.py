# SPDX-License-Identifier: GPL-3.0-or-later
"""Hundred thousand inputs that nobody would write, for everything that reads what comes from outside.

A parser may refuse with the one exception that it documents, and with nothing else.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from tuf.api.exceptions import DownloadHTTPError

from agent import protocol
from ansible_collections.clms.update.plugins.module_utils import bundle as form
from ansible_collections.clms.update.plugins.module_utils.adapters.bundle_file import Bundle
from ansible_collections.clms.update.plugins.module_utils.adapters.bundle_server import BundleServer
from ansible_collections.clms.update.plugins.module_utils.adapters.vendor import store_of
from ansible_collections.clms.update.plugins.module_utils.backup_manifest import (
    BackupFile,
    DatabaseFacts,
    Manifest,
    Proof,
    parse_manifest,
)
from ansible_collections.clms.update.plugins.module_utils.bundle import BundleError
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fetcher import Fetcher
from ansible_collections.clms.update.plugins.module_utils.https import Answer
from ansible_collections.clms.update.plugins.module_utils.release import parse_release
from ansible_collections.clms.update.plugins.module_utils.trust import ReleaseEntry, TrustStore
from publisher import bundle as maker

from .bench import Bench
from .cases import Case, Result
from .fuzz_images import archive, good_archive, of_archive
from .fuzz_inputs import FLIPS, Tried, fuzz, of_json, spoilt


def documented(error: ClmsError, *codes: str) -> None:
    """It is one of the codes that the parser names."""
    assert error.code in codes, error.code


def told(error: BundleError) -> None:
    """A refusal can be printed and written down."""
    str(ClmsError("BUNDLE_REFUSED", path="x", detail=error)).encode()


def release(data: bytes) -> None:
    """The description of a release."""
    try:
        parse_release(data)
    except ClmsError as error:
        documented(error, "RELEASE_INVALID", "RELEASE_OTHER_PRODUCT")
        json.dumps(error.as_dict(), ensure_ascii=False).encode()


def contents(data: bytes) -> None:
    """The table of contents of a bundle."""
    try:
        form.parse_contents(data)
    except BundleError as error:
        told(error)


def tail(size: int, data: bytes) -> None:
    """The end of a bundle with its seal."""
    try:
        end, _seal = form.split(data[-form.MAX_TAIL :], max(size, len(data)))
        assert 0 <= end <= max(size, len(data)), end
    except BundleError as error:
        told(error)


def entries(path: Path, data: bytes) -> None:
    """The members of a bundle."""
    path.write_bytes(data)
    try:
        with Bundle(path) as bundle:
            for name in bundle.names():
                assert form._NAME.fullmatch(name), name
                size = sum(len(chunk) for chunk in bundle.chunks(name))
                assert size == bundle.contents.members[name].size, name
    except BundleError as error:
        told(error)


def manifest(data: bytes) -> None:
    """The manifest of a backup, which somebody may have written on the drive."""
    try:
        parse_manifest(data)
    except ValueError as error:
        str(ClmsError("BACKUP_TAMPERED", backup="x", detail=error)).encode()


def good_manifest(bench: Bench) -> Any:
    """The manifest of a backup of the school."""
    slot = bench.school.slot()
    file = BackupFile("database.sql.zst.age", "database", None, 10, "0" * 64)
    volume = BackupFile("volume-uploads.tar.zst.age", "volume", "uploads", 10, "0" * 64)
    made = Manifest(
        id="20261124T101112Z-1.0.0-r1", created="2026-11-24T10:11:12Z", school="Linden School", version="1.0.0",
        slot=slot, files=(file, volume), images=("sha256:" + "0" * 64,),
        database=DatabaseFacts("clms", "sha256:" + "0" * 64, {"books": 3}, "0" * 64),
        proven=Proof("2026-11-24T10:11:12Z", "restored", 1.5),
    )  # fmt: skip
    parse_manifest(made.to_json())
    return json.loads(made.to_json())


PAGE = b"""<html><body><h1>Index of /clms/</h1><a href="../">../</a>
<a href="clms-1.0.1-amd64.zip">clms-1.0.1-amd64.zip</a> <A HREF='with%20blank.zip?x=1#y'>x</A>
<a href="https://files.test/clms/absolute.zip">x</a> <a href="//[::1/broken.zip">x</a>&amp;&#x110000;</body></html>"""


def page(data: bytes) -> None:
    """The page of a file server."""

    class Client:
        def get(self, url: str, headers: Any, limit: int) -> Answer:
            return Answer(200, {}, data[:limit])

    address = "https://files.test/clms"
    try:
        found = BundleServer(address, Client()).addresses()  # type: ignore[arg-type]
    except ClmsError as error:
        documented(error, "FILE_SERVER")
        return
    for one in found:
        assert one.startswith(f"{address}/"), one
        assert one.isprintable(), one
        assert not set(one.removeprefix(f"{address}/")) & set("/?\\#"), one


def of_page() -> st.SearchStrategy[bytes]:
    """Pages near a good one."""

    def make(flips: list[tuple[int, int, bytes]]) -> bytes:
        return spoilt(PAGE, flips, (0, len(PAGE)))

    return st.one_of(st.builds(make, st.lists(FLIPS, min_size=1, max_size=6)), st.binary(max_size=300))


def request(data: bytes) -> None:
    """What somebody asks the agent for, and the answer."""
    try:
        protocol.parse(data)
    except ClmsError as error:
        documented(error, "AGENT_REQUEST")
        protocol.refusal(error)


REQUESTS: tuple[dict[str, Any], ...] = (
    {"verb": "status"},
    {"verb": "list", "what": "history"},
    {"verb": "events", "after": 5, "follow": False},
    {"verb": "schedule", "at": "2026-11-24T22:00", "version": "1.0.1", "missed": "skip"},
    {"verb": "cancel", "schedule": 1},
    {"verb": "import", "file": "clms-1.0.1-amd64.zip"},
    {"verb": "update", "version": "1.0.1"},
    {"verb": "restore", "backup": "20261124T101112Z-1.0.0-1", "confirm": "1.0.0"},
)


def good_bundle(bench: Bench) -> tuple[bytes, dict[str, Any]]:
    """A bundle without images, as the vendor's tool makes it, and its table of contents."""
    desk = bench.desk()
    version = "1.0.1"
    description = parse_release(desk.repository.read(f"releases/{version}.json"))
    members: dict[str, maker.Content] = dict(desk.repository.offline_files(desk.online))
    for target in maker._targets(desk.repository, description):
        name, data = desk.repository.target_file(target)
        members[name] = data
    table = maker._contents(description, "amd64", datetime.now(UTC), members)
    path = bench.folder / "fuzzed.zip"
    maker._write(path, {form.CONTENTS: table, **members})
    maker._seal(path, desk.repository.later_roots(), desk.offline)
    with Bundle(path):
        return path.read_bytes(), json.loads(table)


def of_zip(good: bytes) -> st.SearchStrategy[bytes]:
    """Bundles near a good one: most changes are in what describes the members, not in what is in them."""
    end = good.rindex(b"PK\x05\x06")
    directory = good.index(b"PK\x01\x02")
    zones = ((directory, end), (directory, end + 22), (end, end + 22), (0, 400), (0, len(good)), (end, len(good)))

    def make(zone: int, flips: list[tuple[int, int, bytes]]) -> bytes:
        return spoilt(good, flips, zones[zone])

    return st.builds(make, st.integers(0, len(zones) - 1), st.lists(FLIPS, min_size=1, max_size=4))


# what vouches for all of that


def seal(store: TrustStore, signed: bytes, data: bytes) -> None:
    """The seal of a bundle; none of these may vouch for what nobody has signed."""
    try:
        store.check_seal(signed, form._parse_seal(data))
    except BundleError as error:
        told(error)
    except ClmsError as error:
        documented(error, "TRUST_REFUSED")
        json.dumps(error.as_dict(), ensure_ascii=False).encode()
    else:
        raise AssertionError("it vouches for what nobody has signed")


def good_seal(bench: Bench) -> tuple[TrustStore, dict[str, Any]]:
    """What the school believes, and a seal that counts there, with a root that it has already."""
    good, _ = good_bundle(bench)
    store = store_of(bench.described())
    end, found = form.split(good[-form.MAX_TAIL :], len(good))
    store.check_seal(form.statement(hashlib.sha256(good[:end]).hexdigest(), end), found)
    return store, {"signature": found.signature, "roots": [store.newest_root().read_text()]}


class Served(Fetcher):
    """A release server that has these files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rpartition("/")[2]
        if name not in self._files:
            raise DownloadHTTPError("it answered 404", 404)
        return iter([self._files[name]])


class Metadata:
    """What a school makes of metadata, one file of which is another one."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        desk = bench.desk()
        desk.publish()
        self._folder = folder
        self._root = desk.vendor.root
        files = [desk.newest(role) for role in ("timestamp", "snapshot", "targets")]
        self._good = {path.name: path.read_bytes() for path in files}
        self._spoilt = {**self._good, "2.root.json": self._root.read_bytes()}
        self._releases = self._believed(self._good)
        assert self._releases, "the counterpart: what is good is believed"

    def strategy(self) -> st.SearchStrategy[bytes]:
        """The number of a file, and what is in it."""
        found = []
        for number, data in enumerate(self._spoilt.values()):
            near = of_json(json.loads(data))
            found.append(near.map(lambda made, number=number: bytes([number]) + made))
        return st.one_of(*found)

    def parse(self, data: bytes) -> None:
        """Serve it; no other list of releases may be believed for it."""
        name = list(self._spoilt)[data[0] % len(self._spoilt)] if data else "timestamp.json"
        try:
            believed = self._believed({**self._good, name: data[1:]})
        except ClmsError as error:
            documented(error, "TRUST_REFUSED", "TRUST_EXPIRED")
            json.dumps(error.as_dict(), ensure_ascii=False).encode()
        else:
            assert believed == self._releases, "another list of releases is believed"

    def _believed(self, files: dict[str, bytes]) -> list[ReleaseEntry]:
        shutil.rmtree(self._folder, ignore_errors=True)
        store = TrustStore(
            state=self._folder, pinned_root=self._root, url="https://fuzzed.test", fetcher=Served(files),
            sleep=lambda _: None,
        )  # fmt: skip
        store.refresh()
        return store.releases()


# the agent's socket

SAFE = ("status", "school", "accounts")
"""what may be asked for, if it is by chance"""
PIECES = (
    *(json.dumps({"verb": verb}).encode() + b"\n" for verb in SAFE),
    b'{"verb": "sta', b'tus"}\n', b"\n", b"\r\n", b"\0", b"\xff\xfe\n", b"[" * 60_000 + b"\n", b" " * 65_000,
    b'{"verb": "status"}\r\n', b'{"verb": "status"} {"verb": "status"}\n', b"x" * 65_536,
    b'{"verb": "status", "x": "' + b"x" * 65_600, b'{"verb":"status"}' + b" " * 65_519 + b"\n",
    b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
)  # fmt: skip
"""what comes, of which some is put in a row"""


def of_framing() -> st.SearchStrategy[bytes]:
    """Lines that are cut off, too long, several, or none."""
    pieces = st.one_of(st.sampled_from(PIECES), st.sampled_from(PIECES), st.binary(max_size=80))
    return st.lists(pieces, max_size=5).map(b"".join)


def framing(path: Path, data: bytes) -> None:
    """One connection to the agent: one answer, of one line, to its first line; the rest is not looked at."""
    line, newline, _ = data[: protocol.MAX_BYTES + 1].partition(b"\n")
    try:
        verb = protocol.parse(line + newline).verb
    except ClmsError:
        verb = ""
    if verb and verb not in SAFE:
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        for at in range(0, len(data), 30_000):
            connection.sendall(data[at : at + 30_000])
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answers:
            answer, rest = answers.readline(), answers.read()
    assert rest == b"", rest[:200]
    said = json.loads(answer)
    assert said["ok"] == bool(verb), said
    assert verb or said["error"]["code"] == "AGENT_REQUEST", said


def framing_of_agent(bench: Bench, count: int) -> Tried:
    """The agent of the school; it has told of nothing unexpected, and is well afterwards."""
    name, log = bench.school.name, bench.school.folder / "agent.log"
    bench.stand.start_agent(name)
    try:
        process, size = bench.stand.agent_process(name), log.stat().st_size
        done = fuzz(of_framing(), partial(framing, bench.stand.agent_socket(name)), count, bench.seed)
        assert bench.stand.agent_process(name) == process, "it is another one"
        assert b"could not be answered" not in log.read_bytes()[size:], log.read_text()[-3000:]
        assert b"Traceback" not in log.read_bytes()[size:], log.read_text()[-3000:]
    finally:
        bench.stand.stop_agent(name)
    return done


PARSERS = (
    ("release", "the description of a release"),
    ("contents", "the table of contents of a bundle"),
    ("tail", "the end of a bundle with its seal"),
    ("entries", "the members of a bundle"),
    ("archive", "an archive with an image"),
    ("request", "requests to the agent"),
    ("manifest", "the manifest of a backup"),
    ("page", "the page of a file server"),
    ("seal", "the seal of a bundle"),
    ("metadata", "metadata of The Update Framework"),
    ("framing", "what comes to the agent's socket"),
)


def tried(what: str, bench: Bench, result: Result) -> str:
    """One parser gets its share of the inputs."""
    count = max(1, -(-bench.inputs // len(PARSERS)))
    if what == "release":
        done = fuzz(of_json(bench.desk().release("1.0.1")), release, count, bench.seed)
    elif what == "request":
        bases = st.one_of(*(of_json(base) for base in REQUESTS))
        done = fuzz(bases, request, count, bench.seed)
    elif what == "manifest":
        done = fuzz(of_json(good_manifest(bench)), manifest, count, bench.seed)
    elif what == "archive":
        done = fuzz(of_archive(good_archive()), archive, count, bench.seed)
    elif what == "page":
        done = fuzz(of_page(), page, count, bench.seed)
    elif what == "seal":
        store, sealed = good_seal(bench)
        done = fuzz(of_json(sealed), partial(seal, store, form.statement("0" * 64, 1)), count, bench.seed)
    elif what == "metadata":
        with tempfile.TemporaryDirectory(prefix="clms-fuzz-", dir="/dev/shm") as folder:
            metadata = Metadata(bench, Path(folder) / "trust")
            done = fuzz(metadata.strategy(), metadata.parse, count, bench.seed)
    elif what == "framing":
        done = framing_of_agent(bench, count)
    else:
        good, table = good_bundle(bench)
        if what == "contents":
            done = fuzz(of_json(table), contents, count, bench.seed)
        elif what == "tail":
            done = fuzz(of_zip(good[-form.MAX_TAIL :]), partial(tail, len(good)), count, bench.seed)
        else:
            with_files = partial(entries, Path("/dev/shm") / f"clms-fuzz-{bench.seed}.zip")
            try:
                done = fuzz(of_zip(good), with_files, count, bench.seed)
            finally:
                with_files.args[0].unlink(missing_ok=True)
    assert done.inputs >= count, f"only {done.inputs} of {count} inputs"
    result.detail = f"{done.inputs} inputs, seed {bench.seed}"
    return f"{done.inputs} inputs, no other exception"


def cases() -> Iterator[Case]:
    """All of them."""
    for what, words in PARSERS:
        yield Case(f"fuzzing: {words}", "Inputs that nobody would write, for one parser.", partial(tried, what))
