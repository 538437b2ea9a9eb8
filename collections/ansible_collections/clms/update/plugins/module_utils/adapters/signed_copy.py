# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of a signed file that is verified while it is made.

What is used afterwards is the copy, so that it is no matter what becomes of the original in the meantime; and the file
is read once, however large it is.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

from ..gpg import SignatureRefusedError, command, judge, run
from .pipes import ArchiveError, Process

_CHUNK = 1 << 20


def copy_signed(
    source: IO[bytes],
    target: IO[bytes],
    *,
    signed: int,
    signature: bytes,
    key: Path,
    fingerprints: Collection[str],
) -> str:
    """Copy a file to its end, and verify a detached signature over its first ``signed`` bytes on the way.

    :param source: at its beginning
    :param key: the vendor's public key
    :param fingerprints: pinned primary fingerprints
    :returns: the primary fingerprint that signed
    :raises SignatureRefusedError: when it is not good enough; nothing of the copy may be used then
    :raises ArchiveError: when gpg cannot be run
    :raises OSError: when the one cannot be read or the other not be written
    """
    with tempfile.TemporaryDirectory(prefix="clms-gpg-") as home:
        if run([*command(home), "--import", str(key.resolve())]).code:
            raise SignatureRefusedError("the vendor's public key here cannot be read")
        detached = Path(home) / "signature"
        detached.write_bytes(signature)
        gpg = Process(
            [*command(home), "--status-fd", "1", "--verify", "--", detached, "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            _copy(source, target, gpg.stdin, signed)
            gpg.stdin.close()
            status = gpg.stdout.read().decode("utf-8", "replace")
            primary = judge(status, fingerprints)
            gpg.finish()
        except BrokenPipeError:
            raise SignatureRefusedError("gpg did not take the file") from None
        except ArchiveError as error:
            raise SignatureRefusedError(str(error)) from None
        finally:
            gpg.end()
    return primary


def _copy(source: IO[bytes], target: IO[bytes], check: IO[bytes], signed: int) -> None:
    """:raises BrokenPipeError: when gpg ended early, because there is nothing that it could verify"""
    left = signed
    while chunk := source.read(_CHUNK):
        target.write(chunk)
        if left:
            check.write(chunk[:left])
            left -= min(left, len(chunk))
    target.flush()
    os.fsync(target.fileno())
