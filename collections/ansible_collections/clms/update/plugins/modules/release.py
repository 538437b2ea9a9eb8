#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Fetch a release's package and check its signatures
version_added: 0.1.0
description:
  - Asks the registry for every image that the release names, by digest.
  - Downloads the release's package from the release server and verifies it through The Update Framework and by its detached GPG signature.
  - This is the phase C(release) of a run that M(clms.update.preflight) has opened; without one it refuses.
author:
  - CLMS Update maintainers (@clms-update)
extends_documentation_fragment:
  - clms.update.run
seealso:
  - module: clms.update.preflight
"""

EXAMPLES = r"""
- name: Fetch a release's package and check its signatures
  clms.update.release:
    home: /var/lib/clms-update
    run: "{{ clms_run_id }}"
"""

RETURN = r"""
phase:
  description: Name of the phase.
  returned: success
  type: str
  sample: release
result:
  description: What the phase found out or did; also kept in the journal.
  returned: success
  type: dict
  contains:
    package:
      description: Path of the verified package.
      returned: success
      type: str
      sample: "/var/lib/clms-update/runs/12/clms-1.0.1.zip"
    signer:
      description: Primary fingerprint of the key that signed the package.
      returned: success
      type: str
      sample: "0123456789ABCDEF0123456789ABCDEF01234567"
"""

from ansible_collections.clms.update.plugins.module_utils.phase_module import main
from ansible_collections.clms.update.plugins.module_utils.phases import release

if __name__ == "__main__":
    main("release", release.work)
