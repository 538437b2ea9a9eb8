# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks: API keys for everything, and signatures for what a stolen API key alone must not do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import ParamSpec, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flask import g, request
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.signed_request import NONCE_SECONDS, Signed, verify

from .audit import LEFT_OUT, record
from .limits import count_key, place_of
from .models import ApiKey, Nonce, School, SigningKey
from .schools import hash_api_key
from .services import services
from .statuses import REFUSALS

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Caller:
    """A school that has shown its API key."""

    school_id: int
    school: str
    key: int
    scopes: frozenset[str]


def caller() -> Caller:
    """Who asks; only below :func:`needs`."""
    found = g.caller
    assert isinstance(found, Caller)  # noqa: S101 - for the type checker
    return found


def needs(scope: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Let in only who has an API key with ``scope``. The database is asked each time: a revoked key ends at once.

    :raises ClmsError: API_KEY_MISSING, API_KEY_REFUSED, API_SCOPE, LIMIT_REACHED, SERVER_DATABASE
    """

    def decorate(view: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(view)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with _refusals_recorded():
                found = _authenticate(request.headers.get("Authorization"))
                g.caller = found
                count_key(services().limiter, services().settings.limits.key, found.key)
                if scope not in found.scopes:
                    raise ClmsError("API_SCOPE", scope=scope)
            return view(*args, **kwargs)

        return guarded

    return decorate


def signed(view: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let in only requests with JSON that the caller's school signed, and each of them once.

    :raises ClmsError: REQUEST_TYPE, REQUEST_TOO_LARGE, REQUEST_INVALID, a SIGNATURE_ code, SERVER_DATABASE
    """

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if request.mimetype != "application/json":
            raise ClmsError("REQUEST_TYPE", wanted="application/json")
        body = request.get_data()
        if request.content_length is None and len(body) >= services().settings.report_bytes:
            # a body that is sent in pieces is cut off there, without a word
            raise ClmsError("REQUEST_TOO_LARGE")
        with _refusals_recorded():
            _check_signature(body)
        try:
            json.loads(body)
        except (ValueError, RecursionError):
            raise ClmsError("REQUEST_INVALID", detail="its content is no JSON") from None
        return view(*args, **kwargs)

    return guarded


def bearer(header: str | None) -> str | None:
    """The key in an ``Authorization`` header, or None when it holds none."""
    match = re.fullmatch(r"(?i:bearer) +([A-Za-z0-9._~+/=-]{1,200})", header or "")
    return match.group(1) if match else None


def _authenticate(header: str | None) -> Caller:
    key = bearer(header)
    if key is None:
        raise ClmsError("API_KEY_MISSING")
    with services().database.transaction() as session:
        query = select(ApiKey).where(ApiKey.hash == hash_api_key(key)).options(joinedload(ApiKey.school))
        row = session.scalar(query)
    if row is None:
        raise ClmsError("API_KEY_REFUSED")
    g.school, g.key = row.school.name, row.id  # a refusal says whose key that was, too
    if row.revoked_at is not None or row.school.revoked_at is not None:
        raise ClmsError("API_KEY_REFUSED")
    return Caller(row.school_id, row.school.name, row.id, frozenset(row.scopes.split()))


def _check_signature(body: bytes) -> None:
    used: list[SigningKey] = []

    def find_key(keyid: str) -> Ed25519PublicKey | None:
        with services().database.transaction() as session:
            row = session.scalar(
                select(SigningKey)
                .join(School)
                .where(SigningKey.keyid == keyid, SigningKey.revoked_at.is_(None), School.revoked_at.is_(None))
            )
        if row is None:
            return None
        used.append(row)
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(row.public_key))

    # what the client names as its host decides nothing: a signature for another server is none for this one
    query = f"?{request.query_string.decode('latin-1')}" if request.query_string else ""
    url = services().settings.public_url + request.path + query
    found = verify(request.method, url, dict(request.headers), body, find_key=find_key, now=services().clock())
    if used[0].school_id != caller().school_id:
        raise ClmsError("SIGNATURE_SCHOOL")
    _use_nonce(used[0].id, found)


def _use_nonce(key: int, found: Signed) -> None:
    """Remember a signature; two requests with the same one meet at the primary key, in whatever worker.

    :raises ClmsError: SIGNATURE_REPLAYED, SERVER_DATABASE
    """
    now = services().now()
    try:
        with services().database.transaction() as session:
            session.add(Nonce(signing_key_id=key, nonce=found.nonce, expires_at=now + timedelta(seconds=NONCE_SECONDS)))
    except IntegrityError:
        raise ClmsError("SIGNATURE_REPLAYED") from None
    # that it cannot be tidied up right now, in MariaDB for a deadlock, is no reason to refuse
    with suppress(ClmsError), services().database.transaction() as session:
        session.execute(delete(Nonce).where(Nonce.expires_at < now))


@contextmanager
def _refusals_recorded() -> Iterator[None]:
    """Write a refusal down, unless there are too many of them; then how many there were, when the minute is over."""
    _record_left_out()
    try:
        yield
    except ClmsError as error:
        address, school = request.remote_addr or "?", g.get("school")
        if error.code in REFUSALS and services().refusals.wants(
            error.code, place_of(address), services().clock(), school=school
        ):
            with services().database.transaction() as session:
                detail = f"{request.method} {request.path}"
                who = {"at": services().now(), "actor": f"api:{address}", "school": school}
                record(session, error.code, detail=detail, **who)
        raise


def _record_left_out() -> None:
    words = services().refusals.left_out(services().clock())
    if words is not None:
        # that it cannot be written down right now is no reason to refuse whoever comes now
        with suppress(ClmsError), services().database.transaction() as session:
            record(session, LEFT_OUT, at=services().now(), actor="server", detail=words)
