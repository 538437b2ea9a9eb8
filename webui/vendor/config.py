# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings file of the release server: YAML, JSON or TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from limits import parse
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fields import FieldError, Fields
from ansible_collections.clms.update.plugins.module_utils.https import check_address
from ansible_collections.clms.update.plugins.module_utils.secret_file import read_secret
from webui.common import settings
from webui.common.settings import HOST, Tls, listen_in, path_in, tls_in

VARIABLE = "CLMS_RELEASE_SERVER_CONFIG"
"""Environment variable that names the settings file."""


@dataclass(frozen=True)
class Limits:
    """How many requests are answered; each as ``60 per minute``."""

    address: str
    """from one address, for each kind of request"""
    key: str
    """with one API key"""
    files: str
    """for files, from one address: behind a cache that is everybody"""
    storage: str
    """where they are counted; ``memory://`` counts in each worker for itself"""


@dataclass(frozen=True)
class Settings:
    """A settings file that was read and found complete."""

    public_url: str
    """under which schools reach this server; signatures of requests are checked against it"""
    files_url: str
    """under which they reach the files: this server, or a cache in front of it"""
    hosts: tuple[str, ...]
    """values of ``Host`` that are answered, without port"""
    repository: Path
    """the published repository, with ``metadata/`` and ``targets/`` below it"""
    root_file: Path
    """the root metadata from which the published one is verified"""
    registry: str
    """host and port of the image registry"""
    database: URL
    listen: str
    tls: Tls | None
    proxies: int
    """how many reverse proxies of ours add to ``X-Forwarded-For``"""
    workers: int
    threads: int
    limits: Limits
    report_bytes: int
    """size of the largest request body"""


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
    public_url = _address(fields, "public_url")
    repository = path_in(fields, "repository")
    tls = tls_in(fields)
    limits = fields.sub("limits", {})
    found = Settings(
        public_url=public_url,
        files_url=_address(fields, "files_url", public_url),
        hosts=tuple(fields.texts("hosts", default=[urlsplit(public_url).hostname], pattern=HOST)),
        repository=repository,
        root_file=path_in(fields, "root_file", repository / "metadata" / "1.root.json"),
        registry=fields.text("registry", pattern=r"[A-Za-z0-9.\[\]:-]+", limit=255),
        database=_database(fields),
        listen=listen_in(fields, tls, 8443),
        tls=tls,
        proxies=fields.number("proxies", high=10, default=0),
        workers=fields.number("workers", low=1, high=64, default=2),
        threads=fields.number("threads", low=1, high=64, default=8),
        limits=Limits(
            address=_limit(limits, "address", "120 per minute"),
            key=_limit(limits, "key", "60 per minute"),
            files=_limit(limits, "files", "1200 per minute"),
            storage=limits.text("storage", pattern=r"[a-z+]+://.*", default="memory://"),
        ),
        report_bytes=fields.number("report_bytes", low=1024, high=1024**2, default=32 * 1024),
    )
    limits.done()
    fields.done()
    return found


def _address(fields: Fields, name: str, default: str | None = None) -> str:
    text: str = fields.text(name, limit=300) if default is None else fields.text(name, limit=300, default=default)
    try:
        check_address(text)
    except ClmsError as error:
        raise FieldError(f"{name}: {error.values['detail']}") from None
    parts = urlsplit(text)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise FieldError(f"{name} must be an address without a path")
    return text.rstrip("/")


def _limit(fields: Fields, name: str, default: str) -> str:
    text: str = fields.text(name, limit=100, default=default)
    try:
        parse(text)
    except ValueError:
        raise FieldError(f"{fields.where(name)} must be like '60 per minute'") from None
    return text


def _database(fields: Fields) -> URL:
    """:raises ClmsError: SECRET_FILE"""
    text = fields.text("database", limit=500)
    password = fields.text("database_password_file", pattern="/.*", default=None)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise FieldError("database must be like 'sqlite:////var/lib/clms-release-server/server.db'") from None
    if url.password is not None:
        raise FieldError("database must not contain a password; put it into the file database_password_file")
    if url.drivername not in ("sqlite", "mariadb+pymysql", "mysql+pymysql"):
        raise FieldError("database must begin with sqlite: or mariadb+pymysql:")
    if url.drivername == "sqlite" and not str(url.database or "").startswith("/"):
        raise FieldError("database must name a file by its absolute path (four slashes)")
    if password is not None:
        url = url.set(password=read_secret(Path(password)).decode("utf-8", "replace").rstrip("\n"))
    return url


def as_flask(settings: Settings) -> Mapping[str, Any]:
    """What Flask itself has to know."""
    return {
        "TRUSTED_HOSTS": list(settings.hosts),
        "MAX_CONTENT_LENGTH": settings.report_bytes,
        "PROPAGATE_EXCEPTIONS": False,
    }
