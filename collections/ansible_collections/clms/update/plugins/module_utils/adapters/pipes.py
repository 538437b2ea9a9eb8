# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that hand data on to each other through pipes."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from signal import SIGPIPE
from typing import IO, Protocol

DOCKER = shutil.which("docker", path="/usr/bin") or "docker"
"""the distribution's client, which fits the engine, before any other on the PATH"""

_CHUNK = 1 << 20
_TAIL = 4096
_PIPE_ENDED = {-SIGPIPE, 128 + SIGPIPE}


class ArchiveError(Exception):
    """A file could not be written or read; the text says why and holds nothing of the content."""


class Process:
    """A process at one end of a pipe; what it says on stderr is kept in memory."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = subprocess.DEVNULL,
        name: str | None = None,
    ) -> None:
        """:raises ArchiveError: when the program is not installed"""
        self.name = name or str(command[0])
        self._said = os.fdopen(os.memfd_create(self.name), "w+b")
        try:
            self._process = subprocess.Popen(
                [str(part) for part in command], stdin=stdin, stdout=stdout, stderr=self._said
            )
        except OSError as error:
            self._said.close()
            raise ArchiveError(f"{self.name} cannot be started: {error.strerror}") from None
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # a smaller pipe is slower, no more
                    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _CHUNK)

    @property
    def stdin(self) -> IO[bytes]:
        """The pipe into the process."""
        if self._process.stdin is None:
            raise ArchiveError(f"{self.name} was started without a pipe into it")
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe out of the process."""
        if self._process.stdout is None:
            raise ArchiveError(f"{self.name} was started without a pipe out of it")
        return self._process.stdout

    def said(self) -> str:
        """What the process has written to stderr so far."""
        return os.pread(self._said.fileno(), _CHUNK, 0).decode(errors="replace")

    def wait_for(self, line: str, seconds: float) -> None:
        """Wait until the process has said ``line`` on stderr.

        :raises ArchiveError: when it ended or was silent for ``seconds``
        """
        deadline = time.monotonic() + seconds
        while line not in self.said().splitlines():
            self.check_running()
            if time.monotonic() >= deadline:
                raise ArchiveError(f"{self.name} did not start within {seconds:.0f} seconds")
            time.sleep(0.005)

    def has_ended(self) -> bool:
        """Whether the process has come to its end, good or bad."""
        return self._process.poll() is not None

    def check_running(self) -> None:
        """:raises ArchiveError: when the process has ended"""
        if self.has_ended():
            self.finish()
            raise ArchiveError(f"{self.name} ended early")

    def close_pipes(self) -> None:
        """Let go of our ends of the pipes."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def finish(self, allowed: Sequence[int] = (0,)) -> int:
        """Wait for the end of the process and return its exit code.

        :raises BrokenPipeError: when it ended because its reader was gone
        :raises ArchiveError: when it ended with a code that is not ``allowed``
        """
        code = self._process.wait()
        self.close_pipes()
        if code in allowed:
            return code
        if code in _PIPE_ENDED:
            raise BrokenPipeError(f"the reader of {self.name} was gone")
        raise ArchiveError(f"{self.name} ended with code {code}: {self.said().strip()[-300:]}")

    def kill(self) -> None:
        """End the process if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """End the process if it still runs, and free what it held."""
        self.kill()
        self.close_pipes()
        self._said.close()


class Readable(Protocol):
    """Whatever bytes can be read from."""

    def read(self, size: int = ..., /) -> bytes:
        """Up to so many bytes; empty at the end."""


class Feeder(threading.Thread):
    """Writes a stream into a process."""

    def __init__(self, source: Readable, sink: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self.error: Exception | None = None
        self._source = source
        self._sink = sink

    def run(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the process has ended, and says why
            while chunk := self._next():
                self._sink.write(chunk)
        with contextlib.suppress(OSError):
            self._sink.close()

    def _next(self) -> bytes:
        try:
            return read_some(self._source)
        except Exception as error:  # whatever it is: what has come so far is not whole
            self.error = error
            return b""


def read_some(source: Readable) -> bytes:
    """What is there, up to a megabyte; empty at the end."""
    return source.read1(_CHUNK) if isinstance(source, io.BufferedReader) else source.read(_CHUNK)


def write_all(sink: IO[bytes], data: bytes) -> None:
    """Write all of ``data`` to an unbuffered stream."""
    view = memoryview(data)
    while view:
        view = view[sink.write(view) :]


def copy_stream(source: IO[bytes], sink: IO[bytes]) -> bytes:
    """Copy a stream to its end; returns its last 4 KiB, where a dump says that it is complete."""
    tail = b""
    while chunk := read_some(source):
        sink.write(chunk)
        tail = (tail + chunk)[-_TAIL:]
    sink.flush()
    return tail
