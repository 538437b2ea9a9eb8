"""The sample CLMS in real containers: 1.0.0 with data, brought to 1.0.1 under a writer that never stops."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
import requests

from ansible_collections.clms.update.plugins.module_utils import smoke
from ansible_collections.clms.update.plugins.module_utils.fields import Fields
from ansible_collections.clms.update.plugins.module_utils.release import parse_step
from tests.base_images.docker_cli import DOCKER, docker
from tests.sample_clms import build, seed
from tests.sample_clms.releases import RELEASES
from tests.sample_clms.writer import Writer, judge, outcome

PASSWORD = "correct horse"
ROOT_PASSWORD = "r00t \"p\\w'x"  # an entrypoint that does not quote would trip over it


class Sample:
    """One CLMS on a network of its own, removed at the end."""

    def __init__(self, folder: Path) -> None:
        self._name = f"clms-sample-test-{uuid.uuid4().hex[:8]}"
        self._volume = f"{self._name}-data"
        self._running: list[str] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._publish = f"--publish=127.0.0.1:{port}:3000"  # the same in both versions, as behind a gate
        self.url = f"http://127.0.0.1:{port}"
        self._environment = [
            "--env=DATABASE_URL=mysql://clms_user:user-pw@mysql:3306/clms_database",
            "--env=JWT_SECRET=secret",
        ]
        (folder / "root").write_text(ROOT_PASSWORD)
        (folder / "user").write_text("user-pw")
        docker("network", "create", self._name)
        self.run(
            "mysql",
            build.MYSQL_TAG,
            f"--volume={self._volume}:/var/lib/mysql",
            f"--volume={folder}:/run/secrets:ro",
            "--publish=127.0.0.1::3306",
            "--env=MYSQL_DATABASE=clms_database",
            "--env=MYSQL_USER=clms_user",
            "--env=MYSQL_PASSWORD_FILE=/run/secrets/user",
            "--env=MYSQL_ROOT_PASSWORD_FILE=/run/secrets/root",
        )

    def run(self, service: str, image: str, *options: str) -> None:
        """Start a container that is reached as ``service``."""
        name = f"{self._name}-{service}"
        self._running.append(name)
        network = [f"--network={self._name}", f"--network-alias={service}"]
        docker("run", "--detach", f"--name={name}", *network, *options, image)

    def command(self, version: str, *command: str, text: str = "") -> None:
        """Run a command in a one-off backend container."""
        image = build.tags(version)["backend"]
        options = ["--rm", "--interactive", f"--network={self._name}", *self._environment]
        subprocess.run([str(DOCKER), "run", *options, image, *command], input=text.encode(), check=True)

    def start(self, version: str) -> None:
        """Run backend and frontend of a version; those of another version must be stopped."""
        tags = build.tags(version)
        self.run("backend", tags["backend"], *self._environment)
        self.run("frontend", tags["frontend"], self._publish)
        await_ok(f"{self.url}{RELEASES[version].health_path}")

    def stop(self, *services: str) -> None:
        """Stop and remove containers."""
        for service in services:
            name = f"{self._name}-{service}"
            docker("stop", "--time=60", name)
            assert service != "mysql" or "Shutdown complete" in self.logs(service)
            docker("rm", name)
            self._running.remove(name)

    def logs(self, service: str) -> str:
        """What a container said."""
        done = subprocess.run([str(DOCKER), "logs", f"{self._name}-{service}"], capture_output=True, check=True)
        return (done.stdout + done.stderr).decode()

    def database(self) -> pymysql.Connection[Any]:
        """A connection as root, as soon as the database takes one."""
        port = int(docker("port", f"{self._name}-mysql", "3306").splitlines()[0].rpartition(":")[2])
        for _ in range(300):
            try:
                return pymysql.connect(
                    host="127.0.0.1", port=port, user="root", password=ROOT_PASSWORD, database="clms_database"
                )
            except pymysql.OperationalError:
                time.sleep(0.1)
        raise TimeoutError(self.logs("mysql"))

    def remove(self) -> None:
        """Leave nothing behind."""
        for name in self._running:
            docker("rm", "--force", "--volumes", name)
        docker("volume", "rm", self._volume)
        docker("network", "rm", self._name)


def await_ok(url: str) -> None:
    for _ in range(300):
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    raise TimeoutError(url)


def smoke_test(version: str, url: str) -> None:
    variables: dict[str, Any] = {"username": "smoke", "password": PASSWORD, "unique": uuid.uuid4().hex}
    for number, definition in enumerate(build.release_definition(version)["smoke"]):
        step = parse_step(Fields(definition, f"smoke[{number}]"))
        request = smoke.request(step, variables)
        with requests.request(
            request.method, url + request.path, json=request.json, headers=request.headers, timeout=30
        ) as answer:
            variables |= smoke.check(step, answer.status_code, answer.json())


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[Sample]:
    build.build_releases(["1.0.0", "1.0.1"])
    made = Sample(tmp_path)
    try:
        yield made
    finally:
        made.remove()


@pytest.mark.engine
@pytest.mark.slow
def test_update_by_hand_loses_nothing(sample: Sample, tmp_path: Path) -> None:
    sample.database().close()
    sample.command("1.0.0", "clms-migrate", "deploy")
    with sample.database() as connection:
        seed.Seeder(connection).fill(students=50, books=100, loans=500)
    sample.command("1.0.0", "clms-create-user", "--username", "smoke", "--role", "ADMIN", text=PASSWORD)
    sample.start("1.0.0")
    smoke_test("1.0.0", sample.url)

    writer = Writer(sample.url, "smoke", PASSWORD, 50, tmp_path / "writer.log", threads=4)
    writer.start()
    try:
        time.sleep(2)
        sample.stop("backend", "frontend")
        sample.command("1.0.1", "clms-migrate", "deploy")
        sample.start("1.0.1")
        time.sleep(2)
    finally:
        counts = writer.stop()
    smoke_test("1.0.1", sample.url)
    with sample.database() as connection:
        judgement = judge(tmp_path / "writer.log", connection)
    assert judgement.good, judgement.examples
    assert judgement.acknowledged == counts["acknowledged"] > 100
    the_judge_sees(sample, tmp_path / "writer.log")
    sample.stop("mysql")


def the_judge_sees(sample: Sample, log: Path) -> None:
    """A judge that finds nothing wrong is worth something only if it finds what is wrong."""
    done = [entry for line in log.read_text().splitlines() if (entry := json.loads(line))["outcome"] == "acknowledged"]
    gone, twice, refused, back = [entry["id"] for entry in done if entry["kind"] == "checkout"][:4]
    with log.open("a") as file:
        file.write(json.dumps({"id": refused, "kind": "checkout", "outcome": "refused"}) + "\n")
    with sample.database() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM borrow_events WHERE borrow_id IN (SELECT id FROM borrows WHERE note = %s)", (gone,))
        cursor.execute("DELETE FROM borrows WHERE note = %s", (gone,))
        cursor.execute("UPDATE borrows SET returned_at = NULL WHERE note = %s", (back,))
        cursor.execute(
            "INSERT INTO borrows (student_id, book_id, borrowed_at, due_at, returned_at, note)"
            " SELECT student_id, book_id, borrowed_at, due_at, returned_at, note FROM borrows WHERE note = %s",
            (twice,),
        )
        connection.commit()
        judgement = judge(log, connection)
    # a checkout that is gone takes its return with it
    assert (judgement.lost, judgement.invented, judgement.duplicates) == (3, 1, 1), judgement.examples


@pytest.mark.parametrize(
    ("status", "said"),
    [(201, "acknowledged"), (409, "refused"), (503, "refused"), (502, "unknown"), (504, "unknown"), (None, "unknown")],
)
def test_what_an_answer_says(status: int | None, said: str) -> None:
    assert outcome(status) == said
