#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: image_pull
short_description: Pull every image of the release by digest
version_added: 0.1.0
description:
  - Pulls the images that are not on the server yet, by digest, with retries.
  - Compares the layers of every image with the signed ones.
  - This is the phase C(image_pull) of a run that M(clms.update.preflight) has opened; without one it refuses.
author:
  - CLMS Update maintainers (@clms-update)
extends_documentation_fragment:
  - clms.update.run
seealso:
  - module: clms.update.preflight
"""

EXAMPLES = r"""
- name: Pull every image of the release by digest
  clms.update.image_pull:
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
  description: What the phase found out or did; also kept in the journal.
  returned: success
  type: dict
  contains:
    pulled:
      description: References of the images that were pulled.
      returned: success
      type: list
      elements: raw
      sample: ["registry.example.org/clms/backend@sha256:0000"]
    present:
      description: References of the images that were on the server already.
      returned: success
      type: list
      elements: raw
      sample: []
"""

from ansible_collections.clms.update.plugins.module_utils.phase_module import main
from ansible_collections.clms.update.plugins.module_utils.phases import image_pull

if __name__ == "__main__":
    main("image_pull", image_pull.work)
