# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `commit`: everything of slot B is on the disk, then the one record that makes it the valid one."""

from __future__ import annotations

from typing import Any

from ..adapters.files import sync_file_system
from ..adapters.slot_files import keep_serving
from ..run import Context


def work(context: Context) -> dict[str, Any]:
    """Do the phase. From its record on, whatever happens, the run only goes forward."""
    folders = {context.engine.volume_path(name) for name in context.new.volumes.values()}
    with context.step("sync"):
        for device in {folder.stat().st_dev: folder for folder in folders if folder}.values():
            sync_file_system(device)
    context.run.commit(context.new)
    keep_serving(context.school.home, context.new)
    return {"slot": context.new.name}
