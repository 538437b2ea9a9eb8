# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import notify


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], socket.socket]]:
    """Be systemd, at an address in systemd's own notation."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(10)

        def start(address: str) -> socket.socket:
            listening.bind(address.replace("@", "\0", 1))
            monkeypatch.setenv("NOTIFY_SOCKET", address)
            return listening

        yield start


@pytest.mark.parametrize("abstract", [True, False], ids=["abstract", "file"])
def test_one_message(listen: Callable[[str], socket.socket], tmp_path: Path, abstract: bool) -> None:
    listening = listen(f"@clms-test-{os.getpid()}" if abstract else str(tmp_path / "notify"))
    notify.tell(notify.READY, notify.status("no run goes on"))
    assert listening.recv(4096) == b"READY=1\nSTATUS=no run goes on"


@pytest.mark.parametrize("address", [None, "", "/none/notify", "vsock:2:1"])
def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify.tell(notify.STOPPING, notify.PATIENCE)
