#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase
short_description: Carry out one phase of an open run
version_added: 0.1.0
description:
  - Carries out the named phase of a run that M(clms.update.preflight) has opened. The roles of the same names call it.
  - Refuses unless the run is open and this phase is due, so that no phase can be skipped or done twice.
  - Where the managed node is the controller itself (connection local, as a school's own agent uses it), the phase runs
    inside Ansible's own process. Starting a module takes half a second, which would be spent while CLMS is closed.
author:
  - CLMS Update maintainers (@clms-update)
extends_documentation_fragment:
  - clms.update.run
options:
  name:
    description:
      - The phase.
      - V(release) fetches the release's package and checks its signatures; V(image_pull) pulls the images by digest;
        V(backup) makes a backup and proves it by restoring it; V(rehearse) rehearses the update on the restored copy.
      - V(drain) closes CLMS and stops the old application; V(slot) copies the data to a new slot; V(migrate) converts
        them; V(container_replace) starts the new version; V(health_check) tests it.
      - V(commit) makes the new slot the valid one; V(open) lets the users in; V(clean_up) tidies up.
    type: str
    required: true
    choices:
      - release
      - image_pull
      - backup
      - rehearse
      - drain
      - slot
      - migrate
      - container_replace
      - health_check
      - commit
      - open
      - clean_up
seealso:
  - module: clms.update.preflight
  - module: clms.update.rollback
"""

EXAMPLES = r"""
- name: Pull every image of the release by digest
  clms.update.phase:
    name: image_pull
    home: /var/lib/clms-update
    run: "{{ clms_run_id }}"
"""

RETURN = r"""
phase:
  description: Name of the phase.
  returned: success
  type: str
  sample: image_pull
result:
  description: What the phase found out or did; also kept in the journal. The keys differ from phase to phase.
  returned: success
  type: dict
  sample: {"pulled": [], "present": ["registry.example.org/clms/backend@sha256:0000"]}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clms.update.plugins.module_utils.module_end import require_libraries
from ansible_collections.clms.update.plugins.module_utils.phases import ARGUMENTS, carry_out


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    require_libraries(module)
    answer = carry_out(module.params, check_mode=module.check_mode)
    if "code" in answer:
        module.fail_json(**answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
