# SPDX-License-Identifier: GPL-3.0-or-later
"""The live database of the sample CLMS that these tests back up."""

from __future__ import annotations

import secrets
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ansible_collections.clms.update.plugins.module_utils.adapters.database import Database
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.slots import Slot, SlotService
from tests.integration.backup.stage import (
    DATABASE_IMAGE,
    NAME,
    ROOT_PASSWORD,
    STUDENT,
    Live,
    Stage,
    fill,
    mount,
    new_age_key,
    secret,
)


@pytest.fixture(scope="package")
def live(engine: docker.DockerClient, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    if not engine.images.list(DATABASE_IMAGE):
        pytest.fail(f"the image {DATABASE_IMAGE} was not built (make setup)")
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


def new_journal(live: Live, folder: Path) -> Journal:
    """A journal that knows of the live slot."""
    journal = Journal(folder / "home", create=True)
    journal.begin("install", phases=KINDS["install"], school={}).close("COMPLETED")
    journal.set_slot(live.slot, "current")
    return journal


@pytest.fixture
def stage(live: Live, tmp_path: Path) -> Iterator[Stage]:
    journal = new_journal(live, tmp_path)
    yield Stage(live, journal, tmp_path / "home", tmp_path / "backups")
    journal.close()


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "drive"
    folder.mkdir()
    mount(folder, "-t", "tmpfs", "-o", "size=500m", "clms-test")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="package")
def made(live: Live, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A good backup: what the phase returned. Tests work on copies of it, see :meth:`Stage.take_over`."""
    folder = tmp_path_factory.mktemp("made")
    journal = new_journal(live, folder)
    try:
        return Stage(live, journal, folder / "home", folder / "backups").back_up()
    finally:
        journal.close()


@pytest.fixture
def writers(live: Live) -> Iterator[list[int]]:
    """Users who go on working; the list gets the number of each page they have written."""
    written: list[int] = []
    end = threading.Event()

    def write() -> None:
        with live.database.another() as database:
            while not end.is_set():
                database.query("INSERT INTO clms_database.pages (words) VALUES (%s)", secrets.token_hex(8))
                written.append(int(database.value("SELECT LAST_INSERT_ID()")))

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield written
    end.set()
    for thread in threads:
        thread.join()
