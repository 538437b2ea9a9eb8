# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that must be whole after a power cut, and copies of whole folders."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..disk import Mount
from ..errors import ClmsError

_CHUNK = 1 << 20


class OddFileError(OSError):
    """In place of a file lies something else, or one that is larger than it may be."""


def open_regular(path: Path) -> BinaryIO:
    """Open a file that somebody else may have put there: no link is followed, and nothing waits for a pipe.

    :raises OSError: when it cannot be opened
    :raises OddFileError: when it is something else than a file
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OddFileError(errno.ELOOP, "it is a link", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OddFileError(errno.EINVAL, "it is no file", str(path))
    return os.fdopen(descriptor, "rb")


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def chunks_of(file: BinaryIO, size: int) -> Iterator[bytes]:
    """So many bytes of a file and no more, even where it grows meanwhile."""
    while chunk := file.read(min(_CHUNK, size)):
        size -= len(chunk)
        yield chunk


def read_small(path: Path, most: int) -> bytes:
    """All of a file of which it is known how large it may be.

    :raises OSError: when it cannot be read
    :raises OddFileError: when it is larger, or no file
    """
    with open_regular(path) as file:
        data = file.read(most + 1) if size_of(file) <= most else b""
        if size_of(file) > most or len(data) > most:
            raise OddFileError(errno.EFBIG, f"it has more than {most} bytes", str(path))
        return data


def write_atomically(path: Path, content: str | bytes, *, mode: int = 0o600) -> None:
    """Write a file so that it is either the old or the new one, whatever happens: temporary, fsync, rename."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(descriptor, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def empty_folder(path: Path) -> None:
    """Remove everything in a folder."""
    for entry in path.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def copy_folder(source: Path, target: Path) -> None:
    """Copy everything in ``source`` into the empty folder ``target``, sharing blocks where the file system can.

    :raises ClmsError: SLOT_FAILED
    """
    empty_folder(target)
    _run(["cp", "-a", "--reflink=auto", f"{source}/.", f"{target}/"])


def mirror_folder(source: Path, target: Path) -> None:
    """Make ``target`` equal to ``source``, copying only what differs.

    :raises ClmsError: SLOT_FAILED
    """
    # contents, not times: two versions of a file may have the same size and the same second
    _run(["rsync", "-aHAX", "--numeric-ids", "--checksum", "--delete", f"{source}/", f"{target}/"])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClmsError("SLOT_FAILED", detail=done.stderr.strip()[-300:] or f"{command[0]} ended with an error")


def sync_file_system(path: Path) -> None:
    """Write everything on the file system of ``path`` to the disk (syncfs(2)).

    :raises OSError: when the disk reports that something was not written
    """
    # coreutils' sync -f is the system call with its error reported
    subprocess.run(["sync", "-f", str(path)], check=True)


def folder_bytes(path: Path) -> int:
    """Bytes that a folder occupies on disk; files that vanish meanwhile are left out."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512  # noqa: PTH118 - many files, and Path is slow
            except FileNotFoundError:
                continue
    return total


def mount_of(path: Path) -> Mount:
    """The file system of a folder, or of the nearest folder above it that exists."""
    while not path.exists():
        path = path.parent
    found = os.statvfs(path)
    mount = path
    while not mount.is_mount():
        mount = mount.parent
    return Mount(path.stat().st_dev, str(mount), found.f_bavail * found.f_frsize)


def file_system_of(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The kind of file system that holds a folder, such as ``ext4`` or ``vfat``; empty when it is not known.

    :param mounts: the table of mounts, see proc(5)
    """
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.read_text().splitlines():
        fields, _, more = line.partition(" - ")
        if fields.split()[2:3] == [wanted]:
            return more.partition(" ")[0]
    return ""
