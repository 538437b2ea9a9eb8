# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page keeps of the agent's answers, and when it does not count any more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.school import agent as agent_module
from webui.school.agent import Agent


class Asked(Agent):
    """Answers with how often it was asked."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.count = 0
        self.version = "1.0.0"
        self.meanwhile: Callable[[str], None] = lambda verb: None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.count += 1
        self.meanwhile(request["verb"])
        return {"count": self.count, "current_version": self.version}


@pytest.fixture
def asked() -> Asked:
    agent = Asked()
    agent.ask("status")
    return agent


def test_an_answer_is_kept_for_some_seconds(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(agent_module.time, "monotonic", lambda: now[0])
    assert [asked.ask_kept("release")["count"] for _ in range(3)] == [2, 2, 2]
    assert asked.ask_kept("school")["count"] == 3
    now[0] += 5.1
    assert asked.ask_kept("release")["count"] == 4


@pytest.mark.parametrize("verb", ["check", "postpone", "import", "change", "update", "sign_in", "something new"])
def test_after_what_may_change_anything_it_is_asked_for_anew(asked: Asked, verb: str) -> None:
    asked.ask_kept("release")
    asked.ask(verb)
    assert asked.ask_kept("release")["count"] == asked.count == 4
    assert asked.kept("release")["count"] == 4


def test_also_where_that_has_failed(asked: Asked) -> None:
    def fail(verb: str) -> None:
        if verb == "check":
            raise ClmsError("AGENT_SILENT", path="x", detail="y")

    asked.meanwhile = fail
    asked.ask_kept("release")
    with pytest.raises(ClmsError):
        asked.ask("check")
    assert asked.ask_kept("release")["count"] == 4


@pytest.mark.parametrize("verb", ["status", "list", "health", "loss"])
def test_reading_changes_nothing(asked: Asked, verb: str) -> None:
    asked.ask_kept("release")
    asked.ask(verb)
    assert asked.ask_kept("release")["count"] == 2


def test_what_is_new_depends_on_what_runs(asked: Asked) -> None:
    asked.ask_kept("release")
    asked.version = "1.0.1"
    asked.ask("status")
    assert asked.ask_kept("release")["count"] == 4


def test_an_answer_from_before_a_change_is_not_kept(asked: Asked) -> None:
    def check(verb: str) -> None:
        if verb == "release" and asked.count == 2:
            asked.ask("check")

    asked.meanwhile = check
    asked.ask_kept("release")
    assert asked.kept("release"), "it is the last that was said"
    assert asked.ask_kept("release")["count"] == 4


def test_who_waits_for_one_answer_keeps_nobody_from_another(asked: Asked) -> None:
    """And those who want the same ask once."""
    silent, go_on = threading.Event(), threading.Event()

    def wait(verb: str) -> None:
        if verb == "school":
            silent.set()
            assert go_on.wait(10)

    asked.meanwhile = wait
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(asked.ask_kept("school")["count"])) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert silent.wait(10)
    assert asked.ask_kept("accounts")["count"] == 3
    asked.forget()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(answers) == 3
