#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_info
short_description: List the backups of CLMS
version_added: 0.1.0
description:
  - Lists the complete backups in a folder, newest first. Backups that are being made, were interrupted or cannot be
    read are left out.
  - Signatures and hashes are not checked here, but before a backup is restored.
options:
  path:
    description:
      - Folder with the backups. One that does not exist holds none.
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
seealso:
  - module: clms.update.phase
author:
  - CLMS Update maintainers (@clms-update)
"""

EXAMPLES = r"""
- name: List the backups
  clms.update.backup_info:
    path: /var/backups/clms
  register: found

- name: Show the name of the newest backup
  ansible.builtin.debug:
    msg: "{{ found.backups[0].id }}"
  when: found.backups | length > 0
"""

RETURN = r"""
backups:
  description: The backups, newest first.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Name of the backup.
      type: str
      sample: 20251104T201530Z-1.0.0-r12
    created:
      description: When it was begun, in UTC.
      type: str
      sample: "2025-11-04T20:15:30Z"
    version:
      description: The version of CLMS that was running.
      type: str
      sample: 1.0.0
    bytes:
      description: Size of its files in bytes, images left out.
      type: int
    proven:
      description: When it was proven by restoring it, in UTC.
      type: str
      sample: "2025-11-04T20:16:02Z"
    path:
      description: Its folder.
      type: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clms.update.plugins.module_utils.adapters.backup_store import backups_in


def main() -> None:
    """List the backups."""
    module = AnsibleModule(argument_spec={"path": {"type": "path", "required": True}}, supports_check_mode=True)
    backups = [summary.as_dict() for summary in backups_in(Path(module.params["path"]))]
    module.exit_json(changed=False, backups=backups)


if __name__ == "__main__":
    main()
