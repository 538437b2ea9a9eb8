# SPDX-License-Identifier: GPL-3.0-or-later
"""A vendor's server on a bad day: it answers with errors, drips, or breaks off in the middle of a body."""

from __future__ import annotations

import http.server
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import requests

_DRIP_SECONDS = 1.0
_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


class VendorProxy:
    """Stands between one school and one of the vendor's servers."""

    def __init__(self, address: str, upstream: str, tls: Path, mood: str) -> None:
        """Start it.

        :param address: where to listen
        :param upstream: ``host:port`` of the real server
        :param tls: folder with the vendor's ``ca.crt``, ``server.crt`` and ``server.key``
        :param mood: ``error``, ``slow`` or ``truncated``
        """
        handler = type("Handler", (_Handler,), {"upstream": upstream, "mood": mood, "ca": str(tls / "ca.crt")})
        self._server = _Server((address, 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls / "server.crt", tls / "server.key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Listen no longer."""
        self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A school that has lost its patience hangs up; that is no error here."""


class _Handler(http.server.BaseHTTPRequestHandler):
    upstream = mood = ca = ""
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        if self.mood == "error":
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        headers["Host"] = self.upstream
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(
                self.command, f"https://{self.upstream}{self.path}", headers=headers, verify=self.ca, timeout=30,
                allow_redirects=False,
            )  # fmt: skip
        body = answer.content
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send(body)

    def _send(self, body: bytes) -> None:
        if self.mood == "truncated" and len(body) > 200:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif self.mood == "slow":
            for byte in body:
                self.wfile.write(bytes([byte]))
                time.sleep(_DRIP_SECONDS)
        else:
            self.wfile.write(body)

    do_GET = do_HEAD = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""
