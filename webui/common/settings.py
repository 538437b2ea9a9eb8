# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings files of our servers: YAML, JSON or TOML, named by an environment variable."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

import yaml

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fields import FieldError, Fields

HOST = r"\.?[A-Za-z0-9_:\[\]-]+(\.[A-Za-z0-9_-]+)*"
LISTEN = r"(?P<host>[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}|unix:/.+"

_T = TypeVar("_T")
Parse = Callable[[object], _T]
"""raises FieldError when a setting is missing, unknown or wrong"""


@dataclass(frozen=True)
class Tls:
    """Certificate (with its chain) and key, both PEM files."""

    certificate: Path
    key: Path


def from_environment(variable: str, parse: Parse[_T]) -> _T:
    """The settings in the file that an environment variable names.

    :raises ClmsError: SERVER_SETTINGS
    """
    name = os.environ.get(variable)
    if not name:
        raise ClmsError("SERVER_SETTINGS", path="?", detail=f"the environment variable {variable} names none")
    return load(Path(name), parse)


def load(path: Path, parse: Parse[_T]) -> _T:
    """Read a settings file.

    :raises ClmsError: SERVER_SETTINGS
    """
    try:
        data = path.read_bytes()
        decoded = tomllib.loads(data.decode()) if path.suffix == ".toml" else yaml.safe_load(data)
        return parse(decoded)
    except OSError as error:
        raise ClmsError("SERVER_SETTINGS", path=path, detail=error.strerror) from None
    except FieldError as error:
        raise ClmsError("SERVER_SETTINGS", path=path, detail=str(error)) from None
    except (yaml.YAMLError, ValueError, RecursionError):  # their own words would quote the file
        raise ClmsError("SERVER_SETTINGS", path=path, detail="it is neither YAML nor JSON nor TOML") from None


def path_in(fields: Fields, name: str, default: Path | None = None) -> Path:
    """:raises FieldError: unless the setting is an absolute path"""
    text = fields.text(name, pattern=r"/[^\0]*", default=str(default)) if default else fields.text(name, pattern="/.*")
    return Path(text)


def tls_in(fields: Fields) -> Tls | None:
    """:raises FieldError: when the setting ``tls`` is there and wrong"""
    if fields.get("tls", dict, None) is None:
        return None
    tls = fields.sub("tls")
    found = Tls(path_in(tls, "certificate"), path_in(tls, "key"))
    tls.done()
    return found


def listen_in(fields: Fields, tls: Tls | None, port: int) -> str:
    """:raises FieldError: when the setting ``listen`` is wrong, or would let others read what is sent"""
    listen: str = fields.text("listen", pattern=LISTEN, default=f"{'0.0.0.0' if tls else '127.0.0.1'}:{port}")  # noqa: S104
    if tls is None and not _is_local(listen):
        raise FieldError("without tls, listen must be a loopback address or a unix socket")
    return listen


def _is_local(listen: str) -> bool:
    match = re.fullmatch(LISTEN, listen)
    host = match.group("host") if match else None
    if host is None or host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
