# SPDX-License-Identifier: GPL-3.0-or-later
"""How many requests are answered: per address before anything is looked up, per API key once it is known."""

from __future__ import annotations

import math
import time
from ipaddress import IPv6Address, IPv6Network, ip_address

from flask import Flask, Response
from flask_limiter import Limiter, RateLimitExceeded
from flask_limiter.util import get_remote_address
from limits import parse

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.common import problems

from .config import Limits


def install(app: Flask, limits: Limits) -> Limiter:
    """Limit requests by address."""
    limiter = Limiter(
        lambda: place_of(get_remote_address()),
        default_limits=[limits.address], storage_uri=limits.storage, strategy="moving-window",
    )  # fmt: skip

    def on_limit(_error: RateLimitExceeded) -> Response:
        current = limiter.current_limit
        return problems.answer(_reached(current.reset_at if current else 0.0), {})

    app.register_error_handler(RateLimitExceeded, on_limit)
    limiter.init_app(app)
    return limiter


def place_of(address: str) -> str:
    """What is counted as one address: of IPv6 the first half, as everybody has all addresses of the second one."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    return str(found.ipv4_mapped or IPv6Network((int(found), 64), strict=False))


def count_key(limiter: Limiter, limit: str, key: int) -> None:
    """Count one request with an API key.

    :raises ClmsError: LIMIT_REACHED
    """
    item = parse(limit)
    if not limiter.limiter.hit(item, "key", str(key)):
        raise _reached(limiter.limiter.get_window_stats(item, "key", str(key)).reset_time)


def _reached(reset_at: float) -> ClmsError:
    return ClmsError("LIMIT_REACHED", seconds=max(1, math.ceil(reset_at - time.time())))
