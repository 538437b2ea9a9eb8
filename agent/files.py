# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the vendor that a person hands over: by `clms-update import`, or by upload.

What is uploaded lies in a folder in which the page may write and which the agent owns: whoever has taken the page over
can put files there, and neither move the folder nor have another one read or emptied in its place.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.adapters import offline
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.told import told

from .schedule import tell

_KEPT_SECONDS = 86_400
"""after which an upload that nobody has asked to take in is removed"""


def make_upload_folder(folder: Path, group: int | None) -> None:
    """Make the folder for uploads, and remove what was left there.

    :param group: whose members may write there, besides root
    :raises OSError: when it cannot be made
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if group is not None:
            os.fchown(descriptor, 0, group)
        os.fchmod(descriptor, 0o1770 if group is not None else 0o700)
        with os.scandir(descriptor) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < time.time() - _KEPT_SECONDS:
                        os.unlink(entry.name, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def import_file(school: School, path: Path) -> dict[str, Any]:
    """Take a file in, and record what came of it; returns :meth:`.offline.Offline.as_dict`.

    :raises ClmsError: as :func:`.offline.import_file`
    """
    try:
        found = offline.import_file(school, path)
    except ClmsError as error:
        tell(school.home, "FILE_REFUSED", told("FAILURE", failure=error))
        raise
    tell(school.home, "FILE_IMPORTED", found.told)
    return found.as_dict()


def import_upload(school: School, name: str) -> dict[str, Any]:
    """The same for a file that was uploaded; whatever comes of it, the upload is removed.

    :param name: of a file in the school's folder for uploads
    """
    path = school.upload_folder / name
    try:
        return import_file(school, path)
    finally:
        path.unlink(missing_ok=True)
