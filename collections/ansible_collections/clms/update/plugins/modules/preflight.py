#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Open a run, or refuse it before anything is touched
version_added: 0.1.0
description:
  - Takes the school's lock, opens a run in the journal and checks everything that the run depends on - the way from
    the running version to the wanted one, free space on every mount, the engine, the database and its settings,
    the gate, the files with secrets and the backup place.
  - M(clms.update.phase) needs the number of the run that this one returns.
author:
  - CLMS Update maintainers (@clms-update)
options:
  school:
    description:
      - The description of the school, which the variables C(clms_*) hold; see the argument specification of the role
        P(clms.update.preflight#role).
    type: dict
    required: true
  kind:
    description:
      - What to do. V(reinstall) sets a school up from a backup on a server where nothing is installed.
    type: str
    choices: [install, update, rollback, restore, backup, reinstall]
    default: update
  version:
    description:
      - Version to install or to update to. Without it, the newest one of the school's channel.
    type: str
  backup:
    description:
      - Name of the backup to restore. Needed for O(kind=restore) and O(kind=reinstall).
    type: str
  confirm:
    description:
      - For O(kind=rollback) and O(kind=restore), the version to go back to. Needed where that loses writes.
    type: str
  backup_location:
    description:
      - Where the backup of the run is kept - V(local) is on the server alone, V(external) is on the external drive,
        too. Without it, V(external) where the description of the school names a drive.
    type: str
    choices: [local, external]
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - In check mode all checks are made, but no run is opened.
  diff_mode:
    description:
      - Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: none
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: none
    details:
      - Each call opens a run of its own; while one is open, a second one is refused.
requirements:
  - a Docker engine on the managed node, and the right to use it
  - docker (Python library)
  - PyMySQL (Python library)
  - tuf (Python library)
"""

EXAMPLES = r"""
- name: Open the run of an update to the newest version
  clms.update.preflight:
    school: "{{ clms_description }}"
  register: preflight
"""

RETURN = r"""
run:
  description: Number of the run. V(0) where the version is already running, so that there is nothing to do.
  returned: success, outside check mode
  type: int
  sample: 12
kind:
  description: V(update_images) where the release has no migration, else the kind that was asked for.
  returned: success
  type: str
  sample: update
version:
  description: The version that the run leads to.
  returned: success
  type: str
  sample: 1.0.1
phases:
  description: The phases of the run in their order.
  returned: success
  type: list
  elements: str
  sample: [preflight, release, image_pull]
arithmetic:
  description: What space the run needs and what is free, a line for each mount.
  returned: success
  type: list
  elements: str
  sample: ["on /: images 300 MB + reserve 537 MB = 837 MB needed, 80.0 GB free"]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.module_end import fail, require_libraries
from ansible_collections.clms.update.plugins.module_utils.phases import preflight
from ansible_collections.clms.update.plugins.module_utils.school import LOCATIONS


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "school": {"type": "dict", "required": True},
            "kind": {
                "type": "str",
                "choices": ["install", "update", "rollback", "restore", "backup", "reinstall"],
                "default": "update",
            },
            "version": {"type": "str"},
            "backup": {"type": "str"},
            "confirm": {"type": "str"},
            "backup_location": {"type": "str", "choices": list(LOCATIONS)},
        },
        required_if=[("kind", "restore", ["backup"]), ("kind", "reinstall", ["backup"])],
        supports_check_mode=True,
    )
    require_libraries(module)
    asked = ("kind", "version", "backup", "confirm", "backup_location")
    request = preflight.Request(**{name: module.params[name] for name in asked})
    try:
        if module.check_mode:
            seen = preflight.look(module.params["school"], request)
            module.exit_json(changed=bool(seen["phases"]), **seen)
        begun = preflight.begin(module.params["school"], request)
        module.exit_json(changed=begun["run"] != 0, **begun)
    except ClmsError as error:
        fail(module, error)


if __name__ == "__main__":
    main()
