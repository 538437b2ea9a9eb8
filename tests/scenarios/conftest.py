# SPDX-License-Identifier: GPL-3.0-or-later
"""A vendor and a school with its agent and its page, and a browser in front of it; nothing is in anybody's place."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from tests.browser.conftest import CHROMIUM, DESK
from tests.e2e.observe import School
from tests.stand.stand import Stand

from .own_network import OwnNetwork

NAME = "elm"
PASSWORD = "a few words in a row"
SEED = ("--students", "60", "--books", "120", "--loans", "900")


@pytest.fixture(scope="session")
def own_network() -> OwnNetwork:
    """Where the browser is."""
    return OwnNetwork()


@pytest.fixture(scope="session")
def chromium(own_network: OwnNetwork) -> Iterator[Browser]:
    """Debian's browser."""
    with own_network.entered():
        playwright = sync_playwright().start()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    yield browser
    browser.close()
    playwright.stop()


@pytest.fixture(scope="session")
def school() -> Iterator[School]:
    """It runs 1.0.0, and is reached by its page as people reach it."""
    folder = Path(tempfile.mkdtemp(prefix="clms-page-"))
    try:
        stand = Stand.create(
            folder, prefix=f"clms-page-{secrets.token_hex(3)}", schools=[NAME], backup_images=False
        )  # fmt: skip
        stand.set_up_vendor()
        stand.start_release_api()
        stand.publish("1.0.0", "1.0.1")
        stand.set_up_schools(NAME, inventory="scenarios")
        stand.seed(NAME, *SEED)
        stand.start_agent(NAME)
        stand.page(NAME).start()
        engine = Engine()
        with closing(engine.client):
            yield School(stand, NAME, "scenarios", engine)
    finally:
        Stand(folder).remove()


@pytest.fixture
def open_page(chromium: Browser, own_network: OwnNetwork, school: School) -> Iterator[Callable[..., Page]]:
    """Opens a window of somebody's own."""
    contexts = []
    address = school.stand.page(NAME).url

    def start(**options: Any) -> Page:
        context = chromium.new_context(base_url=address, ignore_https_errors=True, **{"viewport": DESK, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        return page

    with own_network.let_through(int(address.rsplit(":", 1)[1])):
        yield start
        for context in contexts:
            context.close()
