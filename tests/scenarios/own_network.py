# SPDX-License-Identifier: GPL-3.0-or-later
"""A network of its own for the browser, as people's browsers are on other machines, too.

Chromium breaks off whatever it loads when an address of its machine comes or goes (ERR_NETWORK_CHANGED), and here each
container that starts or ends brings or takes one.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_NEW_NETWORK = 0x40000000
"""CLONE_NEWNET; see unshare(2)"""
_HERE = "/proc/thread-self/ns/net"
_PIECE = 1 << 16
_libc = ctypes.CDLL(None, use_errno=True)


class OwnNetwork:
    """Holds nothing but the ports of this machine that are let through."""

    def __init__(self) -> None:
        self._outside = os.open(_HERE, os.O_RDONLY)
        if _libc.unshare(_NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "there is no network of its own")
        try:
            self._inside = os.open(_HERE, os.O_RDONLY)
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        finally:
            _enter(self._outside)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What this thread starts and opens meanwhile is in there, and stays there."""
        _enter(self._inside)
        try:
            yield
        finally:
            _enter(self._outside)

    @contextmanager
    def let_through(self, port: int) -> Iterator[None]:
        """A port of this machine can be reached in there under the same number."""
        with self.entered():
            listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=_forward, args=(listener, port), daemon=True).start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def _enter(network: int) -> None:
    if _libc.setns(network, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "the network cannot be entered")


def _forward(listener: socket.socket, port: int) -> None:
    while True:
        try:
            one, _ = listener.accept()
        except OSError:  # it is over
            return
        threading.Thread(target=_carry, args=(one, port), daemon=True).start()


def _carry(one: socket.socket, port: int) -> None:
    with one, suppress(OSError), socket.create_connection(("127.0.0.1", port)) as other:
        back = threading.Thread(target=_copy, args=(other, one), daemon=True)
        back.start()
        _copy(one, other)
        back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            sink.sendall(piece)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
