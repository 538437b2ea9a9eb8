# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups that cannot be made, or are not what they should be, and leave nothing behind."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import docker
import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters import dump as dump_adapter
from ansible_collections.clms.update.plugins.module_utils.adapters.backup_store import (
    check_place,
)
from ansible_collections.clms.update.plugins.module_utils.adapters.database import Database
from ansible_collections.clms.update.plugins.module_utils.adapters.pipes import ArchiveError, Process
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.phases import backup
from ansible_collections.clms.update.plugins.module_utils.run import Context
from tests.integration.backup.stage import Stage, flip_a_byte, leftovers, new_age_key


def cut(keep: Callable[[list[bytes]], list[bytes]]) -> Callable[..., dump_adapter.Dumped]:
    """A dump that lost some of its statements; those that are left are whole."""

    def dump(container: str, database: Database, sink: IO[bytes]) -> dump_adapter.Dumped:
        whole = io.BytesIO()
        dumped = dump_adapter.dump(container, database, whole)
        sink.write(b";\n".join(keep(whole.getvalue().split(b";\n"))))
        return dumped

    return dump


def without_the_last_pages(statements: list[bytes]) -> list[bytes]:
    last = max(number for number, text in enumerate(statements) if b"INSERT INTO `pages`" in text)
    return statements[:last] + statements[last + 1 :]


def without_an_index(statements: list[bytes]) -> list[bytes]:
    return [text.replace(b",\n  KEY `odd ``name` (`odd ``name`)", b"") for text in statements]


def with_a_wrong_row(statements: list[bytes]) -> list[bytes]:
    wrong = b"INSERT INTO `pages` VALUES (1, 'canary'), (1, 'canary')"
    last = max(number for number, text in enumerate(statements) if b"INSERT INTO `pages`" in text)
    return [*statements[: last + 1], wrong, *statements[last + 1 :]]


@pytest.mark.parametrize(
    ("keep", "detail"),
    [
        pytest.param(lambda statements: [*statements[:-1], b""], "its last line is missing", id="the-last-line"),
        pytest.param(lambda statements: [*statements[:30], b""], "its last line is missing", id="cut-at-a-statement"),
        pytest.param(without_the_last_pages, "the table pages has", id="a-statement-in-the-middle"),
        pytest.param(without_an_index, "are not built as they were", id="an-index"),
        pytest.param(with_a_wrong_row, "ERROR 1062 (23000) at line ", id="a-row-that-does-not-fit"),
    ],
)
def test_a_dump_that_is_not_whole_is_refused(
    stage: Stage,
    engine: docker.DockerClient,
    monkeypatch: pytest.MonkeyPatch,
    keep: Callable[[list[bytes]], list[bytes]],
    detail: str,
) -> None:
    monkeypatch.setattr(backup, "dump", cut(keep))
    with pytest.raises(ClmsError) as caught:
        stage.back_up()
    assert caught.value.code == "BACKUP_UNPROVEN"
    assert detail in caught.value.happened
    assert "canary" not in caught.value.happened
    assert list(stage.backups.iterdir()) == []
    assert leftovers(engine, stage.live.project) == []


@pytest.mark.parametrize("name", ["database.sql.zst.age", "volume-uploads.tar.zst.age"])
def test_a_byte_that_flips_before_the_proof_is_noticed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    prove = backup.prove

    def on_a_bad_disk(context: Context, folder: Path, *arguments: Any) -> None:
        flip_a_byte(folder, name)
        prove(context, folder, *arguments)

    monkeypatch.setattr(backup, "prove", on_a_bad_disk)
    with pytest.raises(ClmsError, match="could not be proven") as caught:
        stage.back_up()
    assert caught.value.code == "BACKUP_UNPROVEN"
    assert list(stage.backups.iterdir()) == []


def test_a_key_that_changed_meanwhile_is_noticed(stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    prove = backup.prove
    shutil.copy(stage.live.folder / "host.age", tmp_path / "host.age")

    def with_another_key(*arguments: Any) -> None:
        (tmp_path / "host.age").unlink()
        new_age_key(tmp_path / "host.age")
        prove(*arguments)

    monkeypatch.setattr(backup, "prove", with_another_key)
    with pytest.raises(ClmsError, match="no identity matched") as caught:
        stage.back_up(host_key_file=str(tmp_path / "host.age"))
    assert caught.value.code == "BACKUP_UNPROVEN"


class FailingSink(io.BytesIO):
    """A place that takes the beginning of a dump and no more."""

    def write(self, data: Any) -> int:
        raise OSError(28, "No space left on device")


def dumps_in(database: Database) -> int:
    return int(
        database.value("SELECT COUNT(*) FROM information_schema.processlist WHERE host LIKE %s", f"{database.host}:%")
    )


def test_a_dump_that_nobody_takes_ends_in_the_database_too(stage: Stage) -> None:
    live = stage.live
    with pytest.raises(OSError, match="No space left"):
        dump_adapter.dump(live.slot.services["mysql"].container, live.database, FailingSink())
    deadline = time.monotonic() + 10
    while dumps_in(live.database) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert dumps_in(live.database) == 0


def test_a_dump_whose_connection_is_cut_is_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_dump = dump_adapter._wait_for_dump

    def and_cut_it(client: Process, lock: Database, newest: int, host: str, is_over: Callable[[], bool]) -> None:
        wait_for_dump(client, lock, newest, host, is_over)
        rows = lock.query("SELECT id FROM information_schema.processlist WHERE host LIKE %s", f"{host}:%")
        for row in rows:
            lock.query(f"KILL {row['id']}")

    monkeypatch.setattr(dump_adapter, "_wait_for_dump", and_cut_it)
    with pytest.raises(ClmsError) as caught:
        stage.back_up()
    assert caught.value.code == "BACKUP_FAILED"
    assert "ended with code" in caught.value.happened
    assert list(stage.backups.iterdir()) == []


def test_a_busy_database_is_not_held_up_for_long(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_adapter, "_LOCK_SECONDS", 1)
    monkeypatch.setattr(dump_adapter, "_LOCK_TRIES", 1)
    live = stage.live
    with live.database.another() as busy:
        busy.query("LOCK TABLES clms_database.pages WRITE")
        began = time.monotonic()
        with pytest.raises(ArchiveError, match="refused a consistent dump: Lock wait timeout"):
            dump_adapter.dump(live.slot.services["mysql"].container, live.database, io.BytesIO())
        assert time.monotonic() - began < 4
        busy.query("UNLOCK TABLES")
    live.database.query("INSERT INTO clms_database.pages (words) VALUES ('goes on')")


def test_without_the_lock_rows_would_be_missed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, writers: list[int]
) -> None:
    """The proof of the proof: rows that are written between the two snapshots are noticed."""
    begin = Database.begin_snapshot

    def too_late(database: Database) -> None:
        with stage.live.database.another() as other:
            other.query("SET SESSION lock_wait_timeout = 1")
        begin(database)

    monkeypatch.setattr(dump_adapter, "_lock", lambda lock: time.monotonic())
    monkeypatch.setattr(Database, "begin_snapshot", lambda database: (time.sleep(0.5), too_late(database)))
    with pytest.raises(ClmsError, match="the table pages has"):
        stage.back_up()


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        pytest.param("{tmp}/file", "it is not a folder", id="a-file"),
        pytest.param("{tmp}/file/below", "Not a directory", id="below-a-file"),
        pytest.param("/proc/sys/backups", ".", id="not-writable"),
        pytest.param("{tmp}/loop", "it is not a folder", id="a-link-to-itself"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, path: str, detail: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ClmsError) as caught:
        check_place(Path(path.format(tmp=tmp_path)))
    assert caught.value.code == "BACKUP_PLACE"
    assert detail in caught.value.happened


def test_a_place_is_made_and_left_clean(tmp_path: Path) -> None:
    check_place(tmp_path / "a/b")
    assert list((tmp_path / "a/b").iterdir()) == []
    assert (tmp_path / "a/b").stat().st_mode & 0o077 == 0
