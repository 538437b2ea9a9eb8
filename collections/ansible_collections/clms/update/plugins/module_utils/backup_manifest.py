# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of a backup: what is in its folder, how it was proven, and who wrote it.

``manifest.json`` is written last, once the proof has been made; ``manifest.sig`` is the Ed25519 signature over its
exact bytes (64 bytes, as ``openssl pkeyutl -verify -rawin`` takes it). age tells that a file was not damaged, but
not who wrote it: the signature does, and through the hashes it covers every file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    HAS_CRYPTOGRAPHY = True
except ImportError:
    HAS_CRYPTOGRAPHY = False

from .fields import FieldError, Fields
from .slots import Slot

FORMAT = 1
MAX_BYTES = 8_000_000
SIGNATURE_BYTES = 64
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"

ID_PATTERN = r"\d{8}T\d{6}Z-[0-9A-Za-z.-]{1,64}-r\d+"
"""``<UTC time>-<version>-r<run>``: sorts by time"""
_FILE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}"
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
_HASH = r"[0-9a-f]{64}"
_KINDS = "database|accounts|configuration|volume"


@dataclass(frozen=True)
class BackupFile:
    """One encrypted file of a backup."""

    name: str
    kind: str
    """``database``, ``accounts``, ``configuration`` or ``volume``"""
    volume: str | None
    """the volume of the school's description, for the kind ``volume``"""
    bytes: int
    sha256: str


@dataclass(frozen=True)
class DatabaseFacts:
    """What a restore of the dump has to bring back."""

    name: str
    image: str
    """id of the image whose server wrote the dump"""
    tables: dict[str, int]
    """table -> rows, counted in the dump's own snapshot"""
    schema: str
    """fingerprint, see :meth:`.adapters.database.Database.schema_fingerprint`"""


@dataclass(frozen=True)
class Proof:
    """How the backup was verified."""

    at: str
    """UTC, ``YYYY-MM-DDThh:mm:ssZ``"""
    how: str
    seconds: float


@dataclass(frozen=True)
class Manifest:
    """A backup; see the module's text."""

    id: str
    created: str
    """UTC, ``YYYY-MM-DDThh:mm:ssZ``"""
    school: str
    version: str
    slot: Slot
    """the slot that was backed up; carries the signed release"""
    files: tuple[BackupFile, ...]
    images: tuple[str, ...]
    """configuration digests of the images that lie in the folder ``images`` beside the backups"""
    database: DatabaseFacts
    proven: Proof

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)

    def of_kind(self, kind: str) -> list[BackupFile]:
        """The files of a kind."""
        return [file for file in self.files if file.kind == kind]

    def to_json(self) -> bytes:
        """The bytes that are signed and written."""
        data = {"format": FORMAT, **asdict(self)}
        return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def parse_manifest(data: bytes) -> Manifest:
    """The opposite of :meth:`Manifest.to_json`.

    :raises ValueError: when ``data`` is no manifest that this version understands
    """
    if len(data) > MAX_BYTES:
        raise FieldError("it is too large")
    try:
        fields = Fields(json.loads(data))
    except RecursionError:
        raise FieldError("it is nested too deeply") from None
    fields.number("format", low=FORMAT, high=FORMAT)
    manifest = Manifest(
        id=fields.text("id", pattern=ID_PATTERN),
        created=fields.text("created", pattern=_TIME),
        school=fields.text("school", limit=500),
        version=fields.text("version", limit=64),
        slot=_slot(fields),
        files=tuple(_file(file) for file in fields.each("files")),
        images=tuple(fields.texts("images", pattern=f"sha256:{_HASH}")),
        database=_database(fields.sub("database")),
        proven=_proof(fields.sub("proven")),
    )
    fields.done()
    if len({file.name for file in manifest.files}) != len(manifest.files):
        raise FieldError("files names a file twice")
    if len(manifest.of_kind("database")) != 1:
        raise FieldError("files must have one dump")
    return manifest


def _slot(fields: Fields) -> Slot:
    try:
        return Slot.from_dict(fields.get("slot", dict))
    except (KeyError, TypeError, AttributeError):
        raise FieldError("slot is not complete") from None


def _file(fields: Fields) -> BackupFile:
    file = BackupFile(
        name=fields.text("name", pattern=_FILE),
        kind=fields.text("kind", pattern=_KINDS),
        volume=fields.text("volume", limit=100, default=None),
        bytes=fields.number("bytes"),
        sha256=fields.text("sha256", pattern=_HASH),
    )
    fields.done()
    if (file.volume is not None) != (file.kind == "volume"):
        raise FieldError(f"{fields.where('volume')} goes with files of kind volume")
    return file


def _database(fields: Fields) -> DatabaseFacts:
    rows = fields.sub("tables")
    facts = DatabaseFacts(
        name=fields.text("name", limit=200),
        image=fields.text("image", limit=500),
        tables={table: rows.number(table) for table in rows.names()},
        schema=fields.text("schema", pattern=_HASH),
    )
    fields.done()
    return facts


def _proof(fields: Fields) -> Proof:
    proof = Proof(
        at=fields.text("at", pattern=_TIME), how=fields.text("how", limit=500), seconds=fields.get("seconds", float)
    )
    fields.done()
    return proof


def sign(data: bytes, key_pem: bytes) -> bytes:
    """The signature over a manifest.

    :param key_pem: Ed25519 private key
    :raises ValueError: when the key is something else
    """
    return _private_key(key_pem).sign(data)


def public_key(key_pem: bytes) -> bytes:
    """The 32 bytes of the public half, as the recovery sheet has them.

    :raises ValueError: when the key is no Ed25519 private key
    """
    return _private_key(key_pem).public_key().public_bytes_raw()


def _private_key(pem: bytes) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):  # their own words could quote the key
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("it is not an Ed25519 private key without a passphrase in PEM")
    return key


def is_signed(data: bytes, signature: bytes, public: bytes) -> bool:
    """Whether ``signature`` over the bytes of a manifest was made with the private half of ``public``."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True
