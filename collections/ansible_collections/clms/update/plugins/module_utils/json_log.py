# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs of services as one JSON object a line on standard error: what systemd's journal or a collector takes from there
can be sorted by code. Agent, page and release server write the same.
"""

from __future__ import annotations

import json
import logging
import time

from .errors import ClmsError

FIELDS = ("code", "request", "method", "path", "status", "milliseconds", "address", "school", "key")
"""what a record can have besides, given as ``extra``"""


class JsonFormatter(logging.Formatter):
    """One line of JSON for each record: ``time``, ``level``, ``logger``, ``message``, those of :data:`FIELDS` that it
    has, ``exception``; ``code`` is also that of an error which is told.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record, with the extra fields that are ours."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        line = {"time": moment, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        for one in (*(record.args or ()), *(record.exc_info or ())):
            if isinstance(one, ClmsError):
                line["code"] = one.code
        line |= {name: vars(record)[name] for name in FIELDS if name in vars(record)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def code_of(error: Exception) -> dict[str, str]:
    """The ``extra`` of a record that tells of an error in words of its own."""
    return {"code": error.code} if isinstance(error, ClmsError) else {}


def log_as_json() -> None:
    """Have this process log that way."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
