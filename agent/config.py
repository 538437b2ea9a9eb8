# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration folder of a school server, ``/etc/clms-update``.

It is an Ansible inventory: ``hosts.yml`` names this server as the only host of the group ``schools``, and
``host_vars/<host>.yml`` holds its variables ``clms_*``. The playbooks read it through Ansible; what needs no playbook
(status, check, list, doctor) reads the same file here, which is why it has to be plain YAML without templates.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.school import School, parse_school

DEFAULT_FOLDER = Path("/etc/clms-update")
VARIABLE = "CLMS_UPDATE_CONFIG"
GROUP = "schools"
PREFIX = "clms_"

# the C parser is ten times as fast, and the answer to `status` should not wait for YAML
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_SETTLED = 2.0
"""seconds after which a file that is changed once more has another time"""
_Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class Config:
    """A configuration that was read and found complete."""

    inventory: Path
    """``hosts.yml``, for Ansible; not the whole folder, in which it would take keys and certificates for inventories"""
    host: str
    path: Path
    """the file with the variables of that host"""
    school: School


_known: dict[Path, tuple[tuple[_Stamp | None, ...], Config]] = {}
"""Folder -> what was read there, and the stamps of its files then."""


def default_folder() -> Path:
    """The folder that is used when none is named on the command line."""
    return Path(os.environ.get(VARIABLE) or DEFAULT_FOLDER)


def load(folder: Path) -> Config:
    """Read a configuration folder; it is read once for as long as its files are what they were.

    :raises ClmsError: SCHOOL_INCOMPLETE, with the first thing that is missing or wrong
    """
    folder = folder.absolute()
    stamps, known = _known.get(folder, ((), None))
    if known is not None and stamps == (_stamp(known.inventory), _stamp(known.path)):
        return known
    inventory = folder / "hosts.yml"
    before = _stamp(inventory)
    hosts = list(dict.fromkeys(_hosts(_read(inventory), inside=False)))
    if len(hosts) != 1 or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", hosts[0]):
        raise _incomplete(f"{inventory} must name exactly one host in the group '{GROUP}'")
    path = folder / "host_vars" / f"{hosts[0]}.yml"
    stamps = (before, _stamp(path))
    found = Config(inventory, hosts[0], path, school_of(_read(path), path))
    if None not in stamps:
        _known[folder] = (stamps, found)
    return found


def _stamp(path: Path) -> _Stamp | None:
    """By which a file is known as the one that was read; None where it has only just been written, or is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    if not time.time() - found.st_ctime > _SETTLED:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def school_of(variables: dict[str, Any], path: Path) -> School:
    """The school that the variables of a file describe.

    :raises ClmsError: SCHOOL_INCOMPLETE
    """
    template = next((name for name, value in variables.items() if _has_template(value)), None)
    if template is not None:
        raise _incomplete(f"{path} uses a template in '{template}', but must hold plain values")
    return parse_school(
        {name.removeprefix(PREFIX): value for name, value in variables.items() if name.startswith(PREFIX)}
    )


def _incomplete(detail: str) -> ClmsError:
    return ClmsError("SCHOOL_INCOMPLETE", detail=detail)


def _read(path: Path) -> dict[str, Any]:
    """:raises ClmsError: SCHOOL_INCOMPLETE when the file is not a YAML mapping."""
    try:
        return variables_in(path.read_bytes(), path)
    except FileNotFoundError:
        raise _incomplete(f"there is no file {path}") from None
    except OSError as error:
        raise _incomplete(f"{path} cannot be read ({error.strerror})") from None


def variables_in(text: bytes, path: Path) -> dict[str, Any]:
    """What is in a file of variables.

    :raises ClmsError: SCHOOL_INCOMPLETE when it is not a YAML mapping
    """
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - it is a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # YAML's own words would quote the file
        mark = getattr(error, "problem_mark", None)
        raise _incomplete(f"{path} is not plain YAML{f', see line {mark.line + 1}' if mark else ''}") from None
    if not isinstance(data, dict) or not all(isinstance(name, str) for name in data):
        raise _incomplete(f"{path} must be a mapping of names to values")
    return data


def _hosts(groups: object, *, inside: bool) -> Iterator[str]:
    """The hosts of the group ``schools`` and of the groups in it, wherever it stands in the inventory."""
    for name, group in groups.items() if isinstance(groups, dict) else ():
        if isinstance(group, dict):
            wanted = inside or name == GROUP
            hosts = group.get("hosts")
            if wanted and isinstance(hosts, dict):
                yield from (str(host) for host in hosts)
            yield from _hosts(group.get("children"), inside=wanted)


def _has_template(value: object) -> bool:
    if isinstance(value, dict):
        return any(_has_template(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_template(item) for item in value)
    return isinstance(value, str) and any(mark in value for mark in ("{{", "{%", "{#"))
