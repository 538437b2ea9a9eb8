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
  - Each phase that has ended is shown at once, on standard error, so that a callback plugin for programs has standard
    output for itself. Nothing is shown of O(kind=recover) and of a task with C(no_log).
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
  backup_location:
    description:
      - For O(kind=update), where the backup of the run is kept - V(local) is on the server alone, V(external) is on the
        external drive, too. Without it, V(external) where the description of the school names a drive.
    type: str
    choices: [local, external]
  follow:
    description:
      - Look on at a run instead of beginning one. The action plugin of the same name passes on what the module said
        before in RV(follow); there is no use for it in a playbook.
      - Where it is given, the module does not wait for the end of the run, but returns when there is something new.
    type: dict
    suboptions:
      run:
        description:
          - Number of the run. Without it, one is begun.
        type: int
      lines:
        description:
          - How many lines were shown already.
        type: int
        default: 0
      silent:
        description:
          - For how many seconds nobody has been at work on the run.
        type: float
        default: 0
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
follow:
  description: What to pass on in O(follow) to look on. The action plugin does so, and does not return it.
  returned: when O(follow) is given and the run goes on
  type: dict
  sample: {"run": 12, "lines": 3, "silent": 0.0}
lines:
  description: What is new of the run. The action plugin shows it, and does not return it.
  returned: when O(follow) is given and RV(handed)
  type: list
  elements: str
  sample: ["drain                   1.1 s  Letting requests finish and closing CLMS"]
"""

from dataclasses import asdict
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.adapters.agent_run import AgentRun
from ansible_collections.clms.update.plugins.module_utils.agent_client import is_installed
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.following import News, Seen
from ansible_collections.clms.update.plugins.module_utils.module_end import fail
from ansible_collections.clms.update.plugins.module_utils.school import LOCATIONS


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
            "backup_location": {"type": "str", "choices": list(LOCATIONS)},
            "follow": {
                "type": "dict",
                "options": {
                    "run": {"type": "int"},
                    "lines": {"type": "int", "default": 0},
                    "silent": {"type": "float", "default": 0},
                },
            },
        },
        required_if=[("kind", "restore", ["backup"])],
        supports_check_mode=True,
    )
    options = module.params
    home, socket, follow = Path(options["home"]), Path(options["socket"]), options["follow"]
    # an agent that was told to end listens no longer, and goes on with its run
    seen = Seen(**follow) if follow and follow["run"] else None
    if module.check_mode or (seen is None and (not is_installed(socket) or lock.is_ours(home))):
        module.exit_json(changed=False, handed=False)
    run = AgentRun(home, socket, options["kind"], options["version"])
    asked = {name: options[name] for name in ("version", "backup", "confirm", "backup_location") if options[name]}
    try:
        if seen is not None:
            news = run.follow(seen)
        else:
            news = run.begin(**asked)
            while follow is None and news.ending is None:
                news = run.follow(news.seen)
    except ClmsError as error:
        fail(module, error)
    _end(module, news, {} if follow is None else {"lines": news.lines})


def _end(module: AnsibleModule, news: News, shown: dict[str, list[str]]) -> None:
    if news.ending is None:
        module.exit_json(changed=True, handed=True, follow=asdict(news.seen), **shown)
    run, exit_code = news.ending
    if exit_code != 0:
        said = {"msg": run["message"], "code": run["error_code"], "remedy": run["remedy"]}
        module.fail_json(handed=True, run=run, **said, **shown)
    module.exit_json(changed=run["id"] is not None, handed=True, run=run, **shown)


if __name__ == "__main__":
    main()
