# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that a school signs and the release server verifies: HTTP Message Signatures (RFC 9421), Ed25519.

Both sides import this module. Replays are for the verifier's caller to refuse, who has to remember every nonce for
:data:`NONCE_SECONDS`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .errors import ClmsError
from .status import iso

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from http_message_signatures import (
        HTTPMessageSigner,
        HTTPMessageVerifier,
        HTTPSignatureKeyResolver,
        InvalidSignature,
        MappingKeyResolver,
        algorithms,
    )
except ImportError:  # modules say so: module_end.require_libraries
    HTTPSignatureKeyResolver = object  # type: ignore[misc, assignment]

COMPONENTS = ("@method", "@target-uri", "authorization", "content-digest", "content-type")
"""What a signature has to cover: who asks what of which server, with which API key and content."""

MAX_AGE = 300
"""Seconds that a signature may be old, or ahead of the verifier's clock."""

NONCE_SECONDS = 2 * MAX_AGE + 60
"""A signature may count from ``MAX_AGE`` before its time until ``MAX_AGE`` after it; the rest is for slow clocks."""

_OWN = {"content-digest", "signature", "signature-input"}
_PARAMETERS = {"created", "keyid", "alg", "nonce"}
_NONCE = r"[A-Za-z0-9+/=_-]{16,100}"
_LABEL = "clms"


@dataclass(frozen=True)
class Signed:
    """What a valid signature says of itself."""

    keyid: str
    nonce: str
    created: int
    """seconds since 1970"""


@dataclass(frozen=True)
class _Message:
    """A request as the library wants it."""

    method: str
    url: str
    headers: dict[str, str]


def key_id(key: Ed25519PublicKey) -> str:
    """The name of a key, which follows from the key itself: its JWK thumbprint (RFC 7638, RFC 8037)."""
    raw = key.public_bytes_raw()
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": _base64(raw)}
    return _base64(hashlib.sha256(json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode()).digest())


def public_key(pem: bytes) -> Ed25519PublicKey:
    """:raises ValueError: when ``pem`` is no Ed25519 public key; the text says why"""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it is no public key in PEM form") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("it is no Ed25519 key")
    return key


def new_nonce() -> str:
    """A text that is used for one signature only."""
    return secrets.token_urlsafe(24)


def sign(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    key: Ed25519PrivateKey,
    keyid: str,
    now: float,
    nonce: str,
) -> dict[str, str]:
    """The headers with which a request is to be sent: ``headers``, the digest of the body, and the signature.

    :param url: the whole address, as the release server's ``public_url`` names it
    :param headers: with ``Authorization`` and ``Content-Type``
    :param keyid: see :func:`key_id`
    :param now: seconds since 1970
    :param nonce: see :func:`new_nonce`
    :raises KeyError: when a header that has to be signed is missing
    """
    present = {name.lower() for name in headers} | _OWN
    for name in COMPONENTS:
        if not name.startswith("@") and name not in present:
            raise KeyError(name)
    message = _Message(method, url, {name: value for name, value in headers.items() if name.lower() not in _OWN})
    signer = HTTPMessageSigner(
        signature_algorithm=algorithms.ED25519,
        key_resolver=MappingKeyResolver(public_keys={}, private_keys={keyid: key}),
    )
    signer.sign(
        message,
        key_id=keyid,
        created=datetime.fromtimestamp(int(now), tz=UTC),
        nonce=nonce,
        label=_LABEL,
        covered_component_ids=COMPONENTS,
        body=body,
    )
    return message.headers


def verify(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    find_key: Callable[[str], Ed25519PublicKey | None],
    now: float,
) -> Signed:
    """Verify the only signature of a request, the digest of its body, and its time.

    :param url: the whole address, put together from what the verifier knows of itself and not from ``Host``
    :param find_key: the public key with a name, or None; what it raises is passed on when it is a ClmsError
    :param now: seconds since 1970
    :raises ClmsError: SIGNATURE_MISSING, SIGNATURE_KEY, SIGNATURE_INVALID, SIGNATURE_CLOCK
    """
    present = {name.lower() for name in headers}
    if missing := sorted(_OWN - present):
        raise ClmsError("SIGNATURE_MISSING", detail=f"it has no header '{missing[0]}'")
    keys = _Keys(find_key)
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=keys)
    # the library knows no other clock than its own, and does not say how far off a request is
    verifier.max_clock_skew = timedelta(days=36_500)
    try:
        results = verifier.verify(
            _Message(method, url, dict(headers)), max_age=None, require_components=COMPONENTS, body=body
        )
    except InvalidSignature as error:
        if isinstance(error.__cause__, ClmsError):  # of find_key
            raise error.__cause__ from None
        if keys.unknown is not None:
            raise ClmsError("SIGNATURE_KEY", keyid=_printable(keys.unknown)) from None
        raise ClmsError("SIGNATURE_INVALID", detail=_reason(error)) from None
    parameters = results[0].parameters
    if set(parameters) != _PARAMETERS:
        odd = sorted(set(parameters) ^ _PARAMETERS)
        detail = f"its parameters must be exactly {', '.join(sorted(_PARAMETERS))}, so not with or without '{odd[0]}'"
        raise ClmsError("SIGNATURE_MISSING", detail=detail)
    signed = Signed(str(parameters["keyid"]), str(parameters["nonce"]), int(parameters["created"]))
    if not re.fullmatch(_NONCE, signed.nonce):
        raise ClmsError("SIGNATURE_MISSING", detail="its nonce must be 16 to 100 characters of Base64")
    difference = signed.created - int(now)
    if abs(difference) > MAX_AGE:
        raise ClmsError("SIGNATURE_CLOCK", difference_seconds=difference, server_time=iso(now))
    return signed


class _Keys(HTTPSignatureKeyResolver):
    """Finds keys for the library, and remembers the one that was not found."""

    def __init__(self, find_key: Callable[[str], Ed25519PublicKey | None]) -> None:
        self._find_key = find_key
        self.unknown: str | None = None

    def resolve_public_key(self, key_id: str) -> Ed25519PublicKey | None:
        key = self._find_key(key_id)
        if key is None:
            self.unknown = key_id
        return key


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _printable(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.:-]", "?", text[:100])


def _reason(error: Exception) -> str:
    # what cryptography raises for a signature that does not fit has no text
    return (str(error) or "it was altered, or signed for another address").rstrip(".")[:300]
