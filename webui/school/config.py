# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings file of the page: YAML, JSON or TOML."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fields import Fields
from ansible_collections.clms.update.plugins.module_utils.secret_file import read_secret
from webui.common import settings
from webui.common.settings import HOST, Tls, listen_in, path_in, tls_in

VARIABLE = "CLMS_UPDATE_PAGE_CONFIG"
"""Environment variable that names the settings file."""

SESSION = timedelta(hours=8)
"""after which somebody who does nothing is signed out"""
FORM_BYTES = 64 * 1024
_SECRET_BYTES = 32


@dataclass(frozen=True)
class Settings:
    """A settings file that was read and found complete."""

    hosts: tuple[str, ...]
    """values of ``Host`` that are answered, without port"""
    agent_socket: Path
    secret_key_file: Path
    """signs sessions; at least 32 bytes, mode 0600"""
    listen: str
    tls: Tls | None
    metrics_token_file: Path | None
    """whoever sends what is in it may see ``/metrics`` from elsewhere too; mode 0600"""
    threads: int
    """each browser that watches an update takes one"""


def from_environment() -> Settings:
    """The settings that the environment variable :data:`VARIABLE` names.

    :raises ClmsError: SERVER_SETTINGS
    """
    return settings.from_environment(VARIABLE, parse_settings)


def load(path: Path) -> Settings:
    """Read a settings file.

    :raises ClmsError: SERVER_SETTINGS
    """
    return settings.load(path, parse_settings)


def parse_settings(data: object) -> Settings:
    """:raises FieldError: when a setting is missing, unknown or wrong"""
    fields = Fields(data)
    tls = tls_in(fields)
    found = Settings(
        hosts=tuple(fields.texts("hosts", pattern=HOST)),
        agent_socket=path_in(fields, "agent_socket", Path("/run/clms-update/agent.sock")),
        secret_key_file=path_in(fields, "secret_key_file"),
        listen=listen_in(fields, tls, 9443),
        tls=tls,
        metrics_token_file=path_in(fields, "metrics_token_file")
        if fields.get("metrics_token_file", str, None)
        else None,
        threads=fields.number("threads", low=4, high=256, default=64),
    )
    fields.done()
    return found


def as_flask(found: Settings) -> dict[str, Any]:
    """What Flask and its extensions have to know.

    :raises ClmsError: SECRET_FILE
    """
    secret = read_secret(found.secret_key_file)
    if len(secret) < _SECRET_BYTES:
        detail = f"it has {len(secret)} bytes, and has to have {_SECRET_BYTES}"
        raise ClmsError("SECRET_FILE", path=found.secret_key_file, detail=detail)
    return {
        "SECRET_KEY": secret,
        "METRICS_DIRECT": found.tls is not None,
        "TRUSTED_HOSTS": list(found.hosts),
        "MAX_CONTENT_LENGTH": FORM_BYTES,
        "PROPAGATE_EXCEPTIONS": False,
        # the prefix makes browsers refuse the cookie from anywhere but this host, over TLS
        "SESSION_COOKIE_NAME": "__Host-clms-update",
        "SESSION_COOKIE_SECURE": True,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Strict",
        "PERMANENT_SESSION_LIFETIME": SESSION,
        "METRICS_TOKEN": read_secret(found.metrics_token_file).strip() if found.metrics_token_file else None,
        "WTF_CSRF_TIME_LIMIT": None,  # as long as the session
    }
