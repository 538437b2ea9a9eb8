# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that nobody works on: when it is noticed, and when not."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from agent import watchdog
from agent.watchdog import PREFLIGHT_SECONDS, SECONDS, Watchdog
from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def run(tmp_path: Path) -> Run:
    journal = Journal(tmp_path, create=True)
    return journal.begin("backup", phases=("preflight", "backup", "clean_up"), school={})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dog(tmp_path: Path, clock: Clock) -> Watchdog:
    return Watchdog(tmp_path, lambda: None, clock)


def in_backup(run: Run) -> None:
    run.enter("preflight")
    run.leave("preflight")
    run.enter("backup")


def looks(dog: Watchdog, clock: Clock, *moments: float) -> list[bool]:
    found = []
    for clock.now in moments:
        found.append(dog.stands_still())
    return found


def test_no_journal(dog: Watchdog, clock: Clock) -> None:
    assert looks(dog, clock, 0, 10_000) == [False, False]


def test_nobody_at_work(run: Run, dog: Watchdog, clock: Clock) -> None:
    in_backup(run)
    assert looks(dog, clock, 0, SECONDS - 1, SECONDS) == [False, False, True]
    # whatever is started then has its own time
    assert looks(dog, clock, SECONDS + 1, 2 * SECONDS, 2 * SECONDS + 1) == [False, False, True]


def test_somebody_at_work(run: Run, dog: Watchdog, clock: Clock, tmp_path: Path) -> None:
    in_backup(run)
    with lock.at_work(tmp_path, 0) as alone:
        assert alone
        assert looks(dog, clock, 0, 10_000) == [False, False]
    assert looks(dog, clock, 10_001, 10_000 + SECONDS) == [False, True]


def test_records_are_written(run: Run, dog: Watchdog, clock: Clock) -> None:
    in_backup(run)
    assert looks(dog, clock, 0, SECONDS - 1) == [False, False]
    run.record("backup", "dump", "intent")
    assert looks(dog, clock, SECONDS, SECONDS + 1, 2 * SECONDS) == [False, False, True]


def test_preflight_may_take_longer(run: Run, dog: Watchdog, clock: Clock) -> None:
    run.enter("preflight")
    assert looks(dog, clock, 0, SECONDS, PREFLIGHT_SECONDS) == [False, False, True]


def test_ended_run(run: Run, dog: Watchdog, clock: Clock) -> None:
    in_backup(run)
    run.close("ABORTED")
    assert looks(dog, clock, 0, 10_000) == [False, False]


def test_broken_journal_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "_LOOK_SECONDS", 0.01)
    (tmp_path / "journal.db").write_bytes(b"not a database at all" * 100)
    with Watchdog(tmp_path, lambda: None).on():
        threading.Event().wait(0.1)


def test_it_ends_the_playbook(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(watchdog, "SECONDS", 0.05)
    in_backup(run)
    ended = threading.Event()
    with Watchdog(tmp_path, ended.set).on():
        assert ended.wait(10)


def test_asking_is_not_in_the_way(tmp_path: Path) -> None:
    """Who carries out a phase gets the lock although somebody looks whether it is free."""
    lock_file = tmp_path / "phase.lock"
    lock_file.touch()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            lock.is_at_work(tmp_path)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(50):
            with lock.at_work(tmp_path, 0) as alone:
                assert alone
    finally:
        over.set()
        asking.join()
