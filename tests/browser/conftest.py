# SPDX-License-Identifier: GPL-3.0-or-later
"""A real browser in front of the page; its agent says what a test wants."""

from __future__ import annotations

import ctypes
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from werkzeug.serving import make_server

from tests.stand.certificate import make_certificate
from tests.unit.webui_school.conftest import PASSWORD, FakeAgent
from webui.school.app import create_app
from webui.school.config import parse_settings

_NEW_NETWORK = 0x40000000
"""CLONE_NEWNET; see unshare(2)"""
CHROMIUM = "/usr/bin/chromium"
SCREENS = Path(__file__).parents[2] / "build/screens"
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1100, "height": 800}
PATIENCE = 60_000
"""milliseconds for what comes at once, on a machine that does much else beside it"""
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session", autouse=True)
def own_network() -> None:
    """A network of its own, with nothing in it: the page needs no other, and Chromium breaks off whatever it loads when
    a container elsewhere on this machine comes or goes (ERR_NETWORK_CHANGED).
    """
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "there is no network of its own")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
def address(agent: FakeAgent, tmp_path: Path) -> Iterator[str]:
    """Where the page listens."""
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(b"k" * 32)
    app = create_app(parse_settings({"hosts": ["127.0.0.1"], "secret_key_file": str(secret)}), agent)
    certificate, key = make_certificate(tmp_path, "127.0.0.1")
    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=(str(certificate), str(key)))
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def open_page(chromium: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Opens a window; what a script complains of, and whatever is asked of other servers, fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def start(**options: Any) -> Page:
        settings = {"viewport": DESK, **options}
        context = chromium.new_context(base_url=address, ignore_https_errors=True, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
        page.on("request", lambda request: None if request.url.startswith(address) else complaints.append(request.url))
        return page

    yield start
    for context in contexts:
        context.close()
    assert complaints == []


def is_complaint(message: ConsoleMessage) -> bool:
    """Whether a script or the policy for scripts complains; that an address is none, or a window is closed while it
    loads, is no complaint.
    """
    return message.type == "error" and not message.text.startswith("Failed to load resource")


def sign_in(page: Page) -> None:
    page.goto("/sign-in")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview").wait_for()
