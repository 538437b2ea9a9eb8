# SPDX-License-Identifier: GPL-3.0-or-later
"""Following the events over the socket: what comes when, and that nobody who is gone is remembered."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import followers
from agent.agent import Agent
from agent.followers import Followers
from agent.service import Server
from ansible_collections.clms.update.plugins.module_utils.agent_client import Conversation
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.told import Told


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(followers, "PAUSE", 0.02)
    agent = Agent(folder, None, None, None, None)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as short, Server(Path(short) / "agent.sock", agent, None) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def follow(server: Server) -> Iterator[Callable[..., Conversation]]:
    with contextlib.ExitStack() as stack:

        def start(after: int = 0) -> Conversation:
            request = {"verb": "events", "after": after, "follow": True}
            conversation = Conversation(Path(str(server.server_address)), request)
            stack.callback(conversation.close)
            return conversation

        yield start


def messages(answer: dict[str, Any] | None) -> list[str]:
    assert answer is not None
    return [event["message"] for event in answer["events"]]


def handlers() -> int:
    """Threads that serve a connection."""
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def wait_until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def test_first_what_was_missed_and_then_what_comes(journal: Journal, follow: Callable[..., Conversation]) -> None:
    for text in ("one", "two", "three"):
        journal.event("UPDATE_CHECKED", Told(text, "", {}))
    watching = follow(after=1)
    assert messages(watching.wait(10)) == ["three", "two"]
    assert watching.wait(0.1) is None
    journal.event("UPDATE_CHECKED", Told("four", "", {}))
    assert messages(watching.wait(10)) == ["four"]
    assert watching.wait(0.1) is None


def test_an_empty_list_says_that_it_has_begun(journal: Journal, follow: Callable[..., Conversation]) -> None:
    assert follow(after=99).wait(10) == {"events": []}


def test_without_follow_there_is_one_answer(journal: Journal, server: Server) -> None:
    conversation = Conversation(Path(str(server.server_address)), {"verb": "events"})
    assert conversation.wait(10) == {"events": []}
    with pytest.raises(ClmsError):
        conversation.wait(10)
    conversation.close()


@pytest.mark.parametrize("how", ["closes", "closes its side", "says more"])
def test_who_is_gone_is_forgotten(journal: Journal, server: Server, how: str) -> None:
    before = handlers()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server.server_address))
        connection.sendall(b'{"verb": "events", "follow": true}\n')
        reader = connection.makefile()
        assert json.loads(reader.readline())["ok"]
        if how == "closes its side":
            connection.shutdown(socket.SHUT_WR)
            assert reader.read() == ""  # the agent has closed its own
        elif how == "says more":
            connection.sendall(b'{"verb": "status"}\n')
            assert reader.read() == ""
        reader.close()
    wait_until(lambda: handlers() == before)
    assert server.followers._free._value == followers.MOST


def test_who_does_not_read_is_forgotten(journal: Journal) -> None:
    ours, theirs = socket.socketpair()

    def say(_: dict[str, Any]) -> None:
        raise TimeoutError

    counted = Followers()
    with ours, theirs, pytest.raises(TimeoutError):
        counted.serve(ours, journal.path.parent, 0, say)
    assert counted._free._value == followers.MOST


def test_there_is_a_limit(journal: Journal, server: Server, follow: Callable[..., Conversation]) -> None:
    server.followers = Followers(2)
    watching = [follow() for _ in range(2)]
    assert [conversation.wait(10) for conversation in watching] == [{"events": []}] * 2
    with pytest.raises(ClmsError) as caught:
        follow().wait(10)
    assert caught.value.code == "AGENT_BUSY"
    watching[0].close()
    wait_until(lambda: server.followers._free._value == 1)
    assert follow().wait(10) == {"events": []}


def test_the_usual_limit() -> None:
    assert followers.MOST == 50
    assert Followers()._free._value == 50


def test_a_server_without_a_journal(server: Server, follow: Callable[..., Conversation]) -> None:
    with pytest.raises(ClmsError) as caught:
        follow().wait(10)
    assert caught.value.code == "NOT_INSTALLED"
