# SPDX-License-Identifier: GPL-3.0-or-later
"""``clms-update account``, on a server whose page nobody can sign in to."""

from __future__ import annotations

import getpass
import io
import json
from pathlib import Path
from typing import Any

import pytest

from agent.accounts import Accounts
from agent.cli import main
from agent.config import load

from .conftest import description, write_config

PASSWORD = "blue whale in the attic"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_config(tmp_path / "etc", description(tmp_path / "home"))


def run(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["--config", str(folder), "account", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def types(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_an_account_is_made_and_gets_another_password(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = Accounts(load(folder).school.home)
    for generation, password in enumerate((PASSWORD, "a green whale in the cellar"), 1):
        types(monkeypatch, f"{password}\nmore\n")
        assert run(folder, capsys, "anna") == (0, {"account": "anna"})
        assert accounts.sign_in("anna", password) == generation
    assert run(folder, capsys, "--list") == (0, {"accounts": ["anna"], "tokens": []})
    assert run(folder, capsys, "--remove", "anna") == (0, {"removed": "anna"})
    assert run(folder, capsys, "--list") == (0, {"accounts": [], "tokens": []})


def test_a_token_is_made_listed_and_revoked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accounts = Accounts(load(folder).school.home)
    accounts.set_password("anna", PASSWORD)
    code, made = run(folder, capsys, "--token", "anna")
    assert (code, made["account"]) == (0, "anna")
    assert accounts.whose(made["token"])["id"] == made["id"]
    _, listed = run(folder, capsys, "--list")
    assert [(one["id"], one["account"]) for one in listed["tokens"]] == [(made["id"], "anna")]
    assert made["token"] not in json.dumps(listed)
    assert main(["--config", str(folder), "account", "--list"]) == 0
    said = capsys.readouterr().out
    assert f"token {made['id']} of anna, made 20" in said
    assert run(folder, capsys, "--revoke-token", made["id"]) == (0, {"revoked": made["id"]})
    assert run(folder, capsys, "--list")[1]["tokens"] == []


def test_a_person_can_take_the_token_from_the_first_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accounts = Accounts(load(folder).school.home)
    accounts.set_password("anna", PASSWORD)
    assert main(["--config", str(folder), "account", "--token", "anna"]) == 0
    token, words = capsys.readouterr().out.splitlines()
    assert accounts.whose(token)["id"] in words


@pytest.mark.parametrize("second", [PASSWORD, "something else"])
def test_a_person_types_it_twice(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    answers = iter([PASSWORD, second])
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(answers))
    code, said = run(folder, capsys, "anna")
    assert (code, "error" in said) == ((0, False) if second == PASSWORD else (2, True))


def test_the_code_is_shown_until_there_is_an_account(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = run(folder, capsys, "--code")
    assert (code, len(said["code"])) == (0, 8)
    types(monkeypatch, PASSWORD)
    run(folder, capsys, "anna")
    code, said = run(folder, capsys, "--code")
    assert (code, said["error"]["code"]) == (2, "ACCOUNT_EXISTS")


@pytest.mark.parametrize(
    ("arguments", "typed", "error"),
    [
        (("Anna Maria",), PASSWORD, "ACCOUNT_NAME"),
        (("anna",), "short", "PASSWORD_WEAK"),
        (("anna",), "", "PASSWORD_WEAK"),
        (("--remove", "nobody"), "", "ACCOUNT_UNKNOWN"),
        (("--token", "nobody"), "", "ACCOUNT_UNKNOWN"),
        (("--revoke-token", "0a1b2c3d"), "", "TOKEN_UNKNOWN"),
    ],
)
def test_what_is_refused(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    typed: str,
    error: str,
) -> None:
    types(monkeypatch, typed)
    code, said = run(folder, capsys, *arguments)
    assert (code, said["error"]["code"]) == (2, error)
    assert Accounts(load(folder).school.home).generations() == {}


@pytest.mark.parametrize("arguments", [(), ("anna", "--list"), ("--code", "--list"), ("--password", "x")])
def test_one_thing_at_a_time(folder: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--config", str(folder), "account", *arguments])
    assert caught.value.code == 2
