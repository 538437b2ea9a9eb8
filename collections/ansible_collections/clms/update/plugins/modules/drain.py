#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: drain
short_description: Let requests finish and stop the old application
version_added: 0.1.0
description:
  - Makes the new slot's network, volumes and containers while the old version still serves.
  - Then has the gate hold or refuse new requests, waits for those in flight and stops the old application.
  - This is the phase C(drain) of a run that M(clms.update.preflight) has opened; without one it refuses.
author:
  - CLMS Update maintainers (@clms-update)
extends_documentation_fragment:
  - clms.update.run
seealso:
  - module: clms.update.preflight
"""

EXAMPLES = r"""
- name: Let requests finish and stop the old application
  clms.update.drain:
    home: /var/lib/clms-update
    run: "{{ clms_run_id }}"
"""

RETURN = r"""
phase:
  description: Name of the phase.
  returned: success
  type: str
  sample: drain
result:
  description: What the phase found out or did; also kept in the journal.
  returned: success
  type: dict
  contains:
    drained:
      description: Whether all requests in flight ended in time.
      returned: success
      type: bool
      sample: true
"""

from ansible_collections.clms.update.plugins.module_utils.phase_module import main
from ansible_collections.clms.update.plugins.module_utils.phases import drain

if __name__ == "__main__":
    main("drain", drain.work)
