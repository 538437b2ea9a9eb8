# SPDX-License-Identifier: GPL-3.0-or-later
"""What all modules of the collection share: the libraries they need, and how they end with an error."""

from __future__ import annotations

from importlib.util import find_spec

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from .errors import ClmsError

_LIBRARIES = {
    "cryptography": "cryptography",
    "docker": "docker",
    "PyMySQL": "pymysql",
    "tuf": "tuf",
    "urllib3": "urllib3",
}
"""Name in the package index -> name to import."""


def require_libraries(module: AnsibleModule) -> None:
    """End the module when a Python library is not there; none is imported for that."""
    for library, name in _LIBRARIES.items():
        if find_spec(name) is None:
            module.fail_json(msg=missing_required_lib(library))


def fail(module: AnsibleModule, error: ClmsError) -> None:
    """End the module with an error that people and programs can read."""
    module.fail_json(msg=error.happened, code=error.code, remedy=error.remedy)
