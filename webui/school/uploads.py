# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads of files with a release: written to the agent's folder as they come, whatever their size, and never twice."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from flask import Request, request
from werkzeug.exceptions import HTTPException

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .agent import agent
from .language import lazy_gettext
from .protection import csrf
from .texts import size as words_of

MOST_BYTES = 20_000_000_000
RESERVE_BYTES = 1_000_000_000
"""stay free on the disk, whatever is uploaded: CLMS may be on it too"""
_PIECE = 1 << 20
_coming: dict[str, int] = {}
"""name of each file that comes right now -> the bytes that it takes when it is there, with the agent's copy"""
_room = threading.Lock()


class UploadRequest(Request):
    """A request whose file goes straight to its folder, instead of through temporary files."""

    upload_folder: Path | None = None
    """set by the view, before it looks at the form"""
    upload_name = ""
    uploaded: Path | None = None
    _upload: IO[bytes] | None = None

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        if self.upload_folder is None or self.uploaded is not None:
            return super()._get_file_stream(total_content_length, content_type, filename, content_length)
        self.uploaded = self.upload_folder / self.upload_name
        descriptor = os.open(self.uploaded, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._upload = os.fdopen(descriptor, "w+b")
        return self._upload

    def remove_upload(self) -> None:
        """It is gone, unless the agent has it."""
        if self._upload is not None:
            with suppress(OSError):
                self._upload.close()
        if self.uploaded is not None:
            with suppress(OSError):
                self.uploaded.unlink()
        _coming.pop(self.upload_name, None)


def take_in() -> str:
    """Let the agent take in the file that comes with this request; the version in it.

    :raises ClmsError: DISK_TOO_SMALL, REQUEST_TOO_LARGE, UPLOAD_FOLDER, UPLOAD_NONE, or why the agent refuses the file
    """
    sent = cast(UploadRequest, request._get_current_object())  # type: ignore[attr-defined]
    folder = Path(agent().ask("list", what="files")["folder"])
    sent.max_content_length = MOST_BYTES
    _remove_left_behind(folder)
    # the name is ours: what a browser sends is of no use, and the agent asks what it is
    sent.upload_name = f"upload-{secrets.token_hex(8)}.zip"
    try:
        reserve_room(folder, sent.upload_name, sent.content_length)
        sent.upload_folder = folder
        csrf.protect()  # not before: to look at the form is to read the file
        file = sent.files.get("file")
        if file is None or sent.uploaded is None:
            raise ClmsError("UPLOAD_NONE")
        file.close()
        return str(agent().ask("import", file=sent.uploaded.name)["version"])
    except ClmsError:
        _let_come(sent)
        raise
    except OSError as error:
        _let_come(sent)
        raise ClmsError("UPLOAD_FOLDER", path=folder, detail=error.strerror or error) from None
    finally:
        sent.remove_upload()


def _remove_left_behind(folder: Path) -> None:
    """Remove what came to a page that was killed meanwhile: nobody but this one process puts uploads there."""
    for path in folder.glob("upload-*.zip"):
        if path.name not in _coming:
            with suppress(OSError):
                path.unlink()


def _let_come(sent: Request) -> None:
    """Read what is still coming, and forget it: a browser reads no answer before all was sent, and would say that the
    connection broke.
    """
    with suppress(OSError, HTTPException):
        while sent.stream.read(_PIECE):
            pass


def reserve_room(folder: Path, name: str, size: int | None) -> None:
    """Have room for a file and for the agent's copy of it, beside what else comes right now.

    :raises ClmsError: REQUEST_TOO_LARGE, or DISK_TOO_SMALL before anything is written
    """
    if size is None or size > MOST_BYTES:
        raise ClmsError("REQUEST_TOO_LARGE")
    with _room:
        try:
            free = shutil.disk_usage(folder).free - sum(_to_come(folder / other) for other in list(_coming))
        except OSError as error:
            raise ClmsError("UPLOAD_FOLDER", path=folder, detail=error.strerror) from None
        if 2 * size + RESERVE_BYTES <= free:
            _coming[name] = 2 * size
            return
    needed = lazy_gettext(
        "the file takes %(needed)s for a moment, %(free)s can be used",
        needed=words_of(2 * size),
        free=words_of(max(0, free - RESERVE_BYTES)),
    )
    raise ClmsError("DISK_TOO_SMALL", detail=needed)


def _to_come(path: Path) -> int:
    """What a file that comes will still take."""
    try:
        return max(0, _coming.get(path.name, 0) - path.stat().st_size)
    except FileNotFoundError:  # nothing of it is there yet
        return _coming.get(path.name, 0)
