# SPDX-License-Identifier: GPL-3.0-or-later
"""``clms-create-user``: make a user, or give one a new password and role."""

from __future__ import annotations

import argparse
import sys

import pymysql

from .config import ConfigError, Database
from .database import OutcomeUnknown, transaction
from .security import hash_password


def main() -> int:
    """The command line. The password comes on standard input, where no process list shows it."""
    parser = argparse.ArgumentParser(prog="clms-create-user", description=__doc__)
    parser.add_argument("--username", required=True)
    parser.add_argument("--role", required=True)
    arguments = parser.parse_args()
    password = sys.stdin.readline().rstrip("\n")
    if not password:
        print("clms-create-user: give the password on standard input", file=sys.stderr)
        return 1
    try:
        with transaction(Database.from_environment()) as cursor:
            cursor.execute(
                "INSERT INTO users (username, password_hash, role) VALUES (%s, %s, %s)"
                " ON DUPLICATE KEY UPDATE password_hash = VALUES(password_hash), role = VALUES(role)",
                (arguments.username, hash_password(password), arguments.role),
            )
    except (ConfigError, OutcomeUnknown, pymysql.Error) as error:
        print(f"clms-create-user: {error}", file=sys.stderr)
        return 1
    print(f"User {arguments.username} is ready")
    return 0
