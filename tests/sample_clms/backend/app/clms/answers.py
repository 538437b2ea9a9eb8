# SPDX-License-Identifier: GPL-3.0-or-later
"""What all routes share: the form of an answer and of a list."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request

from .tables import Invalid


def data(value: Any, status: int = 200) -> tuple[Response, int]:
    """An answer that says: done."""
    return jsonify(success=True, data=value), status


def page() -> tuple[int, int]:
    """``after`` and ``limit`` of a list request: rows with a larger id, and at most how many.

    :raises Invalid: when one of them is not a number
    """
    try:
        after, limit = int(request.args.get("after", 0)), int(request.args.get("limit", 50))
    except ValueError:
        raise Invalid("after and limit must be numbers.") from None
    return after, max(1, min(limit, 500))
