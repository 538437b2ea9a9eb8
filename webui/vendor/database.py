# SPDX-License-Identifier: GPL-3.0-or-later
"""The database: connections, transactions and migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 30


class Database:
    """One database, for one process and any number of threads; connects when it is first asked."""

    def __init__(self, url: URL) -> None:
        sqlite = url.get_backend_name() == "sqlite"
        self.engine: Engine = create_engine(
            url,
            # an error would otherwise carry hashes and reports into the log
            hide_parameters=True,
            pool_pre_ping=not sqlite,
            connect_args={"timeout": BUSY_SECONDS} if sqlite else {"charset": "utf8mb4", "connect_timeout": 10},
        )
        if sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """All of it, or nothing.

        :raises IntegrityError: when it violates a key; the caller knows what that means
        :raises ClmsError: SERVER_DATABASE
        """
        try:
            with self._sessions.begin() as session:
                yield session
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise ClmsError("SERVER_DATABASE", detail=_reason(error)) from error

    def migrate(self) -> bool:
        """Bring the schema to this version's.

        :returns: whether there was anything to do
        :raises ClmsError: SERVER_DATABASE
        """
        try:
            if self.engine.url.get_backend_name() == "sqlite":
                # with -rw-------: it holds who reported what
                Path(str(self.engine.url.database)).touch(mode=0o600)
            with self.engine.begin() as connection:
                before = MigrationContext.configure(connection).get_current_revision()
                config = _alembic()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                return before != MigrationContext.configure(connection).get_current_revision()
        except OSError as error:
            raise ClmsError("SERVER_DATABASE", detail=error.strerror) from None
        except SQLAlchemyError as error:
            raise ClmsError("SERVER_DATABASE", detail=_reason(error)) from error

    def check(self) -> None:
        """:raises ClmsError: SERVER_DATABASE unless it answers and its schema is this version's"""
        try:
            url = self.engine.url
            if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
                raise ClmsError("SERVER_DATABASE", detail="it was not made yet")  # connecting would make an empty one
            with self.engine.connect() as connection:
                found = MigrationContext.configure(connection).get_current_revision()
        except SQLAlchemyError as error:
            raise ClmsError("SERVER_DATABASE", detail=_reason(error)) from error
        wanted = ScriptDirectory.from_config(_alembic()).get_current_head()
        if found != wanted:
            detail = f"its schema is {found or 'empty'}, this version needs {wanted}"
            raise ClmsError("SERVER_DATABASE", detail=detail)

    def close(self) -> None:
        """Close the kept connections."""
        self.engine.dispose()


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # WAL: readers do not wait for a writer. FULL: an acknowledged report survives a power cut.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _reason(error: SQLAlchemyError) -> str:
    """The driver's own words, without statement and address."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    text = str(cause.args[-1]) if cause.args else type(cause).__name__
    return text.splitlines()[0].rstrip(".")[:300] if text else type(cause).__name__
