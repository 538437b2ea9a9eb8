# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may sign in to the school's page, in ``<home>/accounts.json`` (0600); written by the agent and the command line.

The page has no passwords: whoever takes it over could use them. It asks the agent, which also wants the password again
before it goes back to an older state (decision record 0018).
"""

from __future__ import annotations

import fcntl
import hmac
import json
import re
import secrets
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from ansible_collections.clms.update.plugins.module_utils.adapters.files import write_atomically
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from . import tokens
from .protocol import Request
from .throttle import Throttle

SHORTEST, LONGEST = 10, 200
"""characters of a password"""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_PART_OF_PASSWORD = 4
"""letters from which on a name makes a password that holds it easy to guess"""


class Accounts:
    """The accounts of one school; one object for all threads of the agent."""

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """:param clock: seconds; for the throttle, which does not look at the time of day"""
        self._path = home / "accounts.json"
        self._code = home / "set-up-code"
        self._hasher = PasswordHasher()
        # so that a name that does not exist takes as long as a wrong password
        self._nobody = self._hasher.hash(secrets.token_hex(16))
        self._home = home
        # by themselves: whoever guesses on the page for signing in must not keep those from their work who have done so
        self._strangers, self._signed_in = Throttle(clock), Throttle(clock)
        self._refusals = tokens.Refusals()

    def answer(self, request: Request) -> dict[str, Any]:
        """The answer to one of :data:`.protocol.ACCOUNTS`.

        :raises ClmsError: as the other methods
        """
        name, password = (request.name or "").strip().lower(), request.password or ""
        if request.verb == "accounts":
            return {"accounts": self.generations()}
        if request.verb == "token":
            return self.whose(request.token or "")
        if request.verb == "set_up":
            generation = self.set_up(request.code or "", name, password)
        else:
            generation = self.sign_in(name, password, signed_in=request.verb == "password")
            if request.verb == "password":
                generation = self.set_password(name, request.new or "")
        return {"name": name, "generation": generation}

    def remove(self, name: str) -> None:
        """Nobody signs in by that name any more.

        :raises ClmsError: ACCOUNT_UNKNOWN, ACCOUNTS_BROKEN
        """
        with self._alone():
            accounts = self._read()
            if not accounts.get(name, {}).get("hash"):
                raise ClmsError("ACCOUNT_UNKNOWN", name=name)
            # its number stays, so that no session comes back with an account of the same name
            accounts[name] = {"hash": "", "generation": accounts[name]["generation"]}
            write_atomically(self._path, json.dumps(accounts, indent=1))

    def generations(self) -> dict[str, int]:
        """Name -> how often its password was set; a session of an earlier password is none any more.

        :raises ClmsError: ACCOUNTS_BROKEN
        """
        return {name: int(account["generation"]) for name, account in self._read().items() if account["hash"]}

    def set_up_code(self) -> str:
        """The code that lets somebody make the first account; it lies in a file that only root can read.

        :raises ClmsError: ACCOUNT_EXISTS when that was done
        """
        with self._alone():
            return self._set_up_code()

    def _set_up_code(self) -> str:
        if self.generations():
            raise ClmsError("ACCOUNT_EXISTS")
        if not self._code.exists():
            write_atomically(self._code, secrets.token_hex(4))
        return self._code.read_text()

    def set_up(self, code: str, name: str, password: str) -> int:
        """Make the first account; returns its generation.

        :raises ClmsError: ACCOUNT_EXISTS, ACCOUNT_CODE, ACCOUNT_NAME, PASSWORD_WEAK, SIGN_IN_WAIT, LIMIT_REACHED
        """
        with self._strangers.turn(""), self._alone():
            if not hmac.compare_digest(self._set_up_code().encode(), code.strip().lower().encode()):
                self._strangers.failed("")
                raise ClmsError("ACCOUNT_CODE")
            generation = self._set(name, password)
            self._code.unlink(missing_ok=True)
        return generation

    def set_password(self, name: str, password: str) -> int:
        """Make an account or give it another password; returns its generation.

        :raises ClmsError: ACCOUNT_NAME, PASSWORD_WEAK, ACCOUNTS_BROKEN
        """
        with self._alone():
            generation = self._set(name, password)
            self._code.unlink(missing_ok=True)
        return generation

    def _set(self, name: str, password: str) -> int:
        if not _NAME.fullmatch(name):
            raise ClmsError("ACCOUNT_NAME")
        accounts = self._read()
        _check_password(name, password)
        generation = int(accounts.get(name, {}).get("generation", 0)) + 1
        # without the tokens of before: whoever has the password set anew may have lost more than that
        accounts[name] = {"hash": self._hasher.hash(_normal(password)), "generation": generation}
        write_atomically(self._path, json.dumps(accounts, indent=1))
        return generation

    def sign_in(self, name: str, password: str, *, signed_in: bool = False) -> int:
        """Compare a password; returns the account's generation.

        :param signed_in: whether somebody gives it once more who has signed in before
        :raises ClmsError: SIGN_IN_REFUSED, SIGN_IN_WAIT after too many failures, LIMIT_REACHED, ACCOUNTS_BROKEN
        """
        name = name.strip().lower()
        account = self._read().get(name)
        if account and not account["hash"]:
            account = None
        # with another password the counting begins anew
        counted = f"{account['generation'] if account else 0} {name}"
        throttle = self._signed_in if signed_in else self._strangers
        with throttle.turn(counted):
            try:
                self._hasher.verify(account["hash"] if account else self._nobody, _normal(password[: LONGEST + 1]))
            except (VerificationError, InvalidHashError):
                account = None
            if account is None:
                throttle.failed(counted)
                raise ClmsError("SIGN_IN_REFUSED")
            throttle.passed(counted)
        return int(account["generation"])

    # tokens

    def make_token(self, name: str) -> tuple[str, str]:
        """Make a token for an account; returns its id, and the token, which is kept nowhere.

        :raises ClmsError: ACCOUNT_UNKNOWN, ACCOUNTS_BROKEN
        """
        token, kept = tokens.make()
        with self._alone():
            accounts = self._read()
            if not accounts.get(name, {}).get("hash"):
                raise ClmsError("ACCOUNT_UNKNOWN", name=name)
            accounts[name] = {**accounts[name], "tokens": [*accounts[name].get("tokens", []), kept]}
            write_atomically(self._path, json.dumps(accounts, indent=1))
        return kept["id"], token

    def revoke_token(self, number: str) -> None:
        """A token counts no more.

        :param number: its id
        :raises ClmsError: TOKEN_UNKNOWN, ACCOUNTS_BROKEN
        """
        with self._alone():
            accounts = self._read()
            for name, account in accounts.items():
                left = [one for one in account.get("tokens", []) if one["id"] != number]
                if len(left) < len(account.get("tokens", [])):
                    accounts[name] = {**account, "tokens": left}
                    write_atomically(self._path, json.dumps(accounts, indent=1))
                    return
        raise ClmsError("TOKEN_UNKNOWN", token=number if tokens.ID.fullmatch(number) else "with that number")

    def made_tokens(self) -> list[dict[str, str]]:
        """``id``, ``account`` and ``made`` of every token that counts.

        :raises ClmsError: ACCOUNTS_BROKEN
        """
        return [
            {"id": one["id"], "account": name, "made": one["made"]}
            for name, account in sorted(self._read().items())
            for one in account.get("tokens", [])
        ]

    def whose(self, token: str) -> dict[str, Any]:
        """Whose token it is: ``name`` and ``generation`` of the account, and ``id`` of the token.

        :raises ClmsError: TOKEN_REFUSED a moment later, LIMIT_REACHED, ACCOUNTS_BROKEN
        """
        accounts = self._read()
        found = tokens.find(accounts, token)
        if found is None:
            raise self._refusals.refuse()
        name, number = found
        return {"name": name, "generation": int(accounts[name]["generation"]), "id": number}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One change at a time: the agent's, or that of the command line."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._home / "accounts.lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # the file

    def _read(self) -> dict[str, dict[str, Any]]:
        """:raises ClmsError: ACCOUNTS_BROKEN"""
        try:
            accounts = json.loads(self._path.read_text())
            kept = all(tokens.are_kept(account.get("tokens", [])) for account in accounts.values())
            if kept and all(isinstance(one["hash"], str) and one["generation"] > 0 for one in accounts.values()):
                return dict(accounts)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, KeyError, TypeError):
            pass
        raise ClmsError("ACCOUNTS_BROKEN", path=self._path)


def _normal(password: str) -> str:
    """The same text however a keyboard puts an accent on a letter (RFC 8265, section 4.2: NFC)."""
    return unicodedata.normalize("NFC", password)


def _check_password(name: str, password: str) -> None:
    """:raises ClmsError: PASSWORD_WEAK"""
    normal = _normal(password)
    if not SHORTEST <= len(normal) <= LONGEST:
        raise ClmsError("PASSWORD_WEAK", detail=f"it has to have {SHORTEST} to {LONGEST} characters")
    named = len(name) >= _PART_OF_PASSWORD and name in normal.lower()
    if named or len(set(normal)) < 5 or normal.lower() in ("passwort123", "password123", "1234567890"):
        raise ClmsError("PASSWORD_WEAK", detail="it is too easy to guess")
