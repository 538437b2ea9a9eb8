# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells the vendor how runs ended, where a school has keys for that. A report that does not arrive harms nothing.

What has yet to be told follows from the journal and one fact in the schedule's file: the last run that was told. So
nothing is lost when the server is off, and nothing is told twice that was received.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.https import Answer, HttpsClient, HttpsError, retry_after
from ansible_collections.clms.update.plugins.module_utils.journal import Journal, RunRow
from ansible_collections.clms.update.plugins.module_utils.school import School, Trust
from ansible_collections.clms.update.plugins.module_utils.secret_file import read_secret
from ansible_collections.clms.update.plugins.module_utils.signed_request import key_id, new_nonce, sign
from ansible_collections.clms.update.plugins.module_utils.status import describe_run
from ansible_collections.clms.update.plugins.module_utils.version import UPDATER

from .backoff import pause
from .schedule import Store

FIRST_PAUSE = 60.0
"""Seconds until the next attempt after the first one that failed, at most."""

_AT_ONCE = 50
_FACT = "reported_run"
_SECONDS = 60.0
_ANSWER_BYTES = 64 * 1024
_FIELDS = (
    *("kind", "version", "from_version", "status", "error_code"),
    *("started_at", "finished_at", "closed_seconds", "phases"),
)
_GIVEN_UP = frozenset({400, 409, 413, 422})
"""Answers to a report that will be the same however often it is sent."""

log = logging.getLogger("clms-update-agent")

Post = Callable[[str, dict[str, str], bytes], Answer]


def report_of(journal: Journal, row: RunRow) -> dict[str, Any]:
    """What is told of a run that has ended."""
    described = describe_run(row, journal.records(row.id))
    # numbers begin anew with a new journal, moments do not
    moment = re.sub(r"[-:]", "", str(described["started_at"]))
    return {
        "run_id": f"{moment}-{row.id}",
        **{name: described[name] for name in _FIELDS},
        "updater_version": UPDATER.text,
    }


class Reporter:
    """The reports of one school."""

    def __init__(
        self, school: Callable[[], School], *, clock: Callable[[], float] = time.time, post: Post | None = None
    ) -> None:
        """
        :param school: reads its description, anew for each attempt
        :param clock: seconds since 1970
        :param post: sends a body; by default over HTTPS, as the school trusts the release server
        """
        self._read_school = school
        self._clock = clock
        self._post = post
        self._failures = 0

    def send(self) -> float | None:
        """Tell everything that has not been told.

        :returns: seconds until the next attempt, None when there is nothing left to tell
        :raises ClmsError: SCHOOL_INCOMPLETE, SCHEDULE_STORE, or what is wrong with the journal
        """
        school = self._read_school()
        if school.trust.api_key_file is None or not Journal.exists(school.home):
            return None
        with closing(Journal(school.home)) as journal, closing(Store(school.home)) as store:
            for row in _untold(journal, store):
                asked = self._tell(school, journal, row)
                if asked is not None:
                    self._failures += 1
                    return pause(self._failures, asked if asked >= 0 else None, first=FIRST_PAUSE)
                self._failures = 0
                store.note(_FACT, f"{row.id} {row.opened_at}")
        return None

    def _tell(self, school: School, journal: Journal, row: RunRow) -> float | None:
        """Send one report; returns None when that is done with, else the seconds that the server asked for or -1."""
        body = json.dumps(report_of(journal, row), sort_keys=True).encode()
        url = f"{school.trust.url}/api/reports"
        try:
            headers = _signed(school.trust, url, body, self._clock())
            answer = self._post(url, headers, body) if self._post else _over_https(school.trust, url, headers, body)
        except (HttpsError, ClmsError) as error:
            log.info("the report of run %d did not arrive: %s", row.id, error)
            return -1.0
        if answer.status in (200, 201):
            return None
        said = answer.body[:300].decode("utf-8", "replace")
        if answer.status in _GIVEN_UP:
            log.warning("the report of run %d was refused for good (%d): %s", row.id, answer.status, said)
            return None
        log.info("the report of run %d was not taken (%d): %s", row.id, answer.status, said)
        asked = retry_after(answer.headers.get("retry-after"), self._clock())
        return -1.0 if asked is None else asked


def _untold(journal: Journal, store: Store) -> list[RunRow]:
    """Runs that have ended for good, the oldest first; one that needs an operator may still end otherwise."""
    rows = journal.rows(limit=_AT_ONCE)
    told = str(store.fact(_FACT) or "").split()
    last = float(told[1]) if len(told) == 2 else 0.0
    pending = (None, "NEEDS_OPERATOR")
    settled = [row for row in rows if row.outcome not in pending or (row.outcome and row is not rows[0])]
    return [row for row in reversed(settled) if row.opened_at > last]


def _signed(trust: Trust, url: str, body: bytes, now: float) -> dict[str, str]:
    """:raises ClmsError: SECRET_FILE"""
    key = _signing_key(Path(str(trust.report_key_file)))
    api_key = read_secret(Path(str(trust.api_key_file))).decode("ascii", "replace").strip()
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    return sign("POST", url, headers, body, key, key_id(key.public_key()), now, new_nonce())


def _over_https(trust: Trust, url: str, headers: dict[str, str], body: bytes) -> Answer:
    ca_file = Path(trust.ca_file) if trust.ca_file else None
    with closing(HttpsClient(ca_file=ca_file, pins=trust.pins, deadline=_SECONDS)) as client:
        return client.post(url, headers, body, _ANSWER_BYTES)


def _signing_key(path: Path) -> Ed25519PrivateKey:
    """:raises ClmsError: SECRET_FILE"""
    try:
        key = load_pem_private_key(read_secret(path), None)
    except (ValueError, TypeError):
        raise ClmsError("SECRET_FILE", path=path, detail="it is no private key in PEM form") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ClmsError("SECRET_FILE", path=path, detail="it is no Ed25519 key")
    return key
