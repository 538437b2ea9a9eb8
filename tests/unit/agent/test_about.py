# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page is told of its school."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.about import about
from ansible_collections.clms.update.plugins.module_utils.school import parse_school

from .conftest import description


@pytest.mark.parametrize(("hour", "at_school"), [(9, True), (19, False)])
def test_times_are_local(tmp_path: Path, hour: int, at_school: bool) -> None:
    rules = {
        "time_zone": "Europe/Berlin",
        "tonight": "22:00",
        "weekend": "sat 10:00",
        "school_hours": ["mon-fri 07:30-16:30"],
    }
    school = parse_school({**description(tmp_path / "home"), "schedule": rules})
    told = about(school, datetime(2026, 11, 24, hour, tzinfo=UTC))
    assert told == {
        "title": "Linden School",
        "contact": None,
        "time_zone": "Europe/Berlin",
        "in_school_hours": at_school,
        "tonight": "2026-11-24T22:00+01:00",
        "weekend": "2026-11-28T10:00+01:00",
        "missed": "tonight",
        "external_backup": False,
    }
