# SPDX-License-Identifier: GPL-3.0-or-later
"""People are told what happens; with Apprise and a real server at the end."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent import notifications
from agent.cli import main
from agent.config import load
from agent.notifications import Notifier, send
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal

from .conftest import description, write_config

ROOT = Path(__file__).parents[3]


class Sent:
    """Keeps what is sent; ``fails`` is raised instead."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []
        self.fails = False

    def __call__(self, addresses: Path, title: str, body: str) -> None:
        if self.fails:
            raise ClmsError("NOTIFY_FAILED", path=addresses, detail="line 1: no")
        self.messages.append((title, body))


class World:
    """A school, its journal, and a clock."""

    def __init__(self, folder: Path, *, addresses: str | None = "") -> None:
        self.file = folder / "addresses"
        self.file.touch(mode=0o600)
        self.file.write_text(addresses or "")
        more = {"notify_file": str(self.file)} if addresses is not None else {}
        self.etc = write_config(folder / "etc", {**description(folder / "home"), **more})
        self.home = load(self.etc).school.home
        self.sent, self.now = Sent(), 2_000_000_000.0
        self.notifier = Notifier(lambda: load(self.etc).school, send_one=self.sent, clock=lambda: self.now)
        Journal(self.home, create=True).close()

    def happens(self, kind: str, message: str, *, ago: float = 0) -> None:
        with closing(Journal(self.home)) as journal:
            journal.event(kind, message)
            journal.file.execute("UPDATE events SET at = ? WHERE message = ?", self.now - ago, message)

    def events(self) -> list[str]:
        with closing(Journal(self.home)) as journal:
            return [event["type"] for event in journal.events()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_was_before_is_no_news(world: World) -> None:
    world.happens("UPDATE_COMPLETED", "long ago")
    world.notifier.look()
    world.happens("UPDATE_AVAILABLE", "Version 1.0.1 is available.")
    world.happens("UPDATE_CHECKED", "nobody wants to know")
    world.happens("UPDATE_COMPLETED", "CLMS was updated.")
    world.notifier.look()
    world.notifier.look()
    assert world.sent.messages == [
        ("Linden School: an update is available", "Version 1.0.1 is available."),
        ("Linden School: the update was completed", "CLMS was updated."),
    ]


def test_a_failure_harms_nothing_and_is_tried_again_later(world: World) -> None:
    world.notifier.look()
    world.sent.fails = True
    world.happens("UPDATE_STARTED", "one")
    for _ in range(3):
        world.notifier.look()
    assert world.events().count("NOTIFY_FAILED") == 1
    world.sent.fails = False
    world.notifier.look()
    assert world.sent.messages == [], "it was not left alone"
    world.now += 61
    world.happens("UPDATE_FAILED", "two")
    world.notifier.look()
    assert [body for _, body in world.sent.messages] == ["one", "two"]


def test_it_waits_longer_each_time_and_gives_up_on_what_is_no_news_any_more(world: World) -> None:
    world.notifier.look()
    world.sent.fails = True
    world.happens("UPDATE_STARTED", "one")
    waits = []
    for _ in range(4):
        world.notifier.look()
        waits.append(world.notifier._not_before - world.now)
        world.now = world.notifier._not_before
    assert [low <= wait <= 2 * low for low, wait in zip((30, 60, 120, 240), waits, strict=True)] == [True] * 4
    world.now += 2 * 86_400
    world.sent.fails = False
    world.notifier.look()
    assert world.sent.messages == []


def test_after_a_restart_it_goes_on_where_it_was(world: World) -> None:
    world.notifier.look()
    world.happens("UPDATE_STARTED", "one")
    Notifier(lambda: load(world.etc).school, send_one=world.sent, clock=lambda: world.now).look()
    Notifier(lambda: load(world.etc).school, send_one=world.sent, clock=lambda: world.now).look()
    assert [body for _, body in world.sent.messages] == ["one"]


def test_a_school_that_wants_to_tell_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(tmp_path, addresses=None)
    world.happens("UPDATE_STARTED", "one")
    world.notifier.look()
    assert world.sent.messages == []
    assert main(["--config", str(world.etc), "notify", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "NOTIFY_NOBODY"


# with Apprise


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Somebody who wants to be told, and what they were told."""
    taken: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200 if self.path == "/good" else 500)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"json://canary-user:canary-password@127.0.0.1:{server.server_port}", taken
    server.shutdown()
    server.server_close()


def test_a_webhook_is_told(tmp_path: Path, webhook: Any, capsys: pytest.CaptureFixture[str]) -> None:
    address, taken = webhook
    world = World(tmp_path, addresses=f"# the library\n\n{address}/good\n")
    assert main(["--config", str(world.etc), "notify", "--json"]) == 0
    assert [(one["title"], one["message"]) for one in taken] == [
        ("Linden School: a test", "Notifications of CLMS updates arrive here.")
    ]


def test_what_goes_wrong_names_the_line_and_no_address(tmp_path: Path, webhook: Any) -> None:
    address, taken = webhook
    world = World(tmp_path, addresses=f"{address}/good\nno address at all\n{address}/bad\n")
    with pytest.raises(ClmsError) as caught:
        send(world.file, "title", "body")
    assert "line 2: it is no address; line 3: the service did not take it" in caught.value.happened
    assert "canary" not in str(caught.value)
    assert len(taken) == 2, "the good one was not told"


def test_a_file_that_others_can_read(tmp_path: Path, webhook: Any) -> None:
    world = World(tmp_path, addresses=f"{webhook[0]}/good\n")
    world.file.chmod(0o644)
    with pytest.raises(ClmsError) as caught:
        send(world.file, "title", "body")
    assert (caught.value.code, webhook[1]) == ("NOTIFY_FAILED", [])


def test_a_service_that_never_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "_SEND_SECONDS", 0.01)
    with pytest.raises(ClmsError, match="in time"):
        send(world.file, "title", "body")


@pytest.mark.parametrize("part", ["template=/etc/shadow", "keyfile=http://127.0.0.1/x", "attach=/etc/shadow"])
def test_an_address_that_would_read_something_here(tmp_path: Path, webhook: Any, part: str) -> None:
    address, taken = webhook
    addresses = tmp_path / "addresses"
    addresses.touch(mode=0o600)
    addresses.write_text(f"{address}/good?{part}\n")
    with pytest.raises(ClmsError, match="line 1: it is no address"):
        send(addresses, "title", "body")
    assert taken == []


def test_the_sender_has_no_power() -> None:
    """An address may lead anywhere, and was typed on a page."""
    program = (
        "import os; from agent import send_notification as s; s._give_up_power(); "
        "print(os.getuid(), os.geteuid(), os.getgid(), os.getgroups())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "65534 65534 65534 []\n"
