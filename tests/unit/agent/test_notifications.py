# SPDX-License-Identifier: GPL-3.0-or-later
"""People are told what happens: everybody everything, once, whoever else or whatever else fails."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from agent import notifications
from agent.addresses import Letter, Message, Outcome
from agent.backoff import LONGEST_PAUSE
from agent.cli import main
from agent.config import load
from agent.notifications import SECONDS, Notifier
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.told import Told, told

from .conftest import description, write_config

GOOD, BAD = "json://good.test", "json://canary-user:canary-password@bad.test"


class Sent:
    """Keeps what is sent; nothing is taken for addresses that are ``dead``, nor what is ``disliked``."""

    def __init__(self) -> None:
        self.to: dict[str, list[tuple[str, str]]] = {}
        self.tried: list[str] = []
        self.dead: set[str] = set()
        self.disliked: set[str] = set()

    def __call__(self, letters: Sequence[Letter]) -> list[Outcome]:
        return [self._one(line.address, messages) for line, messages in letters]

    def _one(self, address: str, messages: Sequence[Message]) -> Outcome:
        assert messages, "nothing is to be told"
        self.tried.append(address)
        good = {n for n, one in enumerate(messages) if address not in self.dead and one.body not in self.disliked}
        self.to.setdefault(address, []).extend((messages[n].title, messages[n].body) for n in sorted(good))
        return Outcome(frozenset(good), None if len(good) == len(messages) else "no")

    def bodies(self, address: str) -> list[str]:
        return [body for _, body in self.to.get(address, [])]


class World:
    """A school, its journal, and a clock."""

    def __init__(self, folder: Path, *, addresses: str | None = f"{GOOD}\n", **described: object) -> None:
        self.file = folder / "addresses"
        self.file.touch(mode=0o600)
        self.file.write_text(addresses or "")
        more = {"notify_file": str(self.file)} if addresses is not None else {}
        self.etc = write_config(folder / "etc", {**description(folder / "home"), **more, **described})
        self.home = load(self.etc).school.home
        self.sent, self.now = Sent(), 2_000_000_000.0
        self.notifier = self.restarted()
        Journal(self.home, create=True).close()

    def restarted(self) -> Notifier:
        """Another one, as after a restart of the agent."""
        return Notifier(lambda: load(self.etc).school, send_all=self.sent, clock=lambda: self.now)

    def passes(self, seconds: float) -> None:
        """Look now and then, until so much time has passed."""
        for _ in range(20):
            self.now += seconds / 20
            self.notifier.look()

    def happens(self, kind: str, what: str | Told, *, ago: float = 0) -> None:
        """
        :param what: it tells; a text alone is what an older updater has recorded
        """
        said = what if isinstance(what, Told) else Told(what, "", {})
        with closing(Journal(self.home)) as journal:
            journal.event(kind, said)
            journal.file.execute("UPDATE events SET at = ? WHERE message = ?", self.now - ago, said.message)

    def events(self) -> list[str]:
        with closing(Journal(self.home)) as journal:
            return [event["type"] for event in journal.events()]

    def messages(self) -> list[str]:
        with closing(Journal(self.home)) as journal:
            return [event["message"] for event in journal.events()]


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
    assert world.sent.to == {
        GOOD: [
            ("Linden School: an update is available", "Version 1.0.1 is available."),
            ("Linden School: the update was completed", "CLMS was updated."),
        ]
    }


def test_they_are_told_in_their_language(tmp_path: Path) -> None:
    """With the words of the page, and what it says to do; a name is nothing that is marked up."""
    world = World(tmp_path, notify_language="de", schedule={"time_zone": "Europe/Berlin"})
    world.notifier.look()
    at = "Friday, 27 November 2026, 22:00 (Europe/Berlin)"
    busy = ClmsError("RUN_ACTIVE", kind="backup", run=4, phase="backup")
    world.happens("UPDATE_SCHEDULED", told("SCHEDULED", update="1.0.1", at=at))
    world.happens("UPDATE_FAILED", told("NOT_BEGUN", update=None, failure=busy))
    world.happens("UPDATE_FAILED", told("CAUSE", cause=ClmsError("DRAIN_FAILED", detail="<b> & ä")))
    world.happens("UPDATE_AVAILABLE", "As an older updater has said.")
    world.notifier.look()
    (first, second, third, last) = world.sent.to[GOOD]
    assert first == (
        "Linden School: ein Update ist geplant",
        "Das Update auf Version 1.0.1 ist geplant für Fr., 27. November 2026 um 22:00 Uhr.",
    )
    assert second[0] == "Linden School: das Update ist nicht gelungen"
    assert "Es läuft schon etwas: Sicherung, Nummer 4" in second[1]
    assert "„Fortschritt“" in second[1], "it names a command in place of a page"
    assert "<b> & ä" in third[1]
    assert last == ("Linden School: ein Update ist verfügbar", "As an older updater has said.")


def test_a_test_is_in_their_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, str]] = []
    monkeypatch.setattr(notifications, "send", lambda _path, title, body: sent.append((title, body)))
    for code in ("en", "de"):
        (tmp_path / code).mkdir()
        notifications.send_test(load(World(tmp_path / code, notify_language=code).etc).school)
    assert sent == [
        ("Linden School: a test", "Notifications of CLMS updates arrive here."),
        ("Linden School: ein Test", "Hier kommen Benachrichtigungen über CLMS-Updates an."),
    ]


def test_a_failure_harms_nothing_and_is_tried_again_later(world: World) -> None:
    world.notifier.look()
    world.sent.dead = {GOOD}
    world.happens("UPDATE_STARTED", "one")
    for _ in range(3):
        world.notifier.look()
    assert world.events().count("NOTIFY_FAILED") == 1
    world.sent.dead = set()
    world.notifier.look()
    assert world.sent.tried == [GOOD], "it was not left alone"
    world.now += 61
    world.happens("UPDATE_FAILED", "two")
    world.notifier.look()
    assert world.sent.bodies(GOOD) == ["one", "two"]


def test_an_address_that_fails_keeps_nothing_from_the_others(tmp_path: Path) -> None:
    world = World(tmp_path, addresses=f"{BAD}\n{GOOD}\n")
    world.notifier.look()
    world.sent.dead = {BAD}
    names = ["one", "two", "three", "four"]
    for number, name in enumerate(names, 1):
        world.happens("UPDATE_FAILED", name)
        world.passes(2 * SECONDS)
        assert world.sent.bodies(GOOD) == names[:number]
        world.passes(1800)
    assert world.sent.bodies(GOOD) == names, "each once"
    assert world.events().count("NOTIFY_FAILED") == 1, "that it fails was said with every event"
    world.sent.dead = set()
    world.passes(2 * LONGEST_PAUSE)
    assert (world.sent.bodies(BAD), world.sent.bodies(GOOD)) == (names, names)
    # when it fails another time, that is news
    world.sent.dead = {BAD}
    world.happens("UPDATE_FAILED", "five")
    world.passes(60)
    assert world.events().count("NOTIFY_FAILED") == 2


def test_what_is_no_news_any_more_is_told_nobody(tmp_path: Path) -> None:
    world = World(tmp_path, addresses=f"{BAD}\n{GOOD}\n")
    world.notifier.look()
    world.sent.dead = {BAD}
    world.happens("UPDATE_FAILED", "old")
    world.passes(86_000)
    world.happens("UPDATE_FAILED", "new")
    world.passes(8 * 3600)
    world.sent.dead = set()
    world.passes(LONGEST_PAUSE)
    assert (world.sent.bodies(BAD), world.sent.bodies(GOOD)) == (["new"], ["old", "new"])
    assert world.events().count("NOTIFY_FAILED") == 1


def test_an_event_that_is_not_taken_keeps_nothing_back(world: World) -> None:
    world.notifier.look()
    world.sent.disliked = {"one"}
    for name in ("one", "two", "three"):
        world.happens("UPDATE_FAILED", name)
        world.passes(3600)
        world.passes(3600)
    assert world.sent.bodies(GOOD) == ["two", "three"]
    assert world.events().count("NOTIFY_FAILED") == 1
    world.passes(86_400)
    tried = len(world.sent.tried)
    world.passes(86_400)
    assert len(world.sent.tried) == tried, "it is tried for ever"


def test_it_waits_longer_each_time(world: World) -> None:
    world.notifier.look()
    world.sent.dead = {GOOD}
    world.happens("UPDATE_STARTED", "one")
    waits = []
    for _ in range(4):
        world.notifier.look()
        (until,) = world.notifier._not_before.values()
        waits.append(until - world.now)
        world.now = until
    assert [low <= wait <= 2 * low for low, wait in zip((30, 60, 120, 240), waits, strict=True)] == [True] * 4


def test_a_clock_that_is_put_back_lengthens_no_pause(world: World) -> None:
    world.notifier.look()
    world.sent.dead = {GOOD}
    world.happens("UPDATE_STARTED", "one")
    world.notifier.look()
    world.now -= 30 * 86_400
    world.sent.dead = set()
    world.notifier.look()
    assert world.sent.bodies(GOOD) == ["one"]


def test_after_a_restart_it_goes_on_where_it_was(tmp_path: Path) -> None:
    world = World(tmp_path, addresses=f"{GOOD}\n{BAD}\n")
    world.notifier.look()
    world.sent.dead = {BAD}
    world.happens("UPDATE_STARTED", "one")
    world.restarted().look()
    world.restarted().look()
    world.sent.dead = set()
    world.restarted().look()
    world.restarted().look()
    assert world.sent.bodies(GOOD) == world.sent.bodies(BAD) == ["one"]
    assert world.events().count("NOTIFY_FAILED") == 1


def test_only_a_hash_of_an_address_is_kept(tmp_path: Path) -> None:
    world = World(tmp_path, addresses=f"{BAD}\n{GOOD}\n")
    world.notifier.look()
    world.sent.dead = {BAD}
    world.happens("UPDATE_STARTED", "one")
    world.notifier.look()
    assert not [path for path in world.home.rglob("*") if path.is_file() and b"canary" in path.read_bytes()]
    assert not [message for message in world.messages() if "canary" in message]


def test_an_address_that_comes_and_goes(tmp_path: Path) -> None:
    """What was before somebody was named is no news to them, and nothing is kept for those who have left."""
    world = World(tmp_path, addresses=f"{BAD}\n")
    world.notifier.look()
    world.sent.dead = {BAD}
    world.happens("UPDATE_STARTED", "one")
    world.notifier.look()
    world.file.write_text(f"{GOOD}\n")
    world.happens("UPDATE_FAILED", "two")
    world.notifier.look()
    world.file.write_text(f"{GOOD}\n{BAD}\n# {BAD}\n {GOOD}\n")
    world.sent.dead = set()
    world.happens("UPDATE_FAILED", "three")
    world.passes(300)
    assert world.sent.bodies(GOOD) == ["two", "three"]
    assert world.sent.bodies(BAD) == ["three"]


def test_a_file_that_cannot_be_used_for_a_while(world: World) -> None:
    world.notifier.look()
    world.file.chmod(0o644)
    world.happens("UPDATE_STARTED", "one")
    world.passes(300)
    assert world.events().count("NOTIFY_FAILED") == 1
    world.file.chmod(0o600)
    world.passes(1200)
    assert world.sent.bodies(GOOD) == ["one"]


def test_a_journal_that_was_begun_anew_counts_from_1(world: World) -> None:
    for number in range(5):
        world.happens("UPDATE_STARTED", f"before {number}")
    world.notifier.look()
    for path in world.home.glob("journal.db*"):
        path.unlink()
    Journal(world.home, create=True).close()
    world.happens("UPDATE_FAILED", "one")
    world.passes(60)
    assert world.sent.bodies(GOOD) == ["one"]


def test_a_school_that_wants_to_tell_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(tmp_path, addresses=None)
    world.happens("UPDATE_STARTED", "one")
    world.notifier.look()
    assert world.sent.to == {}
    assert main(["--config", str(world.etc), "notify", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "NOTIFY_NOBODY"
