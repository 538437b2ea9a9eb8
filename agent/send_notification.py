# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m agent.send_notification``: sends one notification with Apprise, and ends.

Reads ``file`` (with the addresses), ``title`` and ``body`` as JSON from standard input. What it says quotes no address:
they hold passwords.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import apprise

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.secret_file import read_secret


def main() -> int:
    """The exit code is 0 when everybody was told."""
    logging.disable(logging.CRITICAL)  # Apprise would tell of addresses
    message = json.load(sys.stdin)
    try:
        text = read_secret(Path(message["file"])).decode("utf-8", "replace")
    except ClmsError as error:
        print(error.happened.rstrip("."))
        return 1
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    wrong = []
    for number, line in lines:
        if not line or line.startswith("#"):
            continue
        service = apprise.Apprise.instantiate(line, suppress_exceptions=True)
        if service is None or not service.notify(title=message["title"], body=message["body"]):
            wrong.append(f"line {number}: {'it is no address' if service is None else 'the service did not take it'}")
    if wrong:
        print("; ".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
