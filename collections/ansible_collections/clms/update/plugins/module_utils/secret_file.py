# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets are handed over as paths of files that only their owner can read; this reads them."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ClmsError
from .fields import FieldError, Fields

MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class Credentials:
    """A login; the password stays out of ``repr``, so that it cannot slip into a log."""

    username: str
    password: str = field(repr=False)


def read_secret(path: Path) -> bytes:
    """The content of a secret file.

    :raises ClmsError: SECRET_FILE when the file is missing, is not a regular file, belongs to somebody else,
        can be read or written by group or others, or is larger than :data:`MAX_BYTES`
    """
    try:
        # O_NONBLOCK: a named pipe in its place must not hang the caller
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ClmsError("SECRET_FILE", path=path, detail=error.strerror) from None
    try:
        # asked of the open file, so that nothing can be swapped between check and use
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ClmsError("SECRET_FILE", path=path, detail="it is not a regular file")
        if status.st_uid not in (0, os.geteuid()):
            raise ClmsError("SECRET_FILE", path=path, detail="it belongs to another user")
        if status.st_mode & 0o077:
            mode = f"{stat.S_IMODE(status.st_mode):04o}"
            raise ClmsError("SECRET_FILE", path=path, detail=f"others may use it too (its mode is {mode})")
        content = os.read(descriptor, MAX_BYTES + 1)  # of a regular file, read gives all there is
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise ClmsError("SECRET_FILE", path=path, detail="it is too large")
    return content


def read_credentials(path: Path) -> Credentials:
    """A login from a secret file that holds ``{"username": …, "password": …}``.

    :raises ClmsError: SECRET_FILE
    """
    try:
        fields = Fields(json.loads(read_secret(path)))
        credentials = Credentials(fields.text("username", limit=256), fields.text("password", limit=4096))
        fields.done()
        return credentials
    except FieldError as error:
        raise ClmsError("SECRET_FILE", path=path, detail=str(error)) from None
    except (ValueError, RecursionError):  # JSON's own complaint is left out: it could quote the secret
        raise ClmsError("SECRET_FILE", path=path, detail="it is not valid JSON") from None
