#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: commit
short_description: Make the new slot the valid one
version_added: 0.1.0
description:
  - Writes everything of the new slot to the disk and then the one record that makes it valid.
  - Before the record, every failure ends in the old version; after it, the run only goes forward.
  - This is the phase C(commit) of a run that M(clms.update.preflight) has opened; without one it refuses.
author:
  - CLMS Update maintainers (@clms-update)
extends_documentation_fragment:
  - clms.update.run
seealso:
  - module: clms.update.preflight
"""

EXAMPLES = r"""
- name: Make the new slot the valid one
  clms.update.commit:
    home: /var/lib/clms-update
    run: "{{ clms_run_id }}"
"""

RETURN = r"""
phase:
  description: Name of the phase.
  returned: success
  type: str
  sample: commit
result:
  description: What the phase found out or did; also kept in the journal.
  returned: success
  type: dict
  contains:
    slot:
      description: Name of the slot that serves from now on.
      returned: success
      type: str
      sample: "r12"
"""

from ansible_collections.clms.update.plugins.module_utils.phase_module import main
from ansible_collections.clms.update.plugins.module_utils.phases import commit

if __name__ == "__main__":
    main("commit", commit.work)
