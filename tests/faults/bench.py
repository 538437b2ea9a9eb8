# SPDX-License-Identifier: GPL-3.0-or-later
"""A school under test: its host, its fault points, and what engine, database and users see of it.

What is judged is read from the engine, the schema and the writer's log. The journal is read only to know whether a run
still goes on.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from ansible_collections.clms.update.plugins.module_utils import lock
from tests.base_images.docker_cli import BuildError, docker
from tests.sample_clms import build as sample
from tests.sample_clms.releases import RELEASES
from tests.sample_clms.writer import Judgement, Writer, judge
from tests.stand.host import ROOT
from tests.stand.hosted import Fleet, Hosted

SETTLE_SECONDS = 300
"""within which a school is exactly on the old or exactly on the new version again"""
_IDLE_SECONDS = 10
"""without a command and without a run, after which no process comes to a point any more"""
_COMING_SECONDS = 600
"""after which a run that has not come to a point hangs"""
_UNIT = "clms-update-agent.service"
_JOURNAL = ROOT / "collections/ansible_collections/clms/update/plugins/module_utils/journal_run.py"
_WITH_POINTS = """
import sys

sys.path.append("/faults-code")
import fault_points

fault_points.install(Run)
"""


class NoFault(Exception):
    """The fault could not be brought about; the case says nothing of the school."""


@dataclass(frozen=True)
class Point:
    """Where a process of a run is stopped."""

    phase: str
    step: str
    at: str
    """``before`` the step's effect, in the ``middle`` of it, or ``after`` it"""
    number: int = 1
    """which of the steps of this name in its phase"""
    delay: float = 0.0
    """for ``middle``: seconds after the beginning"""

    @property
    def name(self) -> str:
        """As a report shows it."""
        step = f"/{self.step}" if self.step else ""
        return f"{self.phase}{step}{f'#{self.number}' if self.number > 1 else ''} {self.at}"


@dataclass(frozen=True)
class Picture:
    """What the host's engine has."""

    containers: dict[str, str]
    """name -> image id, of all"""
    running: dict[str, str]
    """name -> image id, of the running ones of CLMS"""
    volumes: frozenset[str]
    networks: frozenset[str]
    digests: dict[str, str]
    """name -> image by digest, of the running ones"""


def images_of(version: str) -> set[str]:
    """Ids of the images of a release, as the vendor's build has them."""
    tags = sample.tags(version)
    return {docker("image", "inspect", "--format", "{{.Id}}", tags[name]) for name in ("backend", "frontend")}


class Bench:
    """One school that faults are tried on, again and again."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet = fleet
        self.faults = fleet.pool.folder / f"{name}.faults"
        self.faults.mkdir(parents=True, exist_ok=True)
        journal = fleet.pool.folder / f"{name}.journal.py"
        journal.write_text(_JOURNAL.read_text() + _WITH_POINTS)
        points = Path(__file__).with_name("points.py")
        self.school: Hosted = fleet.school(
            name,
            extra_mounts=(
                f"{self.faults}:/faults",
                f"{points}:/faults-code/fault_points.py:ro",
                f"{journal}:{_JOURNAL}:ro",
            ),
        )
        self.host = self.school.host
        self.images = {version: images_of(version) for version in ("1.0.0", "1.0.1", "1.0.2")}
        self.started: list[subprocess.Popen[str]] = []
        self.said = ""
        """what the commands of this case have printed"""

    # fault points

    def arm(self, *points: Point) -> None:
        """Have the processes of the next run stop at these points, one after the other."""
        self.disarm()
        text = json.dumps([vars(point) for point in points])
        (self.faults / "points.new").write_text(text)
        (self.faults / "points.new").rename(self.faults / "points.json")

    def disarm(self) -> None:
        """Forget points and what came of them."""
        for path in self.faults.iterdir():
            path.unlink()

    def wait_hit(self, point: Point) -> int:
        """Wait until a process stands at a point; its number on the host.

        :raises NoFault: when nothing is under way any more that could come there
        """
        hit = self.faults / "hit"
        began = busy = time.monotonic()
        while not hit.exists():
            now = time.monotonic()
            if any(process.poll() is None for process in self.started) or self.goes_on():
                busy = now
            if now - busy > _IDLE_SECONDS or now - began > _COMING_SECONDS:
                raise NoFault(f"no process came to {point.name} within {now - began:.0f} s")
            time.sleep(0.02)
        pid = int(json.loads(hit.read_text())["pid"])
        hit.unlink()
        return pid

    def let_go(self, pid: int) -> None:
        """Have the process that stands at a point go on; 0 where none does."""
        (self.faults / "go").touch()
        if pid:
            self.quietly("kill", "-CONT", str(pid))

    def hold_next(self) -> None:
        """The next process that comes to a point waits again."""
        (self.faults / "go").unlink(missing_ok=True)

    # what is done to it

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``clms-update`` on the host."""
        process = self.school.clms_update(*arguments, "--json")
        self.started.append(process)
        return process

    def quietly(self, *command: str) -> None:
        """Run a command on the host that may fail."""
        with suppress(BuildError):
            self.host.run(*command)

    def wait_commands(self) -> str:
        """Wait for the ends of the commands that were started; what they said."""
        said = ""
        for process in self.started:
            try:
                said += process.communicate(timeout=SETTLE_SECONDS)[0]
            except subprocess.TimeoutExpired:
                process.kill()
                said += process.communicate()[0]
        self.started.clear()
        self.said += said
        return self.said

    def vendor_ports(self) -> list[str]:
        """Ports of the vendor's registry and release server."""
        vendor = self.fleet.stand.settings["vendor"]
        return [vendor[name].rpartition(":")[2] for name in ("registry", "releases")]

    def redirect(self, port: str, to: int) -> None:
        """What this host sends to a port of the vendor goes to another one."""
        address = self.fleet.stand.settings["vendor"]["address"]
        rules = ("-t", "nat")
        self.quietly("iptables", *rules, "-N", "FAULTS")
        self.host.run("iptables", *rules, "-F", "FAULTS")
        self.host.run(
            "iptables", *rules, "-A", "FAULTS", "-p", "tcp", "-d", address, "--dport", port,
            "-j", "DNAT", "--to-destination", f"{address}:{to}",
        )  # fmt: skip
        self.host.run("iptables", *rules, "-I", "OUTPUT", "-j", "FAULTS")

    # what can be seen of it

    def picture(self) -> Picture:
        """Everything that the engine of the host has."""
        script = (
            # an image that a power cut has damaged cannot be looked at
            "docker inspect $(docker ps --all --quiet --no-trunc); docker image inspect $(docker image ls -q) || true"
        )
        decoder, text = json.JSONDecoder(), self.host.run("sh", "-c", script)
        containers, end = decoder.raw_decode(text)
        images, _ = decoder.raw_decode(text[end:].lstrip())
        by_digest = {image["Id"]: (image["RepoDigests"] or [image["Id"]])[0] for image in images}
        all_of_them = {found["Name"].lstrip("/"): found["Image"] for found in containers}
        running = {
            found["Name"].lstrip("/"): found["Image"]
            for found in containers
            if found["State"]["Running"] and found["Config"]["Labels"].get("clms.purpose") == "service"
        }
        names = {
            kind: frozenset(self.host.run("docker", kind, "ls", "--format", "{{.Name}}").split())
            for kind in ("volume", "network")
        }
        digests = {name: by_digest.get(image, image) for name, image in running.items()}
        return Picture(all_of_them, running, names["volume"], names["network"], digests)

    @contextmanager
    def database(self) -> Iterator[pymysql.Connection[Any]]:
        """A connection to the database, as users of the host have it: through the gate."""
        connection = pymysql.connect(
            host="127.0.0.1",
            port=self.school.ports.database,
            read_default_file=str(self.school.folder / "etc/secrets/database.cnf"),
            database="clms_database",
            autocommit=True,
            connect_timeout=20,
        )
        with closing(connection):
            yield connection

    def version(self, picture: Picture) -> str:
        """The version that runs, by the digests of its images and by the schema; ``mixed`` when they do not agree."""
        running = set(picture.running.values())
        with self.database() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT migration_name FROM _prisma_migrations WHERE finished_at IS NOT NULL")
            schema = {row[0] for row in cursor.fetchall()}
        for version, images in self.images.items():
            if images <= running and len(running) == 3 and schema == set(RELEASES[version].migrations):
                return version
        return "mixed"

    def newest_run(self) -> int:
        """Number of the newest run."""
        return int(self._ask_journal("SELECT COALESCE(MAX(id), 0) FROM runs")[0][0])

    def phases_begun(self, run: int) -> set[str]:
        """The phases that a run has begun."""
        return {row[0] for row in self._ask_journal(f"SELECT DISTINCT phase FROM records WHERE run = {run:d}")}  # noqa: S608

    def _ask_journal(self, question: str) -> list[Any]:
        path = self.school.folder / "state/journal.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as journal:
            return journal.execute(question).fetchall()

    def goes_on(self) -> bool:
        """Whether a run has not ended, or a journal is being replaced."""
        try:
            return bool(self._ask_journal("SELECT 1 FROM runs WHERE outcome IS NULL")) or lock.is_held(
                self.school.folder / "state"
            )
        except (sqlite3.Error, OSError):  # the disk is away right now
            return True

    def wait_settled(self, *, since: float) -> float:
        """Wait until CLMS serves and no run goes on; the seconds until it served.

        :param since: the moment (monotonic) from which they count
        :raises TimeoutError: when that does not come about within :data:`SETTLE_SECONDS`
        """
        served = 0.0
        while True:
            now = time.monotonic()
            if self.school.answers():
                served = served or now - since
                if not self.goes_on():
                    return round(served, 2)
            else:
                served = 0.0
            if now - since > SETTLE_SECONDS:
                raise TimeoutError(f"not settled within {SETTLE_SECONDS} s (serving: {bool(served)})")
            time.sleep(0.25)

    @contextmanager
    def writing(self, log: Path) -> Iterator[Writer]:
        """Check books out and return them all the time."""
        login = self.school.secret("librarian.json")
        writer = Writer(self.school.url, login["username"], login["password"], 12, log, threads=3)
        writer.start()
        try:
            yield writer
        finally:
            writer.stop()

    def judge(self, log: Path) -> Judgement:
        """What became of the writes in a log."""
        with self.database() as connection:
            return judge(log, connection)

    def diagnosis(self) -> str:
        """What the host says, for a case that failed."""
        try:
            runs = self._ask_journal("SELECT id, outcome, error FROM runs ORDER BY id DESC LIMIT 2")
        except sqlite3.Error as error:
            runs = [str(error)]
        script = f"journalctl --unit={_UNIT} --lines=15 --output=cat --no-pager | cut -c1-300; docker ps --all"
        try:
            return f"{runs}\n{self.host.run('sh', '-c', script)[-3000:]}"
        except BuildError as error:
            return f"{runs}\n{error}"
