# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ansible_collections.clms.update.plugins.module_utils.backup_manifest import (
    BackupFile,
    DatabaseFacts,
    Manifest,
    Proof,
    is_signed,
    parse_manifest,
    public_key,
    sign,
)
from ansible_collections.clms.update.plugins.module_utils.slots import Slot, SlotService

HASH = "ab" * 32


def pem(key: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def manifest() -> Manifest:
    return Manifest(
        id="20260102T030405Z-1.0.0-r7",
        created="2026-01-02T03:04:05Z",
        school="Grundschule Süd",
        version="1.0.0",
        slot=Slot(
            name="r1",
            run=1,
            version="1.0.0",
            network="clms-r1",
            services={"mysql": SlotService("clms-mysql-r1", "registry/mysql@sha256:1", f"sha256:{HASH}")},
            volumes={"mysql_data": "clms-mysql_data-r1"},
            release={"version": "1.0.0"},
        ),
        files=(
            BackupFile("database.sql.zst.age", "database", None, 1000, HASH),
            BackupFile("volume-uploads.tar.zst.age", "volume", "uploads", 24, HASH),
        ),
        images=(f"sha256:{HASH}",),
        database=DatabaseFacts("clms_database", f"sha256:{HASH}", {"books": 3, "students": 0}, HASH),
        proven=Proof("2026-01-02T03:05:00Z", "restored", 4.2),
    )


def test_a_manifest_survives_being_written_and_read() -> None:
    assert parse_manifest(manifest().to_json()) == manifest()
    assert manifest().total_bytes == 1024


def _without(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        for key in path[:-1]:
            data = data[key]
        del data[path[-1]]

    return change


def _with(value: object, *path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        pytest.param(_with(2, "format"), "format", id="another-format"),
        pytest.param(_without("proven"), "proven is missing", id="not-proven"),
        pytest.param(_without("files"), "files is missing", id="no-files"),
        pytest.param(_with([], "files"), "one dump", id="no-dump"),
        pytest.param(_with("../../etc/shadow", "files", 0, "name"), "files[0].name", id="path-outside"),
        pytest.param(_with("volume-uploads.tar.zst.age", "files", 0, "name"), "twice", id="file-named-twice"),
        pytest.param(_with("secrets", "files", 0, "kind"), "files[0].kind", id="unknown-kind"),
        pytest.param(_with(None, "files", 1, "volume"), "files[1].volume", id="volume-without-name"),
        pytest.param(_with(-1, "files", 0, "bytes"), "files[0].bytes", id="negative-size"),
        pytest.param(_with("xyz", "files", 0, "sha256"), "files[0].sha256", id="no-hash"),
        pytest.param(_with("3", "database", "tables", "books"), "database.tables.books", id="rows-as-text"),
        pytest.param(_with("x", "surprise"), "surprise is not known", id="unknown-field"),
        pytest.param(_without("slot", "network"), "slot is not complete", id="half-a-slot"),
        pytest.param(_with("x", "slot", "surprise"), "slot is not complete", id="unknown-field-in-slot"),
        pytest.param(_with("../r1", "id"), "id has a value", id="id-outside"),
    ],
)
def test_a_manifest_that_is_not_understood_is_refused(change: Callable[[dict[str, Any]], None], complaint: str) -> None:
    data = json.loads(manifest().to_json())
    change(data)
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse_manifest(json.dumps(data).encode())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="no-mapping"),
        pytest.param(b"{", id="cut-off"),
        pytest.param(b"\xff\xfe", id="no-text"),
        pytest.param(b"[" * 200_000, id="nested"),
        pytest.param(b" " * 9_000_000, id="too-large"),
    ],
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever complaint comes first
        parse_manifest(data)


def test_the_signature_covers_every_byte_and_names_the_writer() -> None:
    key, stranger = pem(Ed25519PrivateKey.generate()), pem(Ed25519PrivateKey.generate())
    data = manifest().to_json()
    signature = sign(data, key)
    assert is_signed(data, signature, public_key(key))
    assert not is_signed(data + b" ", signature, public_key(key))
    assert not is_signed(data, signature[:-1] + bytes([signature[-1] ^ 1]), public_key(key))
    assert not is_signed(data, b"", public_key(key))
    assert not is_signed(data, sign(data, stranger), public_key(key))
    assert not is_signed(data, signature, b"short")


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(b"-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n", id="damaged"),
        pytest.param(pem(generate_ec_key(SECP256R1())), id="another-kind"),
        pytest.param(b"", id="empty"),
    ],
)
def test_another_key_is_refused_without_being_quoted(key: bytes) -> None:
    with pytest.raises(ValueError, match="not an Ed25519 private key") as caught:
        sign(b"", key)
    assert "canary" not in str(caught.value)
