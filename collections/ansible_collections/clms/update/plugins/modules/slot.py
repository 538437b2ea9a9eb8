#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: slot
short_description: Copy the database and the files to the new slot
version_added: 0.1.0
description:
  - Stops the database cleanly, copies its data directory and starts the copy.
  - A database that was killed or does not say that it shut down is never copied.
  - This is the phase C(slot) of a run that M(clms.update.preflight) has opened; without one it refuses.
author:
  - CLMS Update maintainers (@clms-update)
extends_documentation_fragment:
  - clms.update.run
seealso:
  - module: clms.update.preflight
"""

EXAMPLES = r"""
- name: Copy the database and the files to the new slot
  clms.update.slot:
    home: /var/lib/clms-update
    run: "{{ clms_run_id }}"
"""

RETURN = r"""
phase:
  description: Name of the phase.
  returned: success
  type: str
  sample: slot
result:
  description: What the phase found out or did; also kept in the journal.
  returned: success
  type: dict
  contains:
    seconds:
      description: Seconds that each part took.
      returned: success
      type: dict
      sample: {"stop": 1.0, "copy": 3.2, "start": 0.3}
"""

from ansible_collections.clms.update.plugins.module_utils.phase_module import main
from ansible_collections.clms.update.plugins.module_utils.phases import slot

if __name__ == "__main__":
    main("slot", slot.work)
