#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_info
short_description: Ask an image registry for tags and digests
version_added: 0.1.0
description:
  - Asks a registry, through the Docker Registry HTTP API v2 and only over HTTPS, which tags a repository has, which of
    them is the newest version and what a tag or a digest stands for.
  - An image that is asked for by digest is verified. Its manifest is hashed by the module,
    and on request the digest of the image configuration is compared with a signed one.
author:
  - CLMS Update maintainers (@clms-update)
options:
  registry:
    description:
      - Host name of the registry, with a port where it is not 443.
    type: str
    required: true
  repository:
    description:
      - Path of the repository in the registry.
    type: str
    required: true
  reference:
    description:
      - A digest such as V(sha256:…) or a tag. Without it only O(repository)'s tags are returned.
      - A tag can be moved to another image at any time; only a digest says which image it is.
    type: str
  config:
    description:
      - Digest of the image configuration that O(reference), which must be a digest, has to name.
    type: str
  credentials_file:
    description:
      - File on the managed node with the login, C({"username":"…","password":"…"}).
      - It must belong to the user who runs the module, or to root, and be readable for its owner only.
    type: path
  ca_file:
    description:
      - PEM file on the managed node with the only certificate authorities to trust.
      - Without it, those of the system are trusted.
    type: path
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - The module changes nothing.
  diff_mode:
    description:
      - Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: N/A
    details:
      - The module changes nothing.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
requirements:
  - urllib3 (Python library)
notes:
  - Lost connections and the statuses 429 and 5xx are retried three times, after 1, 2 and 4 seconds.
  - Redirects are not followed.
"""

EXAMPLES = r"""
- name: Which versions of the backend are there?
  clms.update.registry_info:
    registry: registry.example.org:5000
    repository: clms/backend
    credentials_file: /etc/clms-update/registry.json
    ca_file: /etc/clms-update/ca.pem
  register: backend

- name: Is the image that the release names there, and is it the one that was signed?
  clms.update.registry_info:
    registry: registry.example.org:5000
    repository: clms/backend
    reference: sha256:5f0c3a9e3b8c0b8f4f9d0d2c7f1e6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d0e9f
    config: sha256:9f0e1d2c3b4a5f6e7d8c9b0a1f2e3d4c5b6a7e6f1c7d2d0d9f4f8b0c8b3e9a3c
    credentials_file: /etc/clms-update/registry.json
  register: image
  failed_when: not image.verified
"""

RETURN = r"""
tags:
  description: All tags of the repository; empty when the registry does not know it.
  returned: success
  type: list
  elements: str
  sample: [1.0.0, 1.0.1]
latest:
  description: The newest of the tags that are versions (Semantic Versioning), or null.
  returned: success
  type: str
  sample: 1.0.1
digest:
  description: The digest that O(reference) stands for, or null when there is none.
  returned: when O(reference) is given
  type: str
  sample: sha256:5f0c3a9e3b8c0b8f4f9d0d2c7f1e6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d0e9f
manifest:
  description: The manifest of the image, or null when there is none or it is not what it should be.
  returned: when O(reference) is given
  type: dict
  contains:
    config:
      description: Digest of the image configuration.
      type: str
    layers:
      description: Digests of the compressed layers, lowest first.
      type: list
      elements: str
    media_type:
      description: Media type of the manifest.
      type: str
verified:
  description:
    - Whether O(reference) is a digest, the registry has exactly that image, and it has the configuration O(config)
      where one is given. A tag never verifies.
  returned: when O(reference) is given
  type: bool
problem:
  description: Why an image did not verify, or null.
  returned: when O(reference) is given
  type: dict
  contains:
    code:
      description: Stable code, V(REGISTRY_DIGEST_MISSING) or V(IMAGE_MISMATCH).
      type: str
    message:
      description: What happened.
      type: str
    remedy:
      description: What to do.
      type: str
    values:
      description: What the message and the remedy name, by name.
      type: dict
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.https import HttpsClient
from ansible_collections.clms.update.plugins.module_utils.module_end import fail, require_libraries
from ansible_collections.clms.update.plugins.module_utils.registry import Registry, latest


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "registry": {"type": "str", "required": True},
            "repository": {"type": "str", "required": True},
            "reference": {"type": "str"},
            "config": {"type": "str"},
            "credentials_file": {"type": "path"},
            "ca_file": {"type": "path"},
        },
        required_by={"config": ["reference"]},
        supports_check_mode=True,
    )
    require_libraries(module)
    try:
        module.exit_json(changed=False, **ask(module.params))
    except ClmsError as error:
        fail(module, error)


def ask(options: dict[str, Any]) -> dict[str, Any]:
    """What the module returns.

    :raises ClmsError: when the registry cannot be asked
    """
    credentials, ca_file = options["credentials_file"], options["ca_file"]
    http = HttpsClient(ca_file=Path(ca_file) if ca_file else None)
    registry = Registry(options["registry"], http=http, credentials=Path(credentials) if credentials else None)
    repository, reference = options["repository"], options["reference"]
    tags = registry.tags(repository)
    answer: dict[str, Any] = {"tags": tags, "latest": latest(tags)}
    if reference is None:
        return answer
    by_digest = reference.startswith("sha256:")
    answer |= {"digest": None, "manifest": None, "verified": False, "problem": None}
    try:
        digest = reference if by_digest else registry.digest(repository, reference)
        manifest = registry.verify(repository, digest, options["config"])
    except ClmsError as error:
        if error.code not in ("REGISTRY_DIGEST_MISSING", "IMAGE_MISMATCH"):
            raise
        return {**answer, "problem": error.as_dict()}
    fields = asdict(manifest)
    return {**answer, "digest": fields.pop("digest"), "manifest": fields, "verified": by_digest}


if __name__ == "__main__":
    main()
