# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase `backup` and going back to a backup, with a real database of the sample CLMS."""

from __future__ import annotations

import io
import json
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import docker
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ansible_collections.clms.update.plugins.module_utils.adapters import archive
from ansible_collections.clms.update.plugins.module_utils.adapters import dump as dump_adapter
from ansible_collections.clms.update.plugins.module_utils.adapters.accounts import read_accounts
from ansible_collections.clms.update.plugins.module_utils.adapters.backup_store import (
    backups_in,
    check_files,
    check_place,
    find_backup,
    image_file,
)
from ansible_collections.clms.update.plugins.module_utils.adapters.database import Database, database_in, database_of
from ansible_collections.clms.update.plugins.module_utils.adapters.pipes import ArchiveError
from ansible_collections.clms.update.plugins.module_utils.backup_manifest import MANIFEST, SIGNATURE
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.phases import backup, clean_up, prepare, restore
from ansible_collections.clms.update.plugins.module_utils.phases.rehearse import (
    rehearsal_container,
    rehearsal_network,
    remove_rehearsal,
)
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.run import Context, do_phase
from ansible_collections.clms.update.plugins.module_utils.slots import Slot, SlotService, restored_slot

DATABASE_IMAGE = "clms-sample/mysql:1"
NAME = "clms_database"
ROOT_PASSWORD = 'canary "root\\ #1'
STUDENT = "Wilhelmine Canary-Student"
MIGRATIONS = Path(__file__).parents[1] / "sample_clms/backend/migrations"
SEED = [
    *(MIGRATIONS / name for name in ("0001_initial.sql", "0002_locations_and_events.sql")),
    # what a dump can lose or spoil: bytes, quotes, an empty table, a routine, an account of its own
    """
    CREATE TABLE oddities (id INT PRIMARY KEY AUTO_INCREMENT, picture LONGBLOB, words TEXT, at TIMESTAMP(6) NULL);
    INSERT INTO oddities (picture, words, at) VALUES (UNHEX('00FF1A0A0D275C'), 'it''s "ö" \\\\ \\n 🐛', NOW(6));
    INSERT INTO oddities (picture) VALUES (REPEAT(UNHEX('00FF'), 5000000));
    CREATE TABLE empty_table (id INT PRIMARY KEY, `odd ``name` INT, KEY (`odd ``name`));
    CREATE TABLE pages (id INT PRIMARY KEY AUTO_INCREMENT, words TEXT);
    INSERT INTO pages (words) SELECT REPEAT(MD5(seq), 8) FROM seq_1_to_60000;
    CREATE VIEW borrowed AS SELECT id FROM borrows;
    CREATE PROCEDURE nothing() SELECT 1;
    CREATE TRIGGER checked BEFORE INSERT ON empty_table FOR EACH ROW SET NEW.id = NEW.id + 1;
    CREATE EVENT tidy ON SCHEDULE EVERY 1 DAY DO DELETE FROM empty_table;
    CREATE ROLE librarian;
    GRANT SELECT ON clms_database.borrowed TO librarian;
    CREATE USER 'report''s'@'10.%' IDENTIFIED BY 'canary-report';
    GRANT librarian TO 'report''s'@'10.%';
    GRANT EXECUTE ON PROCEDURE clms_database.nothing TO 'report''s'@'10.%'
    """,
]


@dataclass(frozen=True)
class Live:
    """A database that serves, with the containers around it."""

    project: str
    folder: Path
    slot: Slot
    database: Database


def secret(path: Path, content: str | bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def new_age_key(path: Path) -> str:
    subprocess.run(["age-keygen", "-o", path], check=True, capture_output=True)
    return archive.recipient_of(path)


@pytest.fixture(scope="module")
def live(engine: docker.DockerClient, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    if not engine.images.list(DATABASE_IMAGE):
        pytest.skip(f"the image {DATABASE_IMAGE} was not built (make setup)")
    folder, project = tmp_path_factory.mktemp("live"), f"{prefix}-bk"
    secret(
        folder / "mysql.env",
        f"MYSQL_ROOT_PASSWORD={ROOT_PASSWORD}\nMYSQL_DATABASE={NAME}\n"
        "MYSQL_USER=clms_user\nMYSQL_PASSWORD=canary-user\n",
    )
    secret(folder / "db.cnf", '[client]\nuser=root\npassword="canary \\"root\\\\ #1"\n')
    secret(folder / "smoke.json", '{"username": "smoke", "password": "canary-smoke"}')
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    secret(folder / "signing.pem", key)
    new_age_key(folder / "host.age")
    (folder / "recovery").write_text(new_age_key(folder / "recovery.age"))
    image = engine.images.get(DATABASE_IMAGE).id
    slot = Slot(
        name="r1",
        run=1,
        version="1.0.0",
        network=f"{project}-r1",
        services={name: SlotService(f"{project}-{name}-r1", image, image) for name in ("mysql", "backend")},
        volumes={name: f"{project}-{name}-r1" for name in ("mysql_data", "uploads", "logs")},
        release={"version": "1.0.0"},
    )
    network = engine.networks.create(slot.network, internal=True)
    container = None
    try:
        container = engine.containers.run(
            image,
            name=slot.services["mysql"].container,
            detach=True,
            network=slot.network,
            environment=(folder / "mysql.env").read_text().splitlines(),
            volumes={slot.volumes["mysql_data"]: {"bind": "/var/lib/mysql"}},
            # the throwaway must not inherit this
            command=["--event-scheduler=ON"],
        )
        engine.containers.create(
            image,
            name=slot.services["backend"].container,
            command=["bash"],
            volumes={slot.volumes["uploads"]: {"bind": "/app/uploads"}, slot.volumes["logs"]: {"bind": "/app/logs"}},
        )
        uploads = Path(engine.volumes.get(slot.volumes["uploads"]).attrs["Mountpoint"])
        (uploads / "cover.txt").write_text(STUDENT)
        container.reload()
        address = container.attrs["NetworkSettings"]["Networks"][slot.network]["IPAddress"]
        database = Database.connect(address, 3306, folder / "db.cnf", NAME, wait_seconds=60)
        fill(database)
        yield Live(project, folder, slot, database)
        database.close()
    finally:
        for leftover in engine.containers.list(all=True, filters={"name": f"{project}-"}):
            leftover.remove(force=True, v=True)
        for volume in engine.volumes.list(filters={"name": f"{project}-"}):
            volume.remove(force=True)
        network.remove()


def fill(database: Database) -> None:
    database.query(f"USE {NAME}")
    for source in SEED:
        text = source.read_text() if isinstance(source, Path) else source
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
        for statement in "\n".join(lines).split(";\n"):
            if statement.strip(" \n;"):
                database.query(statement.strip(" \n;").replace("%", "%"))
    database.query("INSERT INTO pages (words) VALUES (%s)", STUDENT)


@dataclass(frozen=True)
class Stage:
    """A journal with the live slot, in which runs can be opened."""

    live: Live
    journal: Journal
    home: Path
    backups: Path

    def description(self, **changes: Any) -> dict[str, Any]:
        folder = self.live.folder
        backup = {
            "path": str(self.backups),
            "maximum": 2,
            "images": False,
            "host_key_file": str(folder / "host.age"),
            "recovery_recipient": (folder / "recovery").read_text(),
            "signing_key_file": str(folder / "signing.pem"),
        }
        return {
            "title": "Grundschule Süd",
            "project": self.live.project,
            "home": str(self.home),
            "services": [
                {
                    "name": "mysql",
                    "role": "database",
                    "env_file": str(folder / "mysql.env"),
                    "volumes": [{"name": "mysql_data", "path": "/var/lib/mysql"}],
                },
                {
                    "name": "backend",
                    "env_file": str(folder / "mysql.env"),
                    "volumes": [
                        {"name": "uploads", "path": "/app/uploads"},
                        {"name": "logs", "path": "/app/logs", "on_update": "share"},
                    ],
                },
            ],
            "database": {"service": "mysql", "name": NAME, "credentials_file": str(folder / "db.cnf")},
            "entry_service": "backend",
            "gate": {"image": "gate", "ports": [{"listen": 80, "service": "backend", "port": 3001}]},
            "trust": {
                "url": "https://vendor.test",
                "root_file": "/root.json",
                "vendor_key_file": "/vendor.asc",
                "fingerprints": ["A" * 40],
            },
            "registry": "registry.test",
            "backup": {**backup, **changes},
            "smoke_credentials_file": str(folder / "smoke.json"),
        }

    def open(self, kind: str = "backup", *, preflight: dict[str, Any] | None = None, **changes: Any) -> Context:
        """Open a run that is past its preflight."""
        run = self.journal.begin(kind, phases=KINDS[kind], school=self.description(**changes))
        for phase in KINDS[kind]:
            if phase == "backup":
                break
            run.enter(phase)
            run.leave(phase, **(preflight or {}))
        return Context(self.journal, run, "backup")

    def back_up(self, **changes: Any) -> dict[str, Any]:
        """A whole run of kind backup; returns the phase's result."""
        context = self.open(**changes)
        try:
            return do_phase(self.home, context.run.id, "backup", backup.work)
        finally:
            context.run.close("COMPLETED")


@pytest.fixture
def stage(live: Live, tmp_path: Path) -> Iterator[Stage]:
    journal = Journal(tmp_path / "home", create=True)
    journal.begin("install", phases=KINDS["install"], school={}).close("COMPLETED")
    journal.set_slot(live.slot, "current")
    yield Stage(live, journal, tmp_path / "home", tmp_path / "backups")
    journal.close()


@pytest.fixture
def writers(live: Live) -> Iterator[list[int]]:
    """Users who go on working; the list gets the number of each page they have written."""
    written: list[int] = []
    end = threading.Event()

    def write() -> None:
        with live.database.another() as database:
            while not end.is_set():
                database.query(f"INSERT INTO {NAME}.pages (words) VALUES (%s)", secrets.token_hex(8))
                written.append(int(database.value("SELECT LAST_INSERT_ID()")))

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield written
    end.set()
    for thread in threads:
        thread.join()


def leftovers(engine: docker.DockerClient, project: str) -> list[str]:
    """What is in the engine beside the live slot."""
    names = [container.name for container in engine.containers.list(all=True, filters={"name": f"{project}-"})]
    names += [volume.name for volume in engine.volumes.list(filters={"name": f"{project}-"})]
    names += [network.name for network in engine.networks.list(names=[f"{project}-"])]
    return sorted(name for name in names if not name.endswith("-r1"))


def containing(folder: Path, needle: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]


# a good backup


def test_a_backup_is_made_and_proven_while_users_go_on_writing(
    stage: Stage, engine: docker.DockerClient, writers: list[int]
) -> None:
    before = len(writers)
    result = stage.back_up()
    assert len(writers) > before + 20
    assert result["locked_seconds"] < 1
    folder, manifest = find_backup(Context(stage.journal, stage.journal.run(2), "").school, result["backup"])
    check_files(folder, manifest)
    assert manifest.slot == stage.live.slot
    assert manifest.database.tables["oddities"] == 2
    assert manifest.database.tables["pages"] > 60_000
    assert "borrowed" not in manifest.database.tables
    assert result["rows"] == sum(manifest.database.tables.values())
    assert {file.name: file.kind for file in manifest.files} == {
        "database.sql.zst.age": "database",
        "accounts.sql.zst.age": "accounts",
        "volume-uploads.tar.zst.age": "volume",
        "configuration.tar.zst.age": "configuration",
    }
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [MANIFEST, SIGNATURE, *(file.name for file in manifest.files)]
    )
    assert [summary.id for summary in backups_in(stage.backups)] == [result["backup"]]
    assert [path.stat().st_mode & 0o077 for path in [folder, *folder.iterdir()]] == [0] * 7
    assert leftovers(engine, stage.live.project) == []


def test_no_secret_and_no_name_lies_on_the_disk_in_the_clear(stage: Stage) -> None:
    stage.back_up()
    for needle in (b"canary", b"Canary-Student", ROOT_PASSWORD.encode()):
        assert containing(stage.home, needle) == []
        assert containing(stage.backups, needle) == []


def test_the_recovery_key_alone_reads_everything(stage: Stage, tmp_path: Path) -> None:
    folder = Path(stage.back_up()["path"])
    identity = stage.live.folder / "recovery.age"
    with archive.decrypted(folder / "database.sql.zst.age", identity) as stream:
        assert STUDENT.encode() in stream.read()
    with archive.decrypted(folder / "configuration.tar.zst.age", identity) as stream:
        archive.unpack_folder(stream, tmp_path)
    environment = stage.live.folder / "mysql.env"
    assert (tmp_path / f"files{environment}").read_text() == environment.read_text()
    assert json.loads((tmp_path / "school.json").read_text())["title"] == "Grundschule Süd"
    definition = json.loads((tmp_path / "containers/mysql.json").read_text())
    assert definition["Name"] == f"/{stage.live.slot.services['mysql'].container}"
    assert not list(tmp_path.rglob("*.age"))
    assert not list(tmp_path.rglob("signing.pem"))


def test_where_the_run_rehearses_the_restored_copy_stays(stage: Stage, engine: docker.DockerClient) -> None:
    context = stage.open("update")
    result = backup.work(context)
    name, network = rehearsal_container(context, "mysql"), rehearsal_network(context)
    try:
        with database_in(context, name, network) as database:
            assert sum(database.row_counts().values()) == result["rows"]
            assert database.event_scheduler() == "OFF"
            assert database.variable("innodb_flush_log_at_trx_commit") == "1"
            assert read_accounts(database) == read_accounts(stage.live.database)
        container = engine.containers.get(name)
        assert list(container.attrs["NetworkSettings"]["Networks"]) == [network]
        assert container.image.id == stage.live.slot.services["mysql"].image
        assert engine.networks.get(network).attrs["Internal"]
        live_volumes = set(stage.live.slot.volumes.values())
        assert not {mount.get("Name") for mount in container.attrs["Mounts"]} & live_volumes
    finally:
        remove_rehearsal(context)
    assert leftovers(engine, stage.live.project) == []


def test_a_phase_that_was_interrupted_is_done_again(stage: Stage, engine: docker.DockerClient) -> None:
    context = stage.open("update")
    first = backup.work(context)
    half = stage.backups / f"20200101T000000Z-1.0.0-r{context.run.id}.partial"
    half.mkdir()
    (half / "database.sql.zst.age").write_text("half")
    time.sleep(1.1)  # the name has the second in it
    second = backup.work(context)
    remove_rehearsal(context)
    assert first["backup"] != second["backup"]
    assert not half.exists()
    assert leftovers(engine, stage.live.project) == []


# bad ones


def cut(lines: Callable[[list[bytes]], list[bytes]]) -> Callable[..., dump_adapter.Dumped]:
    """A dump that lost some of its lines; every statement is whole."""

    def dump(container: str, database: Database, sink: IO[bytes]) -> dump_adapter.Dumped:
        whole = io.BytesIO()
        dumped = dump_adapter.dump(container, database, whole)
        sink.write(b"\n".join(lines(whole.getvalue().split(b"\n"))) + b"\n")
        return dumped

    return dump


def without_the_last_pages(lines: list[bytes]) -> list[bytes]:
    inserts = [number for number, line in enumerate(lines) if line.startswith(b"INSERT INTO `pages`")]
    return [line for number, line in enumerate(lines) if number != inserts[-1]]


@pytest.mark.parametrize(
    ("lines", "detail"),
    [
        pytest.param(lambda lines: lines[:-2], "its last line is missing", id="only-the-trailer"),
        pytest.param(lambda lines: lines[: len(lines) // 2], "its last line is missing", id="cut-at-a-statement"),
        pytest.param(without_the_last_pages, "the table pages has", id="a-statement-in-the-middle"),
        pytest.param(
            lambda lines: [
                line for line in lines if b"KEY `odd" not in line and b"PRIMARY KEY (`id`)," != line.strip()
            ],
            "could not be proven",
            id="an-index",
        ),
        pytest.param(lambda lines: [*lines[:50], b"INSERT INTO nowhere VALUES ('x');", *lines[50:]], "…", id="fails"),
    ],
)
def test_a_dump_that_is_not_whole_is_refused(
    stage: Stage,
    engine: docker.DockerClient,
    monkeypatch: pytest.MonkeyPatch,
    lines: Callable[[list[bytes]], list[bytes]],
    detail: str,
) -> None:
    monkeypatch.setattr(backup, "dump", cut(lines))
    with pytest.raises(ClmsError) as caught:
        stage.back_up()
    assert caught.value.code == "BACKUP_UNPROVEN"
    assert detail in caught.value.happened
    assert list(stage.backups.iterdir()) == []
    assert leftovers(engine, stage.live.project) == []


def flip_a_byte(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    "name", ["database.sql.zst.age", "accounts.sql.zst.age", "volume-uploads.tar.zst.age", "configuration.tar.zst.age"]
)
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

    def and_cut_it(lock: Database, newest: int, host: str) -> None:
        wait_for_dump(lock, newest, host)
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
        busy.query(f"LOCK TABLES {NAME}.pages WRITE")
        began = time.monotonic()
        with pytest.raises(ArchiveError, match="refused a consistent dump: Lock wait timeout"):
            dump_adapter.dump(live.slot.services["mysql"].container, live.database, io.BytesIO())
        assert time.monotonic() - began < 4
        busy.query("UNLOCK TABLES")
    live.database.query(f"INSERT INTO {NAME}.pages (words) VALUES ('goes on')")


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
        pytest.param("{tmp}/loop", "Too many levels of symbolic links", id="a-link-to-itself"),
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


# going back


@dataclass(frozen=True)
class Restored:
    """What a run of kind restore has to work with."""

    context: Context
    folder: Path


@pytest.fixture
def restoring(stage: Stage, engine: docker.DockerClient) -> Iterator[Callable[[str], Restored]]:
    """Opens a run that restores a backup, with slot B prepared."""
    opened: list[Context] = []

    def open_run(backup_id: str) -> Restored:
        slot = restored_slot(stage.live.slot, stage.live.slot, run=50, current=stage.live.slot)
        context = stage.open("restore", preflight={"slot": slot.as_dict(), "backup": backup_id})
        opened.append(context)
        prepare.prepare(context)
        return Restored(context, stage.backups / backup_id)

    def with_school(backup_id: str) -> Restored:
        context = stage.open("restore")
        slot = restored_slot(context.school, stage.live.slot, run=50, current=stage.live.slot)
        context.run.close("COMPLETED")
        context = stage.open("restore", preflight={"slot": slot.as_dict(), "backup": backup_id})
        opened.append(context)
        prepare.prepare(context)
        return Restored(context, stage.backups / backup_id)

    del open_run
    yield with_school
    for context in opened:
        clean_up.free_slot(context, context.new)


def test_a_slot_is_filled_from_a_backup(stage: Stage, restoring: Callable[[str], Restored]) -> None:
    made = stage.back_up()
    uploads = Path(docker_path(stage, "uploads"))
    (uploads / "later.txt").write_text("after the backup")
    stage.live.database.query(f"INSERT INTO {NAME}.pages (words) VALUES ('after the backup')")
    restored = restoring(made["backup"])
    restore.fill_slot_from_backup(restored.context)
    with database_of(restored.context, restored.context.new) as database:
        assert sum(database.row_counts().values()) == made["rows"]
        assert database.schema_fingerprint() == stage.live.database.schema_fingerprint()
        assert database.event_scheduler() == "OFF"
        assert read_accounts(database) == read_accounts(stage.live.database)
        select = f"SELECT MD5(picture) AS picture, words, at FROM {NAME}.oddities ORDER BY id"
        assert database.query(select) == stage.live.database.query(select)
    folder = restored.context.engine.volume_path(restored.context.new.volumes["uploads"])
    assert folder is not None
    assert [path.name for path in folder.iterdir()] == ["cover.txt"]
    (uploads / "later.txt").unlink()


def docker_path(stage: Stage, volume: str) -> Path:
    context = Context(stage.journal, stage.journal.run(1), "")
    path = context.engine.volume_path(stage.live.slot.volumes[volume])
    assert path is not None
    return path


def _change_manifest(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace("Grundschule", "Hauptschule"))


def _rename(folder: Path) -> None:
    later = folder.with_name("20990101T000000Z-1.0.0-r9")
    folder.rename(later)


@pytest.mark.parametrize(
    ("spoil", "code", "detail"),
    [
        pytest.param(
            lambda folder: flip_a_byte(folder, "database.sql.zst.age"), "BACKUP_TAMPERED", "has changed", id="flipped"
        ),
        pytest.param(
            lambda folder: (folder / "volume-uploads.tar.zst.age").unlink(), "BACKUP_TAMPERED", "No such", id="missing"
        ),
        pytest.param(_change_manifest, "BACKUP_TAMPERED", "not signed by this school", id="manifest"),
        pytest.param(
            lambda folder: (folder / SIGNATURE).unlink(), "BACKUP_TAMPERED", "manifest.sig", id="no-signature"
        ),
        pytest.param(
            lambda folder: (folder / SIGNATURE).write_bytes(bytes(64)), "BACKUP_TAMPERED", "not signed", id="signature"
        ),
        pytest.param(shutil.rmtree, "BACKUP_UNKNOWN", "no backup named", id="gone"),
    ],
)
def test_a_backup_that_changed_is_not_restored(
    stage: Stage, spoil: Callable[[Path], None], code: str, detail: str
) -> None:
    made = stage.back_up()
    context = stage.open("restore", preflight={"backup": made["backup"]})
    spoil(Path(made["path"]))
    with pytest.raises(ClmsError) as caught:
        restore.fill_slot_from_backup(context)
    assert caught.value.code == code
    assert detail in caught.value.happened


def test_an_older_backup_cannot_pass_for_a_newer_one(stage: Stage) -> None:
    made = stage.back_up()
    _rename(Path(made["path"]))
    context = stage.open()
    with pytest.raises(ClmsError, match="it was written as"):
        restore.slot_of_backup(context.school, "20990101T000000Z-1.0.0-r9")
    assert backups_in(stage.backups) == []


@pytest.mark.parametrize("name", ["", "..", "../../etc", "20990101T000000Z-1.0.0-r9", "images"])
def test_a_backup_that_is_not_there_is_named(stage: Stage, name: str) -> None:
    with pytest.raises(ClmsError) as caught:
        restore.slot_of_backup(stage.open().school, name)
    assert caught.value.code == "BACKUP_UNKNOWN"


def test_what_a_rollback_would_lose_is_counted(stage: Stage) -> None:
    database = stage.live.database
    run = stage.journal.run(1)
    before = database.row_counts()
    run.record("open", "", "leave", rows=before, rows_at=time.time())
    context = stage.open("rollback")
    earlier = replace(
        stage.live.slot,
        name="r0",
        services={**stage.live.slot.services, "mysql": SlotService("earlier", "image", "config")},
    )
    time.sleep(1.1)  # the server remembers whole seconds
    assert restore.lost_writes(context, earlier) == {}
    database.query(f"INSERT INTO {NAME}.pages (words) VALUES ('one'), ('two')")
    database.query(f"UPDATE {NAME}.oddities SET words = 'changed' WHERE id = 2")
    database.query(f"UPDATE {NAME}.SystemSettings SET value = '1.0.0' WHERE `key` = 'version'")
    assert restore.lost_writes(context, earlier) == {"oddities": 1, "pages": 2}
    assert restore.lost_writes(context, stage.live.slot) == {}


# keeping and copying


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    if Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_a_second_copy_is_made_on_another_disk(
    stage: Stage, other_disk: Path, make_image: Callable[..., str], engine: docker.DockerClient
) -> None:
    image = engine.images.get(make_image("saved")).id
    services = {"backend": replace(stage.live.slot.services["backend"], image=image, config=image)}
    # the database's image would take its time
    image_file(stage.backups, stage.live.slot.services["mysql"].config).parent.mkdir(parents=True)
    image_file(stage.backups, stage.live.slot.services["mysql"].config).write_bytes(b"kept before")
    stage.journal.set_slot(replace(stage.live.slot, services={**stage.live.slot.services, **services}), "current")
    made = stage.back_up(external_path=str(other_disk), images=True)
    assert made["external"] == str(other_disk / made["backup"])
    assert made["warnings"] == []
    assert [summary.id for summary in backups_in(other_disk)] == [made["backup"]]
    assert image_file(other_disk, image).read_bytes() == image_file(stage.backups, image).read_bytes()
    engine.images.remove(image, force=True)
    archive.load_image(image_file(other_disk, image))
    assert engine.images.get(image).id == image
    # a restore finds the copy when the first is gone
    shutil.rmtree(made["path"])
    school = stage.open(external_path=str(other_disk)).school
    assert restore.slot_of_backup(school, made["backup"]).run == 1


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        pytest.param("{tmp}/same-disk", "the drive is not mounted", id="not-mounted"),
        pytest.param("/proc/sys/external", "cannot be written", id="not-writable"),
    ],
)
def test_a_second_copy_that_cannot_be_made_is_a_warning(stage: Stage, tmp_path: Path, path: str, detail: str) -> None:
    made = stage.back_up(external_path=path.format(tmp=tmp_path))
    assert made["external"] is None
    assert detail in made["warnings"][0]
    assert stage.journal.events()[1]["message"] == made["warnings"][0]
    assert [summary.id for summary in backups_in(stage.backups)] == [made["backup"]]


def test_old_backups_and_their_images_go(stage: Stage) -> None:
    made = stage.back_up()
    folder = Path(made["path"])
    copies = [folder.with_name(f"2020010{day}T000000Z-1.0.0-r{day}") for day in range(1, 4)]
    for copy in copies:
        shutil.copytree(folder, copy)
        text = (copy / MANIFEST).read_text().replace(folder.name, copy.name)
        (copy / MANIFEST).write_text(text)
    unused = image_file(stage.backups, "sha256:" + "0" * 64)
    unused.parent.mkdir()
    unused.touch()
    context = stage.open("restore", preflight={"backup": copies[0].name})
    removed, problems = backup.remove_old_backups(context)
    assert removed == [str(copies[1])]
    assert problems == []
    assert [Path(summary.path) for summary in backups_in(stage.backups)] == [folder, copies[2], copies[0]]
    assert not unused.exists()


def names(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [str(row["name"]) for row in rows]
