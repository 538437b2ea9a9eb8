# SPDX-License-Identifier: GPL-3.0-or-later
"""The real thing: gunicorn over TLS, in front of the agent's own socket."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import requests

from agent.accounts import Accounts
from agent.planner import Planner
from agent.service import Agent, Server
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from tests.stand.certificate import make_certificate
from tests.stand.page import free_port
from tests.unit.agent.conftest import description, write_config

from .conftest import PASSWORD

ROOT = Path(__file__).parents[3]
WATCHERS = 8


class Page:
    """The page, and what its agent works with."""

    def __init__(self, url: str, certificate: Path, home: Path) -> None:
        self.url, self.certificate, self.home = url, certificate, home

    def session(self) -> requests.Session:
        """A browser in which nobody is signed in."""
        session = requests.Session()
        session.trust_env, session.verify = False, str(self.certificate)
        return session

    def signed_in(self) -> requests.Session:
        """A browser in which anna is signed in."""
        session = self.session()
        answer = self.send(session, "/sign-in", name="anna", password=PASSWORD)
        assert answer.url == f"{self.url}/", answer.text
        return session

    def send(self, session: requests.Session, path: str, **fields: str) -> requests.Response:
        """Send a form."""
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', session.get(self.url + path, timeout=10).text)
        assert found
        headers = {"Referer": self.url + path}
        return session.post(self.url + path, data={"csrf_token": found.group(1), **fields}, headers=headers, timeout=10)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("page")
    etc = write_config(folder / "etc", description(folder / "home"))
    home = folder / "home"
    with closing(Journal(home, create=True)) as journal:
        journal.begin("install", phases=KINDS["install"], school=description(home), version="1.0.0").close("COMPLETED")
    accounts = Accounts(home)
    accounts.set_password("anna", PASSWORD)
    planner = Planner(etc, None)  # type: ignore[arg-type]
    with ExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        agent = Agent(etc, None, planner, accounts, None)  # type: ignore[arg-type]
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
        wait_for(port, process, folder / "log")
        yield Page(f"https://127.0.0.1:{port}", certificate, home)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def test_somebody_signs_in(page: Page) -> None:
    session = page.signed_in()
    assert "1.0.0" in session.get(f"{page.url}/history", timeout=10).text
    cookies = {cookie.name: cookie.secure for cookie in session.cookies}
    assert cookies == {"__Host-clms-update": True}
    assert session.get(f"{page.url}/api/updates/history", timeout=10).json()[0]["id"] == "run-1"


def test_a_wrong_password(page: Page) -> None:
    session = page.session()
    assert "do not belong together" in page.send(session, "/sign-in", name="anna", password="wrong").text
    assert session.get(f"{page.url}/", timeout=10).url.startswith(f"{page.url}/sign-in")


def test_what_is_served_to_everybody_is_small_and_here(page: Page) -> None:
    """A school is offline: nothing of a page comes from elsewhere."""
    session = page.session()
    answer = session.get(f"{page.url}/sign-in", timeout=10)
    size = len(answer.content)
    for path in re.findall(r'(?:href|src)="([^"#]+)"', answer.text):
        assert path.startswith("/"), path
        if path.startswith("/static/"):
            found = session.get(page.url + path, timeout=10)
            assert found.status_code == 200, path
            size += len(found.content)
    assert size < 300_000


def test_many_watch(page: Page) -> None:
    """Each gets what goes on, and the page answers others meanwhile."""
    session = page.signed_in()
    with ExitStack() as stack:
        answers = [
            stack.enter_context(session.get(f"{page.url}/progress/stream", stream=True, timeout=20))
            for _ in range(WATCHERS)
        ]
        streams = [sent(answer) for answer in answers]
        for stream in streams:
            assert "Nothing goes on" in next(stream)["html"]
        assert session.get(f"{page.url}/", timeout=10).status_code == 200
        with closing(Journal(page.home)) as journal:
            run = journal.begin("backup", phases=KINDS["backup"], school=description(page.home), version="1.0.0")
            try:
                for stream in streams:
                    assert next(stream)["running"] == run.id
            finally:
                run.close("ABORTED")


def sent(answer: requests.Response) -> Iterator[dict[str, Any]]:
    """What a stream brings."""
    for line in answer.iter_lines(chunk_size=1):
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


def test_no_password_is_in_the_log(page: Page) -> None:
    page.send(page.session(), "/sign-in", name="anna", password="canary-password")
    log = (page.home.parent / "log").read_text()
    assert '"path": "/sign-in"' in log
    assert "canary" not in log
