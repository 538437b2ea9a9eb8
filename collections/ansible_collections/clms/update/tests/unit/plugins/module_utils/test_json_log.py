# SPDX-License-Identifier: GPL-3.0-or-later
"""One JSON object a line, whatever is in it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.json_log import JsonFormatter, code_of


def line_of(message: str, *arguments: object, error: Exception | None = None, **extra: object) -> dict[str, object]:
    found = (type(error), error, None) if error else None
    record = logging.getLogger("x").makeRecord("x", logging.WARNING, "f", 1, message, arguments, found, extra=extra)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    line: dict[str, object] = json.loads(text)
    return line


def test_a_message() -> None:
    line = line_of("the folder %s is Ärger\nwith two lines", "/x", secret="canary")
    assert str(line.pop("time")).endswith("Z")
    assert line == {"level": "WARNING", "logger": "x", "message": "the folder /x is Ärger\nwith two lines"}


def test_an_error_is_told_with_its_code() -> None:
    error = ClmsError("DRAIN_FAILED", detail="x")
    assert line_of("%s", error)["code"] == "DRAIN_FAILED"
    assert line_of("%s", error, code="OTHER", status=503) | {"time": ""} == {
        "time": "", "level": "WARNING", "logger": "x", "message": str(error), "code": "OTHER", "status": 503,
    }  # fmt: skip
    assert line_of("it failed", error=error)["code"] == "DRAIN_FAILED"
    assert line_of("in other words", **code_of(error))["code"] == "DRAIN_FAILED"
    assert code_of(ValueError()) == {}
    assert "ValueError: broken" in str(line_of("it failed", error=ValueError("broken"))["exception"])


def test_a_process_writes_nothing_else() -> None:
    program = (
        "import logging; from ansible_collections.clms.update.plugins.module_utils.json_log import log_as_json;"
        "log_as_json(); logging.getLogger('a').info('%(odd)s', {'odd': 1}); logging.getLogger('b').debug('no')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["level"], line["logger"], line["message"]) for line in lines] == [("INFO", "a", "1")]
