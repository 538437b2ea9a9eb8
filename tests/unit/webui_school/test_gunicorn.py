# SPDX-License-Identifier: GPL-3.0-or-later
"""The real thing: gunicorn over TLS, in front of the agent's own socket."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import requests

from agent.accounts import Accounts
from agent.agent import Agent
from agent.enforcer import Enforcer
from agent.planner import Planner
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from tests.unit.agent.conftest import description, write_config

from .conftest import PASSWORD
from .served import serve

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
        served = serve(stack, folder, Agent(etc, None, planner, accounts, Enforcer(etc, planner)))  # type: ignore[arg-type]
        yield Page(served.url, served.certificate, home)


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


def test_a_program_has_a_token_and_asks_twice(page: Page) -> None:
    """Through gunicorn, the agent's socket and its files; the second request is answered without another run."""
    accounts = Accounts(page.home)
    number, token = accounts.make_token("anna")
    program = page.session()
    program.headers.update({"Authorization": f"Bearer {token}", "Idempotency-Key": '"8e03978e"'})
    assert program.get(f"{page.url}/api/updates/history", timeout=10).json()[0]["id"] == "run-1"
    body = {"updateId": "1.0.1", "scheduledFor": "tonight"}
    # there is no such release here: a refusal, which frees the key
    for _ in range(2):
        answer = program.post(f"{page.url}/api/updates/schedule", json=body, timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (404, "RELEASE_UNKNOWN")
    assert (page.home / "once.db").exists()
    accounts.revoke_token(number)
    deadline = time.monotonic() + 10
    while (answer := program.get(f"{page.url}/api/backups", timeout=10)).status_code != 401:
        assert time.monotonic() < deadline, "what is kept of a token counts for some seconds only"
        time.sleep(0.5)
    assert answer.json()["code"] == "TOKEN_REFUSED"
    log = (page.home.parent / "log").read_text()
    assert f'"key": "{number}"' in log
    assert token not in log


def test_no_password_is_in_the_log(page: Page) -> None:
    page.send(page.session(), "/sign-in", name="anna", password="canary-password")
    log = (page.home.parent / "log").read_text()
    assert '"path": "/sign-in"' in log
    assert "canary" not in log
