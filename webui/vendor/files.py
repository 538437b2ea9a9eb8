# SPDX-License-Identifier: GPL-3.0-or-later
"""The signed repository as plain files. No key is asked for: it is signed, and caches in front should keep it."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from pathlib import Path

from flask import Response, send_file
from flask_smorest import Blueprint

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .documented import file_answers
from .services import services

blueprint = Blueprint("files", __name__, description="The signed repository (The Update Framework)")

_METADATA = r"timestamp\.json|[0-9]{1,10}\.(root|targets|snapshot)\.json"
_TARGET = r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/){0,5}(?P<hash>[0-9a-f]{64})\.[A-Za-z0-9._-]+"
_FOREVER = "public, max-age=31536000, immutable"


@blueprint.route("/metadata/<name>")
@file_answers(blueprint, "application/json")
def metadata(name: str) -> Response:
    """Signed metadata. All but the timestamp carry a version in their names and never change."""
    if not re.fullmatch(_METADATA, name):
        raise ClmsError("REQUEST_PATH")
    path = inside(services().settings.repository, f"metadata/{name}")
    # read once: the timestamp may be replaced while it is sent, and the hash has to fit what is sent
    data = path.read_bytes()
    return _send(
        io.BytesIO(data),
        "application/json",
        etag=hashlib.sha256(data).hexdigest(),
        modified=path.stat().st_mtime,
        cache="public, no-cache" if name == "timestamp.json" else _FOREVER,
    )


@blueprint.route("/targets/<path:name>")
@file_answers(blueprint, "application/octet-stream")
def target(name: str) -> Response:
    """A file that the signed list names, with its hash before its name; it never changes."""
    match = re.fullmatch(_TARGET, name)
    if not match:
        raise ClmsError("REQUEST_PATH")
    path = inside(services().settings.repository, f"targets/{name}")
    return _send(
        path,
        "application/octet-stream",
        etag=match.group("hash"),
        modified=path.stat().st_mtime,
        cache=_FOREVER,
    )


def inside(folder: Path, name: str) -> Path:
    """The regular file ``name`` in ``folder``; not what a link leads to, wherever on the way it is.

    :raises ClmsError: REQUEST_PATH
    """
    base = folder.resolve()
    path = base / name
    try:
        if ".." in path.parts or path.resolve(strict=True) != path or not stat.S_ISREG(os.lstat(path).st_mode):
            raise ClmsError("REQUEST_PATH")
    except (OSError, ValueError):
        raise ClmsError("REQUEST_PATH") from None
    return path


def _send(content: Path | io.BytesIO, media_type: str, *, etag: str, modified: float, cache: str) -> Response:
    response = send_file(content, mimetype=media_type, conditional=True, etag=etag, last_modified=modified)
    response.headers["Cache-Control"] = cache
    response.headers["Accept-Ranges"] = "bytes"
    return response
