# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin `hand_over`: how it follows a run, what it shows, and what it makes of a lost connection."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.clms.update.plugins.action import hand_over as plugin

ARGUMENTS = {"home": "/home", "kind": "update"}
RUN = {"id": 12, "outcome": "COMPLETED"}
FIRST = {"run": 12, "lines": 0, "silent": 0.0}
SECOND = {"run": 12, "lines": 1, "silent": 0.0}


class Action(plugin.ActionModule):
    """The plugin, with what the module answers one time after the other."""

    def __init__(self, *answers: dict[str, Any] | Exception, no_log: bool = False, **arguments: Any) -> None:
        self._task = SimpleNamespace(args={**ARGUMENTS, **arguments}, no_log=no_log)
        self._answers = list(answers)
        self.asked: list[Any] = []

    def _execute_module(self, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(module_args.pop("follow"))
        assert module_args == ARGUMENTS
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What appears on the terminal."""
    lines: list[str] = []

    def display(text: str, *, stderr: bool) -> None:
        assert stderr
        lines.append(text)

    monkeypatch.setattr(ActionBase, "run", lambda self, tmp=None, task_vars=None: {})
    monkeypatch.setattr(plugin.display, "display", display)
    return lines


def result(action: Action) -> dict[str, Any]:
    return action.run(task_vars={"inventory_hostname": "maple"})


def going_on(follow: dict[str, Any], *lines: str) -> dict[str, Any]:
    return {"changed": True, "handed": True, "follow": follow, "lines": list(lines)}


def test_without_an_agent(shown: list[str]) -> None:
    action = Action({"changed": False, "handed": False})
    assert result(action) == {"changed": False, "handed": False}
    assert (action.asked, shown) == ([{}], [])


def test_each_line_is_shown_as_it_comes(shown: list[str]) -> None:
    action = Action(
        going_on(FIRST),
        going_on(SECOND, "drain  1.1 s"),
        going_on(SECOND),
        {"changed": True, "handed": True, "run": RUN, "lines": ["open  0.2 s", "clean_up  3.0 s"]},
    )
    assert result(action) == {"changed": True, "handed": True, "run": RUN}
    assert action.asked == [{}, FIRST, SECOND, SECOND]
    assert shown == ["[maple] drain  1.1 s", "[maple] open  0.2 s", "[maple] clean_up  3.0 s"]


def test_a_run_that_fails(shown: list[str]) -> None:
    failure = {"failed": True, "handed": True, "run": RUN, "msg": "x", "code": "DRAIN_FAILED", "remedy": "y"}
    assert result(Action(going_on(FIRST), {**failure, "lines": ["drain  failed  x"]})) == failure
    assert shown == ["[maple] drain  failed  x"]


def test_a_run_that_is_refused_at_once() -> None:
    failure = {"failed": True, "msg": "x", "code": "RUN_ACTIVE", "remedy": "y"}
    assert result(Action(failure)) == failure


def test_no_log(shown: list[str]) -> None:
    end = {"changed": True, "handed": True, "run": RUN, "lines": ["b"]}
    assert result(Action(going_on(FIRST, "a"), end, no_log=True))["run"] == RUN
    assert shown == []


def test_the_terminal_is_left_alone(shown: list[str]) -> None:
    result(Action(going_on(FIRST, "drain\x1b[2J failed\nß …"), {"handed": True, "run": RUN}))
    assert shown == ["[maple] drain [2J failed ß …"]


def test_a_run_that_somebody_else_has_begun() -> None:
    action = Action({"handed": True, "run": RUN}, follow=FIRST)
    assert result(action) == {"handed": True, "run": RUN}
    assert action.asked == [FIRST]


def test_the_connection_is_lost() -> None:
    answer = result(Action(going_on(FIRST), AnsibleConnectionFailure("Connection timed out.")))
    assert (answer["unreachable"], answer["code"]) == (True, "RUN_UNSEEN")
    assert answer["msg"] == (
        "Run number 12 goes on at the school, but cannot be followed from here: Connection timed out."
    )
    assert "Do not start it again" in answer["remedy"]


def test_cleaning_up_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def cleanup(self: ActionBase, force: bool = False) -> None:
        raise AnsibleConnectionFailure("x")

    monkeypatch.setattr(ActionBase, "cleanup", cleanup)
    Action().cleanup()


def test_the_module_is_killed() -> None:
    answer = result(Action(going_on(FIRST), {"failed": True, "msg": "MODULE FAILURE", "module_stderr": "Killed"}))
    assert (answer["failed"], answer["code"], answer["module_stderr"]) == (True, "RUN_UNSEEN", "Killed")
    assert "goes on at the school" in answer["msg"]
    assert "MODULE FAILURE" in answer["msg"]


def test_the_connection_is_lost_at_the_beginning() -> None:
    """Nothing is known of a run then."""
    with pytest.raises(AnsibleConnectionFailure):
        result(Action(AnsibleConnectionFailure("x")))
