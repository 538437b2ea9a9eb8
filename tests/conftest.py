# SPDX-License-Identifier: GPL-3.0-or-later
"""What every test shares."""

from pathlib import Path

import pytest

NEEDS_ENGINE = [Path(__file__).parent / name for name in ("integration", "e2e")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in the folders that work with real containers, so that no test there can forget it."""
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in NEEDS_ENGINE):
            item.add_marker(pytest.mark.engine)
