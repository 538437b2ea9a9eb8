# SPDX-License-Identifier: GPL-3.0-or-later
"""A file is dragged onto the page and dropped there."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import JSHandle, Page, expect

from tests.unit.webui_school.conftest import FakeAgent

from .conftest import SCREENS, sign_in
from .test_pages import OpenPage, assert_accessible

SIZE = 6_000_000
PER_SECOND = 2_000_000
_DRAGGED = """([names, size]) => {
  const dragged = new DataTransfer();
  const content = new Uint8Array(size).fill(7);
  for (const name of names) dragged.items.add(new File([content], name, {type: "application/zip"}));
  return dragged;
}"""
_ALL_THAT_WAS_SAID = """() => {
  window.said = [];
  const look = () => window.said.push([document.querySelector("#upload progress").value,
                                       document.getElementById("upload-state").textContent]);
  new MutationObserver(look).observe(document.getElementById("upload"), {subtree: true, childList: true,
                                                                         attributes: true});
}"""


@pytest.fixture
def page(open_page: OpenPage, agent: FakeAgent, tmp_path: Path) -> Page:
    """The page of files."""
    agent.folder = tmp_path / "uploads"
    agent.folder.mkdir()
    page = open_page()
    sign_in(page)
    page.goto("/files")
    return page


def dragged(page: Page, *names: str) -> JSHandle:
    """Files that somebody holds with the mouse."""
    return page.evaluate_handle(_DRAGGED, [list(names), SIZE])


def drop(page: Page, *names: str) -> None:
    held = dragged(page, *names)
    form = page.locator("#upload")
    for kind in ("dragenter", "dragover", "drop"):
        form.dispatch_event(kind, {"dataTransfer": held})


def test_a_file_is_dropped_and_its_progress_is_shown(page: Page, agent: FakeAgent) -> None:
    expect(page.get_by_text("drop")).to_be_visible()
    taken = page.evaluate(
        "held => !document.getElementById('upload').dispatchEvent("
        "new DragEvent('dragover', {dataTransfer: held, bubbles: true, cancelable: true}))",
        dragged(page, "clms-1.0.1-amd64.zip"),
    )
    assert taken, "the browser would not let go of the file here"
    drop(page, "clms-1.0.1-amd64.zip")
    chosen = "document.getElementById('file').files"
    assert page.evaluate(f"[{chosen}.length, {chosen}[0].name, {chosen}[0].size]") == [1, "clms-1.0.1-amd64.zip", SIZE]
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", {
        "offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": PER_SECOND,
    })  # fmt: skip
    page.evaluate(_ALL_THAT_WAS_SAID)
    page.get_by_role("button", name="Bring it to this server").click()
    expect(page.get_by_role("progressbar", name="How much of the file has arrived")).to_be_visible()
    expect(page.locator("#upload-state")).to_contain_text("% has arrived")
    page.screenshot(path=SCREENS / "file-arrives.png", full_page=True)
    assert_accessible(page)
    expect(page.get_by_text("Version 1.0.1 is on this server now")).to_be_visible()
    seen = [value for value, words in page.evaluate("window.said") if words == f"{value} % has arrived"]
    assert seen == sorted(seen)
    assert len({value for value in seen if 0 < value < 100}) >= 2, seen
    assert [len(content) for content in agent.taken] == [SIZE]
    assert set(agent.taken[0]) == {7}
    assert list(agent.folder.iterdir()) == []


def test_it_is_sent_once_however_often_the_button_is_pressed(page: Page, agent: FakeAgent) -> None:
    drop(page, "clms-1.0.1-amd64.zip")
    button = page.get_by_role("button", name="Bring it to this server")
    page.route("**/files", lambda route: route.abort())
    button.click()
    expect(page.get_by_text("The connection broke")).to_be_visible()
    expect(button).to_be_enabled()
    page.unroute("**/files")
    page.evaluate("const one = document.querySelector('#upload button'); one.click(); one.click()")
    expect(page.get_by_text("Version 1.0.1 is on this server now")).to_be_visible()
    assert len(agent.taken) == 1


def test_who_is_not_signed_in_any_more_is_taken_to_where_one_signs_in(page: Page, agent: FakeAgent) -> None:
    """Else name and password would be sent to where files go."""
    agent.accounts["anna"] = 2
    drop(page, "clms-1.0.1-amd64.zip")
    page.get_by_role("button", name="Bring it to this server").click()
    page.wait_for_url("**/sign-in")
    expect(page.get_by_label("Password")).to_be_visible()
    assert agent.taken == []


def test_two_files_at_once(page: Page, agent: FakeAgent) -> None:
    """Neither is taken, and the page says so."""
    drop(page, "clms-1.0.1-amd64.zip", "clms-1.0.2-amd64.zip")
    expect(page.get_by_role("status").filter(has_text="one file at a time")).to_be_visible()
    assert page.evaluate("document.getElementById('file').files.length") == 0
    drop(page, "clms-1.0.1-amd64.zip")
    expect(page.get_by_text("one file at a time")).to_have_count(0)
    page.get_by_role("button", name="Bring it to this server").click()
    expect(page.get_by_text("Version 1.0.1 is on this server now")).to_be_visible()
    assert len(agent.taken) == 1
