# SPDX-License-Identifier: GPL-3.0-or-later
"""Idempotency keys: what a second request is told."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest

from agent import once as module
from agent.once import KEPT_SECONDS, Once
from agent.protocol import parse
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

BODY, OTHER = "a" * 64, "b" * 64


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def once(tmp_path: Path, clock: Clock) -> Once:
    return Once(tmp_path, clock=clock)


def ask(once: Once, key: str = "k", body: str = BODY, name: str = "anna", **more: object) -> object:
    fields = {"verb": "once", "name": name, "key": key, "body": body, **more}
    try:
        return once.answer(parse(json.dumps(fields).encode()))["answer"]
    except ClmsError as error:
        return error.code


def test_the_second_request_is_told_what_the_first_was(once: Once, tmp_path: Path) -> None:
    assert ask(once) is None
    assert ask(once) == "KEY_ACTIVE"
    assert ask(once, answer=json.dumps({"success": True})) is None
    assert ask(once) == {"success": True}
    assert ask(once, body=OTHER) == "KEY_REUSED"
    assert stat.S_IMODE((tmp_path / "once.db").stat().st_mode) == 0o600


def test_it_outlives_the_page_and_the_agent(once: Once, tmp_path: Path, clock: Clock) -> None:
    ask(once)
    ask(once, key="cut off")
    ask(once, answer="{}")
    again = Once(tmp_path, clock=clock)
    assert ask(again) == {}
    assert ask(again, key="cut off") == "KEY_ACTIVE"


def test_keys_are_those_of_an_account(once: Once) -> None:
    ask(once)
    ask(once, answer="{}")
    assert ask(once, name="bert") is None


def test_a_refused_request_frees_its_key_and_an_answered_one_does_not(once: Once) -> None:
    ask(once)
    ask(once, free=True)
    assert ask(once, body=OTHER) is None
    ask(once, body=OTHER, answer="{}")
    ask(once, body=OTHER, free=True)
    assert ask(once, body=OTHER) == {}


@pytest.mark.parametrize(("seconds", "kept"), [(KEPT_SECONDS - 1, True), (KEPT_SECONDS + 1, False), (-90_000, False)])
def test_for_24_hours(once: Once, clock: Clock, seconds: float, kept: bool) -> None:
    """Of a clock that is put back by more than that, what was written to come does not stay for ever."""
    ask(once)
    ask(once, answer="{}")
    clock.now += seconds
    assert ask(once) == ({} if kept else None)


def test_of_many_at_once_one_begins(once: Once) -> None:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(ask(once))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found.count(None), found.count("KEY_ACTIVE")) == (1, 15)


def test_there_is_an_end_to_them(once: Once, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    assert [ask(once, key=f"k{number}") for number in range(4)] == [None, None, None, "LIMIT_REACHED"]
    assert ask(once, key="k0", name="bert") is None
    with pytest.raises(ClmsError) as caught:
        once.begin("anna", "more", BODY)
    assert caught.value.values["seconds"] == KEPT_SECONDS + 1


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"x" * 5000])
def test_a_broken_file_gives_way(once: Once, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "once.db").write_bytes(content)
    assert ask(once) is None
    assert ask(once) == "KEY_ACTIVE"


def test_where_nothing_can_be_written_nothing_is_begun(tmp_path: Path) -> None:
    (tmp_path / "once.db").mkdir()
    assert ask(Once(tmp_path)) == "KEYS_STORE"
