# SPDX-License-Identifier: GPL-3.0-or-later
"""The schema: models and migrations say the same, for both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_mock_engine, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import StatementError

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.vendor.database import Database
from webui.vendor.models import Base, School


@pytest.fixture
def database(tmp_path: Path) -> Any:
    database = Database(make_url(f"sqlite:///{tmp_path}/server.db"))
    database.migrate()
    yield database
    database.close()


def test_models_and_migrations_say_the_same(database: Database) -> None:
    with database.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
        tables = set(inspect(connection).get_table_names())
    assert differences == []
    assert tables == {*Base.metadata.tables, "alembic_version"}


@pytest.mark.parametrize("driver", ["mariadb+pymysql", "mysql+pymysql"])
def test_the_tables_for_mariadb(driver: str) -> None:
    made: list[str] = []
    engine = create_mock_engine(f"{driver}://", lambda sql, *_a, **_k: made.append(str(sql.compile(engine))))
    Base.metadata.create_all(engine, checkfirst=False)
    tables = [sql for sql in made if "CREATE TABLE" in sql]
    assert len(tables) == len(Base.metadata.tables)
    # otherwise two nonces that differ in case would be the same
    assert all("COLLATE utf8mb4_bin" in sql and "CHARSET=utf8mb4" in sql for sql in tables)


def test_a_schema_of_another_version(database: Database) -> None:
    database.check()
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ClmsError) as caught:
        database.check()
    assert caught.value.code == "SERVER_DATABASE"


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "server.db").write_text("nothing that SQLite knows " * 100)
    database = Database(make_url(f"sqlite:///{tmp_path}/server.db"))
    for call in (database.check, database.migrate):
        with pytest.raises(ClmsError) as caught:
            call()
        assert caught.value.code == "SERVER_DATABASE"
    database.close()


def test_moments_are_utc(database: Database) -> None:
    moment = datetime(2026, 11, 24, 12, 0, 0, 999, tzinfo=timezone(timedelta(hours=2)))
    with database.transaction() as session:
        session.add(School(name="linden", created_at=moment))
    with database.transaction() as session:
        assert session.scalar(select(School.created_at)) == datetime(2026, 11, 24, 10, tzinfo=UTC)
    with pytest.raises(ClmsError) as caught, database.transaction() as session:
        session.add(School(name="birch", created_at=datetime(2026, 1, 1)))
    assert isinstance(caught.value.__cause__, StatementError)


def test_names_differ_by_case(database: Database) -> None:
    with database.transaction() as session:
        session.add_all(School(name=name, created_at=datetime.now(UTC)) for name in ("linden", "Linden"))
