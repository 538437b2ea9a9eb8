# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page has to know of the school that it speaks for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.calendar_rules import (
    in_school_hours,
    local,
    next_tonight,
    next_weekend,
)
from ansible_collections.clms.update.plugins.module_utils.school import School


def about(school: School, now: datetime) -> dict[str, Any]:
    """What a page has to know of the school to talk about times and places.

    :returns: ``title``, ``contact`` (or None), ``time_zone``, ``in_school_hours``, ``tonight`` and ``weekend`` (ISO
        8601, local), ``missed``, and ``external_backup``: whether backups are copied to a drive
    """
    rules = school.schedule
    return {
        "title": school.title,
        "contact": school.contact,
        "time_zone": rules.time_zone,
        "in_school_hours": in_school_hours(rules, now),
        "tonight": local(rules, next_tonight(rules, now)).isoformat(timespec="minutes"),
        "weekend": local(rules, next_weekend(rules, now)).isoformat(timespec="minutes"),
        "missed": rules.missed,
        "external_backup": school.backup.external_path is not None,
    }
