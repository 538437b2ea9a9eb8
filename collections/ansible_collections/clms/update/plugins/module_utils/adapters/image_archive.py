# SPDX-License-Identifier: GPL-3.0-or-later
"""Images outside the engine: ``docker save | zstd`` into a file, and back."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ..errors import ClmsError
from ..plain_tar import BLOCK, END, parse_extended, parse_header
from ..saved_image import Contents
from .files import mount_of, open_regular, sync_folder
from .pipes import DOCKER, ArchiveError, Feeder, Process

_CHUNK = 1 << 20
_ANSWER = 65_536
"""bytes of an engine's answer that are looked at"""


class TooLargeError(ArchiveError):
    """More comes out of a packed archive than may."""


class _EndsTooSoonError(ArchiveError):
    """Less comes of an archive than belongs to it."""


class OtherImageError(ArchiveError):
    """An archive holds another image than the one that was asked for."""

    def __init__(self, found: str) -> None:
        super().__init__("it holds another image")
        self.found = found
        """digest of its configuration"""


def save_image(image: str, target: Path) -> None:
    """Write an image of the engine as a compressed archive, which ``zstd -d < file | docker load`` takes.

    :param image: what ``docker save`` is asked for
    :raises ArchiveError: when it cannot be written
    """
    partial = target.with_name(f".{target.name}.partial")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    save = Process([DOCKER, "save", image], stdout=subprocess.PIPE, name="docker save")
    processes = [save]
    try:
        compress = Process(["zstd", "-q", "-T0", "-f", "-o", partial], stdin=save.stdout)
        processes.append(compress)
        save.stdout.close()
        compress.finish()
        save.finish()  # after its reader: a full disk is the cause, the broken pipe a consequence
        partial.chmod(0o600)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
        sync_folder(target.parent)
    finally:
        for process in processes:
            process.end()
        partial.unlink(missing_ok=True)


def load_saved(source: Path, config: str, *, root: Path, reserve: int, names: Collection[str] = ()) -> None:
    """Give the engine an image from a folder of backups, as far as there is room for it; see :func:`load_image`.

    :param root: where the engine has its images
    :param reserve: bytes that must stay free there
    :raises ClmsError: DISK_TOO_SMALL
    :raises ArchiveError: when the file or the engine does not go along, or it is another image
    """
    most = max(0, mount_of(root).free - reserve) // 2  # the engine unpacks it beside the layers that it makes of it
    try:
        load_image(source, config, most=most, names=names)
    except ArchiveError as error:
        if isinstance(error, TooLargeError) or "no space left" in str(error).lower():
            raise ClmsError("DISK_TOO_SMALL", detail=f"the image {source.name} does not fit ({error})"[:300]) from None
        raise


def load_image(source: Path, config: str, *, most: int, names: Collection[str] = ()) -> None:
    """Give the engine an image that :func:`save_image` wrote; see :func:`load_stream`.

    :param source: may come from a drive
    :raises ArchiveError: when the file or the engine does not go along, or it is another image
    """
    try:
        with open_regular(source) as file:
            load_stream(file, config, most=most, names=names)
    except OSError as error:
        raise ArchiveError(f"{source.name} cannot be read: {error.strerror or error}") from None


@contextmanager
def _expanded(source: IO[bytes]) -> Iterator[IO[bytes]]:
    """The content of a compressed stream.

    :raises ArchiveError: when it cannot be read to its end
    """
    expand = Process(["zstd", "-q", "-d", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    feeder = Feeder(source, expand.stdin)
    feeder.start()
    try:
        try:
            yield expand.stdout
        except _EndsTooSoonError:
            _finish(expand, feeder)  # which knows why, if there is more to know
            raise
        _finish(expand, feeder)
    finally:
        expand.kill()
        feeder.join()
        expand.end()


def _finish(expand: Process, feeder: Feeder) -> None:
    """:raises ArchiveError: when what was expanded could not be read to its end"""
    expand.stdout.close()
    feeder.join()
    if feeder.error:  # what the program says of half a stream is a consequence
        raise ArchiveError(f"the image cannot be read: {feeder.error}")
    expand.finish()


def load_stream(source: IO[bytes], config: str, *, most: int, names: Collection[str] = ()) -> None:
    """Give the engine an image from a stream of :func:`save_image`'s format.

    What is wrong with it is found on the way. The engine begins when it has seen the end of an archive, and gets that
    only once everything was looked at: an engine moves the names of its images as an archive wants it.

    :param config: the digest of the image's configuration
    :param most: bytes that the archive may have, unpacked
    :param names: which the archive may give to the image; the engine has none of them yet
    :raises TooLargeError: when it has more
    :raises OtherImageError: when it is another image
    :raises ArchiveError: when the stream or the engine does not go along, or there is not exactly one image in it
    """
    with tempfile.TemporaryFile() as answer:
        load = Process([DOCKER, "load", "--quiet"], stdin=subprocess.PIPE, stdout=answer, name="docker load")
        try:
            try:
                with _expanded(source) as archive:
                    contents = _pass_on(archive, load.stdin, most)
                called = _check(contents, config, names)
                load.stdin.write(END)
                load.stdin.close()
            except BrokenPipeError:  # the engine says why below
                with suppress(BrokenPipeError):
                    load.stdin.close()
            load.finish()
        except BrokenPipeError as error:
            raise ArchiveError(str(error)) from None
        finally:
            load.end()  # killed before its pipe is closed, else it would take that for the end of the archive
        answer.seek(0)
        said = answer.read(_ANSWER).decode(errors="replace").splitlines()
    found = {line.partition(": ")[2] for line in said if line.startswith("Loaded image")}
    if not found or not found <= {*called, *names}:
        raise ArchiveError(f"the engine has loaded {', '.join(sorted(found))[:200] or 'nothing'} in its place")


def _check(contents: Contents, config: str, names: Collection[str]) -> set[str]:
    """The digests by which an engine may call the image.

    :raises ArchiveError: when it is no archive of one image
    :raises OtherImageError: when it is another image
    """
    try:
        found, called = contents.image(names)
    except ValueError as error:
        raise ArchiveError(f"it is no archive of one image: {error}") from None
    if found != config:
        raise OtherImageError(found)
    return called


class _Counted:
    """A stream of which no more is read than may come."""

    def __init__(self, source: IO[bytes], most: int) -> None:
        self._source = source
        self._most = most
        self._read = 0

    def upto(self, size: int) -> bytes:
        """So many bytes, or what is left.

        :raises TooLargeError: when that is more than may come
        """
        data = self._source.read(size)
        self._read += len(data)
        if self._read > self._most:
            raise TooLargeError(f"it has more than {self._most} bytes when it is unpacked")
        return data

    def exactly(self, size: int) -> bytes:
        """:raises _EndsTooSoonError: when less is left"""
        data = self.upto(size)
        if len(data) < size:
            raise _EndsTooSoonError("it is no archive of one image: it ends too soon")
        return data


def _pass_on(source: IO[bytes], sink: IO[bytes], most: int) -> Contents:
    """Copy a ``docker save`` archive but for its end, and see what is in it.

    Nothing is kept of it but names and digests, however much comes.

    :raises TooLargeError: when it is larger than it may be
    :raises ArchiveError: when it is no such archive
    """
    stream, contents = _Counted(source, most), Contents()
    large: int | None = None
    extended = False
    try:
        while any(block := stream.exactly(BLOCK)):
            member = parse_header(block, large)
            sink.write(block)
            if member.kind == "extended":
                if extended:
                    raise ValueError("an extended header belongs to no file")
                data = stream.exactly(member.size + member.padding)
                large, extended = parse_extended(data[: member.size]), True
                sink.write(data)
                continue
            large, extended = None, False
            contents.add(member)
            if contents.looks_at(member):
                data = stream.exactly(member.size + member.padding)
                contents.look(member.name, data[: member.size])
                sink.write(data)
                continue
            left = member.size + member.padding
            while left:
                data = stream.exactly(min(_CHUNK, left))
                left -= len(data)
                sink.write(data)
        while data := stream.upto(_CHUNK):
            if data.strip(b"\0"):
                raise ValueError("something follows it")
    except ValueError as error:
        raise ArchiveError(f"it is no archive of one image: {error}") from None
    return contents
