# SPDX-License-Identifier: GPL-3.0-or-later
"""The accounts of the database and their rights, as SQL with one statement a line.

Passwords are in it as the server's own hashes. Accounts that the server's image makes itself are left out, and so
is the one that we use: a restore must not change how we log in.
"""

from __future__ import annotations

import re

try:
    import pymysql.err
except ImportError:  # the module says so before it comes here
    pass

from .database import Database
from .pipes import ArchiveError

_SYSTEM = {
    "",
    "PUBLIC",
    "debian-sys-maint",
    "healthcheck",
    "mariadb.sys",
    "mysql",
    "mysql.infoschema",
    "mysql.session",
    "mysql.sys",
    "root",
}
_MISSING = {1146, 1305, 1356, 1049}
"""a right on a table or routine of another database, which the backup does not hold"""


def _name(user: str, host: str | None) -> str:
    parts = [user] if host is None else [user, host]
    return "@".join("'" + part.replace("\\", "\\\\").replace("'", "''") + "'" for part in parts)


def read_accounts(database: Database) -> str:
    """Statements that make all accounts but the system's own, roles first, and give them their rights."""
    mariadb = database.is_mariadb()
    if not mariadb:
        database.query("SET SESSION print_identified_with_as_hex = ON")
    columns = "user, host, is_role" if mariadb else "user, host, 'N' AS is_role"
    made, granted = [], []
    rows = database.query(f"SELECT {columns} FROM mysql.user ORDER BY is_role DESC, user, host")  # noqa: S608
    for row in rows:
        user, role = str(row["user"]), row["is_role"] == "Y"
        if user in _SYSTEM or user == database.login.user:
            continue
        account = _name(user, None if role else str(row["host"]))
        if role:
            made.append(f"CREATE ROLE IF NOT EXISTS {account}")
        else:
            made.append(if_not_exists(str(database.value(f"SHOW CREATE USER {account}"))))
        for grant in database.query(f"SHOW GRANTS FOR {account}"):
            granted.append(without_password(str(next(iter(grant.values())))))
    return "".join(f"{statement};\n" for statement in [*made, *granted])


def if_not_exists(statement: str) -> str:
    """``CREATE USER …`` that leaves an account as it is which the new server has already."""
    return re.sub(r"^CREATE USER ", "CREATE USER IF NOT EXISTS ", statement)


def without_password(grant: str) -> str:
    """A ``GRANT`` as MariaDB shows it, without the part that would set the account's password again."""
    text = r"'(?:[^'\\]|''|\\.)*'"
    method = rf"[a-z0-9_]+(?: (?:USING|AS) {text})?"
    return re.sub(rf" IDENTIFIED (?:BY PASSWORD {text}|(?:VIA|WITH) {method}(?: OR {method})*)", "", grant)


def apply_accounts(database: Database, statements: str) -> int:
    """Make the accounts that are missing and give all of them their rights.

    :returns: how many rights concern something that this server does not have, and were left out
    :raises ArchiveError: when a statement fails
    """
    left_out = 0
    for statement in statements.splitlines():
        try:
            database.query(statement.rstrip(";"))
        except pymysql.err.MySQLError as error:
            if error.args[0] not in _MISSING:
                # without the statement: it may hold a password's hash
                raise ArchiveError(f"an account could not be made (error {error.args[0]})") from None
            left_out += 1
    return left_out
