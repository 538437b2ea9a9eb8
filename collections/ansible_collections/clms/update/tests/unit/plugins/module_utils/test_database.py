# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pymysql
import pymysql.err
import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters.accounts import if_not_exists, without_password
from ansible_collections.clms.update.plugins.module_utils.adapters.database import Database, Login, quoted, read_login
from ansible_collections.clms.update.plugins.module_utils.adapters.dump import is_complete
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError


def option_file(folder: Path, text: str) -> Path:
    path = folder / "db.cnf"
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("line", "password"),
    [
        pytest.param("password=simple", "simple", id="plain"),
        pytest.param("password = spaced", "spaced", id="spaces-around"),
        pytest.param('password="with # sign"', "with # sign", id="double-quotes"),
        pytest.param("password='with # sign'", "with # sign", id="single-quotes"),
        pytest.param("password=cut # comment", "cut", id="comment-behind"),
        pytest.param('password="quoted" # comment', "quoted", id="comment-behind-quotes"),
        pytest.param(r'password="a\"b\\c"', r"a\"b\c".replace("\\", "", 1), id="escapes"),
        pytest.param("password=50%done", "50%done", id="percent-sign"),
        pytest.param("password=a=b", "a=b", id="equals-sign"),
        pytest.param('password=""', "", id="empty"),
        pytest.param("password=geheimß", "geheimß", id="not-ascii"),
    ],
)
def test_an_option_file_is_read_as_the_clients_read_it(tmp_path: Path, line: str, password: str) -> None:
    login = read_login(option_file(tmp_path, f"# for the updater\n[client]\nuser = root\n{line}\n[other]\nx\n"))
    assert login == Login("root", password)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        pytest.param("", "it has no 'client'", id="empty"),
        pytest.param("[mysql]\nuser=root\npassword=canary\n", "it has no 'client'", id="another-section"),
        pytest.param("[client]\npassword=canary\n", "it has no 'user'", id="no-user"),
        pytest.param("[client]\nuser=root\n", "it has no 'password'", id="no-password"),
        pytest.param("canary\n", "not an option file", id="something-else"),
    ],
)
def test_an_option_file_that_cannot_be_used_is_named(tmp_path: Path, text: str, detail: str) -> None:
    path = option_file(tmp_path, text)
    with pytest.raises(ClmsError) as caught:
        read_login(path)
    assert caught.value.code == "SECRET_FILE"
    assert detail in caught.value.happened
    assert str(path) in caught.value.happened
    assert "canary" not in str(caught.value)


def test_an_option_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = option_file(tmp_path, "[client]\nuser=root\npassword=canary\n")
    path.chmod(0o644)
    with pytest.raises(ClmsError, match="0644"):
        read_login(path)


def test_a_password_is_not_shown() -> None:
    assert "canary" not in repr(Login("root", "canary"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(pymysql.err.OperationalError(1045, "Access denied"), "DATABASE_LOGIN", id="wrong-password"),
        pytest.param(pymysql.err.OperationalError(1698, "Access denied"), "DATABASE_LOGIN", id="socket-account"),
        pytest.param(pymysql.err.OperationalError(1227, "you need SUPER"), "DATABASE_LOGIN", id="missing-right"),
        pytest.param(pymysql.err.OperationalError(2003, "refused"), "DATABASE_UNREACHABLE", id="nobody-listens"),
        pytest.param(pymysql.err.OperationalError(2013, "lost"), "DATABASE_UNREACHABLE", id="connection-lost"),
        pytest.param(pymysql.err.InterfaceError(0, ""), "DATABASE_UNREACHABLE", id="connection-closed"),
    ],
)
def test_complaints_of_the_database_become_codes(monkeypatch: pytest.MonkeyPatch, error: Exception, code: str) -> None:
    def refuse(**_: Any) -> None:
        raise error

    monkeypatch.setattr(pymysql, "connect", refuse)
    with pytest.raises(ClmsError) as caught:
        Database("127.0.0.1", 3306, Login("root", "canary"), "clms").query("SELECT 1")
    assert caught.value.code == code
    assert "canary" not in str(caught.value)


def test_a_database_that_does_not_come_up_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def refuse(**_: Any) -> None:
        tries.append(1)
        raise pymysql.err.OperationalError(2003, "refused")

    monkeypatch.setattr(pymysql, "connect", refuse)
    with pytest.raises(ClmsError, match="does not answer"):
        Database("127.0.0.1", 3306, Login("root", "x"), "clms").wait_ready(0.25)
    assert 2 <= len(tries) <= 4


def test_a_database_that_has_ended_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise pymysql.err.OperationalError(2003, "refused")

    monkeypatch.setattr(pymysql, "connect", refuse)
    ends = iter([False, True])
    with pytest.raises(ClmsError, match="does not answer"):
        Database("127.0.0.1", 3306, Login("root", "x"), "clms").wait_ready(3600, lambda: next(ends))


def test_a_name_cannot_end_its_quotes() -> None:
    assert quoted("a`b; DROP TABLE c") == "`a``b; DROP TABLE c`"


@pytest.mark.parametrize(
    ("tail", "complete"),
    [
        pytest.param(b"x;\n\n-- Dump completed on 2026-01-02  3:04:05\n", True, id="mysql-and-mariadb"),
        pytest.param(b"-- Dump completed\n", True, id="without-date"),
        pytest.param(b"INSERT INTO books VALUES (1);\n", False, id="cut-at-a-statement-boundary"),
        pytest.param(b"INSERT INTO books VALUES ('-- Dump completed');\n", False, id="only-quoted"),
        pytest.param(b"-- Dump completed\nINSERT INTO books VALUES (1);\n", False, id="not-at-the-end"),
        pytest.param(b"", False, id="empty"),
    ],
)
def test_only_a_dump_with_its_last_line_is_complete(tail: bytes, complete: bool) -> None:
    assert is_complete(tail) is complete


@pytest.mark.parametrize(
    ("grant", "without"),
    [
        pytest.param("GRANT ALL ON `a`.* TO `u`@`%`", "GRANT ALL ON `a`.* TO `u`@`%`", id="nothing-to-do"),
        pytest.param(
            "GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*ABC'", "GRANT USAGE ON *.* TO `u`@`%`", id="hash"
        ),
        pytest.param(
            "GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED VIA ed25519 USING 'it''s' REQUIRE SSL WITH GRANT OPTION",
            "GRANT USAGE ON *.* TO `u`@`%` REQUIRE SSL WITH GRANT OPTION",
            id="plugin-and-options",
        ),
        pytest.param(
            "GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED VIA unix_socket OR mysql_native_password USING '*A' WITH "
            "GRANT OPTION",
            "GRANT USAGE ON *.* TO `u`@`%` WITH GRANT OPTION",
            id="two-plugins",
        ),
    ],
)
def test_a_grant_does_not_set_the_password_again(grant: str, without: str) -> None:
    assert without_password(grant) == without


def test_an_account_that_is_there_already_is_left_as_it_is() -> None:
    assert if_not_exists("CREATE USER `a`@`%` x") == "CREATE USER IF NOT EXISTS `a`@`%` x"
