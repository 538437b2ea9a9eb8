# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed requests: what counts, and everything that does not."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms

from ansible_collections.clms.update.plugins.module_utils import signed_request
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.signed_request import (
    COMPONENTS,
    MAX_AGE,
    Signed,
    key_id,
    new_nonce,
    public_key,
    sign,
    verify,
)

URL = "https://releases.test:8443/api/reports"
BODY = b'{"run_id": "7"}'
NOW = 1_795_572_308.7
NONCE = "a-nonce-of-some-length"
HEADERS = {"Authorization": "Bearer clms_x", "Content-Type": "application/json"}
KEY = Ed25519PrivateKey.generate()
KEYID = key_id(KEY.public_key())
KEYS = {KEYID: KEY.public_key()}

# RFC 9421, B.1.4: test-key-ed25519
RFC_KEY = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
"""


def signed(**changes: Any) -> dict[str, str]:
    arguments = {"method": "POST", "url": URL, "headers": HEADERS, "body": BODY, "key": KEY, "keyid": KEYID}
    return sign(**{**arguments, "now": NOW, "nonce": NONCE, **changes})


def verified(headers: dict[str, str], **changes: Any) -> Signed:
    arguments = {"method": "POST", "url": URL, "body": BODY, "find_key": KEYS.get, "now": NOW}
    return verify(headers=headers, **{**arguments, **changes})


def refused(headers: dict[str, str], **changes: Any) -> ClmsError:
    with pytest.raises(ClmsError) as caught:
        verified(headers, **changes)
    return caught.value


def test_a_request_that_was_signed() -> None:
    assert verified(signed()) == Signed(KEYID, NONCE, 1_795_572_308)
    assert {name: value for name, value in signed().items() if name in HEADERS} == HEADERS
    assert signed(headers=signed()) == signed(), "an old signature is replaced"


def test_what_is_signed_is_what_the_rfc_says() -> None:
    """Put together by hand, and verified with nothing but Ed25519."""
    headers = signed()
    parameters = headers["Signature-Input"].removeprefix("clms=")
    digest = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    base = "\n".join(
        [
            '"@method": POST',
            f'"@target-uri": {URL}',
            '"authorization": Bearer clms_x',
            f'"content-digest": sha-256=:{digest}:',
            '"content-type": application/json',
            f'"@signature-params": {parameters}',
        ]
    )
    assert re.fullmatch(
        r'\("@method" "@target-uri" "authorization" "content-digest" "content-type"\)'
        rf';created=1795572308;keyid="{KEYID}";alg="ed25519";nonce="{NONCE}"',
        parameters,
    )
    signature = base64.b64decode(headers["Signature"].removeprefix("clms=:").removesuffix(":"))
    KEY.public_key().verify(signature, base.encode())


def test_the_name_of_a_key() -> None:
    """RFC 8037, A.3 uses another key; this is the thumbprint of RFC 9421's, put together by hand."""
    key = load_pem_private_key(RFC_KEY, None)
    assert isinstance(key, Ed25519PrivateKey)
    x = "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"
    thumbprint = hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()).digest()
    assert key_id(key.public_key()) == base64.urlsafe_b64encode(thumbprint).rstrip(b"=").decode()


@pytest.mark.parametrize("seconds", [0, MAX_AGE, -MAX_AGE])
def test_a_clock_that_is_right_enough(seconds: int) -> None:
    assert verified(signed(), now=NOW + seconds).nonce == NONCE


@pytest.mark.parametrize("seconds", [MAX_AGE + 1, -MAX_AGE - 1, 31_536_000, -31_536_000, 10 * 31_536_000])
def test_a_clock_that_is_off(seconds: int) -> None:
    error = refused(signed(), now=NOW + seconds)
    assert error.code == "SIGNATURE_CLOCK"
    assert error.values["difference_seconds"] == -seconds
    assert str(error.values["server_time"]) in error.happened


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"url": URL + "/"},
        {"url": URL + "?x=1"},
        {"url": "https://releases.test/api/reports"},
        {"url": "https://other.test:8443/api/reports"},
        {"body": BODY + b" "},
        {"body": b""},
    ],
)
def test_an_altered_request(change: dict[str, Any]) -> None:
    assert refused(signed(), **change).code == "SIGNATURE_INVALID"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("Authorization", "Bearer clms_y", "SIGNATURE_INVALID"),
        ("Content-Type", "text/plain", "SIGNATURE_INVALID"),
        ("Content-Digest", "sha-256=:AAAA:", "SIGNATURE_INVALID"),
        ("Content-Digest", "md5=:AAAA:", "SIGNATURE_INVALID"),
        ("Signature", "clms=:AAAA:", "SIGNATURE_INVALID"),
        ("Signature", "other=:AAAA:", "SIGNATURE_INVALID"),
        ("Signature", "clms=1", "SIGNATURE_INVALID"),
        ("Signature", "", "SIGNATURE_INVALID"),
        ("Signature-Input", "", "SIGNATURE_INVALID"),
        ("Signature-Input", "clms=1", "SIGNATURE_INVALID"),
        ("Signature-Input", 'clms=("@method")', "SIGNATURE_INVALID"),
        ("Signature-Input", "clms=((((", "SIGNATURE_INVALID"),
        ("Authorization", None, "SIGNATURE_INVALID"),
        ("Content-Type", None, "SIGNATURE_INVALID"),
        ("Content-Digest", None, "SIGNATURE_MISSING"),
        ("Signature", None, "SIGNATURE_MISSING"),
        ("Signature-Input", None, "SIGNATURE_MISSING"),
    ],
)
def test_altered_headers(name: str, value: str | None, code: str) -> None:
    headers = {key: kept for key, kept in signed().items() if key != name}
    assert refused(headers if value is None else {**headers, name: value}).code == code


class Message:
    def __init__(self) -> None:
        self.method, self.url, self.headers = "POST", URL, dict(HEADERS)


def signed_otherwise(times: int = 1, **changes: Any) -> dict[str, str]:
    """Validly signed by the right key, but not in the way that :func:`sign` does it."""
    message = Message()
    keys = MappingKeyResolver(public_keys={}, private_keys={KEYID: KEY})
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=keys)
    options = {"key_id": KEYID, "nonce": NONCE, "covered_component_ids": COMPONENTS, "body": BODY, **changes}
    for number in range(times):
        signer.sign(
            message,
            **options,
            label=f"sig{number}",
            append_if_signature_exists=bool(number),
            use_existing_digest=bool(number),
        )
    return message.headers


def now() -> float:
    return signed_request.datetime.now(signed_request.UTC).timestamp()


def test_signed_by_other_means() -> None:
    assert verified(signed_otherwise(), now=now()).keyid == KEYID


@pytest.mark.parametrize("missing", COMPONENTS)
def test_every_component_is_needed(missing: str) -> None:
    components = [name for name in COMPONENTS if name != missing]
    # the library covers the digest by itself where it is given the body
    change: dict[str, Any] = {"covered_component_ids": components}
    headers = signed_otherwise(**change) if missing != "content-digest" else without_digest(components)
    assert refused(headers, now=now()).code == "SIGNATURE_INVALID"


def without_digest(components: list[str]) -> dict[str, str]:
    headers = signed_otherwise(covered_component_ids=components, body=None)
    digest = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    return {**headers, "Content-Digest": f"sha-256=:{digest}:"}


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": None},
        {"nonce": "short"},
        {"nonce": "x" * 101},
        {"nonce": "with a space in it"},
        {"include_alg": False},
        {"tag": "other"},
    ],
)
def test_every_parameter_is_needed_and_no_other_one(change: dict[str, Any]) -> None:
    assert refused(signed_otherwise(**change), now=now()).code == "SIGNATURE_MISSING"


def test_two_signatures_are_one_too_many() -> None:
    assert refused(signed_otherwise(times=2), now=now()).code == "SIGNATURE_INVALID"


def test_keys() -> None:
    other = Ed25519PrivateKey.generate()
    assert refused(signed(), find_key={}.get).code == "SIGNATURE_KEY"
    assert refused(signed(key=other)).code == "SIGNATURE_INVALID"
    assert "<" not in refused(signed(keyid="<script>"), find_key={}.get).happened


def test_a_key_that_cannot_be_looked_up_is_no_fault_of_the_request() -> None:
    def fail(_keyid: str) -> None:
        raise ClmsError("SERVER_DATABASE", detail="it is down")

    assert refused(signed(), find_key=fail).code == "SERVER_DATABASE"


@pytest.mark.parametrize("name", HEADERS)
def test_what_has_to_be_signed_has_to_be_there(name: str) -> None:
    with pytest.raises(KeyError):
        signed(headers={key: value for key, value in HEADERS.items() if key != name})


def test_names_of_headers_may_be_written_in_any_case() -> None:
    headers = signed(headers={name.upper(): value for name, value in HEADERS.items()})
    assert verified({name.lower(): value for name, value in headers.items()}).nonce == NONCE


def test_nonces() -> None:
    assert len({new_nonce() for _ in range(100)}) == 100


def test_public_keys() -> None:
    public = KEY.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert key_id(public_key(pem)) == KEYID
    other = X25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for wrong in (b"", b"nothing", RFC_KEY, other):
        with pytest.raises(ValueError, match="it is no "):
            public_key(wrong)
