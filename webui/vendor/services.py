# SPDX-License-Identifier: GPL-3.0-or-later
"""What the views work with; one for each app, so that nothing is global."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Flask, current_app
from flask_limiter import Limiter

from .audit import RefusalFilter
from .catalogue import Catalogue
from .config import Settings
from .database import Database

_NAME = "clms_release_server"


@dataclass(frozen=True)
class Services:
    """The parts of a running release server."""

    settings: Settings
    database: Database
    catalogue: Catalogue
    limiter: Limiter
    refusals: RefusalFilter
    clock: Callable[[], float]
    """seconds since 1970"""

    def now(self) -> datetime:
        """The time, to the second."""
        return datetime.fromtimestamp(int(self.clock()), tz=UTC)

    def close(self) -> None:
        """Close connections and remove temporary files."""
        self.database.close()
        self.catalogue.close()


def attach(app: Flask, services: Services) -> None:
    """Make ``services`` those of ``app``."""
    app.extensions[_NAME] = services


def services_of(app: Flask) -> Services:
    """The services of an app."""
    found = app.extensions[_NAME]
    assert isinstance(found, Services)  # noqa: S101 - for the type checker
    return found


def services() -> Services:
    """Those of the app that answers right now."""
    return services_of(current_app)
