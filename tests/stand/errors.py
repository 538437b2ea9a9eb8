# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong with a stand."""

from __future__ import annotations


class StandError(Exception):
    """A stand could not be made or used; the text says what to do."""
