#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: recover
short_description: Put a school back in order after an interrupted run
version_added: 0.1.0
description:
  - A run that was interrupted before its commit record is put back; after it, the run is finished.
  - A journal that cannot be read is kept aside, in a folder of its own beside it. The slot that the gate's file names
    serves then, or the one of the last commit, and a new journal begins with it.
  - Does nothing where no run was interrupted, and refuses while one is going on.
author:
  - CLMS Update maintainers (@clms-update)
options:
  home:
    description:
      - Folder on the school server that holds the journal and the runs.
    type: path
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
  - docker (Python library)
  - PyMySQL (Python library)
  - tuf (Python library)
"""

EXAMPLES = r"""
- name: Put a school back in order after an interrupted run
  clms.update.recover:
    home: /var/lib/clms-update
"""

RETURN = r"""
outcome:
  description: How the interrupted run ended, or null where there was none.
  returned: success
  type: str
  sample: ROLLED_BACK
message:
  description: What was decided and where the old journal is kept, where the journal could not be read.
  returned: when the journal could not be read
  type: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.module_end import fail, require_libraries
from ansible_collections.clms.update.plugins.module_utils.phases.recover import is_needed, recover


def main() -> None:
    module = AnsibleModule(argument_spec={"home": {"type": "path", "required": True}}, supports_check_mode=True)
    require_libraries(module)
    try:
        if module.check_mode:
            module.exit_json(changed=is_needed(Path(module.params["home"])), outcome=None)
        module.exit_json(**recover(Path(module.params["home"])))
    except ClmsError as error:
        fail(module, error)


if __name__ == "__main__":
    main()
