# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may sign in: the first account, passwords, and what becomes of those who guess."""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError
from argon2.profiles import CHEAPEST

from agent import accounts as module
from agent import throttle
from agent.accounts import Accounts
from agent.protocol import parse
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

PASSWORD = "blue whale in the attic"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    monkeypatch.setattr(module, "PasswordHasher", lambda: PasswordHasher.from_parameters(CHEAPEST))
    return Accounts(tmp_path, clock=clock)


def refused(call: Callable[[], object]) -> ClmsError:
    with pytest.raises(ClmsError) as caught:
        call()
    return caught.value


def test_passwords_are_hashed_as_argon2_is_meant_to_be(tmp_path: Path) -> None:
    found = Accounts(tmp_path)
    found.set_password("anna", PASSWORD)
    text = (tmp_path / "accounts.json").read_text()
    assert "$argon2id$v=19$m=65536,t=3,p=4$" in text
    assert PASSWORD not in text
    assert stat.S_IMODE((tmp_path / "accounts.json").stat().st_mode) == 0o600
    assert found.sign_in("anna", PASSWORD) == 1


def test_the_first_account_wants_the_code_that_lies_on_the_server(accounts: Accounts, tmp_path: Path) -> None:
    code = accounts.set_up_code()
    assert accounts.set_up_code() == code
    assert stat.S_IMODE((tmp_path / "set-up-code").stat().st_mode) == 0o600
    assert refused(lambda: accounts.set_up("0" * 8, "anna", PASSWORD)).code == "ACCOUNT_CODE"
    assert accounts.generations() == {}
    assert accounts.set_up(f" {code.upper()} ", "anna", PASSWORD) == 1
    assert accounts.generations() == {"anna": 1}
    assert not (tmp_path / "set-up-code").exists()
    for call in (accounts.set_up_code, lambda: accounts.set_up(code, "eve", PASSWORD)):
        assert refused(call).code == "ACCOUNT_EXISTS"


def test_codes_cannot_be_tried_out(accounts: Accounts, clock: Clock) -> None:
    accounts.set_up_code()
    codes = [refused(lambda: accounts.set_up("x", "anna", PASSWORD)).code for _ in range(8)]
    assert codes == ["ACCOUNT_CODE"] * 6 + ["SIGN_IN_WAIT"] * 2
    clock.now += 5
    assert refused(lambda: accounts.set_up("x", "anna", PASSWORD)).code == "ACCOUNT_CODE"


def test_the_first_account_is_made_once(accounts: Accounts) -> None:
    """Two browsers at the same moment."""
    code, barrier, made = accounts.set_up_code(), threading.Barrier(2), []

    def set_up(name: str) -> None:
        barrier.wait()
        try:
            made.append((name, accounts.set_up(code, name, PASSWORD)))
        except ClmsError as error:
            made.append((error.code, 0))

    threads = [threading.Thread(target=set_up, args=(name,)) for name in ("anna", "eve")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ("ACCOUNT_EXISTS", 0) in made
    assert len(accounts.generations()) == 1


@pytest.mark.parametrize("name", ["", "Anna", "an na", "änna", "-anna", "a" * 41, "anna\n", "../anna"])
def test_names(accounts: Accounts, name: str) -> None:
    assert refused(lambda: accounts.set_password(name, PASSWORD)).code == "ACCOUNT_NAME"


@pytest.mark.parametrize(
    "password", ["", "short", "a" * 20, "abababababab", "anna is great", "1234567890", "x" * 5 + "abcde" * 40]
)
def test_weak_passwords(accounts: Accounts, password: str) -> None:
    assert refused(lambda: accounts.set_password("anna", password)).code == "PASSWORD_WEAK"
    assert accounts.generations() == {}


@pytest.mark.parametrize("name", ["a", "jo", "eva"])
def test_a_short_name_is_in_many_good_passwords(accounts: Accounts, name: str) -> None:
    assert accounts.set_password(name, "a jolly whale has evaded us") == 1


@pytest.mark.parametrize(
    ("typed", "right"),
    [
        (PASSWORD, True),
        ("bu\u0308cher im Regal", True),  # the accent as a sign of its own
        (PASSWORD.upper(), False),
        (PASSWORD + " ", False),
        ("", False),
        ("x" * 100_000, False),
    ],
)
def test_sign_in(accounts: Accounts, typed: str, right: bool) -> None:
    accounts.set_password("anna", "b\u00fccher im Regal" if "cher" in typed else PASSWORD)
    if right:
        assert accounts.sign_in(" Anna ", typed) == 1
    else:
        assert refused(lambda: accounts.sign_in("anna", typed)).code == "SIGN_IN_REFUSED"


def test_a_name_that_does_not_exist_is_told_nothing_else(accounts: Accounts) -> None:
    accounts.set_password("anna", PASSWORD)
    unknown, wrong = (refused(lambda name=name: accounts.sign_in(name, "x")) for name in ("eve", "anna"))  # type: ignore[misc]
    assert unknown.as_dict() == wrong.as_dict()


@pytest.mark.parametrize("name", ["anna", "eve"], ids=["account", "no account"])
def test_who_guesses_has_to_wait(accounts: Accounts, clock: Clock, name: str) -> None:
    accounts.set_password("anna", PASSWORD)
    waits = []
    for _ in range(14):
        assert refused(lambda: accounts.sign_in(name, "x")).code == "SIGN_IN_REFUSED"
        error = None
        try:
            with accounts._strangers.turn(f"{accounts.generations().get(name, 0)} {name}"):
                pass
        except ClmsError as caught:
            error = caught
        waits.append(int(str(error.values["seconds"])) if error else 0)
        clock.now += waits[-1]
    assert waits == [0] * 5 + [6, 11, 21, 41, 81, 161, 321, 641, 901]
    assert accounts.sign_in("anna", PASSWORD) == 1


def test_the_right_password_has_to_wait_too(accounts: Accounts, clock: Clock) -> None:
    accounts.set_password("anna", PASSWORD)
    for _ in range(6):
        assert refused(lambda: accounts.sign_in("anna", "x")).code == "SIGN_IN_REFUSED"
    assert refused(lambda: accounts.sign_in("anna", PASSWORD)).code == "SIGN_IN_WAIT"
    clock.now += 5
    assert accounts.sign_in("anna", PASSWORD) == 1
    assert refused(lambda: accounts.sign_in("anna", "x")).code == "SIGN_IN_REFUSED"  # counted anew
    assert accounts.sign_in("anna", PASSWORD) == 1


def test_a_password_that_was_set_on_the_server_counts_at_once(accounts: Accounts) -> None:
    accounts.set_password("anna", PASSWORD)
    for _ in range(6):
        refused(lambda: accounts.sign_in("anna", "x"))
    assert accounts.set_password("anna", "another whale in the attic") == 2
    assert accounts.sign_in("anna", "another whale in the attic") == 2
    assert accounts.generations() == {"anna": 2}


def test_names_without_end_are_forgotten(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_REMEMBERED", 5)
    for number in range(20):
        refused(lambda number=number: accounts.sign_in(f"n{number}", "x"))  # type: ignore[misc]
    assert len(accounts._strangers._failures) <= 5


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "1", '{"anna": {}}', '{"anna": {"hash": 1, "generation": 1}}', '{"anna": {"hash": "x"}}']
)
def test_a_broken_file_lets_nobody_in(accounts: Accounts, tmp_path: Path, content: str) -> None:
    """Nor does it let anybody make a first account."""
    (tmp_path / "accounts.json").write_text(content)
    for call in (
        lambda: accounts.sign_in("anna", PASSWORD),
        accounts.set_up_code,
        accounts.generations,
        lambda: accounts.set_password("anna", PASSWORD),
    ):
        assert refused(call).code == "ACCOUNTS_BROKEN"
    assert (tmp_path / "accounts.json").read_text() == content


def test_a_hash_that_is_none_lets_nobody_in(accounts: Accounts, tmp_path: Path) -> None:
    (tmp_path / "accounts.json").write_text(json.dumps({"anna": {"hash": "", "generation": 1}}))
    assert refused(lambda: accounts.sign_in("anna", "")).code == "SIGN_IN_REFUSED"


# asked through the socket


def asked(accounts: Accounts, **fields: str) -> dict[str, object]:
    return accounts.answer(parse(json.dumps(fields).encode()))


def test_the_page_asks_for_everything(accounts: Accounts) -> None:
    assert asked(accounts, verb="accounts") == {"accounts": {}}
    code = accounts.set_up_code()
    made = asked(accounts, verb="set_up", code=code, name=" Anna ", password=PASSWORD)
    assert made == {"name": "anna", "generation": 1}
    assert asked(accounts, verb="sign_in", name="ANNA", password=PASSWORD) == made
    other = asked(accounts, verb="password", name="anna", password=PASSWORD, new="a green whale in the cellar")
    assert other == {"name": "anna", "generation": 2}
    assert asked(accounts, verb="accounts") == {"accounts": {"anna": 2}}
    assert refused(lambda: asked(accounts, verb="sign_in", name="anna", password=PASSWORD)).code == "SIGN_IN_REFUSED"


def test_a_new_password_wants_the_old_one(accounts: Accounts) -> None:
    accounts.set_password("anna", PASSWORD)
    error = refused(lambda: asked(accounts, verb="password", name="anna", password="wrong one", new="x" * 20))
    assert (error.code, accounts.generations()) == ("SIGN_IN_REFUSED", {"anna": 1})


def test_an_account_is_removed(accounts: Accounts) -> None:
    accounts.set_password("anna", PASSWORD)
    accounts.set_password("bert", PASSWORD)
    accounts.remove("anna")
    assert accounts.generations() == {"bert": 1}
    assert refused(lambda: accounts.remove("anna")).code == "ACCOUNT_UNKNOWN"
    assert refused(lambda: accounts.sign_in("anna", PASSWORD)).code == "SIGN_IN_REFUSED"


def test_two_processes_do_not_lose_each_others_change(accounts: Accounts, tmp_path: Path) -> None:
    """The agent and the command line write the same file."""
    others = [Accounts(tmp_path) for _ in range(4)]
    threads = [
        threading.Thread(target=one.set_password, args=(f"name{number}", PASSWORD)) for number, one in enumerate(others)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accounts.generations() == {f"name{number}": 1 for number in range(4)}


def test_many_guesses_at_once_are_counted(accounts: Accounts) -> None:
    accounts.set_password("anna", PASSWORD)
    codes: list[str] = []
    threads = [
        threading.Thread(target=lambda: codes.append(refused(lambda: accounts.sign_in("anna", "wrong")).code))
        for _ in range(25)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) <= {"SIGN_IN_REFUSED", "SIGN_IN_WAIT", "LIMIT_REACHED"}
    assert codes.count("SIGN_IN_REFUSED") <= 6


def test_who_guesses_on_the_page_keeps_nobody_from_work_who_is_signed_in(accounts: Accounts) -> None:
    accounts.set_password("anna", PASSWORD)
    for _ in range(6):
        assert refused(lambda: accounts.sign_in("anna", "wrong")).code == "SIGN_IN_REFUSED"
    assert refused(lambda: accounts.sign_in("anna", PASSWORD)).code == "SIGN_IN_WAIT"
    assert accounts.sign_in("anna", PASSWORD, signed_in=True) == 1
    assert asked(accounts, verb="password", name="anna", password=PASSWORD, new="a green whale in the cellar")
    # nor does it help those who guess, and whoever has taken over a session has to wait as well
    assert accounts.sign_in("anna", "a green whale in the cellar") == 2
    for _ in range(6):
        assert refused(lambda: accounts.sign_in("anna", "wrong", signed_in=True)).code == "SIGN_IN_REFUSED"
    again = "a green whale in the cellar"
    assert refused(lambda: accounts.sign_in("anna", again, signed_in=True)).code == "SIGN_IN_WAIT"
    assert refused(lambda: asked(accounts, verb="password", name="anna", password=again, new=PASSWORD)).code == (
        "SIGN_IN_WAIT"
    )
    assert accounts.sign_in("anna", again) == 2


def test_many_guesses_at_once_leave_the_page_its_threads(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts.set_password("anna", PASSWORD)
    go_on = threading.Event()
    errors: list[ClmsError] = []

    class Slow:
        def verify(self, *_: str) -> None:
            assert go_on.wait(20)
            raise InvalidHashError

    def guess(name: str) -> None:
        errors.append(refused(lambda: accounts.sign_in(name, "x")))

    with monkeypatch.context() as patched:
        patched.setattr(accounts, "_hasher", Slow())
        threads = [threading.Thread(target=guess, args=(f"made-up-{number}",)) for number in range(12)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 10
        while len(errors) < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [(error.code, error.values) for error in errors] == [("LIMIT_REACHED", {"seconds": 1})] * 8
    assert accounts.sign_in("anna", PASSWORD, signed_in=True) == 1, "it waits for those who guess"
    go_on.set()
    for thread in threads:
        thread.join()
    assert [error.code for error in errors[8:]] == ["SIGN_IN_REFUSED"] * 4
    assert accounts.sign_in("anna", PASSWORD) == 1, "places are not given back"


def test_made_up_names_do_not_make_a_real_one_forgotten(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_REMEMBERED", 10)
    accounts.set_password("anna", PASSWORD)
    for _ in range(6):
        refused(lambda: accounts.sign_in("anna", "wrong"))
    for number in range(40):
        refused(lambda number=number: accounts.sign_in(f"made-up-{number}", "wrong"))  # type: ignore[misc]
    assert refused(lambda: accounts.sign_in("anna", PASSWORD)).code == "SIGN_IN_WAIT"
    assert len(accounts._strangers._failures) < 40


def test_a_password_that_was_set_anew_on_the_server_counts_at_once(accounts: Accounts, tmp_path: Path) -> None:
    accounts.set_password("anna", PASSWORD)
    for _ in range(6):
        refused(lambda: accounts.sign_in("anna", "wrong"))
    Accounts(tmp_path).set_password("anna", "a green whale in the cellar")  # the command line, in its own process
    assert accounts.sign_in("anna", "a green whale in the cellar") == 2


def test_no_session_comes_back_with_an_account_of_the_same_name(accounts: Accounts) -> None:
    before = accounts.set_password("anna", PASSWORD)
    accounts.remove("anna")
    assert accounts.generations() == {}
    assert accounts.set_up_code(), "nobody can sign in, so the page can be set up"
    assert accounts.set_password("anna", PASSWORD) != before
