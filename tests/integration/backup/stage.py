# SPDX-License-Identifier: GPL-3.0-or-later
"""A live database of the sample CLMS, and journals in which runs on it can be opened."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import docker

from ansible_collections.clms.update.plugins.module_utils.adapters import archive
from ansible_collections.clms.update.plugins.module_utils.adapters.database import Database
from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.phases import backup
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.run import Context, do_phase
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

DATABASE_IMAGE = "clms-sample/mysql:1"
NAME = "clms_database"
ROOT_PASSWORD = 'canary "root\\ #1'
STUDENT = "Wilhelmine Canary-Student"
MIGRATIONS = Path(__file__).parents[2] / "sample_clms/backend/migrations"
SEED = [
    *(MIGRATIONS / name for name in ("0001_initial.sql", "0002_locations_and_events.sql")),
    # what a dump can lose or spoil: bytes, quotes, an empty table, a routine, an account of its own
    """
    CREATE TABLE oddities (id INT PRIMARY KEY AUTO_INCREMENT, picture LONGBLOB, words TEXT, at TIMESTAMP(6) NULL);
    INSERT INTO oddities (picture, words, at) VALUES (UNHEX('00FF1A0A0D275C'), 'it''s "ö" \\\\ \\n 🐛', NOW(6));
    INSERT INTO oddities (picture) VALUES (REPEAT(UNHEX('00FF'), 5000000));
    CREATE TABLE empty_table (id INT PRIMARY KEY, `odd ``name` INT, KEY (`odd ``name`));
    CREATE TABLE pages (id INT PRIMARY KEY AUTO_INCREMENT, words TEXT);
    INSERT INTO pages (words) SELECT REPEAT(MD5(seq), 8) FROM seq_1_to_20000;
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


def fill(database: Database) -> None:
    database.query(f"USE {NAME}")
    for source in SEED:
        text = source.read_text() if isinstance(source, Path) else source
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
        for statement in "\n".join(lines).split(";\n"):
            if statement.strip(" \n;"):
                database.query(statement.strip(" \n;"))
    database.query("INSERT INTO pages (words) VALUES (%s)", STUDENT)


@dataclass(frozen=True)
class Stage:
    """A journal with the live slot, in which runs can be opened."""

    live: Live
    journal: Journal
    home: Path
    backups: Path

    @cached_property
    def engine(self) -> Engine:
        return Engine()

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

    def take_over(self, made: dict[str, Any], name: str | None = None) -> Path:
        """Copy a backup from another stage, under its own name or another one."""
        return Path(shutil.copytree(made["path"], self.backups / (name or made["backup"])))


def mount(folder: Path, *options: str) -> None:
    subprocess.run(["mount", *options, folder], check=True)


def leftovers(engine: docker.DockerClient, project: str) -> list[str]:
    """What is in the engine beside the live slot."""
    names = [container.name for container in engine.containers.list(all=True, filters={"name": f"{project}-"})]
    names += [volume.name for volume in engine.volumes.list(filters={"name": f"{project}-"})]
    names += [network.name for network in engine.networks.list(names=[f"{project}-"])]
    return sorted(name for name in names if not name.endswith("-r1"))


def containing(folder: Path, needle: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]


def flip_a_byte(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
