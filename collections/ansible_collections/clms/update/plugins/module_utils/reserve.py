# SPDX-License-Identifier: GPL-3.0-or-later
"""Space that is set aside before a run, so that a disk that fills up meanwhile cannot keep it from being put back.

Putting back writes little: records of the journal, the gate's mode, the log of what failed. It gets this space for it
(architecture.md, "Faults during an update": a rollback needs no new space).
"""

from __future__ import annotations

import os
from pathlib import Path

BYTES = 16 * 1024 * 1024


def _file(home: Path) -> Path:
    return home / "reserve"


def set_aside(home: Path) -> None:
    """Occupy the space, unless that was done before.

    :raises OSError: when there is not that much
    """
    descriptor = os.open(_file(home), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, BYTES)
    finally:
        os.close(descriptor)


def give_back(home: Path) -> None:
    """Free the space: from now on it can be written."""
    _file(home).unlink(missing_ok=True)
