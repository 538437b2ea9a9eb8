# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted files, written and read as streams: ``… | zstd | age -r … > file`` and ``age -d file | zstd -d | …``.

Plaintext only ever passes through pipes and memory, never through a file. The exit code of every process is looked
at, and the file appears under its name only when all of them were content and it is on the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .files import chunks_of, open_regular, size_of, sync_folder
from .pipes import ArchiveError, Feeder, Process, Readable, read_some, write_all

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Written:
    """What a finished file came to."""

    bytes: int
    sha256: str


class ChangedError(ArchiveError):
    """A file is not the one that was written."""


class _Hashed:
    """A file whose size and hash are taken while it is read."""

    def __init__(self, file: Readable, most: int | None) -> None:
        """:param most: where it ends, even if it has grown"""
        self._file = file
        self._most = most
        self._bytes = 0
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        if self._most is not None:
            left = self._most - self._bytes
            size = left if size < 0 else min(size, left)
        data = self._file.read(size)
        self._bytes += len(data)
        self._hash.update(data)
        return data

    def so_far(self) -> Written:
        return Written(self._bytes, self._hash.hexdigest())


class _Collector(threading.Thread):
    """Writes a stream to a new file and takes its hash on the way."""

    def __init__(self, source: IO[bytes], path: Path) -> None:
        super().__init__(daemon=True)
        self.error: OSError | None = None
        self.bytes = 0
        self.hash = hashlib.sha256()
        self._source = source
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def run(self) -> None:
        with os.fdopen(self._descriptor, "wb", buffering=0) as file:
            try:
                while chunk := read_some(self._source):
                    self.hash.update(chunk)
                    self.bytes += len(chunk)
                    write_all(file, chunk)
                os.fsync(file.fileno())
                # what is read back later comes from the disk and not from memory
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            except OSError as error:
                self.error = error
                self._source.close()


def recipient_of(identity: Path) -> str:
    """The age recipient that belongs to an identity.

    :raises ArchiveError: when the file holds no age identity
    """
    process = Process(["age-keygen", "-y", identity], stdout=subprocess.PIPE)
    try:
        recipient = process.stdout.read().decode().strip()
        process.finish()
        return recipient
    finally:
        process.end()


class Encrypted:
    """A file while it is written."""

    def __init__(self, sink: IO[bytes]) -> None:
        self.sink = sink
        """takes the plaintext"""
        self.written: Written | None = None

    def result(self) -> Written:
        """What the finished file came to."""
        if self.written is None:
            raise ArchiveError("the file is not finished")
        return self.written


@contextmanager
def encrypted(target: Path, recipients: Sequence[str]) -> Iterator[Encrypted]:
    """Write a new compressed and encrypted file, readable for its owner only.

    :param recipients: age recipients; each of their identities can read the file
    :raises ArchiveError: with the first cause, such as a full disk
    """
    partial = target.with_name(f".{target.name}.partial")
    compress = Process(["zstd", "-q", "-T0", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    arguments = [argument for recipient in recipients for argument in ("-r", recipient)]
    processes = [compress]
    collector: _Collector | None = None
    try:
        lock = Process(["age", *arguments], stdin=compress.stdout, stdout=subprocess.PIPE)
        processes.append(lock)
        compress.stdout.close()
        try:
            collector = _Collector(lock.stdout, partial)
        except OSError as error:
            raise ArchiveError(f"{target.name} cannot be written: {error.strerror}") from None
        collector.start()
        file = Encrypted(compress.stdin)
        broken: BrokenPipeError | None = None
        try:
            yield file
            compress.stdin.close()
        except BrokenPipeError as error:
            broken = error  # a consequence; the cause is asked for below
            with contextlib.suppress(BrokenPipeError):
                compress.stdin.close()
        collector.join()
        if collector.error:
            raise ArchiveError(f"{target.name} cannot be written: {collector.error.strerror}")
        lock.finish()
        compress.finish()
        if broken:
            raise ArchiveError(f"{target.name} cannot be written: {broken}")
        partial.replace(target)
        sync_folder(target.parent)
        file.written = Written(collector.bytes, collector.hash.hexdigest())
    finally:
        for process in processes:
            process.kill()
        if collector is not None:
            collector.join()  # before its pipe is closed
        for process in processes:
            process.end()
        partial.unlink(missing_ok=True)


@contextmanager
def decrypted(source: Path, identity: Path, expected: Written | None = None) -> Iterator[IO[bytes]]:
    """The plaintext of a file that :func:`encrypted` wrote, as a stream.

    :param identity: file with the age identity of one of the recipients
    :param expected: what the file has to be; compared with what was read, since the file may change meanwhile
    :raises ArchiveError: when the file is damaged, cut off or meant for somebody else; also after some of the
        plaintext has been handed out, so that nothing may be kept of it before the end
    :raises ChangedError: in the same way, when it is not what was ``expected``
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open_regular(source))
        except OSError as error:
            raise ArchiveError(f"{source.name} cannot be read: {error.strerror}") from None
        unlock = Process(["age", "-d", "-i", identity], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stack.callback(unlock.end)
        expand = Process(["zstd", "-q", "-d", "-c"], stdin=unlock.stdout, stdout=subprocess.PIPE)
        stack.callback(expand.end)
        unlock.stdout.close()
        hashed = _Hashed(file, expected.bytes if expected else None)
        feeder = Feeder(hashed, unlock.stdin)
        feeder.start()
        stack.callback(feeder.join)
        stack.callback(unlock.kill)  # before its feeder is waited for
        failure: Exception | None = None
        try:
            yield expand.stdout
            while read_some(expand.stdout):
                pass
        except Exception as error:  # kept until it is known whether it is only a consequence
            failure = error
        expand.stdout.close()
        for process in (expand, unlock):  # a cause comes before its consequences, so the last word counts
            try:
                process.finish()
            except BrokenPipeError:
                failure = failure or ArchiveError(f"{source.name} was not read to its end")
            except ArchiveError as error:
                failure = error
        feeder.join()
        if feeder.error:
            failure = ArchiveError(f"{source.name} cannot be read: {feeder.error}")
        if failure:
            raise failure
        if expected and hashed.so_far() != expected:
            raise ChangedError(f"{source.name} has changed")


def pack_folder(folder: Path, sink: IO[bytes]) -> None:
    """Write everything in a folder as a tar archive, owners and attributes included.

    A file that changes or goes away meanwhile is no error: the folder is in use.
    """
    command = ["tar", "--create", "--file=-", "--numeric-owner", "--acls", "--xattrs", "--sparse"]
    process = Process([*command, f"--directory={folder}", "."], stdout=sink)
    try:
        process.finish(allowed=(0, 1))
    finally:
        process.end()


def unpack_folder(source: IO[bytes], folder: Path) -> None:
    """Fill an empty folder from a tar archive that :func:`pack_folder` wrote."""
    command = ["tar", "--extract", "--file=-", "--numeric-owner", "--same-permissions", "--acls", "--xattrs"]
    process = Process([*command, f"--directory={folder}"], stdin=source)
    try:
        process.finish()
    finally:
        process.end()


def count_packed(source: IO[bytes]) -> int:
    """Read a tar archive to its end; returns how many files and folders are in it."""
    process = Process(["tar", "--list", "--file=-"], stdin=source, stdout=subprocess.PIPE)
    try:
        count = sum(chunk.count(b"\n") for chunk in iter(lambda: read_some(process.stdout), b""))
        process.finish()
        return count
    finally:
        process.end()


def pack_files(files: dict[str, bytes | Path], sink: IO[bytes]) -> None:
    """Write a tar archive of single files and folders.

    :param files: name in the archive -> its content, or where it lies
    :raises OSError: when one of them cannot be read
    """
    with tarfile.open(fileobj=sink, mode="w|") as archive:
        for name, content in files.items():
            if isinstance(content, Path):
                archive.add(content.resolve(), arcname=name)
                continue
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))


def hash_file(path: Path, size: int) -> Written:
    """Size and SHA-256 of a file that has so many bytes; one of another size is not even read.

    :raises ChangedError: when it has another size
    :raises ArchiveError: when it cannot be read
    """
    hashed, at = hashlib.sha256(), 0
    try:
        with open_regular(path) as file:
            if size_of(file) != size:
                raise ChangedError(f"{path.name} has changed")
            for chunk in chunks_of(file, size):
                hashed.update(chunk)
                at += len(chunk)
        return Written(at, hashed.hexdigest())
    except OSError as error:
        raise ArchiveError(f"{path.name} cannot be read: {error.strerror}") from None
