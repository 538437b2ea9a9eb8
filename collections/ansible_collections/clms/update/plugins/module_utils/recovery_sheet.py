# SPDX-License-Identifier: GPL-3.0-or-later
"""The recovery sheet: what opens a school's backups when its server is gone.

It is a file as age-keygen writes it, with one more comment: the public half of the key that signs the backups. So it
can be typed in again line by line, and age reads it as it is.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

SIGNER = "# backups are signed by: "
"""begins the line that the role `school_server` adds"""

_IDENTITY = re.compile(r"(?m)^(AGE-SECRET-KEY-1[0-9A-Z]{58})\s*$")
_SIGNER = re.compile(rf"(?m)^{SIGNER}([A-Za-z0-9+/]{{59}}=)\s*$")
_SPKI = bytes.fromhex("302a300506032b6570032100")
"""begins every Ed25519 public key in DER (RFC 8410, section 4)"""


@dataclass(frozen=True)
class Sheet:
    """A recovery sheet that was read."""

    identity: str
    """the age identity; a secret"""
    signer: bytes
    """public half of the key that signs the backups, 32 bytes"""


def parse_sheet(text: str) -> Sheet:
    """Read a recovery sheet.

    :raises ValueError: when something is missing; the text says what, and quotes nothing
    """
    identities, signers = _IDENTITY.findall(text), _SIGNER.findall(text)
    if len(identities) != 1:
        raise ValueError("it has no line, or more than one, that begins with AGE-SECRET-KEY-1 and is complete")
    if len(signers) != 1:
        raise ValueError(f"it has no complete line that begins with '{SIGNER.strip()}'")
    key = base64.b64decode(signers[0])
    if not key.startswith(_SPKI):
        raise ValueError("the key in its last line is none that signs backups")
    return Sheet(identities[0], key.removeprefix(_SPKI))
