# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a school of a stand: served by gunicorn over TLS, and somebody who may sign in."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import wait_until

from .certificate import make_certificate
from .errors import StandError

if TYPE_CHECKING:
    from .stand import Stand

USERNAME = "librarian"


def free_port(address: str) -> int:
    """A port of this machine that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def write_secret(path: Path, content: dict[str, str]) -> None:
    """Write a file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))


class Page:
    """The page of one school."""

    def __init__(self, stand: Stand, school: str) -> None:
        self._stand = stand
        self._school = school
        self._folder = stand.school_folder(school) / "page"

    @property
    def _port(self) -> int | None:
        port: int | None = self._stand.settings["schools"][self._school].get("page_port")
        return port

    @property
    def url(self) -> str:
        """Where it listens, once it was started."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def certificate(self) -> Path:
        """Its certificate, which it has made for itself."""
        return self._folder / "page.crt"

    def process(self) -> int | None:
        """Its process, or None where none listens."""
        try:
            with socket.create_connection(("127.0.0.1", self._port or 0), 1):
                return int((self._folder / "pid").read_text())
        except (OSError, ValueError):
            return None

    def start(self) -> None:
        """Start it, where it does not run; it goes on by itself.

        :raises StandError: when it does not come up
        """
        if self.process() is not None:
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._stand.settings["schools"][self._school].setdefault("page_port", free_port("127.0.0.1"))
        self._stand.save()
        certificate, key = make_certificate(self._folder, "127.0.0.1")
        secret = self._folder / "secret"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_bytes(secrets.token_bytes(32))
        described = {
            "hosts": ["127.0.0.1", "localhost"],
            "agent_socket": str(self._stand.agent_socket(self._school)),
            "secret_key_file": str(secret),
            "listen": f"127.0.0.1:{self._port}",
            "tls": {"certificate": str(certificate), "key": str(key)},
        }
        settings = self._folder / "settings.json"
        settings.write_text(json.dumps(described, indent=2))
        command = ("gunicorn", "-c", "python:webui.school.gunicorn_conf", "--pid", self._folder / "pid")
        log = self._folder / "gunicorn.log"
        self._stand.fork(log, *command, "webui.school.wsgi:app", CLMS_UPDATE_PAGE_CONFIG=str(settings))
        if not wait_until(lambda: self.process() is not None, seconds=30):
            raise StandError(f"The page of {self._school} did not start:\n{log.read_text()[-2000:]}")

    def stop(self) -> None:
        """End it."""
        process = self.process()
        if process is not None:
            os.kill(process, signal.SIGTERM)
            wait_until(lambda: not Path(f"/proc/{process}").exists(), seconds=60, pause=0.1)

    def login(self) -> dict[str, str]:
        """``username`` and ``password`` of a person who may sign in; made where there is none."""
        etc = self._stand.school_folder(self._school) / "etc"
        file = etc / "secrets/page.json"
        if not file.exists():
            made = {"username": USERNAME, "password": secrets.token_urlsafe(9)}
            self._stand.command("clms-update", "--config", etc, "account", USERNAME, stdin=f"{made['password']}\n")
            write_secret(file, made)
        login: dict[str, str] = json.loads(file.read_text())
        return login
