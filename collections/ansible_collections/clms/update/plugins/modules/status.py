#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: status
short_description: Read what runs at a school and how its last run ended
version_added: 0.1.0
description:
  - Reads the journal and the local store of trusted metadata. Asks nobody outside and changes nothing.
author:
  - CLMS Update maintainers (@clms-update)
options:
  home:
    description:
      - Folder on the school server that holds the journal and the runs.
    type: path
    required: true
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full

  diff_mode:
    description:
      - Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: none
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
requirements:
  - docker (Python library)
  - PyMySQL (Python library)
  - tuf (Python library)
"""

EXAMPLES = r"""
- name: Read what runs at a school and how its last run ended
  clms.update.status:
    home: /var/lib/clms-update
"""

RETURN = r"""
current_version:
  description: The version that serves, or null where CLMS is not installed.
  returned: success
  type: str
  sample: 1.0.1
latest_version:
  description: The newest version of the channel, as last heard of.
  returned: success
  type: str
  sample: 1.0.2
news_age_seconds:
  description: Seconds since the release server was last heard of.
  returned: success
  type: int
  sample: 3600
news_expired:
  description: Whether that is too long ago to rely on; the vendor says for how long news counts.
  returned: success
  type: bool
running:
  description: The run that is going on, or null.
  returned: success
  type: dict
last_update:
  description: The last run that changed the version, or null.
  returned: success
  type: dict
backups:
  description: Number of backups.
  returned: success
  type: int
  sample: 3
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.module_end import fail, require_libraries
from ansible_collections.clms.update.plugins.module_utils.overview import status


def main() -> None:
    module = AnsibleModule(argument_spec={"home": {"type": "path", "required": True}}, supports_check_mode=True)
    require_libraries(module)
    try:
        module.exit_json(changed=False, **status(Path(module.params["home"])))
    except ClmsError as error:
        fail(module, error)


if __name__ == "__main__":
    main()
