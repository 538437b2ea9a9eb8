# SPDX-License-Identifier: GPL-3.0-or-later
"""The phases of a run, one file each.

A phase is imported when it is asked for: between two phases every import is time in which CLMS is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # never executed, but Ansible finds here what it has to send along with a module
    from ..run import Context
    from . import (  # noqa: F401
        backup,
        clean_up,
        commit,
        container_replace,
        drain,
        health_check,
        image_pull,
        migrate,
        open,
        rehearse,
        release,
        slot,
    )


def work_of(phase: str) -> Callable[[Context], dict[str, Any]]:
    """What carries out ``phase``: a function that takes the run's context and returns what the journal keeps."""
    work: Callable[[Context], dict[str, Any]] = import_module(f".{phase}", __name__).work
    return work
