# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module `hand_over`, asked again and again while a run goes on: what is new of it is shown at once."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]
    """Have the agent of the managed node begin a run, and follow it."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do the task; the result is the module's, once the run has ended."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        answer = self._ask({"follow": {}, **self._task.args}, variables)
        while True:
            self._show(answer.pop("lines", ()), variables)
            follow = answer.pop("follow", None)
            if follow is None:
                break
            answer = self._look_on(follow, variables)
        result.update(answer)
        return result

    def cleanup(self, force: bool = False) -> None:
        """Remove what was sent. That a lost connection does not allow it must not hide what became of the run."""
        with suppress(AnsibleConnectionFailure):
            super().cleanup(force)

    def _ask(self, options: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(module_args=options, task_vars=variables)
        return answer

    def _look_on(self, follow: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self._ask({**self._task.args, "follow": follow}, variables)
        except AnsibleConnectionFailure as error:
            return {"unreachable": True, **_unseen(follow, error)}
        if answer.get("failed") and "code" not in answer:  # a restart of the server may take the module with it
            answer.update(_unseen(follow, answer.get("msg")))
        return answer

    def _show(self, lines: list[str], variables: dict[str, Any]) -> None:
        if self._task.no_log:
            return
        for line in lines:
            # the managed node may say what it likes, but not to this terminal
            text = "".join(sign if sign.isprintable() else " " for sign in line)
            # standard output may be one JSON object of a callback plugin
            display.display(f"[{variables.get('inventory_hostname')}] {text}", stderr=True)


def _unseen(follow: dict[str, Any], detail: object) -> dict[str, Any]:
    error = ClmsError("RUN_UNSEEN", run=follow["run"], detail=str(detail).rstrip("."))
    return {"msg": error.happened, "code": error.code, "remedy": error.remedy}
