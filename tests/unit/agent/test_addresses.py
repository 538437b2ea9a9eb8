# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses are told with Apprise, and a real server at the end."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent import addresses
from agent.addresses import NO_ADDRESS, NOT_TAKEN, Line, Message, Outcome
from agent.cli import main
from agent.config import load
from agent.notifications import Notifier, send
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .test_notifications import GOOD, World

ROOT = Path(__file__).parents[3]


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Somebody who wants to be told, and what they were told."""
    taken: list[dict[str, Any]] = []
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            taken.append({"path": self.path, **content})
            if self.path == "/slow":
                over.wait(60)
            poison = taken[-1]["message"] == "poison"
            self.send_response(200 if self.path in ("/good", "/picky") and not poison else 500)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"json://canary-user:canary-password@127.0.0.1:{server.server_port}", taken
    over.set()
    server.shutdown()
    server.server_close()


def test_a_webhook_is_told(tmp_path: Path, webhook: Any, capsys: pytest.CaptureFixture[str]) -> None:
    address, taken = webhook
    world = World(tmp_path, addresses=f"# the library\n\n{address}/good\n")
    assert main(["--config", str(world.etc), "notify", "--json"]) == 0
    assert [(one["title"], one["message"]) for one in taken] == [
        ("Linden School: a test", "Notifications of CLMS updates arrive here.")
    ]


def test_each_event_is_told_once_though_another_address_is_dead(tmp_path: Path, webhook: Any) -> None:
    address, taken = webhook
    world = World(tmp_path, addresses=f"{address}/bad\n{address}/good\n")
    notifier = Notifier(lambda: load(world.etc).school, clock=lambda: world.now)
    notifier.look()
    names = ["one", "two", "three", "four"]
    for name in names:
        world.happens("UPDATE_FAILED", name)
        notifier.look()
        world.now += 70
        notifier.look()
    assert [one["message"] for one in taken if one["path"] == "/good"] == names
    assert world.events().count("NOTIFY_FAILED") == 1


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


def test_a_service_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    monkeypatch.setattr(addresses, "_SECONDS", 0.01)
    with pytest.raises(ClmsError, match="in time"):
        send(world.file, "title", "body")


def test_what_was_taken_is_known_though_another_one_keeps_the_sender(
    webhook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, taken = webhook
    monkeypatch.setattr(addresses, "_SECONDS", 6)
    one = [Message("title", "body")]
    lines = addresses.lines_in(f"{address}/slow?rto=60\n{address}/good\n")
    assert addresses.send([(line, one) for line in lines]) == [
        Outcome(frozenset(), "it did not answer in time"),
        Outcome(frozenset({0}), None),
    ]
    assert len(taken) == 2


@pytest.mark.parametrize(
    ("path", "bodies", "came", "outcome"),
    [
        ("good", "abc", ["a", "b", "c"], Outcome(frozenset({0, 1, 2}), None)),
        ("bad", "abcd", ["a", "d"], Outcome(frozenset(), NOT_TAKEN)),
        ("bad", "a", ["a"], Outcome(frozenset(), NOT_TAKEN)),
        ("picky", ["poison", "b", "c"], ["poison", "c", "b"], Outcome(frozenset({1, 2}), NOT_TAKEN)),
        ("picky", ["a", "poison", "c"], ["a", "poison", "c"], Outcome(frozenset({0, 2}), NOT_TAKEN)),
        ("good", [], [], Outcome(frozenset(), None)),
    ],
)
def test_several_messages_for_one_address(
    webhook: Any, path: str, bodies: Sequence[str], came: list[str], outcome: Outcome
) -> None:
    address, taken = webhook
    (line,) = addresses.lines_in(f"{address}/{path}")
    assert addresses.send([(line, [Message("title", body) for body in bodies])]) == [outcome]
    assert [one["message"] for one in taken] == came


def test_a_sender_that_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses.sys, "executable", "/bin/false")
    assert addresses.send([(Line(1, GOOD), [])]) == [Outcome(frozenset(), "the sender ended early")]


READING = (
    "template=/etc/shadow",
    "keyfile=http://127.0.0.1/x",
    "attach=/etc/shadow",
    "%74emplate=/etc/shadow",
    "TEMPL%41TE=/etc/shadow",
    "x=1;template=/etc/shadow",
    "x=1?&template=/etc/shadow",
    "template+=/etc/shadow",
    "+template=/etc/shadow",
    "-keyfile=/etc/shadow",
    "%3Aattach=/etc/shadow",
)


def test_an_address_that_would_read_something_here(webhook: Any) -> None:
    address, taken = webhook
    chat = ("discord://123456/abcdefghij", "https://discord.com/api/webhooks/123456/abcdefghij")
    bad = [f"{start}?{part}" for start in (f"{address}/good", *chat) for part in READING]
    outcomes = addresses.send([(Line(1, one), []) for one in (*bad, *chat)])
    assert [one for one, outcome in zip(bad, outcomes, strict=False) if outcome.problem != NO_ADDRESS] == []
    assert [outcome.problem for outcome in outcomes[len(bad) :]] == [None, None]
    message = [Message("title", "body")]
    assert addresses.send([(Line(1, bad[0]), message)]) == [Outcome(frozenset(), NO_ADDRESS)]
    assert taken == []


def test_the_sender_has_no_power() -> None:
    """An address may lead anywhere, and was typed on a page."""
    program = (
        "import os; from agent import send_notification as s; s._give_up_power(); "
        "print(os.getuid(), os.geteuid(), os.getgid(), os.getgroups())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "65534 65534 65534 []\n"
