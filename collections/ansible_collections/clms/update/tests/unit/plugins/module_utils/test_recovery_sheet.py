# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recovery sheet has to hold, and what a person may have got wrong in typing it in."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ansible_collections.clms.update.plugins.module_utils.recovery_sheet import SIGNER, parse_sheet

KEY = Ed25519PrivateKey.generate().public_key()
BODY = KEY.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode().splitlines()[1]
IDENTITY = f"AGE-SECRET-KEY-1{'Q' * 58}"
SHEET = f"# created: 2026-11-25\n# public key: age1xyz\n{IDENTITY}\n{SIGNER}{BODY}\n"


@pytest.mark.parametrize(
    "change", [lambda text: text, lambda text: text.replace("\n", "  \n"), lambda text: text.replace("\n", "\r\n")]
)
def test_a_good_one(change: Callable[[str], str]) -> None:
    sheet = parse_sheet(change(SHEET))
    assert (sheet.identity, sheet.signer) == (IDENTITY, KEY.public_bytes_raw())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "AGE-SECRET-KEY-1", id="empty"),
        pytest.param(SHEET.replace("Q\n", "\n"), "AGE-SECRET-KEY-1", id="a letter is missing"),
        pytest.param(SHEET.replace(IDENTITY, IDENTITY.lower()), "AGE-SECRET-KEY-1", id="small letters"),
        pytest.param(SHEET + IDENTITY + "\n", "more than one", id="two keys"),
        pytest.param(SHEET.replace(BODY, BODY[:-2]), "backups are signed by", id="cut off"),
        pytest.param(SHEET.splitlines()[2], "backups are signed by", id="no signer"),
        pytest.param(
            SHEET.replace(BODY, base64.b64encode(bytes(44)).decode()), "none that signs backups", id="another key"
        ),
    ],
)
def test_what_is_wrong_with_it(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        parse_sheet(text)
    assert "QQQQ" not in str(caught.value)
