# SPDX-License-Identifier: GPL-3.0-or-later
"""Moments, durations and sizes as people read them; times are those of the school."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from flask import Flask

from ansible_collections.clms.update.plugins.module_utils.disk import human
from ansible_collections.clms.update.plugins.module_utils.plan import PHASES
from ansible_collections.clms.update.plugins.module_utils.status import duration

from .agent import agent

STATUSES = {
    "PENDING": "waiting",
    "SCHEDULED": "scheduled",
    "DOWNLOADING": "going on",
    "UPDATING": "going on",
    "COMPLETED": "completed",
    "FAILED": "failed",
    "ROLLED_BACK": "rolled back",
}
KINDS = {
    "install": "Installation",
    "update": "Update",
    "rollback": "Going back",
    "restore": "Restore of a backup",
    "reinstall": "Set up from a backup",
    "backup": "Backup",
    "recover": "Putting in order",
}


def install(app: Flask) -> None:
    """Give the templates these words."""
    app.jinja_env.filters.update(
        moment=moment, day=day, duration=duration, size=human, age=age, phase=phase, status=STATUSES.get, kind=kind
    )
    app.jinja_env.globals["school"] = school


def school() -> dict[str, Any]:
    """What the agent says of the school, see ``agent/about.py``."""
    return agent().ask_kept("school")


def _zone() -> tzinfo:
    name = str(school()["time_zone"])
    return UTC if name == "UTC" else ZoneInfo(name)


def moment(text: str | None) -> str:
    """``2026-11-23T14:05:09Z`` as ``Mon 23 November 2026, 15:05``."""
    if text is None:
        return "unknown"
    at = datetime.fromisoformat(text).astimezone(_zone())
    return f"{at:%a} {at.day} {at:%B %Y, %H:%M}"


def day(text: str) -> str:
    """``2026-11-23T14:05:09Z`` as ``23 November 2026``."""
    at = datetime.fromisoformat(text).astimezone(_zone())
    return f"{at.day} {at:%B %Y}"


def age(seconds: float | None) -> str:
    """How long ago something was: a minute is exact enough."""
    if seconds is None:
        return "never"
    return f"{duration(seconds)} ago" if seconds >= 60 else "just now"


def phase(name: str | None) -> str:
    """What goes on in a phase."""
    return PHASES[name].text if name in PHASES else "Finishing"


def kind(name: str) -> str:
    """A kind of run."""
    return KINDS.get(name.removesuffix("_images"), name)
