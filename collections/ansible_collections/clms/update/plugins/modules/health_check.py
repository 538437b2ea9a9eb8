#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: health_check
short_description: Test the new version
version_added: 0.1.0
description:
  - Waits until every service of the new version is healthy and the database takes logins.
  - Runs the smoke steps that only read.
  - This is the phase C(health_check) of a run that M(clms.update.preflight) has opened; without one it refuses.
author:
  - CLMS Update maintainers (@clms-update)
extends_documentation_fragment:
  - clms.update.run
seealso:
  - module: clms.update.preflight
"""

EXAMPLES = r"""
- name: Test the new version
  clms.update.health_check:
    home: /var/lib/clms-update
    run: "{{ clms_run_id }}"
"""

RETURN = r"""
phase:
  description: Name of the phase.
  returned: success
  type: str
  sample: health_check
result:
  description: What the phase found out or did; also kept in the journal.
  returned: success
  type: dict
  contains:
    healthy:
      description: Seconds until each service was healthy.
      returned: success
      type: dict
      sample: {"backend": 0.8}
    smoke:
      description: Name and seconds of each smoke step.
      returned: success
      type: list
      elements: raw
      sample: [{"name": "login", "seconds": 0.1}]
"""

from ansible_collections.clms.update.plugins.module_utils.phase_module import main
from ansible_collections.clms.update.plugins.module_utils.phases import health_check

if __name__ == "__main__":
    main("health_check", health_check.work)
