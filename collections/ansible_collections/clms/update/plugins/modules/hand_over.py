#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: hand_over
short_description: Have a server's own agent do a run, where there is an agent
version_added: 0.1.0
description:
  - Where an agent was installed on the managed node, the run is handed to it and followed to its end. It goes on
    whatever becomes of the controller and of the connection.
  - Where there is none, or where the agent itself has started this play, nothing is done and RV(handed=false).
author:
  - CLMS Update maintainers (@clms-update)
options:
  home:
    description:
      - Folder on the school server that holds the journal and the runs.
    type: path
    required: true
  socket:
    description:
      - Where the agent listens.
    type: path
    default: /run/clms-update/agent.sock
  kind:
    description:
      - What to do.
    type: str
    choices: [update, rollback, restore, backup, recover]
    required: true
  version:
    description:
      - For O(kind=update), the version to update to. Without it, the newest one of the school's channel.
    type: str
  backup:
    description:
      - Name of the backup to restore. Needed for O(kind=restore).
    type: str
  confirm:
    description:
      - For O(kind=rollback) and O(kind=restore), the version to go back to. Needed where that loses writes.
    type: str
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: partial
    details:
      - In check mode nothing is handed over, so that the play itself predicts what would be done.
  diff_mode:
    description:
      - Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: none
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: none
    details:
      - Each call that is handed over is a run of its own.
"""

EXAMPLES = r"""
- name: Have the agent update the school, where there is one
  clms.update.hand_over:
    home: /var/lib/clms-update
    kind: update
  register: clms_handed
"""

RETURN = r"""
handed:
  description: Whether the agent has done the run.
  returned: success
  type: bool
  sample: true
run:
  description: How the run ended, as C(clms-update status --json) shows it in C(last_update).
  returned: when RV(handed)
  type: dict
  sample: {"id": 12, "kind": "update", "version": "1.0.1", "status": "COMPLETED"}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.agent_client import Conversation, is_installed
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.module_end import fail


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "socket": {"type": "path", "default": "/run/clms-update/agent.sock"},
            "kind": {
                "type": "str",
                "choices": ["update", "rollback", "restore", "backup", "recover"],
                "required": True,
            },
            "version": {"type": "str"},
            "backup": {"type": "str"},
            "confirm": {"type": "str"},
        },
        required_if=[("kind", "restore", ["backup"])],
        supports_check_mode=True,
    )
    options = module.params
    socket = Path(options["socket"])
    if module.check_mode or not is_installed(socket) or lock.is_ours(Path(options["home"])):
        module.exit_json(changed=False, handed=False)
    asked = {name: options[name] for name in ("version", "backup", "confirm") if options[name]}
    try:
        conversation = Conversation(socket, {"verb": options["kind"], **asked})
        answer = conversation.wait(None) or {}
        while "exit_code" not in answer:
            answer = conversation.wait(None) or {}
    except ClmsError as error:
        fail(module, error)
    run = answer["run"]
    if answer["exit_code"] != 0:
        said = {"msg": run["message"], "code": run["error_code"], "remedy": run["remedy"]}
        module.fail_json(handed=True, run=run, **said)
    module.exit_json(changed=run["id"] is not None, handed=True, run=run)


if __name__ == "__main__":
    main()
