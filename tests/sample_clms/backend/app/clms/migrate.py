# SPDX-License-Identifier: GPL-3.0-or-later
"""``clms-migrate``: bring the database to the schema of this image, as ``prisma migrate deploy`` does.

Statements are sent one by one and each is final at once: a database server of this family cannot take back a change
of its schema, so a migration that fails half way leaves half a schema.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import uuid
from pathlib import Path

import pymysql
from pymysql.cursors import DictCursor

from .config import ConfigError, Database
from .database import connect, one

FOLDER = Path("/app/migrations")
_TABLE = """CREATE TABLE IF NOT EXISTS _prisma_migrations (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    migration_name VARCHAR(255) NOT NULL,
    started_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    finished_at DATETIME(3) NULL,
    applied_steps_count INT NOT NULL DEFAULT 0,
    logs TEXT NULL
) ENGINE=InnoDB"""


class MigrationError(Exception):
    """The database is not at the schema of this image; the text says why."""


def statements(text: str) -> list[str]:
    """The statements of a migration: each ends with a semicolon at the end of a line."""
    without_comments = re.sub(r"(?m)^\s*--.*\n", "", text)
    return [part.strip() for part in re.split(r";[ \t]*(?:\n|\Z)", without_comments) if part.strip()]


def _applied(cursor: DictCursor) -> list[str]:
    cursor.execute("SELECT migration_name, finished_at FROM _prisma_migrations ORDER BY started_at, migration_name")
    rows = list(cursor.fetchall())
    for row in rows:
        if row["finished_at"] is None:
            raise MigrationError(
                f"{row['migration_name']} was started and never finished; no other migration is applied before"
                " the database is put right"
            )
    return [str(row["migration_name"]) for row in rows]


def _apply(cursor: DictCursor, file: Path) -> None:
    row_id = str(uuid.uuid4())
    cursor.execute("INSERT INTO _prisma_migrations (id, migration_name) VALUES (%s, %s)", (row_id, file.stem))
    for number, statement in enumerate(statements(file.read_text()), 1):
        try:
            cursor.execute(statement)
        except pymysql.Error as error:
            text = f"{file.stem} failed at statement {number}: {error}"
            cursor.execute("UPDATE _prisma_migrations SET logs = %s WHERE id = %s", (text, row_id))
            raise MigrationError(text) from error
        cursor.execute("UPDATE _prisma_migrations SET applied_steps_count = %s WHERE id = %s", (number, row_id))
    cursor.execute("UPDATE _prisma_migrations SET finished_at = CURRENT_TIMESTAMP(3) WHERE id = %s", (row_id,))


def deploy(cursor: DictCursor) -> None:
    """Apply what is not applied yet.

    :raises MigrationError: at the first statement that fails, or when an earlier migration was left half done
    """
    held = one(cursor, "SELECT GET_LOCK('clms_migrate', 10) AS held")
    if held is None or held["held"] != 1:
        raise MigrationError("another migration is under way")
    cursor.execute(_TABLE)
    done = _applied(cursor)
    pending = [file for file in sorted(FOLDER.glob("*.sql")) if file.stem not in done]
    for file in pending:
        print(f"Applying {file.stem}", flush=True)
        _apply(cursor, file)
    print(f"{len(pending)} migrations applied" if pending else "No pending migrations to apply")


def status(cursor: DictCursor) -> None:
    """Say for each migration of this image whether it is applied.

    :raises MigrationError: when one is pending or half done
    """
    exists = one(cursor, "SHOW TABLES LIKE '\\_prisma\\_migrations'")
    done = _applied(cursor) if exists else []
    names = [file.stem for file in sorted(FOLDER.glob("*.sql"))]
    for name in names:
        print(f"{name}: {'applied' if name in done else 'pending'}")
    if set(names) - set(done):
        raise MigrationError("there are pending migrations")


def main() -> int:
    """The command line: 0 when the database is at the schema of this image, 1 when not."""
    parser = argparse.ArgumentParser(prog="clms-migrate", description=__doc__)
    parser.add_argument("command", choices=["deploy", "status"])
    arguments = parser.parse_args()
    # as the first process of a container we get no signal that we do not ask for
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("clms-migrate: stopped before the end"))
    try:
        # a statement may take as long as it takes; whoever started us decides when it is too long
        connection = connect(Database.from_environment(), timeout=365 * 86_400)
        connection.autocommit(True)
        with connection, connection.cursor() as cursor:
            (deploy if arguments.command == "deploy" else status)(cursor)
    except (ConfigError, MigrationError, pymysql.Error) as error:
        print(f"clms-migrate: {error}", file=sys.stderr)
        return 1
    return 0
