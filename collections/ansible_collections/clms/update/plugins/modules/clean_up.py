#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: clean_up
short_description: Tidy up after a run
version_added: 0.1.0
description:
  - Deletes old backups by retention, never below two, and images that no slot needs.
  - Writes the run's report. The slot before this one is kept until the next run.
  - This is the phase C(clean_up) of a run that M(clms.update.preflight) has opened; without one it refuses.
author:
  - CLMS Update maintainers (@clms-update)
extends_documentation_fragment:
  - clms.update.run
seealso:
  - module: clms.update.preflight
"""

EXAMPLES = r"""
- name: Tidy up after a run
  clms.update.clean_up:
    home: /var/lib/clms-update
    run: "{{ clms_run_id }}"
"""

RETURN = r"""
phase:
  description: Name of the phase.
  returned: success
  type: str
  sample: clean_up
result:
  description: What the phase found out or did; also kept in the journal.
  returned: success
  type: dict
  contains:
    backups:
      description: Backups that were deleted.
      returned: success
      type: list
      elements: raw
      sample: []
    images:
      description: Images that were deleted.
      returned: success
      type: list
      elements: raw
      sample: []
    problems:
      description: What could not be deleted, and why.
      returned: success
      type: list
      elements: raw
      sample: []
"""

from ansible_collections.clms.update.plugins.module_utils.phase_module import main
from ansible_collections.clms.update.plugins.module_utils.phases import clean_up

if __name__ == "__main__":
    main("clean_up", clean_up.work)
