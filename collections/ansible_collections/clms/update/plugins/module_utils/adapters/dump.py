# SPDX-License-Identifier: GPL-3.0-or-later
"""Dumping and restoring the CLMS database with the clients in its own container.

The password goes through stdin into an option file that exists only as a pipe (`/dev/fd/3`), so that it is in no
command line, no environment and on no disk. The clients use the container's own network address, as we do: the
same account is asked for the same password.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

try:
    import pymysql.err
except ImportError:  # the module says so before it comes here
    pass

from ..errors import ClmsError
from .database import Database, quoted
from .pipes import DOCKER, ArchiveError, Process, copy_stream

TRAILER = b"-- Dump completed"

_LOGIN = """
echo ready >&2
IFS= read -r user && IFS= read -r password || exit 1
"""
_OPTIONS = """3<<END
[client]
user=$user
password=$password
END
"""
# When we are gone, stdin ends, and with it the dump: nobody else would end it.
_DUMP = f"""
tool=$(command -v mariadb-dump || command -v mysqldump) || exit 127
{_LOGIN}
exec 4<&0
"$tool" --defaults-file=/dev/fd/3 "$@" 4<&- </dev/null {_OPTIONS.replace("END", "END &", 1)}
dump=$!
{{ cat <&4; kill "$dump"; }} >/dev/null 2>&1 &
wait "$dump"
"""
_RESTORE = f"""
tool=$(command -v mariadb || command -v mysql) || exit 127
{_LOGIN}
exec "$tool" --defaults-file=/dev/fd/3 "$@" {_OPTIONS}
"""

_START_SECONDS = 60
_LOCK_SECONDS = 3
"""while the lock is waited for, nobody can write"""
_LOCK_TRIES = 3
_LOCK_PAUSE = 5
_SNAPSHOT_SECONDS = 3
_FIRST_POLL_SECONDS = 0.04
_POLL_SECONDS = 0.11
"""the server refreshes its list of transactions only when it was not asked for 0.1 seconds"""
_PACKET = 1 << 30
"""a row with a large picture is twice as large in a dump"""


@dataclass(frozen=True)
class Dumped:
    """What was dumped, looked at in the dump's own snapshot."""

    rows: dict[str, int]
    schema: str
    locked_seconds: float
    """how long writers had to wait"""


def dump(container: str, database: Database, sink: IO[bytes]) -> Dumped:
    """Write a consistent dump of a running database as SQL.

    Under a short read lock the dump and a connection of ours open their snapshots, so that both see the same rows.

    :param database: the database in ``container``
    :raises ArchiveError: when the dump cannot be made or is not complete
    :raises ClmsError: DATABASE_LOGIN or DATABASE_UNREACHABLE
    """
    arguments = [
        *_connection(database),
        "--single-transaction",
        "--quick",
        "--routines",
        "--triggers",
        "--events",
        "--hex-blob",
        "--comments",
        "--no-tablespaces",
        "--add-drop-database",
        "--databases",
        database.name,
    ]
    if not database.is_mariadb():
        arguments[:0] = ["--set-gtid-purged=OFF", "--column-statistics=0"]
    client = _client(container, _DUMP, arguments, stdout=subprocess.PIPE)
    try:
        client.wait_for("ready", _START_SECONDS)
        with database.another() as snapshot, ThreadPoolExecutor(1) as reader:
            # read from the start: a small dump is over before anybody can see its transaction
            read = reader.submit(copy_stream, client.stdout, sink)
            try:
                locked_seconds = _open_snapshots(client, database, snapshot, read.done)
                rows = snapshot.row_counts()
                tail = read.result()
            except BaseException:
                client.kill()
                raise
        client.finish()
        if not is_complete(tail):
            raise ArchiveError("the dump is cut off: its last line is missing")
        return Dumped(rows, database.schema_fingerprint(), locked_seconds)
    except pymysql.err.MySQLError as error:
        raise ArchiveError(f"the database refused a consistent dump: {error.args[-1]}") from None
    finally:
        client.end()


def is_complete(tail: bytes) -> bool:
    """Whether the end of a dump is the line that its writer puts last."""
    return tail.rstrip().rpartition(b"\n")[2].startswith(TRAILER)


def _connection(database: Database) -> list[str]:
    return [
        f"--host={database.host}",
        f"--port={database.port}",
        "--protocol=tcp",
        "--default-character-set=utf8mb4",
        f"--max-allowed-packet={_PACKET}",
    ]


def _client(container: str, script: str, arguments: list[str], *, stdout: int = subprocess.DEVNULL) -> Process:
    return Process(
        [DOCKER, "exec", "-i", container, "sh", "-c", script, "sh", *arguments],
        stdin=subprocess.PIPE,
        stdout=stdout,
        name="the database's client",
    )


def _send_login(client: Process, database: Database) -> None:
    for value in (database.login.user, database.login.password):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        client.stdin.write(f'"{escaped}"\n'.encode())
    client.stdin.flush()


def _open_snapshots(client: Process, database: Database, snapshot: Database, is_over: Callable[[], bool]) -> float:
    """Let the dump and ``snapshot`` see the same rows; returns for how many seconds writers had to wait.

    :param is_over: whether the dump has ended
    """
    newest = int(snapshot.value("SELECT CONNECTION_ID()"))
    with database.another() as lock:
        began = _lock(lock)
        _send_login(client, database)
        _wait_for_dump(client, lock, newest, database.host, is_over)
        snapshot.begin_snapshot()
        lock.query("UNLOCK TABLES")
        return round(time.monotonic() - began, 3)


def _lock(lock: Database) -> float:
    """Keep everybody from writing; returns when that began, on the monotonic clock."""
    lock.query("SET SESSION lock_wait_timeout = %s", _LOCK_SECONDS)
    for attempt in range(1, _LOCK_TRIES + 1):
        began = time.monotonic()
        try:
            lock.query("FLUSH TABLES WITH READ LOCK")
            return began
        except pymysql.err.OperationalError:
            if attempt == _LOCK_TRIES:
                raise
        time.sleep(_LOCK_PAUSE)
    raise AssertionError


def _wait_for_dump(client: Process, lock: Database, newest: int, host: str, is_over: Callable[[], bool]) -> None:
    """Wait until the dump's transaction is open: one of a connection from the container itself that is new.

    A dump that is over already is as good: nobody could write since it began.
    """
    deadline = time.monotonic() + _SNAPSHOT_SECONDS
    pause = _FIRST_POLL_SECONDS
    while True:
        time.sleep(pause)
        pause = _POLL_SECONDS
        if lock.value(
            "SELECT COUNT(*) FROM information_schema.innodb_trx AS t JOIN information_schema.processlist AS p "
            "ON p.id = t.trx_mysql_thread_id WHERE p.id > %s AND p.host LIKE %s",
            newest,
            f"{host}:%",
        ):
            return
        if is_over() or client.has_ended():  # whether it ended well is looked at when its output is read
            return
        if time.monotonic() >= deadline:
            raise ArchiveError("the dump did not begin in time")


def restore(container: str, database: Database, source: IO[bytes]) -> None:
    """Run a dump in a database that nobody else uses yet.

    :param database: the database in ``container``
    :raises ArchiveError: when a statement fails or the dump is not complete
    """
    with _packets(database):
        quick = "SET SESSION foreign_key_checks = 0, unique_checks = 0"
        if database.variable("log_bin") == "ON":
            quick += ", sql_log_bin = 0"
        arguments = [*_connection(database), f"--init-command={quick}", "--binary-mode", "--batch"]
        client = _client(container, _RESTORE, arguments)
        try:
            client.wait_for("ready", _START_SECONDS)
            _send_login(client, database)
            try:
                tail = copy_stream(source, client.stdin)
                client.stdin.close()
            except BrokenPipeError:
                tail = b""  # the client says why
            client.finish()
        except ArchiveError:
            # the client quotes the statement, and with it people's names: only the error's number is handed on
            found = re.search(r"ERROR \d+ \(\w+\) at line \d+", client.said())
            if found:
                raise ArchiveError(f"the dump cannot be restored: {found.group()}") from None
            raise
        finally:
            client.end()
    if not is_complete(tail):
        raise ArchiveError("the dump is cut off: its last line is missing")


@contextmanager
def _packets(database: Database) -> Iterator[None]:
    """Let the server take the largest statements while the body runs."""
    before = int(database.variable("max_allowed_packet") or _PACKET)
    database.query("SET GLOBAL max_allowed_packet = %s", _PACKET)
    try:
        yield
    finally:
        database.query("SET GLOBAL max_allowed_packet = %s", before)


@contextmanager
def hurried(database: Database) -> Iterator[None]:
    """Let the server be careless with power cuts while the body runs; it must hold nothing but a copy."""
    names = ("innodb_flush_log_at_trx_commit", "sync_binlog")
    before = {name: database.variable(name) for name in names}
    for name in names:
        database.query(f"SET GLOBAL {name} = 0")
    try:
        yield
    finally:
        for name, value in before.items():
            database.query(f"SET GLOBAL {name} = %s", int(value or 1))


def check_restored(database: Database, rows: dict[str, int], schema: str) -> None:
    """Compare a restored database with what was dumped.

    :raises ArchiveError: with the first difference
    """
    found = database.row_counts()
    for table in sorted(rows.keys() | found.keys()):
        if rows.get(table) != found.get(table):
            wanted, got = rows.get(table, "none"), found.get(table, "none")
            raise ArchiveError(f"the table {table} has {got} rows instead of {wanted}")
    if database.schema_fingerprint() != schema:
        raise ArchiveError(f"the tables of {quoted(database.name)} are not built as they were")


def as_clms_error(code: str, error: ArchiveError) -> ClmsError:
    """The error that people see."""
    return ClmsError(code, detail=str(error).rstrip("."))
