# SPDX-License-Identifier: GPL-3.0-or-later
"""A file server of a school's network that answers with whatever it likes, byte by byte."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.stand.certificate import make_certificate

ADDRESS = "127.0.0.1"
FOLDER = "/updates/"
"""what a school is told to look at"""
Answer = bytes | Callable[["Liar"], Iterator[bytes]]
"""to one path: all of it, or piece by piece for as long as the school listens"""


class Liar:
    """Raw TLS behind a certificate that the school trusts; each connection is good for one request."""

    def __init__(self, folder: Path, answers: Mapping[str, Answer], *, mute: bool = False) -> None:
        """Start it.

        :param folder: for its certificate, which all of them have
        :param answers: path -> answer; :data:`FOLDER` is the page, any other path is not found
        :param mute: whether it accepts connections and says nothing, not even for TLS
        """
        self.certificate, key = make_certificate(folder, ADDRESS)
        self.answers = dict(answers)
        self.asked: list[str] = []
        self.sent = 0
        """bytes of answers that somebody took"""
        self.over = threading.Event()
        self._mute = mute
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        self._listening = socket.create_server((ADDRESS, 0))
        self.url = f"https://{ADDRESS}:{self._listening.getsockname()[1]}{FOLDER}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Listen no longer."""
        self.over.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listening.close()

    def _accept(self) -> None:
        while not self.over.is_set():
            with suppress(OSError):
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # a school that has had enough hangs up
            if self._mute:
                self.over.wait()
                return
            with self._context.wrap_socket(connection, server_side=True) as secured:
                head = b""
                while b"\r\n\r\n" not in head and (read := secured.recv(65_536)):
                    head += read
                self._answer(secured, head)

    def _answer(self, secured: ssl.SSLSocket, head: bytes) -> None:
        path = head.split(b" ")[1].decode("ascii")
        self.asked.append(path)
        answer = self.answers.get(path, whole(b"", status="404 Not Found"))
        for piece in (answer,) if isinstance(answer, bytes) else answer(self):
            if self.over.is_set():
                return
            secured.sendall(piece)
            self.sent += len(piece)


@contextmanager
def liar(folder: Path, answers: Mapping[str, Answer], *, mute: bool = False) -> Iterator[Liar]:
    """One that goes away."""
    server = Liar(folder, answers, mute=mute)
    try:
        yield server
    finally:
        server.close()


def head(*lines: str, status: str = "200 OK") -> bytes:
    """The beginning of an answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *lines, "", ""]).encode()


def whole(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    """An honest answer."""
    return head(f"Content-Length: {len(body)}", *lines, status=status) + body


def page(*links: str) -> bytes:
    """A page that lists files."""
    return whole("".join(f'<a href="{link}">{link}</a>\n' for link in links).encode())


def endless(begin: bytes, piece: bytes) -> Answer:
    """An answer that never ends."""

    def answer(_: Liar) -> Iterator[bytes]:
        yield begin
        while True:
            yield piece

    return answer


def drip(begin: bytes, *, seconds: float) -> Answer:
    """An answer that goes on with one byte now and then."""

    def answer(server: Liar) -> Iterator[bytes]:
        yield begin
        while not server.over.wait(seconds):
            yield b"x"

    return answer


def silence(begin: bytes = b"") -> Answer:
    """An answer that stops before it is whole, on an open connection."""

    def answer(server: Liar) -> Iterator[bytes]:
        yield begin
        server.over.wait()

    return answer
