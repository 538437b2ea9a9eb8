# SPDX-License-Identifier: GPL-3.0-or-later
"""Strict verification of a detached GPG signature.

gpg's exit code is not enough: it is 0 for a signature by an expired or revoked key and for any key in the ring. So
the ring holds nothing but the vendor's key, and the decision is taken on gpg's status lines.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from .errors import ClmsError

TIMEOUT = 120
"""Seconds for one call of gpg; hashing a large package on an old disk takes a while."""

_PREFIX = "[GNUPG:] "
_EXACTLY_ONCE = ("NEWSIG", "GOODSIG", "VALIDSIG")
_HARMLESS = frozenset({"KEY_CONSIDERED", "SIG_ID", "VERIFICATION_COMPLIANCE_MODE"})
_HASHES = {"8": "SHA256", "9": "SHA384", "10": "SHA512"}
_DOCUMENT = "00"
"""Signature class of a signature over a binary document."""


class Finished(NamedTuple):
    """How a process ended."""

    code: int
    output: str


Runner = Callable[[Sequence[str]], Finished]


class SignatureRefusedError(Exception):
    """A signature is not good enough; the text says why."""


def run(command: Sequence[str]) -> Finished:
    """Run gpg in the C locale; complaints for people are dropped, the status lines tell all."""
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        timeout=TIMEOUT,
        check=False,
    )
    # user ids in status lines can be in any encoding
    return Finished(result.returncode, result.stdout.decode("utf-8", "replace"))


def judge(status: str, fingerprints: Collection[str]) -> str:
    """Decide from the status lines of one ``gpg --verify``.

    Accepted is exactly one good signature over the whole document, by a key whose primary fingerprint is pinned,
    with a strong hash. Every status that is not known to be harmless refuses.

    :param status: what gpg wrote to its status descriptor
    :param fingerprints: the pinned primary fingerprints, 40 hexadecimal digits in upper case
    :returns: the primary fingerprint that signed
    :raises SignatureRefusedError: for everything else
    """
    seen: dict[str, list[str]] = {}
    for line in status.splitlines():
        if not line.startswith(_PREFIX):
            raise SignatureRefusedError("gpg answered something that is not a status")
        keyword, *arguments = line[len(_PREFIX) :].split()
        if keyword in _HARMLESS or keyword.startswith("TRUST_"):
            continue
        if keyword not in _EXACTLY_ONCE:
            raise SignatureRefusedError(f"gpg reports {keyword}")
        if keyword in seen:
            raise SignatureRefusedError("there is more than one signature")
        seen[keyword] = arguments
    for keyword in _EXACTLY_ONCE:
        if keyword not in seen:
            raise SignatureRefusedError("there is no valid signature")
    valid = seen["VALIDSIG"]
    if len(valid) != 10:
        raise SignatureRefusedError("gpg's report of the signature is incomplete")
    signer, hash_algorithm, kind, primary = valid[0], valid[7], valid[8], valid[9]
    if not seen["GOODSIG"] or not signer.endswith(seen["GOODSIG"][0]):
        raise SignatureRefusedError("gpg reports two different keys")
    if hash_algorithm not in _HASHES:
        raise SignatureRefusedError(f"it uses a hash that is too weak (number {hash_algorithm[:3]})")
    if kind != _DOCUMENT:
        raise SignatureRefusedError("it is not a signature over a file")
    if primary not in fingerprints:
        raise SignatureRefusedError(f"it was made by another key ({primary[:40]})")
    return primary


def verify_package(
    *,
    version: object,
    package: Path,
    signature: Path,
    key: Path,
    fingerprints: Collection[str],
    runner: Runner = run,
) -> str:
    """Verify the detached signature of a release's package.

    :param key: the vendor's public key, see :meth:`.trust.TrustStore.public_keys`
    :param fingerprints: the primary fingerprints that may sign
    :returns: the primary fingerprint that signed
    :raises ClmsError: PACKAGE_SIGNATURE
    """
    try:
        return _verify(package, signature, key, fingerprints, runner)
    except SignatureRefusedError as error:
        raise ClmsError("PACKAGE_SIGNATURE", version=version, detail=str(error)) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        detail = f"gpg could not be run ({type(error).__name__})"
        raise ClmsError("PACKAGE_SIGNATURE", version=version, detail=detail) from error


def _verify(package: Path, signature: Path, key: Path, fingerprints: Collection[str], runner: Runner) -> str:
    for path, what in ((package, "package"), (signature, "signature"), (key, "vendor's public key")):
        if not path.is_file():
            raise SignatureRefusedError(f"there is no {what} at {path}")
    # TemporaryDirectory is made with mode 0700
    with tempfile.TemporaryDirectory(prefix="clms-gpg-") as home:
        gpg = [
            *("gpg", "--homedir", home, "--no-options", "--batch", "--no-tty", "--no-autostart"),
            *("--trust-model", "always", "--no-auto-key-retrieve", "--no-auto-key-locate", "--disable-dirmngr"),
        ]
        if runner([*gpg, "--import", str(key.resolve())]).code:
            raise SignatureRefusedError("the vendor's public key here cannot be read")
        paths = [str(signature.resolve()), str(package.resolve())]
        result = runner([*gpg, "--status-fd", "1", "--verify", "--", *paths])
    primary = judge(result.output, fingerprints)
    if result.code:
        raise SignatureRefusedError(f"gpg ended with code {result.code}")
    return primary
