# SPDX-License-Identifier: GPL-3.0-or-later
"""A school under test: what is done to it, and what engine, database and users see of it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import requests
import yaml

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.slots import Slot
from ansible_collections.clms.update.plugins.module_utils.status import describe_run
from tests.sample_clms.writer import Judgement, Writer, judge
from tests.stand.stand import Finished, Stand

SEED = {"students": 60, "books": 120, "borrows": 900}
"""rows that a school is filled with; one that shows more than that is filled with all 24,000"""
FULL_SEED = {"students": 900, "books": 3000, "borrows": 20_000}
_CONTENT = {
    "students": "id, student_id, first_name, last_name",
    "books": "id, accession_no, title, author",
    "borrows": "id, student_id, book_id, borrowed_at, returned_at",
}
"""columns that every version has"""
VERSION_LABEL = "org.opencontainers.image.version"


def wait_for(test: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Wait until ``test`` holds."""
    deadline = time.monotonic() + seconds
    while not test():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come about within {seconds} seconds")
        time.sleep(0.02)


@dataclass(frozen=True)
class Container:
    """A container as the engine sees it."""

    identity: str
    image: str
    running: bool
    started_at: str
    purpose: str


@dataclass(frozen=True)
class Picture:
    """Everything that the engine has of a school. Equal pictures: nothing was made, removed, stopped or restarted."""

    containers: dict[str, Container]
    volumes: frozenset[str]
    networks: frozenset[str]

    @property
    def serving(self) -> dict[str, tuple[str, str]]:
        """The running containers of CLMS: name -> identity and image."""
        return {
            name: (found.identity, found.image)
            for name, found in self.containers.items()
            if found.running and found.purpose == "service"
        }

    @property
    def names(self) -> frozenset[str]:
        """Names of everything that there is."""
        return frozenset(self.containers) | self.volumes | self.networks


@dataclass
class Written:
    """What a writer has seen, and what became of its writes; filled in when it has stopped."""

    writer: Writer
    log: Path
    counts: Counter[str] = field(default_factory=Counter)
    longest_wait: float = 0.0
    judgement: Judgement | None = None

    def wait_acknowledged(self) -> None:
        """Wait until one more write is acknowledged: CLMS is open, and works."""
        before = self.writer.log.counts["acknowledged"]
        wait_for(lambda: self.writer.log.counts["acknowledged"] > before, seconds=30, what="an acknowledged write")

    def assert_nothing_lost(self) -> None:
        """Every acknowledged write is there once, and no other."""
        assert self.judgement is not None, "the writer is still at work"
        assert self.judgement.good, self.judgement.examples
        assert self.judgement.acknowledged == self.counts["acknowledged"] > 0


class School:
    """One school of a stand."""

    def __init__(self, stand: Stand, name: str, inventory: str, engine: Engine) -> None:
        self.stand = stand
        self.name = name
        self.inventory = inventory
        self.engine = engine
        self.project = f"{stand.prefix}-{name}"
        self.home = stand.home(name)
        self.folder = stand.school_folder(name)

    # what is done to it

    def clms_update(self, *arguments: str) -> Finished:
        """Run ``clms-update`` on the server of the school, whatever its exit code."""
        return self.stand.clms_update(self.name, *arguments, check=False)

    def playbook(self, name: str, *arguments: str) -> Finished:
        """Run a playbook of the repository on this school only, whatever its exit code."""
        return self.stand.playbook(name, "--limit", self.name, *arguments, inventory=self.inventory, check=False)

    @contextmanager
    def described(self, **changes: Any) -> Iterator[None]:
        """Change the description of the school for a while; None leaves a variable out."""
        path = self.folder / "etc/host_vars/school.yml"
        text = path.read_text()
        variables = {**yaml.safe_load(text), **changes}
        try:
            path.write_text(yaml.safe_dump({name: value for name, value in variables.items() if value is not None}))
            yield
        finally:
            path.write_text(text)

    def description(self) -> dict[str, Any]:
        """The variables ``clms_*`` of the school."""
        variables: dict[str, Any] = yaml.safe_load((self.folder / "etc/host_vars/school.yml").read_text())
        return variables

    @contextmanager
    def writing(self, folder: Path, *, rate: float = 20) -> Iterator[Written]:
        """Check books out and return them all the time, through the gate."""
        login = self.stand.librarian(self.name)
        log = folder / f"writer-{self.name}.log"
        writer = Writer(self.stand.url(self.name), login["username"], login["password"], rate, log, threads=4)
        written = Written(writer, log)
        try:
            writer.start()
            written.wait_acknowledged()
            yield written
        finally:
            written.counts = writer.stop()
            waits = [json.loads(line).get("seconds", 0.0) for line in log.read_text().splitlines()]
            written.longest_wait = max(waits, default=0.0)
        with closing(self.connection()) as connection:
            written.judgement = judge(log, connection)

    # what can be seen of it

    def picture(self) -> Picture:
        """Everything of this school that the engine has, by name: labels may be missing where something went wrong."""
        containers = {}
        for found in self.engine.api.containers(all=True, filters={"name": f"^/{self.project}-"}):
            name = found["Names"][0].lstrip("/")
            state = self.engine.state(name)
            assert state is not None
            purpose = found["Labels"].get("clms.purpose", "")
            containers[name] = Container(found["Id"], state.image, state.running, state.started_at, purpose)
        volumes = self.engine.api.volumes(filters={"name": f"^{self.project}-"})["Volumes"] or []
        networks = self.engine.api.networks(names=[f"^{self.project}-"])
        return Picture(
            containers, frozenset(found["Name"] for found in volumes), frozenset(found["Name"] for found in networks)
        )

    def versions(self) -> set[str]:
        """The versions of the application's images that run, as the engine sees them."""
        images = [self.engine.image(image) for _, image in self.picture().serving.values()]
        labels = [(image or {})["Config"]["Labels"] or {} for image in images]
        found = {label[VERSION_LABEL] for label in labels if VERSION_LABEL in label}
        return found - {"1"}  # the database's

    def connection(self) -> pymysql.Connection[Any]:
        """A connection to the database that serves."""
        slot = self.slot()
        address = self.engine.address(slot.services["mysql"].container, slot.network)
        return pymysql.connect(
            host=address,
            read_default_file=str(self.folder / "etc/secrets/database.cnf"),
            database="clms_database",
            charset="utf8mb4",
            autocommit=True,
        )

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the database that serves."""
        with closing(self.connection()) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def rows(self) -> dict[str, int]:
        """Table -> rows."""
        tables = self.query("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
        return {name: self.query(f"SELECT COUNT(*) FROM `{name}`")[0][0] for (name,) in tables}  # noqa: S608

    def schema(self) -> list[str]:
        """The migrations that the database has seen."""
        return [name for (name,) in self.query("SELECT migration_name FROM _prisma_migrations ORDER BY 1")]

    def seeded(self) -> dict[str, tuple[int, int]]:
        """Table -> number and checksum of the rows that the school was filled with."""
        result = {}
        for table, count in (FULL_SEED if self.name == "linden" else SEED).items():
            found = self.query(
                f"SELECT COUNT(*), SUM(CRC32(CONCAT_WS('|', {_CONTENT[table]}))) FROM {table} WHERE id <= %s",  # noqa: S608
                count,
            )
            result[table] = (int(found[0][0]), int(found[0][1]))
        return result

    def uploads(self) -> dict[str, bytes]:
        """The uploaded files of the slot that serves."""
        folder = self.engine.volume_path(self.slot().volumes["uploads"])
        assert folder is not None
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    def version_row(self) -> str:
        """The version that CLMS shows to people."""
        return str(self.query("SELECT `value` FROM SystemSettings WHERE `key` = 'version'")[0][0])

    def page(self) -> int:
        """What the gate answers to somebody who opens the page."""
        with requests.Session() as session:
            session.trust_env = False
            return session.get(self.stand.url(self.name), timeout=30).status_code

    # what the journal says of it

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        """The school's journal."""
        with closing(Journal(self.home)) as journal:
            yield journal

    def slot(self) -> Slot:
        """The slot that serves."""
        return self.stand.slot(self.name)

    def last_run(self) -> dict[str, Any]:
        """The newest run."""
        with self.journal() as journal:
            row = journal.rows(limit=1)[0]
            return describe_run(row, journal.records(row.id))

    def phases_begun(self, run: int) -> set[str]:
        """The phases that a run has begun."""
        with self.journal() as journal:
            return {record.phase for record in journal.records(run) if record.event == "enter"}

    def kept(self) -> frozenset[str]:
        """Volumes of slots that the journal says are kept for diagnosis."""
        with self.journal() as journal:
            kept = {name for slot in journal.slots("kept") for name in slot.volumes.values()}
        return frozenset(kept) - set(self.slot().volumes.values())

    def stray(self) -> frozenset[str]:
        """What the engine has of this school and nothing accounts for.

        Accounted for are the gate, the way outside, the slot that serves, the one before, and the volumes of a
        slot that the journal says is kept for diagnosis.
        """
        with self.journal() as journal:
            slots = journal.slots("current", "previous")
        known = {*self.kept(), *(f"{self.project}-{name}" for name in ("gate", "outside"))}
        for slot in slots:
            known |= {slot.network, *slot.volumes.values(), *(s.container for s in slot.services.values())}
        return self.picture().names - known

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """The body changes nothing: no container is made, stopped or restarted, no row comes or goes."""
        before, rows = self.picture(), self.rows()
        yield
        assert self.picture() == before
        assert self.rows() == rows
        assert self.page() == 200
        assert self.stray() == frozenset()

    def assert_refused(self, code: str, *arguments: str) -> str:
        """``clms-update`` refuses before it touches anything, and says what happened and what to do.

        :returns: what happened
        """
        with self.untouched():
            done = self.clms_update(*arguments, "--json")
        assert done.code == 2, done.output + done.errors
        assert "Traceback" not in done.output + done.errors
        run = done.json()
        assert (run["error_code"], run["outcome"], run["status"]) == (code, "REFUSED", "FAILED"), run
        message, remedy = run["message"], run["remedy"]
        assert message.endswith("."), message
        assert remedy.endswith((".", "'")), remedy
        return str(message)

    def assert_serves(self, version: str) -> None:
        """Users are served by ``version``, and nothing stray is left."""
        assert self.versions() == {version}
        assert self.page() == 200
        assert self.stray() == frozenset()
