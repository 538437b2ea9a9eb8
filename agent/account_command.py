# SPDX-License-Identifier: GPL-3.0-or-later
"""``clms-update account``: who may sign in to the school's page, with which tokens programs use its API."""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.school import School

REFUSALS = (
    *("ACCOUNTS_BROKEN", "ACCOUNT_EXISTS", "ACCOUNT_NAME", "ACCOUNT_UNKNOWN", "PASSWORD_WEAK"),
    "TOKEN_UNKNOWN",
)
"""with these nothing was touched"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "account", nargs="?", metavar="NAME", help="make this account, or give it another password, which is asked for"
    )
    what.add_argument("--remove", metavar="NAME", help="nobody signs in by this name any more")
    what.add_argument("--list", action="store_true", help="the names of all accounts, and their tokens")
    what.add_argument("--code", action="store_true", help="the code with which the page makes the first account")
    what.add_argument(
        "--token",
        metavar="NAME",
        help="make a token with which a program uses the page's API as this account; it is shown this once",
    )
    what.add_argument("--revoke-token", metavar="ID", help="the token with this number counts no more")


def answer(options: argparse.Namespace, school: School) -> tuple[dict[str, Any], str]:
    """What was done, and the same in words.

    :raises ClmsError: one of :data:`REFUSALS`
    """
    from .accounts import Accounts

    accounts = Accounts(school.home)
    if options.list:
        names = sorted(accounts.generations())
        made = accounts.made_tokens()
        return {"accounts": names, "tokens": made}, _list_text(names, made)
    if options.token is not None:
        number, token = accounts.make_token(options.token)
        data = {"account": options.token, "id": number, "token": token}
        return (
            data,
            f"{token}\nThis is token {number} of {options.token}. Keep it like a password; it is shown this once.",
        )
    if options.revoke_token is not None:
        accounts.revoke_token(options.revoke_token)
        return {"revoked": options.revoke_token}, f"The token {options.revoke_token} counts no more."
    if options.code:
        code = accounts.set_up_code()
        return {"code": code}, f"The set-up code is {code}. The page of this school asks for it once."
    if options.remove is not None:
        accounts.remove(options.remove)
        return {"removed": options.remove}, f"The account {options.remove} is gone, and whoever used it is signed out."
    accounts.set_password(options.account, _typed())
    return {"account": options.account}, f"{options.account} can sign in now; earlier sessions have ended."


def _list_text(names: list[str], made: list[dict[str, str]]) -> str:
    lines = [*names, *(f"token {one['id']} of {one['account']}, made {one['made']}" for one in made)]
    return "\n".join(lines) or "There is no account yet. To make one: clms-update account NAME"


def _typed() -> str:
    """A password from the terminal, typed twice, or the first line of the standard input; never an argument, which
    everybody on the server could read.

    :raises ClmsError: PASSWORD_WEAK
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("New password: ")
    if getpass.getpass("Once more: ") != first:
        raise ClmsError("PASSWORD_WEAK", detail="it was typed in two different ways")
    return first
