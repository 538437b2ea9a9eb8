# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left behind: names of people in the clear, and secrets in logs, records and process lists."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import stat
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import requests

from ansible_collections.clms.update.plugins.module_utils.agent_client import Conversation
from tests.base_images.docker_cli import DOCKER, docker

from .bench import Bench
from .cases import Case, Result
from .uploads import Visitor

PUPIL = ("Zyxwana", f"Quibblethorpe{secrets.token_hex(4)}")
"""a name that is nowhere else, nor was at another time"""
_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")
_LARGEST = 1 << 28
"""bytes of a temporary file that is searched: all that this school has is less, and other benches have whole disks"""
_ZSTD = b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 20
_PAGES = (
    *("/", "/settings", "/events", "/history", "/history.csv", "/health", "/backups", "/files", "/progress"),
    *("/password", "/release/1.0.1", "/metrics", "/api-description", "/api/openapi.json", "/api/settings"),
    *("/api/updates/history", "/api/updates/latest", "/api/events", "/api/backups", "/api/enforcement"),
)
_SHORTEST = 9
"""characters of a secret that would not be found everywhere"""
_NAMES = re.compile(rb"(?i)^[\w.-]*(?:pass|secret|key|token|canary|salt)[\w.-]*\s*=\s*\"?(.+?)\"?$", re.MULTILINE)


def found_in(path: Path, needles: Iterable[bytes]) -> list[bytes]:
    """Which of the texts a file holds, also where it is packed with zstd."""
    needles, found = list(needles), set()
    with path.open("rb") as file:
        if file.read(4) == _ZSTD:
            done = subprocess.run(["zstd", "-q", "-d", "-c", path], capture_output=True, check=False)
            return [needle for needle in needles if needle in done.stdout]
        file.seek(0)
        longest, rest = max(map(len, needles)), b""
        while chunk := file.read(_CHUNK):
            window = rest + chunk
            found |= {needle for needle in needles if needle in window}
            rest = window[-longest:]
    return sorted(found)


def files_below(folder: Path, *, leave_out: Iterable[Path] = ()) -> Iterator[Path]:
    """All regular files of a folder."""
    left_out = tuple(leave_out)
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and not any(path.is_relative_to(other) for other in left_out):
            yield path


# people


def plaintext(bench: Bench, result: Result) -> str:
    """A backup and an update; then the disk is searched for the name of a pupil."""
    school, version, began = bench.school, bench.next_version(), time.time()
    (pupil,) = school.query("SELECT id, first_name, last_name FROM students ORDER BY id LIMIT 1")
    school.query("UPDATE students SET first_name = %s, last_name = %s WHERE id = %s", *PUPIL, pupil[0])
    try:
        done = school.clms_update("backup", "--json")
        assert done.code == 0, done.output + done.errors
        bench.updates_to(version, result)
        assert school.query("SELECT COUNT(*) FROM students WHERE last_name = %s", PUPIL[1]) == [(1,)]
        needles = [PUPIL[1].encode(), PUPIL[1].encode("utf-16-le")]
        searched, hits = 0, []
        for path in (*_outside_the_database(bench), *_temporary(bench, began), *_layers(bench)):
            with suppress(FileNotFoundError):  # others work on this machine, too
                hits += [str(path) for _ in found_in(path, needles)]
                searched += 1
        assert not hits, f"{PUPIL[1]} is in {hits}"
        # the counterpart: where it has to be, it is found
        own = bench.engine.volume_path(school.slot().volumes["mysql-data"])
        assert own is not None
        assert any(found_in(path, needles) for path in files_below(Path(own))), "the search finds nothing"
        backups = [path for path in files_below(school.folder / "backups") if path.name.startswith("database")]
        assert backups, "there is no backup"
        for path in backups:
            assert path.read_bytes()[:15] == b"age-encryption.", path
    finally:
        school.query("UPDATE students SET first_name = %s, last_name = %s WHERE id = %s", *pupil[1:], pupil[0])
    return f"{version}; 0 hits in {searched} files"


def _outside_the_database(bench: Bench) -> Iterator[Path]:
    yield from files_below(bench.school.folder)
    for volume in sorted(bench.school.picture().volumes):
        folder = bench.engine.volume_path(volume)
        if folder is not None and "mysql-data" not in volume:
            yield from files_below(Path(folder))


def _temporary(bench: Bench, since: float) -> Iterator[Path]:
    """Temporary files of this machine and of the containers that were written since then, without the stand itself."""
    places = [Path(place) for place in _TEMPORARY]
    for name in bench.school.picture().containers:
        process = int(docker("inspect", "--format", "{{.State.Pid}}", name))
        places += [Path(f"/proc/{process}/root{place}") for place in _TEMPORARY if process]
    for place in filter(Path.is_dir, places):
        for folder, inner, names in os.walk(place):  # others work there meanwhile: what is gone is passed over
            inner[:] = [name for name in inner if Path(folder, name) != bench.stand.folder]
            for path in (Path(folder, name) for name in names):
                with suppress(FileNotFoundError):
                    found = path.lstat()
                    if stat.S_ISREG(found.st_mode) and found.st_ctime >= since and found.st_size < _LARGEST:
                        yield path


def _layers(bench: Bench) -> Iterator[Path]:
    """What the containers of the school have written outside of their volumes."""
    for name in bench.school.picture().containers:
        layer = Path(docker("inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", name))
        assert layer.is_dir(), f"the layer of {name} is not known"
        yield from files_below(layer)


# secrets


def forms(secret: str) -> set[bytes]:
    """A secret as it may be written somewhere."""
    encoded = base64.b64encode(secret.encode()).rstrip(b"=")[:-1]
    written = {secret, json.dumps(secret)[1:-1], quote(secret, safe="")}
    return {text.encode() for text in written} | {encoded}


def secrets_of(folder: Path) -> dict[str, str]:
    """Secret -> the files that it is in, of all files with secrets of a school."""
    found: dict[str, str] = {}
    for path in files_below(folder):
        data = path.read_bytes()
        values: list[str] = []
        if data.startswith(b"{"):
            values = [str(value) for name, value in json.loads(data).items() if name != "username"]
        elif b"PRIVATE KEY" in data:
            values = [line.decode() for line in data.splitlines() if line and not line.startswith(b"-----")]
        elif b"AGE-SECRET-KEY" in data:
            values = [line.decode() for line in data.splitlines() if line.startswith(b"AGE-")]
        elif b"=" in data:
            values = [value.decode() for value in _NAMES.findall(data)]
        else:
            values = [data.decode().strip()]
        values = [value for value in values if len(value) >= _SHORTEST]
        assert values, f"no secret was found in {path.name}"
        for value in values:
            found[value] = f"{found[value]} and {path.name}" if value in found else path.name
    return found


@dataclass
class Watched:
    """What the process list has shown while something went on."""

    needles: dict[bytes, str]
    stand: bytes
    """what the environment of the product's own processes has in it; a container's has its secrets, as it must"""
    hits: set[str] = field(default_factory=set)
    looks: int = 0
    seen: bool = False
    """whether the command itself was seen"""

    def look(self) -> None:
        """Look once."""
        self.looks += 1
        for process in Path("/proc").glob("[0-9]*"):
            try:
                shown = (process / "cmdline").read_bytes()
                environment = (process / "environ").read_bytes()
            except OSError:
                continue
            self.seen = self.seen or b"--version\x009.0.0" in shown
            if self.stand in environment:
                shown += b"\0" + environment
            for needle, place in self.needles.items():
                if needle in shown:
                    self.hits.add(f"{place} in {shown[:80]!r}")

    def until(self, over: threading.Event) -> None:
        """Look again and again."""
        while not over.wait(0.1):
            self.look()


def canaries(bench: Bench, result: Result) -> str:
    """Every secret of a school is known; an update fails when CLMS is closed already; then everything is searched."""
    school, stand = bench.school, bench.stand
    folder = school.folder / "etc/secrets"
    desk = bench.desk()
    health = desk.release(bench.next_version())["health"]
    broken = {**health, "backend": {**health["backend"], "path": "/nowhere-at-all", "timeoutSeconds": 4}}
    desk.sign("9.0.0", base=bench.next_version(), sequence=9000, health=broken, minVersion=None)
    log, archive = school.folder / "agent.log", bench.folder / f"support-{secrets.token_hex(4)}.zip"
    with ExitStack() as stack:
        stack.enter_context(bench.serving(desk.publish()))
        stack.enter_context(school.described(clms_rehearse=False))
        for name in ("backend.env", "mysql.env"):
            text = (folder / name).read_text()
            stack.callback((folder / name).write_text, text)
            (folder / name).write_text(f"{text.rstrip()}\nEXTRA_TOKEN=canary-{secrets.token_hex(12)}\n")
        stand.start_agent(school.name)
        stack.callback(stand.stop_agent, school.name)
        visitor, token = _visitor(bench, stack)
        known = {**secrets_of(folder), token: "a token"}
        needles = {form: place for secret, place in known.items() for form in forms(secret)}
        watched, over = Watched(needles, str(stand.file).encode()), threading.Event()
        watcher = threading.Thread(target=watched.until, args=(over,))
        watcher.start()
        try:
            done = school.clms_update("update", "--version", "9.0.0", "--json")
        finally:
            over.set()
            watcher.join()
        assert (done.code, done.json()["outcome"]) == (1, "ROLLED_BACK"), done.output
        assert watched.seen, "the process list was not watched"
        _wait_told(bench)
        doctor = school.clms_update("doctor", "--bundle", str(archive), "--json")
        assert archive.exists(), doctor.output
        people = [
            school.clms_update(*command) for command in (("status",), ("list", "--events"), ("list", "--history"))
        ]
        pages = list(_pages(visitor, [done.json()["id"], 1], "9.0.0"))
        pages.append(_asked(visitor, token))
    said = "".join(text.output + text.errors for text in (done, doctor, *people)).encode()
    hits = [f"{place} on the terminal" for needle, place in needles.items() if needle in said]
    hits += sorted(watched.hits)
    hits += [f"{place} on a page" for needle, place in needles.items() if any(needle in page for page in pages)]
    with zipfile.ZipFile(archive) as support:
        for name in support.namelist():
            data = support.read(name)
            hits += [f"{place} in {name} of the support file" for needle, place in needles.items() if needle in data]
    searched = [*files_below(school.folder, leave_out=[folder]), *files_below(stand.vendor / "releases")]
    for path in searched:
        hits += [f"{needles[needle]} in {path}" for needle in found_in(path, needles)]
    for volume in sorted(school.picture().volumes):
        place = bench.engine.volume_path(volume)
        assert place is not None, volume
        volumes = list(files_below(Path(place)))
        searched += volumes
        for path in volumes:
            hits += [f"{needles[needle]} in {path}" for needle in found_in(path, needles)]
    for path in _layers(bench):
        searched.append(path)
        hits += [f"{needles[needle]} in {path}" for needle in found_in(path, needles)]
    for container in school.picture().containers:
        logged = _logged(container)
        hits += [f"{place} in the log of {container}" for needle, place in needles.items() if needle in logged]
    assert not hits, f"{len(hits)} hits: {hits[:10]}"
    for path in files_below(folder):  # the counterpart: where they have to be, they are found
        assert found_in(path, needles), f"the search finds nothing in {path.name}"
    assert log.stat().st_size > 0
    assert b"NOTIFY_FAILED" in b"".join(pages), "nobody was to be told"
    assert list(school.home.glob("runner/artifacts/*/stdout")), "there are no artifacts"
    assert any(_logged(container) for container in school.picture().containers), "no container has said anything"
    return f"{len(known)} secrets; 0 hits in {len(searched)} files and {watched.looks} process lists"


def _pages(visitor: Visitor, runs: Iterable[int], version: str) -> Iterator[bytes]:
    """What somebody is shown who has signed in; with the headers."""
    sure = [*_PAGES, *(f"/history/{run}" for run in runs)]
    for path in (*sure, f"/release/{version}", f"/schedule/{version}", "/rollback"):
        answer = visitor.session.get(visitor.url + path, timeout=60)
        assert answer.status_code == 200 or path not in sure, (path, answer.status_code)
        yield answer.content + str(answer.headers).encode()


def _logged(container: str) -> bytes:
    """What a container has said, on both of its streams."""
    return subprocess.run(
        [DOCKER or "docker", "logs", container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
    ).stdout


def _visitor(bench: Bench, stack: ExitStack) -> tuple[Visitor, str]:
    """Somebody who has signed in to the page and has set who is told; and the token of a program."""
    school, stand = bench.school, bench.stand
    page = stand.page(school.name)
    page.start()
    stack.callback(page.stop)
    login = page.login()
    visitor = Visitor(page.url, page.certificate)
    visitor.sign_in(login)
    address = f"json://127.0.0.1:9/canary-{secrets.token_hex(12)}"
    request = {"verb": "change", "settings": {"notify": address}}
    with closing(Conversation(stand.agent_socket(school.name), request)) as conversation:
        assert conversation.wait(30) == {"changed": ["notify"]}
    made = school.clms_update("account", "--token", login["username"], "--json")
    return visitor, str(made.json()["token"])


def _asked(visitor: Visitor, token: str) -> bytes:
    """What a program is told."""
    headers = {"Authorization": f"Bearer {token}"}
    answer = requests.get(f"{visitor.url}/api/events", headers=headers, verify=visitor.session.verify, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.content


def _wait_told(bench: Bench) -> None:
    """Wait until the vendor was told, if that comes soon: what is told is searched too."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        told = bench.stand.release_server("reports", "list", "--school", bench.school.name)["reports"]
        if told and told[0]["version"] == "9.0.0":
            return
        time.sleep(1)


def cases() -> Iterator[Case]:
    """All of them."""
    yield Case("secrets: canaries in a failing update", canaries.__doc__ or "", canaries, slow=True, last=True)
    yield Case("plaintext: a backup and an update", plaintext.__doc__ or "", plaintext, slow=True, last=True)
