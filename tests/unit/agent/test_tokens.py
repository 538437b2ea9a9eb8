# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens of programs: what is kept of them, when they end, and what becomes of those who guess."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST

from agent import accounts as module
from agent import tokens
from agent.accounts import Accounts
from agent.protocol import parse
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

PASSWORD = "blue whale in the attic"


@pytest.fixture
def accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    monkeypatch.setattr(module, "PasswordHasher", lambda: PasswordHasher.from_parameters(CHEAPEST))
    monkeypatch.setattr(tokens, "PAUSE", 0.0)
    found = Accounts(tmp_path)
    found.set_password("anna", PASSWORD)
    found.set_password("bert", PASSWORD)
    return found


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ClmsError) as caught:
        call()
    return caught.value.code


def test_a_token_says_whose_it_is(accounts: Accounts) -> None:
    (first, one), (second, other) = accounts.make_token("anna"), accounts.make_token("bert")
    assert accounts.whose(one) == {"name": "anna", "generation": 1, "id": first}
    asked = accounts.answer(parse(json.dumps({"verb": "token", "token": other}).encode()))
    assert asked == {"name": "bert", "generation": 1, "id": second}
    assert [(made["account"], made["id"]) for made in accounts.made_tokens()] == [("anna", first), ("bert", second)]


def test_only_its_hash_is_kept_and_it_cannot_be_guessed(accounts: Accounts, tmp_path: Path) -> None:
    number, token = accounts.make_token("anna")
    secret = token.removeprefix(f"clms_{number}_")
    assert len(bytes.fromhex(secret)) == 32
    text = (tmp_path / "accounts.json").read_text()
    assert secret not in text
    assert hashlib.sha256(token.encode()).hexdigest() in text
    assert refused(lambda: accounts.whose(hashlib.sha256(token.encode()).hexdigest())) == "TOKEN_REFUSED"


@pytest.mark.parametrize("wrong", ["", "clms_", "clms_00000000_" + "0" * 64, "\ud800", "x" * 1000])
def test_what_is_no_token(accounts: Accounts, wrong: str) -> None:
    accounts.make_token("anna")
    assert refused(lambda: accounts.whose(wrong)) == "TOKEN_REFUSED"


def test_tokens_end_with_the_account_and_with_its_password(accounts: Accounts) -> None:
    _, old = accounts.make_token("anna")
    _, others = accounts.make_token("bert")
    accounts.set_password("anna", "a green whale in the cellar")
    assert refused(lambda: accounts.whose(old)) == "TOKEN_REFUSED"
    _, new = accounts.make_token("anna")
    accounts.remove("anna")
    assert refused(lambda: accounts.whose(new)) == "TOKEN_REFUSED"
    assert refused(lambda: accounts.make_token("anna")) == "ACCOUNT_UNKNOWN"
    accounts.set_password("anna", PASSWORD)
    assert refused(lambda: accounts.whose(new)) == "TOKEN_REFUSED"
    assert accounts.whose(others)["name"] == "bert"


def test_a_token_is_revoked_and_no_other(accounts: Accounts) -> None:
    (first, one), (_, other) = accounts.make_token("anna"), accounts.make_token("anna")
    accounts.revoke_token(first)
    assert refused(lambda: accounts.whose(one)) == "TOKEN_REFUSED"
    assert accounts.whose(other)["name"] == "anna"
    assert refused(lambda: accounts.revoke_token(first)) == "TOKEN_UNKNOWN"
    assert accounts.sign_in("anna", PASSWORD) == 1


def test_a_token_that_is_given_in_place_of_its_number_is_not_shown(accounts: Accounts) -> None:
    _, token = accounts.make_token("anna")
    with pytest.raises(ClmsError) as caught:
        accounts.revoke_token(token)
    assert token not in str(caught.value)


def test_who_guesses_waits_and_locks_out_nobody(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    _, token = accounts.make_token("anna")
    monkeypatch.setattr(tokens, "PAUSE", 1.0)
    codes: list[str] = []
    began = time.monotonic()
    threads = [
        threading.Thread(target=lambda: codes.append(refused(lambda: accounts.whose("clms_wrong")))) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    while codes.count("LIMIT_REACHED") < 8:
        assert time.monotonic() - began < 0.9, "more than four refusals take threads from others"
    assert accounts.whose(token)["name"] == "anna"
    assert time.monotonic() - began < 0.9, "the right one had to wait"
    for thread in threads:
        thread.join()
    assert time.monotonic() - began >= 1.0
    assert codes.count("TOKEN_REFUSED") == 4


@pytest.mark.parametrize("kept", [1, {}, [1], [{}], [{"id": 1, "made": "x", "sha256": "y"}]])
def test_a_file_with_broken_tokens_lets_nobody_in(accounts: Accounts, tmp_path: Path, kept: object) -> None:
    described = json.loads((tmp_path / "accounts.json").read_text())
    described["anna"]["tokens"] = kept
    (tmp_path / "accounts.json").write_text(json.dumps(described))
    for call in (lambda: accounts.whose("x"), lambda: accounts.make_token("anna"), accounts.made_tokens):
        assert refused(call) == "ACCOUNTS_BROKEN"
