# SPDX-License-Identifier: GPL-3.0-or-later
"""A vendor folder with real keys, and the command line with its answers as JSON."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from publisher.cli import main


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Like ``tmp_path``, but short: gpg's agent has a socket in there, and the path of a socket is limited."""
    folder = Path(tempfile.mkdtemp(prefix="clms-"))
    yield folder
    subprocess.run(["gpgconf", "--homedir", str(folder / "gpg"), "--kill", "gpg-agent"], check=True)
    shutil.rmtree(folder, ignore_errors=True)  # the agent is removing its sockets meanwhile


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Runs ``clms-release … --json``, checks its exit code and returns what it printed, or its error."""

    def run(*arguments: object, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        found = main([*map(str, arguments), "--json"])
        output = capsys.readouterr()
        assert found == code, output
        assert output.err == ""
        answer = json.loads(output.out)
        assert isinstance(answer, dict)
        error = answer.get("error", answer)
        assert isinstance(error, dict)
        return error

    return run


@pytest.fixture
def home(short_path: Path, run: Callable[..., dict[str, Any]]) -> Path:
    """An initialised vendor folder."""
    run("init", "--home", short_path / "home")
    return short_path / "home"
