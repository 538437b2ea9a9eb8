# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that people upload: covers, lists of students."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from flask import Blueprint, g, request, send_file
from werkzeug.exceptions import NotFound

from . import answers
from .tables import Invalid

blueprint = Blueprint("uploads", __name__)


def _place(name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
        raise Invalid("A file name has letters, digits, dots and dashes only.")
    return Path(g.config.uploads) / name


@blueprint.post("/api/uploads")
def upload() -> Any:
    """Keep a file: the form field ``file``, or the whole body with ``?name=``. A file of that name is replaced."""
    # asked by type, because a form is taken apart when it is looked at and leaves no body behind
    sent = request.files.get("file") if request.mimetype == "multipart/form-data" else None
    content = sent.read() if sent else request.get_data(cache=False)
    place = _place(request.args.get("name") or (sent.filename if sent else "") or "")
    with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".upload-", delete=False) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # answered only when it is on disk, like every other write
    Path(file.name).rename(place)
    return answers.data({"name": place.name, "size": len(content)}, 201)


@blueprint.get("/api/uploads/<name>")
def download(name: str) -> Any:
    """A kept file."""
    place = _place(name)
    if not place.is_file():
        raise NotFound("There is no such file.")
    return send_file(place, mimetype="application/octet-stream")
