# SPDX-License-Identifier: GPL-3.0-or-later
"""The phases of a run, one file each, and the one way in which the module and the action plugin `phase` call them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ClmsError
from ..plan import PHASES

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


def load_all() -> None:
    """Import every phase, and the libraries that phases need."""
    for phase in ARGUMENTS["name"]["choices"]:
        work_of(phase)


ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True, "choices": [name for name in PHASES if name != "preflight"]},
    "home": {"type": "path", "required": True},
    "run": {"type": "int", "required": True},
}
"""The options of the module `phase`."""


def carry_out(options: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Carry out one phase of an open run; in check mode nothing is done.

    :param options: values of :data:`ARGUMENTS`
    :returns: what the module returns; with ``msg``, ``code`` and ``remedy`` where it failed
    """
    from ..run import do_phase  # it brings in the engine's library

    phase = str(options["name"])
    if check_mode:
        return {"changed": True, "phase": phase, "result": {}}
    try:
        result = do_phase(Path(str(options["home"])), int(options["run"]), phase, work_of(phase))
    except ClmsError as error:
        return {"changed": True, "phase": phase, "msg": error.happened, "code": error.code, "remedy": error.remedy}
    return {"changed": True, "phase": phase, "result": result}
