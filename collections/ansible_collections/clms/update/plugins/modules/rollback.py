#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback
short_description: Put a run back that failed before it was committed
version_added: 0.1.0
description:
  - Ends what the run started, starts the old containers on their untouched slot, tests them and opens the gate.
  - A run that has been committed is never put back; it only goes forward.
  - Takes the run over, so that a process of it that was left behind is refused from then on.
  - May be repeated, also after a crash of its own.
author:
  - CLMS Update maintainers (@clms-update)
options:
  home:
    description:
      - Folder on the school server that holds the journal and the runs.
    type: path
    required: true
  run:
    description:
      - Number of the run. V(0) stands for a run that was never opened; there is nothing to put back then.
    type: int
    required: true
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description:
      - Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: none
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
requirements:
  - a Docker engine on the managed node, and the right to use it
  - docker (Python library)
  - PyMySQL (Python library)
"""

EXAMPLES = r"""
- name: Put the run back
  clms.update.rollback:
    home: /var/lib/clms-update
    run: "{{ clms_run_id }}"
  register: rollback
"""

RETURN = r"""
outcome:
  description:
    - How the run ended - V(REFUSED), V(ABORTED), V(ROLLED_BACK), V(NEEDS_OPERATOR) or V(COMPLETED).
    - Null where the run was committed and so is not put back.
  returned: success
  type: str
  sample: ROLLED_BACK
error:
  description: The cause - RV(error.code), RV(error.message), RV(error.remedy) and the phase that failed.
  returned: success
  type: dict
  contains:
    code:
      description: The stable code.
      type: str
      returned: success
    message:
      description: What happened.
      type: str
      returned: success
    remedy:
      description: What to do.
      type: str
      returned: success
    values:
      description: What RV(error.message) and RV(error.remedy) name, by name.
      type: dict
      returned: success
    phase:
      description: The phase that failed.
      type: str
      returned: success
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.module_end import fail, require_libraries
from ansible_collections.clms.update.plugins.module_utils.phases.rollback import put_back


def main() -> None:
    module = AnsibleModule(
        argument_spec={"home": {"type": "path", "required": True}, "run": {"type": "int", "required": True}},
        supports_check_mode=True,
    )
    require_libraries(module)
    if module.params["run"] == 0:
        module.exit_json(changed=False, outcome="REFUSED", error=None)
    try:
        journal = Journal(Path(module.params["home"]))
        try:
            row = journal.row(module.params["run"])
            if module.check_mode:
                module.exit_json(changed=row.outcome is None, outcome=row.outcome, error=row.error)
            module.exit_json(**put_back(journal, module.params["run"]))
        finally:
            journal.close()
    except ClmsError as error:
        fail(module, error)


if __name__ == "__main__":
    main()
