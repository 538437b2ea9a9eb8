#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: open
short_description: Let the users in to the committed slot
version_added: 0.1.0
description:
  - Gives the committed containers their way out and their restart policies, and points the gate at them.
  - Writes the version row in the CLMS database.
  - This is the phase C(open) of a run that M(clms.update.preflight) has opened; without one it refuses.
author:
  - CLMS Update maintainers (@clms-update)
extends_documentation_fragment:
  - clms.update.run
seealso:
  - module: clms.update.preflight
"""

EXAMPLES = r"""
- name: Let the users in to the committed slot
  clms.update.open:
    home: /var/lib/clms-update
    run: "{{ clms_run_id }}"
"""

RETURN = r"""
phase:
  description: Name of the phase.
  returned: success
  type: str
  sample: open
result:
  description: What the phase found out or did; also kept in the journal.
  returned: success
  type: dict
  contains:
    version_row:
      description: Whether CLMS has a place for its version and it was written.
      returned: success
      type: bool
      sample: true
"""

from ansible_collections.clms.update.plugins.module_utils.phase_module import main
from ansible_collections.clms.update.plugins.module_utils.phases import open

if __name__ == "__main__":
    main("open", open.work)
