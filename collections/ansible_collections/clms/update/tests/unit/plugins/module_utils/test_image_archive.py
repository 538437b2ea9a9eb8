# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives of images on their way into an engine, with the real zstd and an engine that only reads."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters import image_archive
from ansible_collections.clms.update.plugins.module_utils.adapters.image_archive import (
    OtherImageError,
    TooLargeError,
    load_image,
    load_saved,
    load_stream,
)
from ansible_collections.clms.update.plugins.module_utils.adapters.pipes import ArchiveError
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.plain_tar import BLOCK, END, parse_extended, parse_header

CONFIG = b'{"architecture": "amd64"}'
DIGEST = "sha256:" + hashlib.sha256(CONFIG).hexdigest()
LAYER = "a" * 64
MOST = 1_000_000
NAME = "clms/gate:1-RC"


def of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    """One member with its header."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.type, entry.linkname = len(data), kind, target
    return entry.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)


def listed(**changes: Any) -> bytes:
    """The list of images; without a field where it is None."""
    entry = {"Config": "config.json", "RepoTags": None, "Layers": [f"{LAYER}/layer.tar"], **changes}
    return member("manifest.json", as_json([entry]))


GOOD = member("config.json", CONFIG) + member(f"{LAYER}/", kind=tarfile.DIRTYPE) + member(f"{LAYER}/layer.tar", b"x")


def archive(*more: bytes, manifest: bytes | None = None) -> bytes:
    """What ``docker save`` writes of an image, and more."""
    return GOOD + (listed() if manifest is None else manifest) + b"".join(more) + END


def index(config: str = DIGEST, **annotations: str) -> tuple[bytes, str]:
    """The lists of an archive as newer engines write them, and the digest of the manifest that they name."""
    manifest = as_json({"schemaVersion": 2, "config": {"digest": config}, "layers": []})
    blob = member(f"blobs/sha256/{of(manifest)[7:]}", manifest)
    lists = as_json({"manifests": [{"digest": of(manifest), "annotations": annotations}]})
    return blob + member("index.json", lists), of(manifest)


def extended(*records: bytes) -> bytes:
    """An extended header."""
    return member("PaxHeaders.0", b"".join(records), kind=tarfile.XHDTYPE)


def packed(data: bytes) -> io.BytesIO:
    return io.BytesIO(subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout)


class Loaded:
    """An engine which reads all that it gets and then says what it has loaded."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "loaded"
        self.began = folder / "began"
        self._said = folder / "said"
        self.says(f"Loaded image ID: {DIGEST}")
        self.command = folder / "docker"
        self.command.write_text(f"#!/bin/sh\ncat > {self.file} && touch {self.began} && exec cat {self._said}\n")
        self.command.chmod(0o755)

    def says(self, text: str) -> None:
        self._said.write_text(f"{text}\n" if text else "")


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loaded]:
    """What the engine has been given."""
    engine = Loaded(tmp_path)
    monkeypatch.setattr(image_archive, "DOCKER", str(engine.command))
    yield engine
    threads = [thread for thread in threading.enumerate() if type(thread).__name__ == "Feeder"]
    assert not threads


def load(data: bytes, *names: str, most: int = MOST) -> None:
    load_stream(packed(data), DIGEST, most=most, names=names)


@pytest.mark.parametrize("end", [b"", bytes(9000)], ids=["as it is", "filled up"])
def test_all_of_it_comes_to_the_engine(loaded: Loaded, end: bytes) -> None:
    data = archive(member("b/layer.tar", bytes(500_000)))
    load(data + end)
    assert loaded.file.read_bytes() == data


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(b"", id="nothing more"),
        pytest.param(member("b/layer.tar", kind=tarfile.SYMTYPE, target=f"../{LAYER}/layer.tar"), id="a layer twice"),
        pytest.param(extended(b"20 mtime=1700000.25\n") + member("b/json", b"{}"), id="a time"),
        pytest.param(extended(b"9 size=3\n") + member("b/json", b"abc"), id="a size"),
        pytest.param(index()[0], id="an index"),
        pytest.param(member("b/json", b"{" * 100_000), id="no JSON"),
    ],
)
def test_what_engines_write_is_taken(loaded: Loaded, more: bytes) -> None:
    load(archive(more))
    assert loaded.began.exists()


def test_an_engine_may_call_it_by_the_digest_of_its_manifest(loaded: Loaded) -> None:
    more, digest = index()
    loaded.says(f"Loaded image ID: {digest}")
    load(archive(more))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        pytest.param(listed(), "twice", id="two lists"),
        pytest.param(member("config.json", b"{}"), "twice", id="two configurations"),
        pytest.param(member("manifest.json/", kind=tarfile.DIRTYPE), "twice", id="a folder of that name"),
        pytest.param(member("./manifest.json", b"[]"), "in no image", id="dot"),
        pytest.param(member("b/../manifest.json", b"[]"), "in no image", id="up"),
        pytest.param(member("b//x", b"[]"), "in no image", id="two slashes"),
        pytest.param(member("/manifest.json", b"[]"), "in no image", id="absolute"),
        pytest.param(member("../../etc/x", b"[]"), "in no image", id="out of it"),
        pytest.param(member("index.json", kind=tarfile.SYMTYPE, target="x"), "in no image", id="a link as list"),
        pytest.param(member("b/layer.tar", kind=tarfile.SYMTYPE, target="/etc/shadow"), "in no image", id="link out"),
        pytest.param(
            member("b/layer.tar", kind=tarfile.SYMTYPE, target="manifest.json"), "in no image", id="link to a list"
        ),
        pytest.param(member("b", kind=tarfile.LNKTYPE, target="manifest.json"), "in no image", id="hard link"),
        pytest.param(member("b", kind=tarfile.CHRTYPE), "in no image", id="device"),
        pytest.param(member("b", kind=tarfile.FIFOTYPE), "in no image", id="pipe"),
        pytest.param(member("b", b"x" * 99, kind=tarfile.GNUTYPE_LONGNAME), "in no image", id="a long name"),
        pytest.param(
            member("g", b"16 path=x/y/z/a\n", kind=tarfile.XGLTYPE), "in no image", id="a header for all that comes"
        ),
        pytest.param(extended(b"22 path=manifest.json\n") + member("b", b"[]"), "path", id="another name"),
        pytest.param(extended(b"22 GNU.sparse.major=1\n") + member("b", b"[]"), "GNU.sparse", id="a file with holes"),
        pytest.param(extended(b"9 size=3\n") + extended(b"9 size=3\n"), "belongs to no file", id="two headers"),
        pytest.param(member("index.json", b" " * 1_000_001), "too large", id="a list that is too large"),
        pytest.param(member("index.json", b'{"a": 1, "A": 2}'), "twice", id="a key in two cases"),
        pytest.param(member("index.json", b"[" * 100_000), "nested", id="a list that is nested"),
        pytest.param(member("repositories", as_json({"clms/gate": {"2": "x"}})), "name 'clms/gate:2'", id="old names"),
        pytest.param(index(of(b"other"))[0], "same image", id="another image in the index"),
        pytest.param(
            index(**{"io.containerd.image.name": "docker.io/clms/gate:2"})[0], "gate:2", id="a name in the index"
        ),
        pytest.param(END + b"x", "follows", id="something behind it"),
        pytest.param(bytes(BLOCK) + member("manifest.json", b"[]"), "follows", id="one behind half an end"),
        pytest.param(member("b").replace(b"ustar", b"vstar"), "damaged", id="a damaged header"),
    ],
)
def test_what_an_engine_could_read_otherwise_is_refused(loaded: Loaded, more: bytes, says: str) -> None:
    with pytest.raises(ArchiveError, match=says):
        load(archive(more), NAME, most=20_000_000)
    assert not loaded.began.exists()


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        pytest.param(b"", "does not list one image", id="no list"),
        pytest.param(member("manifest.json", b"[]"), "does not list one image", id="no image"),
        pytest.param(member("manifest.json", as_json([{"Config": "config.json"}] * 2)), "one image", id="two images"),
        pytest.param(member("manifest.json", b"{"), "no archive", id="no JSON"),
        pytest.param(member("manifest.json", b"[" * 100_000), "nested", id="nested"),
        pytest.param(
            member("manifest.json", b'[{"Config": "config.json", "config": "x"}]'), "twice", id="a key in two cases"
        ),
        pytest.param(
            member("manifest.json", '[{"Config": "config.json", "RepoTag\u017f": ["x:1"]}]'.encode()),
            "x:1",
            id="long s",
        ),
        pytest.param(listed(Parent=DIGEST), "nobody knows", id="a parent"),
        pytest.param(listed(Config="./config.json"), "cannot be read", id="another way to it"),
        pytest.param(listed(RepoTags=["clms/gate:2"]), "name 'clms/gate:2'", id="a name"),
        pytest.param(listed(RepoTags=[NAME, "clms/gate:2"]), "name 'clms/gate:2'", id="one name more"),
        pytest.param(listed(RepoTags=[["x"]]), "name", id="no text"),
        pytest.param(member("manifest.json", b"x" * 5_000_000), "too large", id="over the limit of what is looked at"),
    ],
)
def test_a_list_that_is_no_list_of_one_image(loaded: Loaded, manifest: bytes, says: str) -> None:
    with pytest.raises(ArchiveError, match=says):
        load(archive(manifest=manifest), NAME, most=20_000_000)
    assert not loaded.began.exists()


def test_a_name_that_was_expected_is_given(loaded: Loaded) -> None:
    loaded.says(f"Loaded image: {NAME}")
    names = {"io.containerd.image.name": f"docker.io/{NAME}", "org.opencontainers.image.ref.name": "1-RC"}
    old = member("repositories", as_json({"clms/gate": {"1-RC": "x"}}))
    load(archive(old, index(**names)[0], manifest=listed(RepoTags=[NAME])), NAME)
    with pytest.raises(ArchiveError, match="it gives its image the name"):
        load(archive(manifest=listed(RepoTags=[NAME])))


def test_another_image_never_comes_to_the_engine(loaded: Loaded) -> None:
    with pytest.raises(OtherImageError) as caught:
        load_stream(packed(archive()), of(b"x"), most=MOST)
    assert caught.value.found == DIGEST
    assert not loaded.began.exists()


@pytest.mark.parametrize("said", ["", f"Loaded image ID: {of(b'x')}", f"Loaded image: {NAME}"])
def test_what_the_engine_has_loaded_is_compared(loaded: Loaded, said: str) -> None:
    loaded.says(said)
    with pytest.raises(ArchiveError, match="in its place"):
        load(archive())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(archive(member("b/layer.tar", bytes(50_000_000))), id="a layer"),
        pytest.param(archive() + bytes(50_000_000), id="behind the archive"),
        pytest.param(bytes(50_000_000), id="no archive"),
    ],
)
def test_a_bomb_is_not_passed_on(loaded: Loaded, data: bytes) -> None:
    with pytest.raises(TooLargeError, match="more than 1000000 bytes"):
        load(data)
    assert not loaded.file.exists() or loaded.file.stat().st_size <= MOST
    assert not loaded.began.exists()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(extended(bytes(150_000_000)) + archive(), id="an extended header"),
        pytest.param(
            b"".join(member(f"x{number}", b'{"x": "' + b"y" * 4000 + b'"}') for number in range(30_000)) + archive(),
            id="members",
        ),
    ],
)
def test_little_is_kept_of_it(loaded: Loaded, data: bytes) -> None:
    stream = packed(data)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match="no archive of one image"):
            load_stream(stream, DIGEST, most=10**9)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert not loaded.began.exists()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"no archive", id="text"),
        pytest.param(archive()[:1000], id="cut off"),
        pytest.param(archive()[: -len(END)], id="without its end"),
        pytest.param(b"", id="empty"),
    ],
)
def test_what_is_no_archive_of_an_image(loaded: Loaded, data: bytes) -> None:
    with pytest.raises(ArchiveError):
        load(data)
    assert not loaded.began.exists()


def test_what_cannot_be_unpacked_to_its_end_never_comes_to_the_engine(loaded: Loaded) -> None:
    data = packed(archive(member("b/layer.tar", os.urandom(500_000)))).getvalue()
    with pytest.raises(ArchiveError, match="zstd"):
        load_stream(io.BytesIO(data[:-2]), DIGEST, most=MOST)
    assert not loaded.began.exists()


class _Breaking(io.BytesIO):
    """A drive that is pulled out in the middle."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 200_000:
            raise OSError(5, "Input/output error")
        return super().read(min(size or 0, 100_000))


@pytest.mark.parametrize(
    ("spoilt", "says"),
    [
        pytest.param(_Breaking, "cannot be read: .*Input/output error", id="source"),
        pytest.param(lambda data: io.BytesIO(data[:200_000]), "zstd ended with code 1", id="cut"),
        pytest.param(
            lambda data: io.BytesIO(data[:200_000] + b"x" * 9000 + data[209_000:]),
            "zstd ended with code 1",
            id="damaged",
        ),
    ],
)
def test_why_it_ends_too_soon(loaded: Loaded, spoilt: Any, says: str) -> None:
    data = packed(archive(member("b/layer.tar", os.urandom(500_000)))).getvalue()
    with pytest.raises(ArchiveError, match=says):
        load_stream(spoilt(data), DIGEST, most=MOST)
    assert not loaded.began.exists()


def test_an_engine_that_gives_up_says_why(loaded: Loaded) -> None:
    loaded.command.write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    with pytest.raises(ArchiveError, match="docker load ended with code 1: no space left"):
        load(archive(member("b/layer.tar", os.urandom(5_000_000))), most=10**9)


@pytest.mark.parametrize("engine", [True, False], ids=["the engine finds out", "before"])
def test_a_saved_image_for_which_there_is_no_room(loaded: Loaded, tmp_path: Path, engine: bool) -> None:
    path = tmp_path / "image.tar.zst"
    path.write_bytes(packed(archive()).getvalue())
    if engine:
        loaded.command.write_text("#!/bin/sh\necho write /var/lib/docker/tmp/x: no space left on device >&2\nexit 1\n")
    with pytest.raises(ClmsError) as caught:
        load_saved(path, DIGEST, root=tmp_path, reserve=0 if engine else 1 << 60)
    assert caught.value.code == "DISK_TOO_SMALL"
    assert "image.tar.zst does not fit" in caught.value.happened
    assert not loaded.began.exists()


@pytest.mark.parametrize("kind", ["link", "pipe", "device", "missing"])
def test_only_a_file_is_loaded(loaded: Loaded, tmp_path: Path, kind: str) -> None:
    (tmp_path / "good").write_bytes(packed(archive()).getvalue())
    load_image(tmp_path / "good", DIGEST, most=MOST)
    loaded.began.unlink()
    path = tmp_path / "image.tar.zst"
    if kind == "link":
        path.symlink_to("good")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    with pytest.raises(ArchiveError, match="cannot be read"):
        load_image(path, DIGEST, most=MOST)
    assert not loaded.began.exists()


@pytest.mark.parametrize(
    ("at", "field"),
    [
        pytest.param(124, b"\x80" + bytes(10) + b"\x03", id="a size in bytes, which not every program reads"),
        pytest.param(100, b"\x01", id="a mode that is no number"),
        pytest.param(136, b"9", id="a time that is no number"),
        pytest.param(329, b"1", id="half a device"),
        pytest.param(345, b"x", id="a name in two parts"),
    ],
)
def test_a_header_in_another_format(at: int, field: bytes) -> None:
    block = bytearray(member("b", b"abc")[:BLOCK])
    assert parse_header(bytes(block)).size == 3
    block[at : at + len(field)] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(ValueError, match="another format"):
        parse_header(bytes(block))


@pytest.mark.parametrize(
    "data",
    [b"9 size=3", b"8 size=3\n", b"9 size=x\n", b"9 size=3\n9 size=3\n", b"09 size=3\n", b"size=3\n", b"99999 x=\n"],
)
def test_a_damaged_extended_header(data: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        parse_extended(data)
