# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd is told of the agent (sd_notify(3)); nothing happens where another one has started it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

READY = "READY=1"
STOPPING = "STOPPING=1"
PATIENCE = "EXTEND_TIMEOUT_USEC=60000000"
"""Start or stop may take a minute more from now on; to be said again within that time."""

_SECONDS = 5


def status(text: str) -> str:
    """The field that ``systemctl status`` shows."""
    return f"STATUS={text}"


def tell(*fields: str) -> None:
    """Send ``fields`` in one message; whether systemd listens is no concern of a run."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a name without a file, see unix(7)
        address = f"\0{address[1:]}"
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.settimeout(_SECONDS)
        connection.sendto("\n".join(fields).encode(), address)
