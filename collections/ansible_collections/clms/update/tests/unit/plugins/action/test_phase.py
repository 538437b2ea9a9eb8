# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin `phase`: what it carries out itself, and what it sends to the managed node."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.clms.update.plugins.action import phase as plugin

ARGUMENTS = {"name": "backup", "home": "/home", "run": 2}


class Action(plugin.ActionModule):
    """The plugin, in a task that is described by what matters of it."""

    def __init__(
        self,
        transport: str = "local",
        become: bool = False,
        become_user: str | None = None,
        environment: list[Any] | None = None,
        check_mode: bool = False,
    ) -> None:
        self._connection = SimpleNamespace(transport=transport)
        self._task = SimpleNamespace(
            become=become, become_user=become_user, environment=environment, check_mode=check_mode, args=ARGUMENTS
        )

    def validate_argument_spec(self, argument_spec: dict[str, Any]) -> tuple[None, dict[str, Any]]:
        assert set(argument_spec) == set(ARGUMENTS)
        return None, ARGUMENTS

    def _execute_module(self, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        return {"sent": True}


@pytest.fixture(autouse=True)
def ansible(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ansible does before a plugin's own work."""
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp=None, task_vars=None: {})


HERE = [
    pytest.param({}, 0, True, id="this machine"),
    pytest.param({"transport": "ansible.builtin.local"}, 0, True, id="by its full name"),
    pytest.param({"become": True}, 0, True, id="as root already"),
    pytest.param({"become": True, "become_user": "root"}, 0, True, id="root by name"),
    pytest.param({"become_user": "nobody"}, 0, True, id="a user that is not used"),
    pytest.param({"environment": []}, 0, True, id="no environment"),
    pytest.param({"environment": [{}, {}]}, 0, True, id="empty environments"),
    pytest.param({"transport": "ssh"}, 0, False, id="another machine"),
    pytest.param({"become": True, "become_user": "nobody"}, 0, False, id="another user"),
    pytest.param({}, 1000, False, id="not as root"),
    pytest.param({"environment": [{"DOCKER_HOST": "tcp://x"}]}, 0, False, id="environment"),
    pytest.param({"environment": [{}, {"A": "1"}]}, 0, False, id="environment of a block"),
    pytest.param({"environment": ["{{ proxies }}"]}, 0, False, id="environment by a variable"),
]


@pytest.mark.parametrize(("task", "user", "here"), HERE)
def test_where_a_phase_is_carried_out(
    monkeypatch: pytest.MonkeyPatch, task: dict[str, Any], user: int, here: bool
) -> None:
    monkeypatch.setattr(plugin.os, "geteuid", lambda: user)
    monkeypatch.setattr(plugin, "carry_out", lambda options, check_mode: {"changed": True, "phase": options["name"]})
    answer = Action(**task).run()
    assert answer == ({"changed": True, "phase": "backup", "failed": False} if here else {"sent": True})


@pytest.mark.parametrize("check_mode", [True, False])
def test_the_options_are_handed_over(monkeypatch: pytest.MonkeyPatch, check_mode: bool) -> None:
    seen: list[Any] = []

    def carry_out(options: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
        seen.append((options, check_mode))
        return {"changed": True}

    monkeypatch.setattr(plugin.os, "geteuid", lambda: 0)
    monkeypatch.setattr(plugin, "carry_out", carry_out)
    Action(check_mode=check_mode).run()
    assert seen == [(ARGUMENTS, check_mode)]


def test_a_phase_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = {"changed": True, "phase": "backup", "msg": "x", "code": "BACKUP_FAILED", "remedy": "y"}
    monkeypatch.setattr(plugin.os, "geteuid", lambda: 0)
    monkeypatch.setattr(plugin, "carry_out", lambda options, check_mode: failure)
    assert Action().run() == {**failure, "failed": True}
