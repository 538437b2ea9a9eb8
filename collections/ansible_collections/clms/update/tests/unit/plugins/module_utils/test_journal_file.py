# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of the journal: of an older format, spoilt in every way, and kept aside."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import journal_file
from ansible_collections.clms.update.plugins.module_utils.adapters.slot_files import keep_slot
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_file import FORMAT, problem, set_aside
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

FORMAT_1 = """
CREATE TABLE runs (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, phases TEXT NOT NULL, school TEXT NOT NULL,
    version TEXT, from_version TEXT, opened_at REAL NOT NULL, closed_at REAL, outcome TEXT, error TEXT);
CREATE TABLE records (id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL REFERENCES runs (id), at REAL NOT NULL,
    phase TEXT NOT NULL, step TEXT NOT NULL, event TEXT NOT NULL, names TEXT NOT NULL);
CREATE INDEX records_run ON records (run, id);
CREATE TABLE slots (name TEXT PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs (id), state TEXT NOT NULL,
    content TEXT NOT NULL);
CREATE TABLE commits (run INTEGER PRIMARY KEY REFERENCES runs (id), at REAL NOT NULL,
    slot TEXT NOT NULL REFERENCES slots (name));
CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, type TEXT NOT NULL, run INTEGER,
    message TEXT NOT NULL);
INSERT INTO runs VALUES (7, 'update', '["preflight", "backup"]', '{}', '1.0.1', '1.0.0', 1.0, NULL, NULL, NULL);
INSERT INTO events VALUES (1, 1.0, 'UPDATE_STARTED', 7, 'It has begun.');
INSERT INTO records VALUES (1, 7, 1.0, 'preflight', '', 'enter', '{}');
PRAGMA user_version=1;
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a journal of format 1."""
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        db.executescript(FORMAT_1)
    return tmp_path


def version(home: Path) -> int:
    with closing(sqlite3.connect(home / "journal.db")) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def test_a_journal_of_format_1_goes_on(home: Path) -> None:
    for _ in range(2):
        with closing(Journal(home)) as journal:
            row = journal.row(7)
            assert (row.kind, row.version, row.fence, row.outcome) == ("update", "1.0.1", 0, None)
            assert [record.phase for record in journal.records(7)] == ["preflight"]
            assert [(event["run"], event["schedule"]) for event in journal.events()] == [(7, None)]
            assert version(home) == FORMAT == 4
    with closing(Journal(home)) as journal:
        run = journal.run(7)
        run.leave("preflight")
        run.take_over()
        run.close("ABORTED")
        assert journal.begin("backup", phases=("preflight",), school={}).id == 8


def test_half_a_migration_is_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(journal_file._MIGRATIONS, 1, "ALTER TABLE runs ADD COLUMN fence INTEGER NOT NULL")
    with pytest.raises(ClmsError) as caught:
        Journal(home)
    assert caught.value.code == "JOURNAL_UNREADABLE"
    assert version(home) == 1


def page_of(path: Path, name: str) -> int:
    """The offset of the first page of a table."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = int(db.execute("PRAGMA page_size").fetchone()[0])
        return (int(db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0]) - 1) * size


def spoil_page(path: Path) -> None:
    offset = page_of(path, "records")
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 512)


def drop(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE commits")


SPOILT = [
    pytest.param(lambda path: path.write_bytes(b"this is no database\n" * 200), "file is not a database", id="text"),
    pytest.param(lambda path: path.write_bytes(b"\0" * 8192), "file is not a database", id="zeros"),
    pytest.param(spoil_page, "", id="a page"),
    pytest.param(drop, "it has no table commits", id="a table"),
    pytest.param(lambda path: path.write_bytes(b""), "there is nothing in it", id="empty"),
    pytest.param(lambda path: path.unlink(), "it is gone", id="gone"),
]


@pytest.mark.parametrize(("spoil", "expected"), SPOILT)
def test_what_is_broken(tmp_path: Path, old: Slot, spoil: Callable[[Path], Any], expected: str) -> None:
    with closing(Journal(tmp_path, create=True)) as journal:
        run = journal.begin("update", phases=KINDS["update"], school={})
        run.enter("preflight")
    keep_slot(tmp_path, old, school={}, event_scheduler="OFF")
    assert problem(tmp_path) is None
    spoil(tmp_path / "journal.db")
    found = problem(tmp_path)
    assert found
    assert expected in found


@pytest.mark.parametrize(
    ("spoil", "ask"),
    [
        pytest.param(spoil_page, lambda journal: journal.records(1), id="a page"),
        pytest.param(drop, lambda journal: journal.run(1).committed(), id="a table"),
        pytest.param(drop, lambda journal: journal.run(1).ask_to_cancel(), id="in a transaction"),
    ],
)
def test_what_turns_out_to_be_broken_is_told(
    tmp_path: Path, spoil: Callable[[Path], Any], ask: Callable[[Journal], Any]
) -> None:
    with closing(Journal(tmp_path, create=True)) as journal:
        journal.begin("update", phases=KINDS["update"], school={}).enter("preflight")
    spoil(tmp_path / "journal.db")
    with closing(Journal(tmp_path)) as journal:
        with pytest.raises(ClmsError) as caught:
            ask(journal)
        assert caught.value.code == "JOURNAL_UNREADABLE"
        assert "clms-update recover" in caught.value.remedy


@pytest.mark.parametrize("spoil", [None, lambda path: path.write_bytes(b"")], ids=["new", "empty"])
def test_before_the_first_installation_nothing_is_broken(tmp_path: Path, spoil: Any) -> None:
    assert problem(tmp_path) is None
    Journal(tmp_path, create=True).close()
    if spoil:
        spoil(tmp_path / "journal.db")
    assert problem(tmp_path) is None


def test_a_newer_journal_is_not_broken(journal: Journal) -> None:
    journal.file.db.execute(f"PRAGMA user_version={FORMAT + 1}")
    with pytest.raises(ClmsError) as caught:
        problem(journal.path.parent)
    assert caught.value.code == "JOURNAL_NEWER"


def test_what_cannot_be_opened_need_not_be_broken(tmp_path: Path) -> None:
    (tmp_path / "journal.db").mkdir()
    with pytest.raises(ClmsError) as caught:
        problem(tmp_path)
    assert caught.value.code == "JOURNAL_UNREADABLE"


def test_keeping_it_aside(tmp_path: Path) -> None:
    assert set_aside(tmp_path) is None
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"journal.db{suffix}").write_text(f"part{suffix}")
    (tmp_path / "lock").touch()
    folder = set_aside(tmp_path)
    assert folder is not None
    assert folder.name.startswith("journal-broken-20")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        f"journal.db{suffix}": f"part{suffix}" for suffix in ("", "-wal", "-shm")
    }
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, "lock"}
    assert set_aside(tmp_path) == folder  # it was interrupted after that


def test_what_is_part_of_a_transaction_ends_with_it(journal: Journal) -> None:
    def write() -> None:
        journal.begin("backup", phases=("preflight",), school={}).enter("preflight")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        journal.file.write(write)
    assert journal.rows() == []


def test_a_disk_that_fills_up_within_a_transaction(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    run = journal.begin("backup", phases=("preflight", "backup"), school={})
    db = journal.file.db
    given_back: list[Path] = []

    def give_back(home: Path) -> None:
        given_back.append(home)
        db.execute("PRAGMA max_page_count=1000000")

    monkeypatch.setattr(journal_file.reserve, "give_back", give_back)
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count={pages}")
    run.enter("preflight")
    run.leave("preflight", detail="x" * 100_000)
    assert given_back == [journal.path.parent]
    assert [(record.phase, record.event) for record in journal.records(run.id)] == [
        ("preflight", "enter"),
        ("preflight", "leave"),
    ]
    assert run.phase() == "backup"
