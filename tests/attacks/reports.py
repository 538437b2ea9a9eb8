# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to the release server that are forged, altered, replayed, stolen, or too many."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms

from ansible_collections.clms.update.plugins.module_utils.signed_request import COMPONENTS, key_id, new_nonce, sign

from .bench import Bench
from .cases import HELD, Case, Result

NOT_STORED = "refused, nothing stored"
BURST = 150
_AT_ONCE = 10
_WITHIN = 60
"""seconds within which a revoked key has to be worthless"""


@dataclass
class Sender:
    """Somebody with the two keys of a school."""

    api_key: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def keyid(self) -> str:
        """The name of the signing key."""
        return key_id(self.key.public_key())


def linden(bench: Bench) -> Sender:
    """The school with its own keys."""
    etc = bench.school.folder / "etc/secrets"
    key = load_pem_private_key((etc / "reports.pem").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return Sender((etc / "release-server.key").read_text().strip(), key)


def another(bench: Bench) -> tuple[str, Sender]:
    """Another school that the vendor knows."""
    name, key = f"school-{secrets.token_hex(4)}", Ed25519PrivateKey.generate()
    path = bench.folder / f"{name}.pem"
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return name, Sender(bench.stand.release_server("school", "add", name, "--public-key", path)["api_key"], key)


def body(**changes: Any) -> bytes:
    """A report as a school sends it."""
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps(
        {
            "run_id": f"attack-{secrets.token_hex(6)}", "kind": "update", "from_version": "1.0.0", "version": "1.0.1",
            "status": "COMPLETED", "error_code": None, "started_at": moment, "finished_at": moment,
            "closed_seconds": 1.5, "updater_version": "0.1.0", "phases": [], **changes,
        }
    ).encode()  # fmt: skip


def signed(
    bench: Bench,
    who: Sender,
    data: bytes,
    *,
    url: str | None = None,
    api_key: str | None = None,
    keyid: str | None = None,
    later: float = 0.0,
    nonce: str | None = None,
) -> dict[str, str]:
    """The headers of a report; what is given replaces what would be right."""
    headers = {"Authorization": f"Bearer {api_key or who.api_key}", "Content-Type": "application/json"}
    address = url or f"{bench.url}/api/reports"
    return sign("POST", address, headers, data, who.key, keyid or who.keyid, time.time() + later, nonce or new_nonce())


def post(bench: Bench, data: bytes, headers: dict[str, str]) -> requests.Response:
    """Send a report to the vendor's server."""
    with requests.Session() as session:
        session.trust_env = False
        return session.post(
            f"{bench.url}/api/reports", data=data, headers=headers, verify=str(bench.tls / "ca.crt"), timeout=30
        )


def stored(bench: Bench) -> int:
    """How many reports the vendor has."""
    with closing(sqlite3.connect(f"file:{_database(bench)}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT COUNT(*) FROM reports").fetchone()[0])


def audited(bench: Bench, code: str) -> bool:
    """Whether a refusal of a kind was written down just now; of one kind from one address one is, each minute."""
    latest = "SELECT 86400 * (julianday('now') - julianday(MAX(at))) FROM audit_entries WHERE action = ?"
    with closing(sqlite3.connect(f"file:{_database(bench)}?mode=ro", uri=True)) as database:
        (seconds,) = database.execute(latest, (code,)).fetchone()
    return seconds is not None and -5 < float(seconds) < 65


def _database(bench: Bench) -> Path:
    return bench.stand.release_api / "server.db"


def assert_problem(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    """The answer refuses, and says why and what to do."""
    assert answer.status_code == status, f"{answer.status_code} instead of {status}: {answer.text[:500]}"
    document = answer.json()
    assert isinstance(document, dict)
    assert document["code"] == code, document
    assert document["detail"], document
    assert document["remedy"], document
    return document


Attack = Callable[[Bench, Sender], tuple[bytes, dict[str, str]]]


def refused(attack: Attack, status: int, code: str, bench: Bench, _: Result) -> str:
    """One request is refused, and nothing of it is stored."""
    before = stored(bench)
    answer = post(bench, *attack(bench, linden(bench)))
    assert_problem(answer, status, code)
    assert stored(bench) == before
    assert audited(bench, code), "the refusal is not in the audit trail"
    return NOT_STORED


def honest(bench: Bench, _: Result) -> str:
    """The counterpart: the same request, as it should be."""
    before, data = stored(bench), body()
    answer = post(bench, data, signed(bench, linden(bench), data))
    assert answer.status_code == 201, answer.text
    assert stored(bench) == before + 1
    return HELD


def replayed(bench: Bench, _: Result) -> str:
    """A report that arrived is sent again, byte for byte; then its nonce is used for another one."""
    data, nonce = body(), new_nonce()
    headers = signed(bench, linden(bench), data, nonce=nonce)
    assert post(bench, data, headers).status_code == 201
    before = stored(bench)
    for _try in range(3):
        assert_problem(post(bench, data, headers), 409, "SIGNATURE_REPLAYED")
    more = body()
    answer = post(bench, more, signed(bench, linden(bench), more, nonce=nonce))
    assert_problem(answer, 409, "SIGNATURE_REPLAYED")
    assert stored(bench) == before
    assert audited(bench, "SIGNATURE_REPLAYED")
    return NOT_STORED


def clock(seconds: int, bench: Bench, _: Result) -> str:
    """The clock of who signs is off; the answer names the difference."""
    before, data = stored(bench), body()
    answer = post(bench, data, signed(bench, linden(bench), data, later=seconds))
    document = assert_problem(answer, 401, "SIGNATURE_CLOCK")
    assert abs(document["difference_seconds"] - seconds) <= 3, document
    assert str(document["difference_seconds"]) in document["detail"], document
    assert document["server_time"], document
    assert stored(bench) == before
    return NOT_STORED


def other_content(bench: Bench, _: Result) -> str:
    """A run that was reported is reported once more, signed, with another outcome."""
    who, run = linden(bench), f"attack-{secrets.token_hex(6)}"
    data, other = body(run_id=run, status="FAILED", error_code="HEALTH_FAILED"), body(run_id=run)
    assert post(bench, data, signed(bench, who, data)).status_code == 201
    before = stored(bench)
    assert_problem(post(bench, other, signed(bench, who, other)), 409, "REPORT_DIFFERS")
    assert stored(bench) == before
    return NOT_STORED


def two_schools(bench: Bench, _: Result) -> str:
    """The API key of one school with the signing key of another, both ways."""
    here, (_name, there) = linden(bench), another(bench)
    before, data = stored(bench), body()
    for who, key in ((here, there.api_key), (there, here.api_key)):
        assert_problem(post(bench, data, signed(bench, who, data, api_key=key)), 403, "SIGNATURE_SCHOOL")
    assert stored(bench) == before
    return NOT_STORED


def revoked(what: str, bench: Bench, _: Result) -> str:
    """A key is revoked; from then on it counts for nothing, in whatever worker."""
    name, who = another(bench)
    data = body()
    assert post(bench, data, signed(bench, who, data)).status_code == 201
    before = stored(bench)
    if what == "school":
        bench.stand.release_server("school", "revoke", name)
    else:
        schools = bench.stand.release_server("school", "list")["schools"]
        (keys,) = (school["api_keys"] for school in schools if school["name"] == name)
        bench.stand.release_server("key", "revoke", str(keys[0]["key"]))
    began = time.monotonic()
    for _try in range(10):
        data = body()
        assert_problem(post(bench, data, signed(bench, who, data)), 401, "API_KEY_REFUSED")
    assert time.monotonic() - began < _WITHIN
    assert stored(bench) == before
    return NOT_STORED


def flood(bench: Bench, _: Result) -> str:
    """150 requests at once from one address; most are told to come later, and when."""
    before, who = stored(bench), linden(bench)

    def ask(_: int) -> int:
        with requests.Session() as session:
            session.trust_env, session.verify = False, str(bench.tls / "ca.crt")
            answer = session.get(
                f"{bench.url}/api/latest", headers={"Authorization": f"Bearer {who.api_key}"}, timeout=30
            )
        if answer.status_code == 429:
            assert_problem(answer, 429, "LIMIT_REACHED")
            assert 1 <= int(answer.headers["Retry-After"]) <= 60, answer.headers
        return answer.status_code

    try:
        with ThreadPoolExecutor(_AT_ONCE) as crowd:
            codes = list(crowd.map(ask, range(BURST)))
        assert 429 in codes, f"none of {BURST} requests was refused"
        assert set(codes) <= {200, 404, 429}, set(codes)
        bench.check_works()  # what schools need is still served
    finally:
        bench.restart_api()
    assert stored(bench) == before
    data = body()
    assert post(bench, data, signed(bench, who, data)).status_code == 201
    return f"{codes.count(429)} of {BURST} refused"


def without(name: str) -> Attack:
    """A header is missing."""

    def attack(bench: Bench, who: Sender) -> tuple[bytes, dict[str, str]]:
        data = body()
        headers = signed(bench, who, data)
        return data, {key: value for key, value in headers.items() if key.lower() != name}

    return attack


def uncovered(component: str) -> Attack:
    """A signature by the right key that does not cover everything."""

    def attack(bench: Bench, who: Sender) -> tuple[bytes, dict[str, str]]:
        data = body()
        headers = {name: value for name, value in signed(bench, who, data).items() if not name.startswith("Signature")}
        message = SimpleNamespace(method="POST", url=f"{bench.url}/api/reports", headers=headers)
        signer = HTTPMessageSigner(
            signature_algorithm=algorithms.ED25519,
            key_resolver=MappingKeyResolver(public_keys={}, private_keys={who.keyid: who.key}),
        )
        signer.sign(
            message, key_id=who.keyid, created=datetime.now(UTC), nonce=new_nonce(), label="clms",
            covered_component_ids=[name for name in COMPONENTS if name != component], use_existing_digest=True,
        )  # fmt: skip
        return data, message.headers

    return attack


def altered(bench: Bench, who: Sender) -> tuple[bytes, dict[str, str]]:
    """A failure becomes a success on the way."""
    data = body(status="FAILED", error_code="HEALTH_FAILED")
    return data.replace(b'"FAILED"', b'"COMPLETED"'), signed(bench, who, data)


def altered_digest(bench: Bench, who: Sender) -> tuple[bytes, dict[str, str]]:
    """The same, with the digest that fits."""
    data = body(status="FAILED", error_code="HEALTH_FAILED")
    other = data.replace(b'"FAILED"', b'"COMPLETED"')
    fitting = signed(bench, Sender(who.api_key), other)["Content-Digest"]
    return other, {**signed(bench, who, data), "Content-Digest": fitting}


def forged(bench: Bench, who: Sender) -> tuple[bytes, dict[str, str]]:
    """Signed by another key under the name of the right one."""
    data = body()
    return data, signed(bench, Sender(who.api_key), data, keyid=who.keyid)


def unknown(bench: Bench, who: Sender) -> tuple[bytes, dict[str, str]]:
    """Signed by a key that nobody knows."""
    data = body()
    return data, signed(bench, Sender(who.api_key), data)


def elsewhere(bench: Bench, who: Sender) -> tuple[bytes, dict[str, str]]:
    """Signed for another server."""
    data = body()
    return data, signed(bench, who, data, url="https://releases.example.org/api/reports")


def stolen(bench: Bench, who: Sender) -> tuple[bytes, dict[str, str]]:
    """The API key alone."""
    return body(), {"Authorization": f"Bearer {who.api_key}", "Content-Type": "application/json"}


def guessed(bench: Bench, who: Sender) -> tuple[bytes, dict[str, str]]:
    """A key that was made up, in the right form."""
    data = body()
    return data, signed(bench, Sender("clms_" + secrets.token_urlsafe(32)), data)


def cases() -> Iterator[Case]:
    """All of them."""
    yield Case("API request: the counterpart", honest.__doc__ or "", honest)
    yield Case("API request: replayed", replayed.__doc__ or "", replayed)
    for seconds in (-86_400, -310, 310, 31_536_000):
        yield Case(f"API request: clock {seconds:+} s", clock.__doc__ or "", partial(clock, seconds))
    yield Case("API request: another content for a run", other_content.__doc__ or "", other_content)
    for name, attack, status, code in (
        ("altered body", altered, 401, "SIGNATURE_INVALID"),
        ("altered body and digest", altered_digest, 401, "SIGNATURE_INVALID"),
        ("forged under the name of the right key", forged, 401, "SIGNATURE_INVALID"),
        ("signed by an unknown key", unknown, 401, "SIGNATURE_KEY"),
        ("signed for another server", elsewhere, 401, "SIGNATURE_INVALID"),
        ("no signature", without("signature"), 401, "SIGNATURE_MISSING"),
        ("no digest", without("content-digest"), 401, "SIGNATURE_MISSING"),
        ("no API key", without("authorization"), 401, "API_KEY_MISSING"),
        ("API key not covered", uncovered("authorization"), 401, "SIGNATURE_INVALID"),
        ("address not covered", uncovered("@target-uri"), 401, "SIGNATURE_INVALID"),
        ("body not covered", uncovered("content-digest"), 401, "SIGNATURE_INVALID"),
    ):
        yield Case(f"API request: {name}", attack.__doc__ or "", partial(refused, attack, status, code))
    for name, attack, code in (
        ("alone", stolen, "SIGNATURE_MISSING"), ("made up", guessed, "API_KEY_REFUSED"),
    ):  # fmt: skip
        yield Case(f"stolen API key: {name}", attack.__doc__ or "", partial(refused, attack, 401, code))
    yield Case("stolen API key: of another school", two_schools.__doc__ or "", two_schools)
    for what in ("key", "school"):
        yield Case(f"stolen API key: {what} revoked", revoked.__doc__ or "", partial(revoked, what))
    yield Case("flood", flood.__doc__ or "", flood)
