#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: rehearse
short_description: Rehearse the update on the restored backup
version_added: 0.1.0
description:
  - Tests the running version on a copy of the data (the baseline), runs the new release's migration on it and tests the new version.
  - All of it happens on a network of its own from which the live database cannot be reached.
  - This is the phase C(rehearse) of a run that M(clms.update.preflight) has opened; without one it refuses.
author:
  - CLMS Update maintainers (@clms-update)
extends_documentation_fragment:
  - clms.update.run
seealso:
  - module: clms.update.preflight
"""

EXAMPLES = r"""
- name: Rehearse the update on the restored backup
  clms.update.rehearse:
    home: /var/lib/clms-update
    run: "{{ clms_run_id }}"
"""

RETURN = r"""
phase:
  description: Name of the phase.
  returned: success
  type: str
  sample: rehearse
result:
  description: What the phase found out or did; also kept in the journal.
  returned: success
  type: dict
  contains:
    migration_seconds:
      description: Seconds that the migration took on the copy.
      returned: success
      type: float
      sample: 1.7
"""

from ansible_collections.clms.update.plugins.module_utils.phase_module import main
from ansible_collections.clms.update.plugins.module_utils.phases import rehearse

if __name__ == "__main__":
    main("rehearse", rehearse.work)
