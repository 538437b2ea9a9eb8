# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module `phase`, without the cost of starting it where the managed node is this very machine.

Ansible packs, sends, unpacks and compiles a module for each task, which takes half a second; an update has seven
tasks while CLMS is closed. See docs/decisions/0005.
"""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase

# imported by Ansible's main process as well, so that the processes of the tasks start with it
from ansible_collections.clms.update.plugins.module_utils.phases import ARGUMENTS, carry_out, load_all

load_all()


class ActionModule(ActionBase):  # type: ignore[misc]
    """Carry out a phase here, or send the module to the managed node."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do the task; the result is the module's."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        if not self._is_here():
            result.update(self._execute_module(task_vars=task_vars))
            return result
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        answer = carry_out(options, check_mode=self._task.check_mode)
        result.update(answer, failed="code" in answer)
        return result

    def _is_here(self) -> bool:
        """Whether the module would run on this machine, as this user and in this environment."""
        local = self._connection.transport in ("local", "ansible.builtin.local")
        become = self._task.become and self._task.become_user not in (None, "root")
        return local and not become and not any(self._task.environment or ()) and os.geteuid() == 0
