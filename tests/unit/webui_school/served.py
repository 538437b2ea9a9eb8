# SPDX-License-Identifier: GPL-3.0-or-later
"""The page as a school has it: gunicorn over TLS, in front of an agent's own socket."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from agent.agent import Agent
from agent.service import Server
from tests.stand.certificate import make_certificate
from tests.stand.page import free_port

ROOT = Path(__file__).parents[3]


class Served(NamedTuple):
    """Where it listens, and what it needs and writes."""

    url: str
    certificate: Path
    log: Path


def serve(stack: ExitStack, folder: Path, agent: Agent) -> Served:
    """Start the page until ``stack`` is closed; ``agent`` answers in this process."""
    short = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    server = stack.enter_context(Server(short / "agent.sock", agent, None))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    stack.callback(thread.join)
    stack.callback(server.shutdown)
    certificate, key = make_certificate(folder, "127.0.0.1")
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(os.urandom(32))
    port = free_port("127.0.0.1")
    settings = folder / "settings.json"
    described = {
        "hosts": ["127.0.0.1"], "agent_socket": str(short / "agent.sock"), "secret_key_file": str(secret),
        "listen": f"127.0.0.1:{port}", "tls": {"certificate": str(certificate), "key": str(key)}, "threads": 32,
    }  # fmt: skip
    settings.write_text(json.dumps(described))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "python:webui.school.gunicorn_conf", "webui.school.wsgi:app"],
            cwd=ROOT, env={**os.environ, "CLMS_UPDATE_PAGE_CONFIG": str(settings)}, stdout=log, stderr=log,
        )  # fmt: skip
    stack.callback(process.wait)
    stack.callback(process.terminate)
    _wait_for(port, process, folder / "log")
    return Served(f"https://127.0.0.1:{port}", certificate, folder / "log")


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
