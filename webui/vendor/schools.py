# SPDX-License-Identifier: GPL-3.0-or-later
"""Schools and their keys, as the operator manages them. Every change is one audit entry in the same transaction."""

from __future__ import annotations

import getpass
import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.signed_request import key_id, public_key

from .audit import record
from .models import ApiKey, School, SigningKey

SCOPES = ("read", "report")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def new_api_key() -> str:
    """256 random bits; the prefix lets scanners for leaked secrets find it."""
    return "clms_" + secrets.token_urlsafe(32)


def hash_api_key(key: str) -> str:
    """What is stored of a key.

    A fast hash is the right one here: slow ones protect what people think up, and nobody tries 2^256 keys. A slow one
    would be paid with every request, and by everybody who sends nonsense.
    """
    return hashlib.sha256(key.encode()).hexdigest()


class Schools:
    """What the operator does, in one transaction; the caller opens and ends it."""

    def __init__(self, session: Session, *, now: float, actor: str | None = None) -> None:
        """:param now: seconds since 1970  :param actor: who does it; without it, the user of this process"""
        self._session = session
        self._now = datetime.fromtimestamp(int(now), tz=UTC)
        self._actor = actor or f"cli:{_user()}"

    def add(self, name: str) -> str:
        """Add a school.

        :returns: its first API key, which is shown once and stored nowhere
        :raises ClmsError: SCHOOL_NAME, SCHOOL_TAKEN
        """
        if not re.fullmatch(_NAME, name):
            raise ClmsError("SCHOOL_NAME", name=repr(name[:100]))
        if self._session.scalar(select(School).where(School.name == name)):
            raise ClmsError("SCHOOL_TAKEN", name=name)
        school = School(name=name, created_at=self._now)
        self._session.add(school)
        self._record("school_added", name)
        return self._new_key(school, SCOPES)

    def add_key(self, name: str, scopes: Iterable[str] = SCOPES) -> str:
        """Give a school one more API key; the others stay valid until they are revoked.

        :raises ClmsError: SCHOOL_UNKNOWN, SCHOOL_REVOKED
        """
        return self._new_key(self._active(name), scopes)

    def revoke(self, name: str) -> None:
        """Take all rights from a school, for good; does nothing when that was done before.

        :raises ClmsError: SCHOOL_UNKNOWN
        """
        school = self._find(name)
        if school.revoked_at is not None:
            return
        school.revoked_at = self._now
        keys: list[ApiKey | SigningKey] = [*school.api_keys, *school.signing_keys]
        for key in keys:
            key.revoked_at = key.revoked_at or self._now
        self._record("school_revoked", name)

    def revoke_key(self, number: int) -> None:
        """Revoke one API key; does nothing when that was done before.

        :raises ClmsError: API_KEY_UNKNOWN
        """
        key = self._session.get(ApiKey, number)
        if key is None:
            raise ClmsError("API_KEY_UNKNOWN", key=number)
        if key.revoked_at is None:
            key.revoked_at = self._now
            self._record("api_key_revoked", key.school.name, f"key {number}")

    def set_signing_key(self, name: str, path: Path) -> str:
        """Make the key in ``path`` the only one with which the school may sign.

        :returns: its id
        :raises ClmsError: SCHOOL_UNKNOWN, SCHOOL_REVOKED, SIGNING_KEY_FILE, SIGNING_KEY_TAKEN
        """
        school = self._active(name)
        key = read_public_key(path)
        keyid = key_id(key)
        known = self._session.scalar(select(SigningKey).where(SigningKey.keyid == keyid))
        if known is not None:
            if known.school is school and known.revoked_at is None:
                return keyid
            detail = "it was revoked" if known.school is school else "another school has it"
            raise ClmsError("SIGNING_KEY_TAKEN", path=path, name=name, detail=detail)
        for old in school.signing_keys:
            old.revoked_at = old.revoked_at or self._now
        raw = key.public_bytes_raw().hex()
        school.signing_keys.append(SigningKey(keyid=keyid, public_key=raw, created_at=self._now))
        self._record("signing_key_set", name, keyid)
        return keyid

    def schema_changed(self) -> None:
        """Write down that the schema of the database was changed."""
        self._record("schema_changed", None)

    def describe(self) -> list[dict[str, Any]]:
        """All schools by name, with their keys; of an API key only its number, scopes and times."""
        return [describe(school) for school in self._session.scalars(select(School).order_by(School.name))]

    def _new_key(self, school: School, scopes: Iterable[str]) -> str:
        key = new_api_key()
        wanted = " ".join(scope for scope in SCOPES if scope in set(scopes))
        row = ApiKey(hash=hash_api_key(key), scopes=wanted, created_at=self._now)
        school.api_keys.append(row)
        self._session.flush()
        self._record("api_key_added", school.name, f"key {row.id} ({wanted})")
        return key

    def _find(self, name: str) -> School:
        school = self._session.scalar(select(School).where(School.name == name))
        if school is None:
            raise ClmsError("SCHOOL_UNKNOWN", name=name[:100])
        return school

    def _active(self, name: str) -> School:
        school = self._find(name)
        if school.revoked_at is not None:
            raise ClmsError("SCHOOL_REVOKED", name=name)
        return school

    def _record(self, action: str, school: str | None, detail: str = "") -> None:
        record(self._session, action, at=self._now, actor=self._actor, school=school, detail=detail)


def read_public_key(path: Path) -> Ed25519PublicKey:
    """:raises ClmsError: SIGNING_KEY_FILE"""
    try:
        return public_key(path.read_bytes())
    except OSError as error:
        raise ClmsError("SIGNING_KEY_FILE", path=path, detail=error.strerror) from None
    except ValueError as error:
        raise ClmsError("SIGNING_KEY_FILE", path=path, detail=str(error)) from None


def describe(school: School) -> dict[str, Any]:
    """A school as the command line shows it."""
    return {
        "name": school.name,
        "added": iso_text(school.created_at),
        "revoked": iso_text(school.revoked_at),
        "api_keys": [
            {"key": key.id, "scopes": key.scopes.split(), "added": iso_text(key.created_at), **_revoked(key)}
            for key in school.api_keys
        ],
        "signing_keys": [
            {"keyid": key.keyid, "added": iso_text(key.created_at), **_revoked(key)} for key in school.signing_keys
        ],
    }


def iso_text(moment: datetime | None) -> str | None:
    """``2026-11-23T14:05:09Z``"""
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _revoked(key: ApiKey | SigningKey) -> dict[str, str | None]:
    return {"revoked": iso_text(key.revoked_at)}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "?"
