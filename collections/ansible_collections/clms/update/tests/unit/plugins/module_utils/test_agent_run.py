# SPDX-License-Identifier: GPL-3.0-or-later
"""Beginning a run that an agent does and following it, with an agent that says what it is told to."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.adapters import agent_run
from ansible_collections.clms.update.plugins.module_utils.adapters.agent_run import AgentRun
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.following import News, Seen
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS

BEGUN = {"ok": True, "result": {"begun": "update"}}
REFUSED = {"ok": True, "result": {"run": {"id": None, "outcome": "REFUSED"}, "exit_code": 2}}

Serve = Callable[..., list[Any]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_POLL", 0.02), ("_AT_LEAST", 0.1), ("_AT_MOST", 0.4), ("_LET_GO", 0.4)):
        monkeypatch.setattr(agent_run, name, seconds)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path:  # the path of a socket must not be long
        yield Path(path)


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    with contextlib.closing(Journal(folder / "home", create=True)) as opened:
        yield opened


def begin(journal: Journal) -> Run:
    return journal.begin("update", phases=KINDS["update"], school={}, version="1.0.1", from_version="1.0.0")


@pytest.fixture
def run(folder: Path) -> AgentRun:
    return AgentRun(folder / "home", folder / "agent.sock", "update", None)


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    """An agent for one connection: an answer, or something that it does before the next one."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(folder / "agent.sock"))
        listener.listen()
        asked: list[Any] = []

        def start(*steps: dict[str, Any] | Callable[[], object]) -> list[Any]:
            def work() -> None:
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as lines:
                    asked.append(json.loads(lines.readline()))
                    for step in steps:
                        if callable(step):
                            step()
                        else:
                            connection.sendall(json.dumps(step).encode() + b"\n")

            thread = threading.Thread(target=work)
            thread.start()
            stack.callback(thread.join)
            return asked

        yield start


@pytest.fixture
def held(folder: Path, journal: Journal) -> Iterator[Callable[[], None]]:
    """The lock of the school; gives what frees it."""
    descriptor = lock.acquire(folder / "home")
    assert descriptor is not None
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        yield stack.close


def test_the_run_that_was_opened(run: AgentRun, journal: Journal, serve: Serve) -> None:
    begin(journal).close("COMPLETED")
    followed = threading.Event()

    def work() -> None:
        with contextlib.closing(Journal(journal.path.parent)) as own:
            begin(own)

    asked = serve(BEGUN, work, lambda: followed.wait(20))
    assert run.begin(version="1.0.1") == News([], Seen(2))
    followed.set()
    assert asked == [{"verb": "update", "version": "1.0.1"}]


def test_a_run_that_is_refused_at_once(run: AgentRun, journal: Journal, serve: Serve) -> None:
    begin(journal).close("COMPLETED")
    serve(BEGUN, REFUSED)
    assert run.begin().ending == ({"id": None, "outcome": "REFUSED"}, 2)


def test_a_school_without_a_journal(run: AgentRun, serve: Serve) -> None:
    serve(BEGUN, REFUSED)
    assert run.begin().ending == ({"id": None, "outcome": "REFUSED"}, 2)


def test_putting_in_order_is_waited_for(folder: Path, journal: Journal, serve: Serve) -> None:
    begin(journal)
    answer = {"ok": True, "result": {"run": {"id": 1, "outcome": "ROLLED_BACK"}, "exit_code": 0}}
    serve({"ok": True, "result": {"begun": "recover"}}, answer)
    ending = AgentRun(folder / "home", folder / "agent.sock", "recover", None).begin().ending
    assert ending == ({"id": 1, "outcome": "ROLLED_BACK"}, 0)


@pytest.mark.parametrize("opened", [True, False])
def test_an_agent_that_is_killed(run: AgentRun, journal: Journal, serve: Serve, opened: bool) -> None:
    def work() -> None:
        with contextlib.closing(Journal(journal.path.parent)) as own:
            begin(own)

    serve(BEGUN, *([work] if opened else []))
    if opened:
        assert run.begin().seen == Seen(1)
        return
    with pytest.raises(ClmsError) as caught:
        run.begin()
    assert caught.value.code == "AGENT_SILENT"


def test_a_refusal(run: AgentRun, journal: Journal, serve: Serve) -> None:
    error = ClmsError("RUN_ACTIVE", kind="backup", run=3, phase="backup")
    serve({"ok": False, "error": error.as_dict()})
    with pytest.raises(ClmsError) as caught:
        run.begin()
    assert caught.value.as_dict() == error.as_dict()


@pytest.mark.usefixtures("held")
def test_following(run: AgentRun, journal: Journal) -> None:
    opened = begin(journal)
    opened.enter("preflight")
    quiet = run.follow(Seen(1))
    assert (quiet.lines, quiet.seen, quiet.ending) == ([], Seen(1), None)
    opened.leave("preflight")
    new = run.follow(quiet.seen)
    assert ([line.split()[0] for line in new.lines], new.seen, new.ending) == (["preflight"], Seen(1, 1), None)


def test_the_lock_is_free_at_the_end(run: AgentRun, journal: Journal, held: Callable[[], None]) -> None:
    begin(journal).close("COMPLETED")
    timer = threading.Timer(0.1, held)
    timer.start()
    ending = run.follow(Seen(1)).ending
    assert ending is not None
    assert (ending[0]["outcome"], ending[1]) == ("COMPLETED", 0)
    assert not lock.is_held(journal.path.parent)
    timer.join()


@pytest.mark.usefixtures("held")
def test_a_lock_that_stays_is_not_waited_for_without_end(run: AgentRun, journal: Journal) -> None:
    begin(journal).close("COMPLETED")
    assert run.follow(Seen(1)).ending is not None


def test_a_run_that_found_nothing_to_do(run: AgentRun, journal: Journal) -> None:
    begin(journal).discard()
    ending = run.follow(Seen(1)).ending
    assert ending is not None
    assert (ending[0]["id"], ending[1]) == (None, 0)


def test_nobody_is_at_work(run: AgentRun, journal: Journal) -> None:
    begin(journal)
    first = run.follow(Seen(1))
    assert first.ending is None
    assert 0.3 < first.seen.silent < 5
    assert run.follow(first.seen).seen.silent > first.seen.silent
    with pytest.raises(ClmsError) as caught:
        run.follow(Seen(1, 0, 301.0))
    assert caught.value.code == "AGENT_SILENT"


def test_an_agent_that_has_given_it_up(folder: Path, run: AgentRun, journal: Journal) -> None:
    begin(journal)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "agent.sock"))
        listener.listen()
        ending = run.follow(Seen(1)).ending
    assert ending is not None
    assert (ending[0]["error_code"], ending[1]) == ("RUN_INTERRUPTED", 3)
