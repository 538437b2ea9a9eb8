#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: backup
short_description: Back up CLMS and prove the backup by restoring it
version_added: 0.1.0
description:
  - Dumps the database consistently while users go on working, and packs uploaded files, configuration and
    database accounts. Everything is compressed and encrypted to the server's own key and to the recovery key;
    no plaintext is written to a disk.
  - Restores the dump into a throwaway database of the same image on a network of its own, and compares the rows
    of every table and the schema with what was dumped. A backup that does not pass is removed and the module fails.
  - The manifest with the hashes of all files is signed.
  - Where the school's description names an external drive, a second copy is made there. That it cannot be made is
    a warning, no failure.
  - This is the phase C(backup) of a run that M(clms.update.preflight) has opened; without one it refuses.
extends_documentation_fragment:
  - clms.update.run
requirements:
  - age
  - zstd
  - tar
  - cryptography (Python library)
seealso:
  - module: clms.update.preflight
  - module: clms.update.backup_info
author:
  - CLMS Update maintainers (@clms-update)
"""

EXAMPLES = r"""
- name: Back up CLMS within a run
  clms.update.backup:
    home: /var/lib/clms-update
    run: "{{ clms_run_id }}"
"""

RETURN = r"""
phase:
  description: The phase that was carried out.
  returned: success
  type: str
  sample: backup
result:
  description: What was made; empty in check mode.
  returned: success
  type: dict
  contains:
    backup:
      description: Name of the backup.
      type: str
      sample: 20251104T201530Z-1.0.0-r12
    path:
      description: Its folder.
      type: str
      sample: /var/backups/clms/20251104T201530Z-1.0.0-r12
    bytes:
      description: Size of its files in bytes, images left out.
      type: int
    tables:
      description: How many tables were backed up.
      type: int
    rows:
      description: How many rows they have together.
      type: int
    seconds:
      description: How long each part took.
      type: dict
      sample: {"dump": 2.1, "files": 0.3, "images": 0.0, "restore": 5.4, "start": 0.4}
    locked_seconds:
      description: How long users who wanted to save something had to wait, in seconds.
      type: float
      sample: 0.05
    external:
      description: Folder of the second copy; null where there is none.
      type: str
    warnings:
      description: What a person should look at although the backup is good.
      type: list
      elements: str
code:
  description: Stable code of the error, such as V(BACKUP_UNPROVEN).
  returned: failure
  type: str
remedy:
  description: What to do about it.
  returned: failure
  type: str
"""

from ansible_collections.clms.update.plugins.module_utils.backup_manifest import HAS_CRYPTOGRAPHY
from ansible_collections.clms.update.plugins.module_utils.phase_module import main
from ansible_collections.clms.update.plugins.module_utils.phases import backup

if __name__ == "__main__":
    main("backup", backup.work, cryptography=HAS_CRYPTOGRAPHY)
