# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's own sanity tests over the collection, with no download but Python packages.

`ansible-test` wants a tree of its own, and a home for the virtual environments that it makes: below `build/`, where
the next run finds them again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLLECTION = Path("ansible_collections", "clms", "update")
HOME = ROOT / "build" / "ansible-test"

# Left out: pylint, pep8 and shellcheck (ruff and mypy do their part here), pslint (there is no PowerShell).
TESTS = [
    "action-plugin-docs",
    "ansible-doc",
    "changelog",
    "compile",
    "empty-init",
    "ignores",
    "import",
    "line-endings",
    "no-assert",
    "no-illegal-filenames",
    "no-smart-quotes",
    "replace-urlopen",
    "runtime-metadata",
    "shebang",
    "symlinks",
    "use-argspec-type-path",
    "validate-modules",
    "yamllint",
]

# ansible-test fetches a script that brings pip into an environment; Python has one of its own. The number is the
# version that ansible-core 2.19 asks for.
GET_PIP_NAME = "get_pip_24_2.py"
GET_PIP = """\
import runpy, sys
sys.argv = ["ensurepip", "--default-pip"]
runpy.run_module("ensurepip", run_name="__main__")
"""


def main() -> int:
    """Lay out the tree, run the tests and return their exit code."""
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / GET_PIP_NAME).write_text(GET_PIP)
    command = [Path(sys.executable).parent / "ansible-test", "sanity", "--local", "--color", "no"]
    command += ["--python", f"{sys.version_info.major}.{sys.version_info.minor}"]
    for test in TESTS:
        command += ["--test", test]
    # Outside this repository: ansible-test leaves out what git ignores, and build/ is ignored.
    with tempfile.TemporaryDirectory(prefix="clms-sanity-") as folder:
        tree = Path(folder) / COLLECTION
        shutil.copytree(ROOT / "collections" / COLLECTION, tree, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        return subprocess.run(
            command, cwd=tree, env={**os.environ, "HOME": str(HOME)}, stdin=subprocess.DEVNULL, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
