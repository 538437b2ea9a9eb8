# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of what is scheduled: what it keeps, and what becomes of a file that is not as it should be."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent import schedule
from agent.config import Config
from agent.schedule import Entry, Store
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.told import Told

NOW = 1_790_000_000.0


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    home.mkdir()
    with closing(Store(home)) as opened:
        yield opened


def add(store: Store, due_at: float = NOW + 60) -> Entry:
    entry = store.add(version="1.0.1", due_at=due_at, missed="tonight", now=NOW)
    assert entry is not None
    return entry


def lost(journal: Journal) -> list[str]:
    return [event["message"] for event in journal.events() if event["type"] == "SCHEDULE_LOST"]


def test_it_is_on_disk_at_once_and_for_its_owner_only(home: Path, store: Store) -> None:
    entry = add(store)
    assert (home / "schedule.db").stat().st_mode & 0o777 == 0o600
    assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert schedule.read(home) == ([entry], None)
    assert schedule.pending(home) == entry


def test_one_at_a_time(store: Store) -> None:
    first = add(store)
    assert store.add(version=None, due_at=NOW, missed="run", now=NOW) is None
    assert store.end(first, "CANCELLED")
    assert add(store).id == first.id + 1


def test_from_the_beginning_to_the_end(store: Store) -> None:
    entry = add(store)
    assert store.start(entry, after_run=3)
    assert not store.start(entry, after_run=3)
    assert [(e.id, e.state, e.after_run) for e in store.started()] == [(entry.id, "STARTED", 3)]
    store.wait(entry, NOW + 61)
    waiting = store.scheduled()
    assert waiting is not None
    assert waiting.tried_at == NOW + 61
    store.move(entry, NOW + 90, NOW + 62)
    store.move(entry, NOW + 95, NOW + 63)
    moved = store.scheduled()
    assert moved is not None
    assert (moved.due_at, moved.tried_at) == (NOW + 95, None)
    assert (moved.planned_at, moved.moved_at) == (NOW + 60, NOW + 63)
    store.move_back(moved)
    store.move_back(moved)
    back = store.scheduled()
    assert back is not None
    assert (back.due_at, back.planned_at, back.moved_at) == (NOW + 60, None, None)
    assert store.start(entry, after_run=4)
    assert store.end(entry, "DONE", run=5, outcome="ABORTED", code="DISK_TOO_SMALL")
    assert not store.end(entry, "CANCELLED")
    (ended,) = store.entries()
    assert (ended.state, ended.run, ended.outcome, ended.code) == ("DONE", 5, "ABORTED", "DISK_TOO_SMALL")
    assert store.scheduled() is None


def test_old_ones_are_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "KEPT", 3)
    for _ in range(6):
        store.end(add(store), "CANCELLED")
    assert [entry.id for entry in store.entries()] == [6, 5, 4]


def test_facts(store: Store, home: Path) -> None:
    assert store.fact("checked_at") is None
    store.note("checked_at", NOW)
    store.note("checked_at", NOW + 1)
    assert store.fact("checked_at") == NOW + 1
    assert schedule.read(home)[1] == NOW + 1


def test_as_a_page_sees_it(store: Store, settings: Config) -> None:
    entry = add(store, due_at=1_790_000_000.0)
    assert entry.as_dict(settings.school.schedule) == {
        "id": 1,
        "version": "1.0.1",
        "state": "SCHEDULED",
        "due_at": "2026-09-21T14:13:20Z",
        "due_local": "2026-09-21T14:13:20+00:00",
        "time_zone": "UTC",
        "missed": "tonight",
        "created_at": "2026-09-21T14:13:20Z",
        "run": None,
        "outcome": None,
        "code": None,
        "backup_location": None,
    }


@pytest.mark.parametrize(
    ("number", "lacks"), [(1, ("backup_location", "planned_at", "moved_at")), (2, ("planned_at", "moved_at"))]
)
def test_a_file_of_a_format_before(home: Path, store: Store, number: int, lacks: tuple[str, ...]) -> None:
    add(store)
    store.close()
    with closing(sqlite3.connect(home / "schedule.db")) as db:
        for column in lacks:
            db.execute(f"ALTER TABLE schedules DROP COLUMN {column}")
        db.execute(f"PRAGMA user_version={number}")
    for _ in range(2):
        with closing(Store(home)) as again:
            entry = again.scheduled()
            assert entry is not None
            assert (entry.version, entry.backup_location, entry.moved_at) == ("1.0.1", None, None)


def _noise(path: Path) -> None:
    path.write_bytes(b"no database at all, " * 400)


def _damaged(path: Path) -> None:
    with closing(Store(path.parent)) as store:
        for i in range(300):
            store.note(f"fact {i}", "x" * 400)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=99")


def _other(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE books (title TEXT)")


def _other_with_number(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE schedules (id INTEGER)")
        db.execute("PRAGMA user_version=1")


def _link(path: Path) -> None:
    path.symlink_to(path.with_name("journal.db"))


SPOILT = {
    "noise": (_noise, "was broken"),
    "damaged": (_damaged, "was broken"),
    "newer": (_newer, "was written by a newer CLMS Update"),
    "another database": (_other, "was no schedule"),
    "another table": (_other_with_number, "was no schedule"),
    "a folder": (Path.mkdir, "was no file"),
    "a link": (_link, "was no file"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_file_is_kept_aside_and_told_of(home: Path, journal: Journal, kind: str) -> None:
    spoil, words = SPOILT[kind]
    spoil(home / "schedule.db")
    with closing(Store(home)) as store:
        assert store.entries() == []
        add(store)
    with closing(Store(home)) as store:  # the new one is sound
        assert store.scheduled() is not None
    (message,) = lost(journal)
    assert words in message
    assert len([path for path in home.glob("schedule.db.kept-*") if not path.name.endswith(("-wal", "-shm"))]) == 1


def test_two_spoilt_files_in_one_second(home: Path, journal: Journal) -> None:
    for _ in range(2):
        _noise(home / "schedule.db")
        Store(home).close()
    assert len(lost(journal)) == 2
    assert len(list(home.glob("schedule.db.kept-*"))) == 2


def test_an_empty_file_is_a_new_one(home: Path, journal: Journal) -> None:
    (home / "schedule.db").touch(mode=0o644)
    Store(home).close()
    assert lost(journal) == []
    assert (home / "schedule.db").stat().st_mode & 0o777 == 0o600


def test_many_threads_open_a_spoilt_file(home: Path, journal: Journal) -> None:
    _noise(home / "schedule.db")
    failed: list[Exception] = []

    def use() -> None:
        try:
            with closing(Store(home)) as store:
                store.note("checked_at", NOW)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failed, len(lost(journal))) == ([], 1)
    assert schedule.read(home)[1] == NOW


@pytest.mark.parametrize("kind", [*SPOILT, "nothing", "no folder"])
def test_status_is_not_disturbed(home: Path, journal: Journal, kind: str) -> None:
    if kind == "no folder":
        home = home / "none"
    elif kind != "nothing":
        SPOILT[kind][0](home / "schedule.db")
    before = sorted(home.glob("*"))
    assert schedule.pending(home) is None
    with contextlib.suppress(ClmsError):
        schedule.read(home)
    assert [path for path in sorted(home.glob("*")) if not path.name.endswith(("-wal", "-shm"))] == [
        path for path in before if not path.name.endswith(("-wal", "-shm"))
    ]


def test_a_disk_that_cannot_be_written(home: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = add(store)
    store._db.execute("PRAGMA query_only=ON")
    for change in _changes(store, entry):
        with pytest.raises(ClmsError) as caught:
            change()
        assert caught.value.code == "SCHEDULE_STORE"
    store._db.execute("PRAGMA query_only=OFF")
    assert store.scheduled() == entry


def _changes(store: Store, entry: Entry) -> list[Callable[[], object]]:
    return [
        lambda: store.start(entry, after_run=1),
        lambda: store.end(entry, "CANCELLED"),
        lambda: store.note("checked_at", NOW),
        lambda: store.add(version=None, due_at=NOW, missed="run", now=NOW),
    ]


def test_events_are_not_needed(tmp_path: Path) -> None:
    schedule.tell(tmp_path, "UPDATE_SCHEDULED", Told("without a journal", "", {}))
    (tmp_path / "journal.db").write_bytes(b"broken" * 1000)
    schedule.tell(tmp_path, "UPDATE_SCHEDULED", Told("with a broken one", "", {}))
