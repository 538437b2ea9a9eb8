# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted files with the real age, zstd and tar."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters.archive import (
    ChangedError,
    count_packed,
    decrypted,
    encrypted,
    hash_file,
    pack_files,
    pack_folder,
    recipient_of,
    unpack_folder,
)
from ansible_collections.clms.update.plugins.module_utils.adapters.pipes import ArchiveError, Process, copy_stream

pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in ("age", "age-keygen", "zstd", "tar")), reason="needs age, zstd and tar"
)

CONTENT = os.urandom(300_000) + b"Ada Lovelace" + bytes(3_000_000) + os.urandom(100_000)


def new_key(folder: Path, name: str = "key") -> Path:
    path = folder / name
    subprocess.run(["age-keygen", "-o", path], check=True, capture_output=True)
    return path


def write(target: Path, *identities: Path, content: bytes = CONTENT) -> Path:
    with encrypted(target, [recipient_of(identity) for identity in identities]) as file:
        file.sink.write(content)
    return target


def read(source: Path, identity: Path) -> bytes:
    with decrypted(source, identity) as stream:
        return stream.read()


def test_both_keys_read_what_was_written(tmp_path: Path) -> None:
    host, recovery = new_key(tmp_path, "host"), new_key(tmp_path, "recovery")
    target = tmp_path / "file.age"
    with encrypted(target, [recipient_of(host), recipient_of(recovery)]) as file:
        file.sink.write(CONTENT)
        assert not target.exists()
    assert read(target, host) == read(target, recovery) == CONTENT
    assert file.result() == hash_file(target, target.stat().st_size)
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.stat().st_size < len(CONTENT)
    assert b"Lovelace" not in target.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.age", "host", "recovery"]


def _flip(position: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        at = position % len(data)
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_flip(5), id="flipped-in-the-header"),
        pytest.param(_flip(150_000), id="flipped-in-the-middle"),
        pytest.param(_flip(-1), id="flipped-at-the-end"),
        pytest.param(lambda data: data[:200_000], id="cut-off"),
        pytest.param(lambda data: data[:-1], id="last-byte-missing"),
        pytest.param(lambda data: data + b"x", id="one-byte-more"),
        pytest.param(lambda data: b"", id="empty"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    key = new_key(tmp_path)
    target = write(tmp_path / "file.age", key)
    target.write_bytes(change(target.read_bytes()))
    with pytest.raises(ArchiveError):
        read(target, key)


def test_another_key_does_not_open_it(tmp_path: Path) -> None:
    key, other = new_key(tmp_path), new_key(tmp_path, "other")
    with pytest.raises(ArchiveError, match="no identity matched"):
        read(write(tmp_path / "file.age", key), other)


def test_a_file_that_is_another_one_by_now_is_not_believed(tmp_path: Path) -> None:
    """Whoever can write the folder can encrypt for its keys: they are no secret."""
    key = new_key(tmp_path)
    target = write(tmp_path / "file.age", key)
    expected = hash_file(target, target.stat().st_size)
    with decrypted(target, key, expected) as stream:
        assert stream.read() == CONTENT
    write(target, key, content=b"of somebody else")
    with pytest.raises(ChangedError, match=r"file\.age has changed"), decrypted(target, key, expected) as stream:
        assert stream.read() == b"of somebody else"


@pytest.mark.parametrize("error", [ArchiveError("it ended early"), ValueError("x"), KeyboardInterrupt("x")])
def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path, error: BaseException) -> None:
    key = new_key(tmp_path)

    def write_half() -> None:
        with encrypted(tmp_path / "file.age", [recipient_of(key)]) as file:
            file.sink.write(CONTENT)
            raise error

    with pytest.raises(type(error), match=str(error)):
        write_half()
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_full_disk_is_named_as_the_cause(tmp_path: Path) -> None:
    key = new_key(tmp_path)
    (tmp_path / ".file.age.partial").symlink_to("/dev/full")
    with pytest.raises(ArchiveError, match=r"file\.age cannot be written: No space left on device"):
        write(tmp_path / "file.age", key, content=os.urandom(20_000_000))
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_full_disk_is_named_also_when_a_process_writes(tmp_path: Path) -> None:
    key, folder = new_key(tmp_path), tmp_path / "folder"
    folder.mkdir()
    (folder / "large").write_bytes(os.urandom(20_000_000))
    (tmp_path / ".file.age.partial").symlink_to("/dev/full")
    with (
        pytest.raises(ArchiveError, match="No space left on device"),
        encrypted(tmp_path / "file.age", [recipient_of(key)]) as file,
    ):
        pack_folder(folder, file.sink)


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="cannot be written: No such file or directory"):
        write(tmp_path / "gone" / "file.age", new_key(tmp_path))


def test_a_wrong_recipient_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="age"), encrypted(tmp_path / "file.age", ["age1canary"]) as file:
        file.sink.write(CONTENT)
    assert list(tmp_path.iterdir()) == []


def test_a_key_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("canary\n")
    with pytest.raises(ArchiveError) as caught:
        recipient_of(tmp_path / "key")
    assert "canary" not in str(caught.value)


def test_a_reader_that_fails_is_told_why_only_if_the_file_is_at_fault(tmp_path: Path) -> None:
    key = new_key(tmp_path)
    target = write(tmp_path / "file.age", key, content=os.urandom(5_000_000))

    def read_half(size: int) -> None:
        with decrypted(target, key) as stream:
            stream.read(size)
            raise ValueError("my own reason")

    with pytest.raises(ValueError, match="my own reason"):
        read_half(10)
    target.write_bytes(_flip(10_000)(target.read_bytes()))
    with pytest.raises(ArchiveError, match="age ended with code 1"):
        read_half(-1)


def test_a_folder_comes_back_as_it_was(tmp_path: Path) -> None:
    key, folder, copy = new_key(tmp_path), tmp_path / "folder", tmp_path / "copy"
    (folder / "sub").mkdir(parents=True)
    copy.mkdir()
    (folder / "a name\nwith a line break").write_text("one")
    (folder / "sub" / "script").write_text("two")
    (folder / "sub" / "script").chmod(0o750)
    (folder / "link").symlink_to("sub/script")
    with encrypted(tmp_path / "file.age", [recipient_of(key)]) as file:
        pack_folder(folder, file.sink)
    with decrypted(tmp_path / "file.age", key) as stream:
        assert count_packed(stream) == 5
    with decrypted(tmp_path / "file.age", key) as stream:
        unpack_folder(stream, copy)
    assert (copy / "a name\nwith a line break").read_text() == "one"
    assert (copy / "sub/script").stat().st_mode & 0o777 == 0o750
    assert (copy / "link").readlink() == Path("sub/script")


def test_a_folder_that_does_not_exist_cannot_be_packed(tmp_path: Path) -> None:
    key = new_key(tmp_path)
    with pytest.raises(ArchiveError, match="tar"), encrypted(tmp_path / "file.age", [recipient_of(key)]) as file:
        pack_folder(tmp_path / "gone", file.sink)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_single_files_are_packed_with_their_content(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("password")
    (tmp_path / "link").symlink_to("real")
    sink = io.BytesIO()
    pack_files({"school.json": b"{}", "files/link": tmp_path / "link"}, sink)
    (tmp_path / "out").mkdir()
    (tmp_path / "archive.tar").write_bytes(sink.getvalue())
    with (tmp_path / "archive.tar").open("rb") as source:
        unpack_folder(source, tmp_path / "out")
    assert (tmp_path / "out/files/link").read_text() == "password"
    assert (tmp_path / "out/school.json").read_text() == "{}"


def test_the_end_of_a_stream_is_returned() -> None:
    sink = io.BytesIO()
    assert copy_stream(io.BytesIO(b"a" * 3_000_000 + b"end"), sink) == b"a" * 4093 + b"end"
    assert sink.tell() == 3_000_003


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        pytest.param("import sys; print('why', file=sys.stderr); sys.exit(3)", "ended with code 3: why", id="fails"),
        pytest.param("print('too soon')", "ended early", id="ends-early"),
        pytest.param("import time; time.sleep(60)", "did not start within 0 seconds", id="hangs"),
    ],
)
def test_a_process_that_does_not_get_ready_is_named(program: str, complaint: str) -> None:
    process = Process([sys.executable, "-c", program], name="it")
    try:
        with pytest.raises(ArchiveError, match=f"it {complaint}"):
            process.wait_for("ready", 0.3)
    finally:
        process.end()


def test_a_program_that_is_not_installed_is_named() -> None:
    with pytest.raises(ArchiveError, match="clms-no-such-program cannot be started: No such file"):
        Process(["clms-no-such-program"])
