# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m agent.send_notification``: tells addresses with Apprise, and ends; :mod:`.addresses` starts it.

Reads a JSON list of ``address`` and ``messages`` (title and body) from standard input. Writes a JSON list in a line for
each message that was taken: the place of the address, that of the message, null; and one when it is through with an
address: its place, null, and what went wrong or null. Whoever waits no longer knows by that what was done. No address
is quoted: they hold passwords. An address may lead anywhere, so it has no more power than anybody: root's files are
none of its business.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading

import apprise

from .addresses import NO_ADDRESS, NOT_TAKEN

_NOBODY = 65534
_READS = frozenset(("template", "keyfile", "subfile", "pgpkey", "pgp", "attach", "path", "include", "cto_file"))
"""parameters with which a service would read files of this server, or fetch something itself"""
_PREFIXES = " +-:"
"""of parameters, which have a meaning of their own for Apprise"""
_writing = threading.Lock()


def _give_up_power() -> None:
    """Be nobody from now on."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)


def _report(place: int, message: int | None, problem: str | None) -> None:
    with _writing:
        print(json.dumps([place, message, problem]), flush=True)


def _service(address: str) -> apprise.NotifyBase | None:
    """What Apprise makes of an address; that asks nobody yet."""
    # what is looked at is what is used: there are many ways to write the same
    parsed = apprise.plugins.url_to_dict(address)  # type: ignore[no-untyped-call]
    if not parsed or any(key.lower().lstrip(_PREFIXES) in _READS for key in parsed["qsd"]):
        return None
    return apprise.Apprise.instantiate(parsed, suppress_exceptions=True)


def _tell(service: apprise.NotifyBase, title: str, body: str) -> bool:
    """Whether a service took it; an event quotes others, so nothing in it is markup."""
    try:
        return bool(service.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT))
    except Exception:  # a hundred services of others raise what they like, and none may keep the rest from being told
        return False


def _tell_all(place: int, service: apprise.NotifyBase, messages: list[list[str]]) -> None:
    """Tell one address everything, the oldest first.

    One that is not taken may be at fault itself, so the newest is tried too; when that is not taken either, the rest is
    not tried: a service that is down would let each of them wait, and one that refuses a login would count them.
    """
    left = list(range(len(messages)))
    any_taken = any_refused = False
    while left:
        asks = any_refused and not any_taken
        number = left.pop(-1 if asks else 0)
        if _tell(service, *messages[number]):
            any_taken = True
            _report(place, number, None)
        elif asks:
            break
        else:
            any_refused = True
    _report(place, None, NOT_TAKEN if any_refused else None)


def main() -> int:
    """What became of it is in what was written."""
    logging.disable(logging.CRITICAL)  # Apprise would tell of addresses
    wanted = json.load(sys.stdin)
    apprise.Apprise.instantiate("json://localhost")  # it loads what it knows of services, while it may read that
    _give_up_power()
    threads = []
    for place, one in enumerate(wanted):
        service = _service(one["address"])
        if service is None:
            _report(place, None, NO_ADDRESS)
        else:  # at the same time: one that does not answer must not keep the others waiting
            threads.append(threading.Thread(target=_tell_all, args=(place, service, one["messages"]), daemon=True))
            threads[-1].start()
    for thread in threads:
        thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
