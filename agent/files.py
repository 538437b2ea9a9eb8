# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the vendor that a person hands over: by `clms-update import`, or by upload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.adapters import offline
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.school import School

from .schedule import tell

UPLOADS = "uploads"
"""Folder below the school's home in which the page puts what was uploaded."""


def import_file(school: School, path: Path) -> dict[str, Any]:
    """Take a file in, and record what came of it; returns :meth:`.offline.Offline.as_dict`.

    :raises ClmsError: as :func:`.offline.import_file`
    """
    try:
        found = offline.import_file(school, path)
    except ClmsError as error:
        tell(school.home, "FILE_REFUSED", str(error))
        raise
    tell(school.home, "FILE_IMPORTED", found.sentence)
    return found.as_dict()


def import_upload(school: School, name: str) -> dict[str, Any]:
    """The same for a file that was uploaded; whatever comes of it, the upload is removed.

    :param name: of a file in :data:`UPLOADS`
    """
    path = school.home / UPLOADS / name
    try:
        return import_file(school, path)
    finally:
        path.unlink(missing_ok=True)
