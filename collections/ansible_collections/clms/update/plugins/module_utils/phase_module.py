# SPDX-License-Identifier: GPL-3.0-or-later
"""The one shape that all modules of a phase have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from .adapters.database import HAS_PYMYSQL
from .adapters.engine import HAS_DOCKER
from .errors import ClmsError
from .run import Context, do_phase

_LIBRARIES = {"docker": HAS_DOCKER, "PyMySQL": HAS_PYMYSQL}


def require_libraries(module: AnsibleModule, **more: bool) -> None:
    """End the module when a Python library is not there.

    :param more: further libraries and whether they were found
    """
    for library, found in {**_LIBRARIES, **more}.items():
        if not found:
            module.fail_json(msg=missing_required_lib(library))


def fail(module: AnsibleModule, error: ClmsError) -> None:
    """End the module with an error that people and programs can read."""
    module.fail_json(msg=error.happened, code=error.code, remedy=error.remedy)


def main(phase: str, work: Callable[[Context], dict[str, Any]], **libraries: bool) -> None:
    """Carry out a phase of an open run as an Ansible module with the options ``home`` and ``run``.

    Returns ``phase`` and ``result``, which is what ``work`` returned. In check mode nothing is done.

    :param libraries: further Python libraries that the phase needs, and whether they were found
    """
    module = AnsibleModule(
        argument_spec={"home": {"type": "path", "required": True}, "run": {"type": "int", "required": True}},
        supports_check_mode=True,
    )
    require_libraries(module, **libraries)
    if module.check_mode:
        module.exit_json(changed=True, phase=phase, result={})
    try:
        result = do_phase(Path(module.params["home"]), module.params["run"], phase, work)
    except ClmsError as error:
        fail(module, error)
    else:
        module.exit_json(changed=True, phase=phase, result=result)
