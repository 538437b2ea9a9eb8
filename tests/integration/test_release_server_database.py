# SPDX-License-Identifier: GPL-3.0-or-later
"""The release server on MariaDB in place of SQLite."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
import pymysql
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from docker.models.containers import Container
from sqlalchemy import func, inspect, select

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import wait_until
from ansible_collections.clms.update.plugins.module_utils.signed_request import new_nonce
from tests.integration.backup.stage import DATABASE_IMAGE
from tests.unit.webui_vendor.conftest import (
    URL,
    Server,
    Vendor,
    make_server,
    problem_of,
    report_body,
    signed_report,
    vendor,
)
from webui.vendor.config import parse_settings
from webui.vendor.database import Database
from webui.vendor.models import Base, Nonce, Report, School

__all__ = ["make_server", "vendor"]  # fixtures

pytestmark = pytest.mark.engine

MakeServer = Callable[..., Server]
PASSWORD = secrets.token_hex(12)


@pytest.fixture(scope="module")
def container(engine: docker.DockerClient, prefix: str) -> Iterator[Container]:
    """A MariaDB that serves."""
    container = engine.containers.run(
        DATABASE_IMAGE,
        name=f"{prefix}-releases",
        detach=True,
        labels={"clms-test": prefix},
        environment={"MYSQL_ROOT_PASSWORD": PASSWORD, "MYSQL_DATABASE": "unused"},
    )
    try:
        assert wait_until(lambda: _answers(container), seconds=120)
        yield container
    finally:
        container.remove(force=True, v=True)


def _connect(container: Container) -> Any:
    container.reload()
    (network,) = container.attrs["NetworkSettings"]["Networks"].values()
    return pymysql.connect(host=network["IPAddress"], user="root", password=PASSWORD, connect_timeout=5)


def _answers(container: Container) -> bool:
    try:
        _connect(container).close()
    except pymysql.Error:
        return False
    return True


@pytest.fixture
def settings(container: Container, vendor: Vendor, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What a settings file holds; each test has a database of its own."""
    name = f"releases_{secrets.token_hex(4)}"
    with closing(_connect(container)) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
        host = connection.host
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text(PASSWORD)
    yield {
        "public_url": URL,
        "repository": str(vendor.served),
        "registry": "registry.test:5000",
        "database": f"mariadb+pymysql://root@{host}:3306/{name}",
        "database_password_file": str(password),
    }
    with closing(_connect(container)) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")


def stored(server: Server, what: Any = Report) -> int:
    with server.database.transaction() as session:
        return session.scalar(select(func.count()).select_from(what)) or 0


def at_once(*calls: Callable[[], int]) -> list[int]:
    """Call all of them at the same moment; what they returned, in order of size."""
    barrier, answers = threading.Barrier(len(calls)), []

    def call(one: Callable[[], int]) -> None:
        barrier.wait()
        answers.append(one())

    threads = [threading.Thread(target=call, args=(one,)) for one in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(answers)


def test_migrations_make_what_the_models_say(settings: dict[str, Any]) -> None:
    with closing(Database(parse_settings(settings).database)) as database:
        assert database.migrate()
        assert not database.migrate()
        database.check()
        with database.engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
            assert set(inspect(connection).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_names_and_nonces_differ_by_case(make_server: MakeServer) -> None:
    """Also where the database itself was made to take capital and small letters for the same."""
    server = make_server()
    now = datetime.now(UTC)
    with server.database.transaction() as session:
        session.add_all(School(name=name, created_at=now) for name in ("linden", "Linden"))
    school, nonce = server.school("birch"), new_nonce()
    answers = [
        server.report(school, report_body(run_id=text), nonce=text).status_code
        for text in (nonce.lower(), nonce.upper())
    ]
    assert answers == [201, 201]


def test_what_counts_is_stored_once(make_server: MakeServer) -> None:
    """By two workers, eight at once: a replay is refused, the same report again is no second one."""
    workers = [make_server(), make_server()]
    school = workers[0].school("linden")
    data, headers = signed_report(school, report_body())

    def send(worker: Server, data: bytes, headers: dict[str, str]) -> int:
        return worker.app.test_client().post("/api/reports", base_url=URL, data=data, headers=headers).status_code

    replayed = [lambda worker=worker: send(worker, data, headers) for worker in workers * 4]
    assert at_once(*replayed) == [201] + [409] * 7
    again = [lambda worker=worker: send(worker, *signed_report(school, report_body())) for worker in workers * 4]
    assert at_once(*again) == [200] * 8
    assert (stored(workers[0]), stored(workers[0], Nonce)) == (1, 9)


def test_a_database_that_was_away(make_server: MakeServer, container: Container) -> None:
    server = make_server()
    school = server.school("linden")
    assert server.report(school, report_body(run_id="before")).status_code == 201
    container.stop(timeout=60)
    problem_of(server.report(school, report_body(run_id="while")), 503, "SERVER_DATABASE")
    container.start()
    assert wait_until(lambda: _answers(container), seconds=120)
    assert server.report(school, report_body(run_id="after")).status_code == 201
    assert stored(server) == 2
