# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables. They are made by the migrations only; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Float, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

# MariaDB would otherwise take two texts that differ in upper and lower case for the same
EXACT = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, to the second: neither SQLite nor MariaDB keeps a time zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """:raises ValueError: for a moment without a time zone"""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        return value.astimezone(UTC).replace(tzinfo=None, microsecond=0)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """The moment, with its time zone."""
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """What all tables share."""

    type_annotation_map = {datetime: UtcDateTime}  # noqa: RUF012 - so SQLAlchemy wants it
    __table_args__: Any = EXACT


class School(Base):
    """A school that may ask and report."""

    __tablename__ = "schools"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    api_keys: Mapped[list[ApiKey]] = relationship(back_populates="school", order_by="ApiKey.id")
    signing_keys: Mapped[list[SigningKey]] = relationship(back_populates="school", order_by="SigningKey.id")


class ApiKey(Base):
    """One API key of a school, as its hash."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    school_id: Mapped[int] = mapped_column(ForeignKey("schools.id"), index=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[str] = mapped_column(String(100))
    """separated by spaces"""
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    school: Mapped[School] = relationship(back_populates="api_keys")


class SigningKey(Base):
    """The public half of a school's signing key."""

    __tablename__ = "signing_keys"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    school_id: Mapped[int] = mapped_column(ForeignKey("schools.id"), index=True)
    keyid: Mapped[str] = mapped_column(String(64), unique=True)
    public_key: Mapped[str] = mapped_column(String(64))
    """the 32 bytes in hexadecimal"""
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    school: Mapped[School] = relationship(back_populates="signing_keys")


class Nonce(Base):
    """A signature that was accepted, for as long as its time lets it count."""

    __tablename__ = "nonces"

    signing_key_id: Mapped[int] = mapped_column(ForeignKey("signing_keys.id"), primary_key=True)
    nonce: Mapped[str] = mapped_column(String(100), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Report(Base):
    """How a run at a school ended, in the school's words."""

    __tablename__ = "reports"
    __table_args__ = (UniqueConstraint("school_id", "run_id"), Index("ix_reports_received_at", "received_at"), EXACT)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    school_id: Mapped[int] = mapped_column(ForeignKey("schools.id"))
    run_id: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the report in canonical JSON"""
    kind: Mapped[str] = mapped_column(String(20))
    from_version: Mapped[str | None] = mapped_column(String(64))
    version: Mapped[str | None] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(20))
    error_code: Mapped[str | None] = mapped_column(String(64))
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    closed_seconds: Mapped[float | None] = mapped_column(Float)
    updater_version: Mapped[str] = mapped_column(String(64))
    phases: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    received_at: Mapped[datetime]
    school: Mapped[School] = relationship()


class AuditEntry(Base):
    """Something that was done, or refused, and by whom; nothing here is ever changed."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(50))
    school: Mapped[str | None] = mapped_column(String(100))
    detail: Mapped[str] = mapped_column(String(500))
