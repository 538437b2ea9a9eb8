# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine on which figures were measured: without it they say nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine


def facts() -> dict[str, Any]:
    """What one has to know of it."""
    said = Engine().client.info()
    processors = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "processor": processors[0].partition(":")[2].strip() if processors else platform.machine(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "kernel": platform.release(),
        "system": said["OperatingSystem"],
        "engine": said["ServerVersion"],
        "storage": f"{said['Driver']} on {dict(said['DriverStatus']).get('Backing Filesystem', 'unknown')}",
        "python": platform.python_version(),
    }


def load() -> list[float]:
    """Load average of the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]
