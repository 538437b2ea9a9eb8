#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: migrate
short_description: Run the release's migration on the new slot
version_added: 0.1.0
description:
  - Runs the migration of the release in a one-off container of its own image, on the new slot's database.
  - This is the phase C(migrate) of a run that M(clms.update.preflight) has opened; without one it refuses.
author:
  - CLMS Update maintainers (@clms-update)
extends_documentation_fragment:
  - clms.update.run
seealso:
  - module: clms.update.preflight
"""

EXAMPLES = r"""
- name: Run the release's migration on the new slot
  clms.update.migrate:
    home: /var/lib/clms-update
    run: "{{ clms_run_id }}"
"""

RETURN = r"""
phase:
  description: Name of the phase.
  returned: success
  type: str
  sample: migrate
result:
  description: What the phase found out or did; also kept in the journal.
  returned: success
  type: dict
  contains:
    seconds:
      description: Seconds that the migration took.
      returned: success
      type: float
      sample: 1.6
"""

from ansible_collections.clms.update.plugins.module_utils.phase_module import main
from ansible_collections.clms.update.plugins.module_utils.phases import migrate

if __name__ == "__main__":
    main("migrate", migrate.work)
