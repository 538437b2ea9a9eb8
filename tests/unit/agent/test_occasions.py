# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever people are told of arrives as a mail and in a chat: with Apprise, and real servers at the end."""

from __future__ import annotations

import email
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, cast

import pytest

from agent.config import load
from agent.notifications import Notifier
from ansible_collections.clms.update.plugins.module_utils.told import TITLES

from .test_notifications import World

OCCASIONS = [
    pytest.param("UPDATE_AVAILABLE", "an update is available", id="available"),
    pytest.param("UPDATE_SCHEDULED", "an update is scheduled", id="scheduled"),
    pytest.param("UPDATE_STARTED", "an update has begun", id="started"),
    pytest.param("UPDATE_COMPLETED", "the update was completed", id="completed"),
    pytest.param("UPDATE_FAILED", "the update did not work", id="failed"),
    pytest.param("UPDATE_MISSED", "an update was missed", id="missed"),
    pytest.param("UPDATE_OVERDUE", "a critical update is overdue", id="overdue, and forced"),
    pytest.param("ROLLBACK_STARTED", "CLMS is being put back", id="going back started"),
    pytest.param("ROLLBACK_COMPLETED", "CLMS was put back", id="rolled back"),
    pytest.param("ROLLBACK_FAILED", "going back did not work", id="going back failed"),
    pytest.param("BACKUP_FAILED", "a backup did not work", id="backup failed"),
    pytest.param("CHECK_REFUSED", "what the vendor's server says is not believed", id="vendor not believed"),
]
SAID = "Grüße aus der Bücherei: <b>1.0.1</b> & mehr"
"""what an event says: nothing of it is markup, in whatever way it comes"""


class Mailbox(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as somebody who hands in one mail needs."""

    def handle(self) -> None:
        self._say("220 school.test")
        envelope: list[str] = []
        while line := self.rfile.readline():
            word = line.decode().strip()
            match word[:4].upper():
                case "DATA":
                    self._say("354 go on")
                    self.server.taken.append((envelope, self._content()))  # type: ignore[attr-defined]
                    self._say("250 taken")
                case "QUIT":
                    self._say("221 bye")
                    return
                case "MAIL" | "RCPT":
                    envelope.append(word)
                    self._say("250 yes")
                case _:
                    self._say("250 yes")

    def _content(self) -> EmailMessage:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        return cast(EmailMessage, email.message_from_bytes(b"".join(lines), policy=default))

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Chat(http.server.BaseHTTPRequestHandler):
    """Takes what Mattermost takes."""

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.taken.append((self.path, content))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[list[Any]]:
    """What a server has taken."""
    taken: list[Any] = []
    server.taken = taken  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield taken
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def mails() -> Iterator[tuple[str, list[tuple[list[str], EmailMessage]]]]:
    """The address of a mailbox, and what came there."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox)
    with serving(server) as taken:
        port = server.server_address[1]
        yield f"mailto://127.0.0.1:{port}?from=clms@school.test&to=anna@school.test", taken


@pytest.fixture
def chat() -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """The address of a chat's webhook, and what came there."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    with serving(server) as taken:
        yield f"mmost://127.0.0.1:{server.server_port}/3ccdd113474722377935511fc85d3dd4", taken


def told_all(folder: Path, addresses: str, kind: str) -> World:
    """A school in which one thing happens, of which it tells with Apprise."""
    world = World(folder, addresses=addresses)
    notifier = Notifier(lambda: load(world.etc).school, clock=lambda: world.now)
    notifier.look()
    world.happens(kind, SAID)
    notifier.look()
    notifier.look()
    return world


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain", "html"))
    assert part is not None
    return str(part.get_content())


def test_these_are_all() -> None:
    assert [case.values for case in OCCASIONS if TITLES.get(str(case.values[0])) != case.values[1]] == []
    assert TITLES.keys() == {case.values[0] for case in OCCASIONS}


@pytest.mark.parametrize(("kind", "title"), OCCASIONS)
def test_it_arrives_once_as_a_mail_and_in_a_chat(tmp_path: Path, mails: Any, chat: Any, kind: str, title: str) -> None:
    world = told_all(tmp_path, f"{mails[0]}\n{chat[0]}\n", kind)
    assert "NOTIFY_FAILED" not in world.events()
    ((envelope, mail),) = mails[1]
    assert any("<clms@school.test>" in line for line in envelope)
    assert any("<anna@school.test>" in line for line in envelope)
    assert mail["Subject"] == f"Linden School: {title}"
    ((path, said),) = chat[1]
    assert path == "/hooks/3ccdd113474722377935511fc85d3dd4"
    assert f"Linden School: {title}" in said["text"]
    for text in (text_of(mail), said["text"]):
        assert SAID in text or SAID.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in text, text
