# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking the agent of this server; what it understands is in ``agent/protocol.py``. The standard library only."""

from __future__ import annotations

import json
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import ClmsError

_ANSWER_BYTES = 8_000_000
_TAKEN_SECONDS = 10
"""within which an agent takes a request; one that hangs never does"""


class Conversation:
    """A request to the agent and its answers."""

    def __init__(self, path: Path, request: dict[str, Any]) -> None:
        """Send a request.

        :param path: the agent's socket; see :func:`is_installed`
        :param request: ``{"verb": …}`` and the fields of the verb
        :raises ClmsError: AGENT_SILENT when the agent does not run, or does not take the request
        """
        self._path = path
        self._rest = b""
        self._socket = socket.socket(socket.AF_UNIX)
        # settimeout() would not wait at all where many are about to be let in: unix(7), EAGAIN
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _TAKEN_SECONDS, 0))
        try:
            self._socket.connect(str(path))
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            self._socket.close()
            late = f"it has not taken the request within {_TAKEN_SECONDS} seconds"
            detail = late if isinstance(error, BlockingIOError) else error.strerror or error
            raise ClmsError("AGENT_SILENT", path=path, detail=detail) from None

    def close(self) -> None:
        """Listen no longer; a run goes on all the same."""
        self._socket.close()

    def wait(self, seconds: float | None) -> dict[str, Any] | None:
        """The next answer's ``result``, or None when there was none within ``seconds``.

        :raises ClmsError: AGENT_SILENT when the agent has ended; or the code with which it refuses
        """
        while b"\n" not in self._rest:
            if not select.select([self._socket], [], [], seconds)[0]:
                return None
            chunk = self._receive()
            if not chunk or len(self._rest) > _ANSWER_BYTES:
                raise ClmsError("AGENT_SILENT", path=self._path, detail="it ended in the middle of its answer")
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if answer["ok"]:
            result: dict[str, Any] = answer["result"]
            return result
        raise ClmsError.from_dict(answer["error"])

    def rest(self) -> Iterator[bytes]:
        """What follows the answers, where a verb hands something over; until the agent has sent all of it."""
        chunk, self._rest = self._rest, b""
        while chunk or (chunk := self._receive()):
            yield chunk
            chunk = b""

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except OSError:
            return b""


def is_installed(path: Path) -> bool:
    """Whether an agent was started on this server at some time: then runs are its business."""
    return path.exists()
