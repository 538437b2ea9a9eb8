# SPDX-License-Identifier: GPL-3.0-or-later
"""Images outside the engine: ``docker save | zstd`` into a file, and back."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .files import sync_folder
from .pipes import DOCKER, ArchiveError, Feeder, Process

_CHUNK = 1 << 20
_SMALL = 4_000_000
"""bytes of the largest image configuration that is looked at"""


class TooLargeError(ArchiveError):
    """More comes out of a packed archive than may."""


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


def load_image(source: Path, config: str) -> None:
    """Give the engine an image that :func:`save_image` wrote.

    :param source: only root may write there
    :param config: the digest of its configuration. It is looked at before the engine sees the file, which may come
        from a drive: an engine moves the names of its images as an archive wants it.
    :raises ArchiveError: when the file or the engine does not go along, or it is another image
    """
    with source.open("rb") as file, _expanded(file) as archive, Path(os.devnull).open("wb") as nowhere:
        found = _pass_on(archive, nowhere)
    if found != config:
        raise ArchiveError(f"{source.name} holds another image")
    with source.open("rb") as file:
        load_stream(file)


@contextmanager
def _expanded(source: IO[bytes]) -> Iterator[IO[bytes]]:
    """The content of a compressed stream.

    :raises ArchiveError: when it cannot be read to its end
    """
    expand = Process(["zstd", "-q", "-d", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    feeder = Feeder(source, expand.stdin)
    feeder.start()
    try:
        yield expand.stdout
        expand.stdout.close()
        expand.finish()
        feeder.join()
        if feeder.error:
            raise ArchiveError(f"the image cannot be read: {feeder.error}")
    finally:
        expand.kill()
        feeder.join()
        expand.end()


def load_stream(source: IO[bytes], most: int | None = None) -> str:
    """Give the engine an image from a stream of :func:`save_image`'s format, and see on the way what it is.

    :param most: bytes that the archive may have, unpacked
    :returns: the digest of the image's configuration, taken from the archive: engines give loaded images different ids
    :raises TooLargeError: when it has more
    :raises ArchiveError: when the stream or the engine does not go along, or there is not exactly one image in it
    """
    try:
        with _expanded(source) as archive:
            load = Process([DOCKER, "load", "--quiet"], stdin=subprocess.PIPE, name="docker load")
            try:
                try:
                    config = _pass_on(archive, load.stdin, most)
                except BrokenPipeError:  # the engine says why below
                    config = ""
                load.stdin.close()
                load.finish()
            finally:
                load.end()
        return config
    except BrokenPipeError as error:
        raise ArchiveError(str(error)) from None


class _Tee(io.RawIOBase):
    """What is read from a stream is written to another one as well."""

    def __init__(self, source: IO[bytes], sink: IO[bytes], most: int | None) -> None:
        self._source = source
        self._sink = sink
        self._most = most
        self._passed = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._passed += len(data)
        if self._most is not None and self._passed > self._most:
            raise TooLargeError(f"it has more than {self._most} bytes when it is unpacked")
        self._sink.write(data)
        return data


def _pass_on(source: IO[bytes], sink: IO[bytes], most: int | None = None) -> str:
    """Copy a ``docker save`` archive; the digest of the configuration of the one image in it.

    :raises ArchiveError: when it is no such archive
    """
    tee = _Tee(source, sink, most)
    listed: Any = None
    digests: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=tee, mode="r|", bufsize=_CHUNK) as archive:
            for entry in archive:
                content = archive.extractfile(entry) if entry.isreg() and entry.size <= _SMALL else None
                if content is None:
                    continue
                data = content.read()
                if entry.name == "manifest.json":
                    listed = json.loads(data)
                digests[entry.name] = f"sha256:{hashlib.sha256(data).hexdigest()}"
        while tee.read(_CHUNK):
            pass
        (image,) = listed
        return digests[image["Config"]]
    except (tarfile.TarError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ArchiveError(f"it is no archive of one image ({type(error).__name__})") from None
