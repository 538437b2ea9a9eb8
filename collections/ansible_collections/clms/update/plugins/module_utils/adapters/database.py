# SPDX-License-Identifier: GPL-3.0-or-later
"""The CLMS database (MariaDB 10.11 or MySQL 8), through PyMySQL."""

from __future__ import annotations

import configparser
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import pymysql
    import pymysql.err

    HAS_PYMYSQL = True
except ImportError:
    HAS_PYMYSQL = False

from ..errors import ClmsError
from ..secret_file import read_secret

if TYPE_CHECKING:
    from ..run import Context
    from ..slots import Slot

_CONNECT_SECONDS = 10
_ANSWER_SECONDS = 3600
"""counting the rows of a large table takes minutes on a slow disk"""

_REFUSED = {1044, 1045, 1142, 1227, 1370, 1698}
"""access denied, or a right is missing"""
_GONE = {1040, 1049, 1053, 2002, 2003, 2006, 2013}
"""too many connections, no such database, shutting down, no connection"""

# What a dump has to bring back. Every query takes the name of the database.
_SCHEMA_QUERIES = {
    "tables": "SELECT table_name, table_type, engine, table_collation FROM information_schema.tables "
    "WHERE table_schema = %s ORDER BY 1",
    "columns": "SELECT table_name, column_name, ordinal_position, column_default, is_nullable, column_type, "
    "collation_name, extra, generation_expression FROM information_schema.columns "
    "WHERE table_schema = %s ORDER BY 1, 3",
    "indexes": "SELECT table_name, index_name, seq_in_index, column_name, non_unique, sub_part, index_type "
    "FROM information_schema.statistics WHERE table_schema = %s ORDER BY 1, 2, 3",
    "constraints": "SELECT table_name, constraint_name, constraint_type FROM information_schema.table_constraints "
    "WHERE table_schema = %s ORDER BY 1, 2, 3",
    "references": "SELECT table_name, constraint_name, referenced_table_name, update_rule, delete_rule "
    "FROM information_schema.referential_constraints WHERE constraint_schema = %s ORDER BY 1, 2",
    "triggers": "SELECT trigger_name, event_object_table, action_timing, event_manipulation "
    "FROM information_schema.triggers WHERE trigger_schema = %s ORDER BY 1",
    "routines": "SELECT routine_name, routine_type FROM information_schema.routines "
    "WHERE routine_schema = %s ORDER BY 2, 1",
    "events": "SELECT event_name, interval_value, interval_field FROM information_schema.events "
    "WHERE event_schema = %s ORDER BY 1",
}


@dataclass(frozen=True)
class Login:
    """An account of the database; the password stays out of ``repr``."""

    user: str
    password: str = field(repr=False)


def read_login(path: Path) -> Login:
    """The account in an option file with a ``[client]`` section, mode 0600.

    :raises ClmsError: SECRET_FILE
    """
    parser = configparser.RawConfigParser(allow_no_value=True, strict=False)
    try:
        parser.read_string(read_secret(path).decode())
        client = {key: _option_value(value) for key, value in parser["client"].items()}
        return Login(client["user"], client["password"])
    except KeyError as error:
        raise ClmsError("SECRET_FILE", path=path, detail=f"it has no {error.args[0]!r}") from None
    except (configparser.Error, UnicodeDecodeError):  # their own words would quote the file
        raise ClmsError("SECRET_FILE", path=path, detail="it is not an option file with a [client] section") from None


_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "s": " ", "\\": "\\", '"': '"', "'": "'"}


def _option_value(raw: str | None) -> str:
    """A value as the database's own clients understand it: quotes, escapes, comments behind it."""
    value = raw or ""
    quoted = re.fullmatch(r"""\s*(["'])(.*)\1\s*(?:#.*)?""", value)
    value = quoted.group(2) if quoted else value.split("#", 1)[0].strip()
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match.group(1), match.group(0)), value)


def quoted(name: str) -> str:
    """A name of a table or a database for use in a statement."""
    return "`" + name.replace("`", "``") + "`"


class Database:
    """One database on one server. The connection is opened at first use, and again after :meth:`close`."""

    def __init__(self, host: str, port: int, login: Login, name: str) -> None:
        self.host = host
        self.port = port
        self.login = login
        self.name = name
        self._open: Any = None

    @classmethod
    def connect(
        cls,
        host: str,
        port: int,
        credentials_file: Path,
        name: str,
        *,
        wait_seconds: float = 0,
        has_ended: Callable[[], bool] = lambda: False,
    ) -> Database:
        """A connected database.

        :param credentials_file: see :func:`read_login`
        :param wait_seconds: how long a database that is just starting may take
        :param has_ended: see :meth:`wait_ready`
        :raises ClmsError: SECRET_FILE, DATABASE_LOGIN or DATABASE_UNREACHABLE
        """
        database = cls(host, port, read_login(credentials_file), name)
        database.wait_ready(wait_seconds, has_ended)
        return database

    def another(self) -> Database:
        """The same database with a connection of its own."""
        return Database(self.host, self.port, self.login, self.name)

    def close(self) -> None:
        """Close the connection, and with it any transaction and lock."""
        connection, self._open = self._open, None
        if connection is not None:
            try:
                connection.close()
            except pymysql.err.Error:
                connection._force_close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_ready(self, seconds: float, has_ended: Callable[[], bool] = lambda: False) -> None:
        """Wait until the database takes our login.

        :param has_ended: whether there is nothing to wait for any more
        :raises ClmsError: DATABASE_LOGIN, or DATABASE_UNREACHABLE after ``seconds``, or when it has ended
        """
        deadline = time.monotonic() + seconds
        while True:
            self.close()
            try:
                self.query("SELECT 1")
                return
            except ClmsError as error:
                if error.code != "DATABASE_UNREACHABLE" or time.monotonic() >= deadline or has_ended():
                    raise
            time.sleep(0.1)

    def query(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Run one statement and return its rows, column names in lower case.

        :raises ClmsError: DATABASE_LOGIN (also for a missing right) or DATABASE_UNREACHABLE
        :raises pymysql.err.MySQLError: whatever else the database complains about
        """
        try:
            if self._open is None:
                self._open = pymysql.connect(
                    host=self.host,
                    port=self.port,
                    user=self.login.user,
                    password=self.login.password,
                    charset="utf8mb4",
                    autocommit=True,
                    connect_timeout=_CONNECT_SECONDS,
                    read_timeout=_ANSWER_SECONDS,
                    write_timeout=_ANSWER_SECONDS,
                )
                if "mariadb" not in self._open.get_server_info().lower():
                    # MySQL answers questions about tables from a cache that may be a day old
                    self._open.query("SET SESSION information_schema_stats_expiry = 0")
            with self._open.cursor() as cursor:
                cursor.execute(statement, values or None)
                names = [column[0].lower() for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except pymysql.err.InterfaceError:
            raise ClmsError("DATABASE_UNREACHABLE", detail="the connection was lost") from None
        except pymysql.err.MySQLError as error:
            number = error.args[0] if error.args else 0
            if number in _REFUSED or number in _GONE:
                code = "DATABASE_LOGIN" if number in _REFUSED else "DATABASE_UNREACHABLE"
                raise ClmsError(code, detail=str(error.args[-1])[:200]) from None
            raise

    def execute(self, statement: str, *values: object) -> None:
        """Run one statement with this database as the current one; errors as :meth:`query`."""
        self.query(f"USE {quoted(self.name)}")
        self.query(statement, *values)

    def value(self, statement: str, *values: object) -> Any:
        """The first column of the first row, or None."""
        rows = self.query(statement, *values)
        return next(iter(rows[0].values())) if rows else None

    def variable(self, name: str) -> str | None:
        """A global variable of the server as text, or None when it has none of that name."""
        rows = self.query("SHOW GLOBAL VARIABLES WHERE variable_name = %s", name)
        return str(rows[0]["value"]) if rows else None

    def is_mariadb(self) -> bool:
        """Whether it is MariaDB; if not, it is MySQL."""
        return "mariadb" in str(self.value("SELECT VERSION()")).lower()

    # what preflight asks

    def settings_problems(self) -> list[str]:
        """What makes an update of this database unsafe, in words; empty when nothing does."""
        problems = []
        if self.variable("innodb_flush_log_at_trx_commit") != "1":
            problems.append("innodb_flush_log_at_trx_commit is not 1, so a power cut loses saved work")
        if self.variable("log_bin") == "ON" and self.variable("sync_binlog") != "1":
            problems.append("sync_binlog is not 1, so a power cut loses saved work")
        foreign = self.query(
            "SELECT table_name AS name, engine FROM information_schema.tables WHERE table_schema = %s "
            "AND table_type = 'BASE TABLE' AND COALESCE(engine, '') <> 'InnoDB' ORDER BY 1",
            self.name,
        )
        problems += [f"the table {row['name']} uses {row['engine']} instead of InnoDB" for row in foreign]
        if self._is_replica():
            problems.append("it is set up as a replica of another server")
        if self.value("SELECT COUNT(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'"):
            problems.append("another server replicates from it")
        return problems

    def _is_replica(self) -> bool:
        for statement in ("SHOW ALL SLAVES STATUS", "SHOW REPLICA STATUS", "SHOW SLAVE STATUS"):
            try:
                return bool(self.query(statement))
            except pymysql.err.ProgrammingError:  # each server knows its own spelling
                continue
        return False

    def event_scheduler(self) -> str:
        """``ON``, ``OFF`` or ``DISABLED``."""
        return str(self.variable("event_scheduler"))

    def set_event_scheduler(self, setting: str) -> None:
        """Switch the event scheduler ``ON`` or ``OFF``; a server on which it is DISABLED is left as it is."""
        if setting in ("ON", "OFF") and self.event_scheduler() not in ("DISABLED", setting):
            self.query("SET GLOBAL event_scheduler = %s", setting)

    def size_bytes(self) -> int:
        """About how many bytes the database occupies: data, indexes and the server's system tablespace."""
        own = self.value(
            "SELECT SUM(data_length + index_length + data_free) FROM information_schema.tables WHERE table_schema = %s",
            self.name,
        )
        table = "innodb_sys_tablespaces" if self.is_mariadb() else "innodb_tablespaces"
        try:
            shared = self.value(f"SELECT SUM(file_size) FROM information_schema.{table} WHERE name LIKE 'innodb%'")  # noqa: S608
        except (pymysql.err.MySQLError, ClmsError):  # an account without the right to look
            shared = None
        return int(own or 0) + int(shared or 0)

    # what is in it

    def tables(self) -> list[str]:
        """Names of the tables, views left out."""
        rows = self.query(
            "SELECT table_name AS name FROM information_schema.tables "
            "WHERE table_schema = %s AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY 1",
            self.name,
        )
        return [str(row["name"]) for row in rows]

    def row_counts(self) -> dict[str, int]:
        """Table -> rows; within :meth:`begin_snapshot` those of the snapshot."""
        return {table: self._count(table) for table in self.tables()}

    def _count(self, table: str) -> int:
        return int(self.value(f"SELECT COUNT(*) FROM {quoted(self.name)}.{quoted(table)}"))  # noqa: S608

    def schema_fingerprint(self) -> str:
        """A SHA-256 that is equal for two databases with the same tables, columns, indexes, triggers, …"""
        digest = hashlib.sha256()
        for kind, query in _SCHEMA_QUERIES.items():
            rows = [list(row.values()) for row in self.query(query, self.name)]
            digest.update(json.dumps([kind, rows], default=str).encode())
        return digest.hexdigest()

    def begin_snapshot(self) -> None:
        """From now on this connection sees the rows as they are now, until :meth:`end_snapshot` or :meth:`close`."""
        self.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        self.query("START TRANSACTION WITH CONSISTENT SNAPSHOT")

    def end_snapshot(self) -> None:
        """See the rows as they are again."""
        self.query("ROLLBACK")

    def touched_since(self, at: float) -> list[str]:
        """Tables that were written to after ``at`` (seconds since 1970), as far as the server remembers: it
        forgets when it restarts.
        """
        rows = self.query(
            "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = %s "
            "AND table_type = 'BASE TABLE' AND UNIX_TIMESTAMP(update_time) > %s ORDER BY 1",
            self.name,
            at,
        )
        return [str(row["name"]) for row in rows]

    def set_version_row(self, version: str) -> bool:
        """Write ``version`` where CLMS shows it to people; returns False when CLMS has no place for it."""
        if "SystemSettings" not in self.tables():
            return False
        self.query(
            f"INSERT INTO {quoted(self.name)}.SystemSettings (`key`, `value`) VALUES ('version', %s) "  # noqa: S608
            "ON DUPLICATE KEY UPDATE `value` = VALUES(`value`)",
            version,
        )
        return True


def database_of(context: Context, slot: Slot, *, wait_seconds: float = 0) -> Database:
    """The database of a slot, reached through its container's address in the slot's network.

    :param wait_seconds: how long a database that is just starting may take
    :raises ClmsError: SECRET_FILE, DATABASE_LOGIN or DATABASE_UNREACHABLE
    """
    container = slot.services[context.school.database.service].container
    return database_in(context, container, slot.network, wait_seconds=wait_seconds)


def database_in(context: Context, container: str, network: str, *, wait_seconds: float = 0) -> Database:
    """The school's database in any container; see :func:`database_of`."""
    settings = context.school.database
    address = context.engine.address(container, network)
    if address is None:
        raise ClmsError("DATABASE_UNREACHABLE", detail=f"the container {container} is not running")
    return Database.connect(
        address,
        settings.port,
        Path(settings.credentials_file),
        settings.name,
        wait_seconds=wait_seconds,
        has_ended=lambda: context.engine.has_ended(container),
    )
