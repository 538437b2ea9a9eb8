#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: container_replace
short_description: Start the containers of the new version
version_added: 0.1.0
description:
  - Starts the new version's containers on the new slot.
  - They reach nobody outside the server, and nobody outside reaches them, before the run is committed.
  - This is the phase C(container_replace) of a run that M(clms.update.preflight) has opened; without one it refuses.
author:
  - CLMS Update maintainers (@clms-update)
extends_documentation_fragment:
  - clms.update.run
seealso:
  - module: clms.update.preflight
"""

EXAMPLES = r"""
- name: Start the containers of the new version
  clms.update.container_replace:
    home: /var/lib/clms-update
    run: "{{ clms_run_id }}"
"""

RETURN = r"""
phase:
  description: Name of the phase.
  returned: success
  type: str
  sample: container_replace
result:
  description: What the phase found out or did; also kept in the journal.
  returned: success
  type: dict
  contains:
    containers:
      description: Names of the containers that were started.
      returned: success
      type: list
      elements: raw
      sample: ["clms-backend-r12", "clms-frontend-r12"]
"""

from ansible_collections.clms.update.plugins.module_utils.phase_module import main
from ansible_collections.clms.update.plugins.module_utils.phases import container_replace

if __name__ == "__main__":
    main("container_replace", container_replace.work)
