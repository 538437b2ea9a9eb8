# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever watches is told what changes, and nobody is asked when nobody watches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.school.watch import Watch, progress

from .conftest import run_of, running


class Asked:
    """Answers what it is told to."""

    def __init__(self) -> None:
        self.count = 0
        self.answer: dict[str, Any] | Exception = status()

    def __call__(self, verb: str) -> dict[str, Any]:
        assert verb == "status"
        self.count += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def status(run: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"current_version": "1.0.0", "running": run, "last_update": run_of()}


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def watch(asked: Asked) -> Watch:
    return Watch(asked, pause=0.01)


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def test_who_comes_is_told_at_once_and_then_what_changes(watch: Watch, asked: Asked) -> None:
    first, second = watch.follow(), watch.follow()
    assert next(first) == next(second) == progress(asked.answer)  # type: ignore[arg-type]
    asked.answer = status(running(percent=31))
    for one in (first, second):
        now = next(one)
        assert now is not None
        assert now["running"]["percent"] == 31
    late = watch.follow()
    assert next(late) == now
    for one in (first, second, late):
        one.close()


def test_who_comes_later_is_told_nothing_that_was_answered_before(watch: Watch, asked: Asked) -> None:
    asked.answer = status(running())
    watch._pause = 3600  # so that nobody asks by itself what has ended meanwhile
    first = watch.follow()
    next(first)
    asked.answer = ended = status()
    late = watch.follow()
    assert next(late) == progress(ended)
    for one in (first, late):
        one.close()


def test_nobody_is_asked_when_nobody_watches(watch: Watch, asked: Asked) -> None:
    following = watch.follow()
    next(following)
    following.close()
    wait_for(lambda: not watch._looking)
    count = asked.count
    time.sleep(0.1)
    assert asked.count == count
    asked.answer = status(running())
    following = watch.follow()
    now = next(following)
    assert now is not None
    assert now["running"] is not None, "it is what was before"
    following.close()


def test_however_many_watch_one_asks(watch: Watch, asked: Asked) -> None:
    followers = [watch.follow() for _ in range(50)]
    for one in followers:
        next(one)
    wait_for(
        lambda: [thread.name for thread in threading.enumerate()].count("watch") == 1
    )  # those of before have ended
    for one in followers:
        one.close()


def test_what_many_see_is_made_once(watch: Watch, asked: Asked) -> None:
    made = []

    def piece(now: dict[str, Any]) -> dict[str, Any]:
        made.append(now)
        return {"made": len(made)}

    followers = [watch.follow() for _ in range(5)]
    assert {watch.as_text("page in de", next(one) or {}, piece) for one in followers} == {'{"made": 1}'}
    asked.answer = status(running(percent=31))
    news = [next(one) or {} for one in followers]
    assert {watch.as_text("page in de", now, piece) for now in news} == {'{"made": 2}'}
    assert {watch.as_text("page in en", now, piece) for now in news} == {'{"made": 3}'}, "it is another language"
    assert made == [progress(status()), *[progress(asked.answer)] * 2]
    for one in followers:
        one.close()


def test_who_watches_is_not_woken_for_nothing(watch: Watch, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    following = watch.follow()
    next(following)
    woken: list[bool] = []
    monkeypatch.setattr(watch._changed, "notify_all", lambda: woken.append(True))
    count = asked.count
    wait_for(lambda: asked.count > count + 5)
    assert not woken
    asked.answer = status(running())
    wait_for(lambda: woken)
    monkeypatch.undo()
    following.close()


@pytest.mark.parametrize(
    ("error", "code"),
    [(ClmsError("AGENT_SILENT", path="/run/x", detail="y"), "AGENT_SILENT"), (ValueError("canary"), "SERVER_FAILED")],
)
def test_what_goes_wrong_is_told_and_ends(watch: Watch, asked: Asked, error: Exception, code: str) -> None:
    asked.answer = error
    following = watch.follow()
    now = next(following)
    assert now is not None
    assert now["error"]["code"] == code
    assert "canary" not in str(now)
    asked.answer = status()
    assert next(following) == progress(asked.answer)
    following.close()


@pytest.mark.parametrize(
    ("changes", "stoppable"),
    [
        ({"phase": "backup"}, True),
        ({"phase": "migrate"}, False),
        ({"phase": "clean_up"}, False),
        ({"phase": None}, True),
        ({"phase": "unheard"}, True),
        ({"phase": "rehearse", "failure": {"code": "X"}}, False),
    ],
)
def test_whether_it_can_be_stopped(changes: dict[str, Any], stoppable: bool) -> None:
    assert progress(status(running(**changes)))["running"]["stoppable"] is stoppable
