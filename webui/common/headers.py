# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers that every answer carries."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask, Response

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_TLS = {"Strict-Transport-Security": "max-age=31536000"}


def install(app: Flask, *, tls: bool, instead: Mapping[str, str] | None = None) -> None:
    """Add them where a view did not set its own.

    :param tls: whether people and programs reach this server over TLS only
    :param instead: other values of these headers, for servers with pages
    """
    wanted = {**_ALWAYS, **(_TLS if tls else {}), **(instead or {})}

    def add(response: Response) -> Response:
        for name, value in wanted.items():
            response.headers.setdefault(name, value)
        return response

    app.after_request(add)
