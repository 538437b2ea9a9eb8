# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m agent.send_notification``: sends one notification with Apprise, and ends.

Reads ``addresses``, ``title`` and ``body`` as JSON from standard input. What it says quotes no address: they hold
passwords. An address may lead anywhere, so it has no more power than anybody: root's files are none of its business.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys

import apprise

_NOBODY = 65534
_READS = re.compile(r"(?i)[?&](?:template|keyfile|subfile|pgpkey|pgp|attach|path|include|cto_file)=")
"""parts of an address with which a service would read files of this server, or fetch something itself"""


def _give_up_power() -> None:
    """Be nobody from now on."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)


def _tell(service: apprise.NotifyBase, message: dict[str, str]) -> bool:
    """Whether a service took it; an event quotes others, so nothing in it is markup."""
    taken: bool = service.notify(title=message["title"], body=message["body"], body_format=apprise.NotifyFormat.TEXT)
    return taken


def main() -> int:
    """The exit code is 0 when everybody was told."""
    logging.disable(logging.CRITICAL)  # Apprise would tell of addresses
    message = json.load(sys.stdin)
    apprise.Apprise.instantiate("json://localhost")  # it loads what it knows of services, while it may read that
    _give_up_power()
    lines = [(number, line.strip()) for number, line in enumerate(message["addresses"].splitlines(), 1)]
    wrong = []
    for number, line in lines:
        if not line or line.startswith("#"):
            continue
        allowed = not _READS.search(line)
        service = apprise.Apprise.instantiate(line, suppress_exceptions=True) if allowed else None
        if service is None or not _tell(service, message):
            wrong.append(f"line {number}: {'it is no address' if service is None else 'the service did not take it'}")
    if wrong:
        print("; ".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
