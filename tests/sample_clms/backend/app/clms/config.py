# SPDX-License-Identifier: GPL-3.0-or-later
"""What the environment tells the application."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit


class ConfigError(Exception):
    """A required setting is missing or makes no sense."""


@dataclass(frozen=True)
class Database:
    """Where the database is and who we are there."""

    host: str
    port: int
    user: str
    password: str
    name: str

    @classmethod
    def from_environment(cls) -> Database:
        """Read ``DATABASE_URL``.

        :raises ConfigError: when it is missing or is not ``mysql://user:password@host:port/database``
        """
        url = os.environ.get("DATABASE_URL", "")
        if not url:
            raise ConfigError("DATABASE_URL is not set")
        try:
            parts = urlsplit(url)
            host, user, port, name = parts.hostname, parts.username, parts.port or 3306, parts.path.strip("/")
        except ValueError:
            host = user = None
        if not host or not user or not name or parts.scheme != "mysql":
            raise ConfigError("DATABASE_URL must look like mysql://user:password@host:port/database")
        return cls(host, port, unquote(user), unquote(parts.password or ""), unquote(name))


@dataclass(frozen=True)
class Config:
    """All settings of the web application."""

    database: Database
    jwt_secret: bytes
    smtp_host: str
    """mail server for reminders; empty means that no mail is sent"""
    logs: Path
    uploads: Path
    generated: Path

    @classmethod
    def from_environment(cls) -> Config:
        """:raises ConfigError: when a required setting is missing or makes no sense"""
        secret = os.environ.get("JWT_SECRET", "")
        if not secret:
            raise ConfigError("JWT_SECRET is not set")
        return cls(
            database=Database.from_environment(),
            jwt_secret=secret.encode(),
            smtp_host=os.environ.get("SMTP_HOST", ""),
            logs=Path("/app/logs"),
            uploads=Path("/app/uploads"),
            generated=Path("/app/generated"),
        )
