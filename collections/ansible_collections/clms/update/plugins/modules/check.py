#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: check
short_description: Check for updates
version_added: 0.1.0
description:
  - Asks the release server for the newest release of the school's channel and verifies the answer through
    The Update Framework.
author:
  - CLMS Update maintainers (@clms-update)
options:
  school:
    description:
      - The description of the school, which the variables C(clms_*) hold.
    type: dict
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
- name: Check for updates
  clms.update.check:
    school: "{{ clms_description }}"
"""

RETURN = r"""
updateAvailable:
  description: Whether a newer release is available.
  returned: success
  type: bool
  sample: true
currentVersion:
  description: The version that serves.
  returned: success
  type: str
  sample: 1.0.0
latestVersion:
  description: The newest version of the channel.
  returned: success
  type: str
  sample: 1.0.1
updateInfo:
  description: The newer release, or null.
  returned: success
  type: dict
message:
  description: The answer in one sentence.
  returned: success
  type: str
  sample: Version 1.0.1 is available; version 1.0.0 is running.
blocked:
  description: Why the newer release cannot be installed right now, or null.
  returned: success
  type: dict
files:
  description: The vendor's files with releases on this server.
  returned: success
  type: list
  elements: dict
offline:
  description: Why the release server could not be asked, where a file speaks for the release in its place, or null.
  returned: success
  type: dict
newsAgeSeconds:
  description: How long ago the release server was heard of, or null.
  returned: success
  type: int
  sample: 0
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.module_end import fail, require_libraries
from ansible_collections.clms.update.plugins.module_utils.overview import check
from ansible_collections.clms.update.plugins.module_utils.school import parse_school


def main() -> None:
    module = AnsibleModule(argument_spec={"school": {"type": "dict", "required": True}}, supports_check_mode=True)
    require_libraries(module)
    try:
        module.exit_json(changed=False, **check(parse_school(module.params["school"])))
    except ClmsError as error:
        fail(module, error)


if __name__ == "__main__":
    main()
