#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: gate
short_description: Install or remove the gate in front of CLMS
version_added: 0.1.0
description:
  - The gate is an HAProxy container that owns every published port of CLMS.
  - A new gate is closed - it shows the maintenance page - until a run opens it to a slot.
  - A gate whose image, address or ports are to be others is made anew, which takes about a second in which CLMS cannot
    be reached; anything else it takes up without a gap. While a run is going on it is left alone.
author:
  - CLMS Update maintainers (@clms-update)
options:
  school:
    description:
      - The description of the school, which the variables C(clms_*) hold.
    type: dict
    required: true
  state:
    description:
      - Whether the gate is to be there.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description:
      - Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: full
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
requirements:
  - a Docker engine on the managed node, and the right to use it
  - docker (Python library)
"""

EXAMPLES = r"""
- name: Install the gate
  clms.update.gate:
    school: "{{ clms_description }}"
"""

RETURN = r"""
container:
  description: Name of the gate's container.
  returned: success
  type: str
  sample: clms-gate
differences:
  description: In what the gate was not as it is described.
  returned: success
  type: list
  elements: str
  sample: ["ports is 80 instead of 80, 443"]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clms.update.plugins.module_utils.adapters import gate_container
from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.module_end import fail, require_libraries
from ansible_collections.clms.update.plugins.module_utils.school import parse_school


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "school": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    require_libraries(module)
    present = module.params["state"] == "present"
    try:
        school = parse_school(module.params["school"])
        found = gate_container.converge(school, Engine(), present=present, check_mode=module.check_mode)
        module.exit_json(
            changed=bool(found),
            container=school.gate.container,
            differences=[str(difference) for difference in found],
            diff={
                "before": {difference.name: difference.current for difference in found},
                "after": {difference.name: difference.desired for difference in found},
            },
        )
    except ClmsError as error:
        fail(module, error)


if __name__ == "__main__":
    main()
