# SPDX-License-Identifier: GPL-3.0-or-later
"""Running one of the collection's playbooks on this server through ansible-runner.

ansible-runner keeps the environment and the extra variables of a run in its artifacts, readable for root only. So it
gets an environment of our own instead of the caller's, and extra variables that name a version or a backup: secrets
reach the playbooks as paths of files in the inventory, and in no other way (architecture.md, decision 12).
"""

from __future__ import annotations

import inspect
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.errors import CATALOGUE, ClmsError

KEPT = 20
"""runs whose output is kept"""

_FAILED = ("runner_on_failed", "runner_on_unreachable", "runner_item_on_failed")
_PASSED_ON = ("DOCKER_HOST", "TZ")
_COLLECTIONS = Path(inspect.getfile(ClmsError)).parents[5]


@dataclass(frozen=True)
class Play:
    """What is to be run."""

    playbook: str
    """word of the playbook in the collection: ``update``, ``backup``, …"""
    inventory: str
    """``hosts.yml`` of the configuration folder"""
    folder: str
    """ansible-runner's own folder (its private data dir)"""
    variables: dict[str, str] = field(default_factory=dict)
    """extra variables; never a secret"""


@dataclass(frozen=True)
class Ending:
    """How a playbook ended."""

    exit_code: int | None
    """of ``ansible-playbook``; None when it was killed"""
    failure: dict[str, Any] | None
    """the first task that failed: ``code``, ``message`` and ``remedy``"""
    log: str
    """file with Ansible's own output"""


def environment(folder: Path) -> dict[str, str]:
    """The environment in which playbooks and modules run."""
    own = Path(sys.executable).parent
    return {
        "PATH": f"{own}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_CONFIG": str(Path(__file__).with_name("ansible.cfg")),
        # no other copy of the collection than the one that this program belongs to
        "ANSIBLE_COLLECTIONS_PATH": str(_COLLECTIONS),
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
    }


def play(what: Play) -> Ending:
    """Run a playbook to its end; the caller should not have a terminal (see :mod:`.detached`)."""
    # here and not above: it takes a third of a second, which `status` has no use for
    from ansible_runner import Runner, RunnerConfig
    from ansible_runner.utils import get_callback_dir

    folder = Path(what.folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    failures: list[dict[str, Any]] = []

    def watch(event: dict[str, Any]) -> bool:
        """Note a failed task; only those are worth a file of their own in the artifacts."""
        failure = failure_in(event)
        if failure:
            failures.append(failure)
        return failure is not None

    # RunnerConfig itself, because the function `run` writes the extra variables to a file in the private data dir
    # once and takes them from there ever after: the second update would install the version of the first
    config = RunnerConfig(
        private_data_dir=str(folder),
        playbook=f"clms.update.{what.playbook}",
        inventory=what.inventory,
        extravars={**what.variables, "ansible_python_interpreter": sys.executable},
        ident=f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{what.playbook}-{os.getpid()}",
        quiet=True,
        rotate_artifacts=KEPT,
    )
    config.prepare()
    config.env = {
        **environment(folder),
        "ANSIBLE_CALLBACK_PLUGINS": get_callback_dir(),
        "ANSIBLE_STDOUT_CALLBACK": "awx_display",
        "AWX_ISOLATED_DATA_DIR": config.artifact_dir,
        "RUNNER_OMIT_EVENTS": "False",
        "RUNNER_ONLY_FAILED_EVENTS": "False",
    }
    # ansible-runner would answer signals with a kill of the playbook in the middle of a step
    _, exit_code = Runner(config, event_handler=watch, cancel_callback=lambda: False).run()
    log = str(Path(config.artifact_dir) / "stdout")
    if exit_code != 0 and not failures:
        failures.append(ClmsError("INTERNAL", phase=what.playbook, detail=_last_words(exit_code, log)).as_dict())
    return Ending(exit_code, failures[0] if failures else None, log)


def _last_words(exit_code: int | None, log: str) -> str:
    """Why ``ansible-playbook`` ended without a failed task: it did not understand the inventory, for one."""
    said = "it was killed" if exit_code is None else f"it ended with exit code {exit_code}"
    lines = Path(log).read_text(errors="replace").splitlines()
    complaint = next((line.strip() for line in lines if "ERROR" in line), "")
    return f"ansible-playbook: {complaint[:300] or said}; see {log}"


def failure_in(event: dict[str, Any]) -> dict[str, Any] | None:
    """The failure that an event of ansible-runner tells of: ``code``, ``message`` and ``remedy``; or None."""
    data = event.get("event_data") or {}
    if event.get("event") not in _FAILED or data.get("ignore_errors"):
        return None
    result = data.get("res") or {}
    message = result.get("msg") or "no reason was given"
    if result.get("code") in CATALOGUE:
        return {"code": result["code"], "message": str(message), "remedy": str(result.get("remedy", ""))}
    if isinstance(message, list):
        message = " ".join(str(line) for line in message)
    return ClmsError("INTERNAL", phase=data.get("task") or "?", detail=str(message).rstrip(".")[:500]).as_dict()
