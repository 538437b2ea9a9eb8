# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left behind: names of people in the clear, and secrets in logs, records and process lists."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import stat
import subprocess
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import quote

import requests

from ansible_collections.clms.update.plugins.module_utils.agent_client import Conversation
from tests.base_images.docker_cli import DOCKER, docker

from .bench import Bench
from .cases import Case, Result
from .needles import Watched, files_below, found_in, needles_of, secret_files, secrets_of
from .uploads import Visitor

PUPIL = ("Zyxwana", f"Quibblethorpe{secrets.token_hex(4)}")
"""a name that is nowhere else, nor was at another time"""
_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")
_LARGEST = 1 << 28
"""bytes of a temporary file that is searched: all that this school has is less, and other benches have whole disks"""
_PAGES = (
    *("/", "/settings", "/events", "/history", "/history.csv", "/health", "/backups", "/files", "/progress"),
    *("/password", "/metrics", "/api-description", "/api/openapi.json", "/api/settings"),
    *("/api/updates/history", "/api/updates/latest", "/api/events", "/api/backups", "/api/enforcement"),
)
_VENDOR = ("releases", "release-manager", "definitions", "bundles", "tls")
"""folders of the vendor that are searched; images are in the other one"""


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


def canaries(bench: Bench, result: Result) -> str:
    """Every secret of a school and its vendor is known; a backup, an update that fails when CLMS is closed already, a
    restore and what people ask for; then everything is searched.
    """
    school, stand = bench.school, bench.stand
    etc, base = school.folder / "etc", bench.next_version()
    desk = bench.desk()
    health = desk.release(base)["health"]
    broken = {**health, "backend": {**health["backend"], "path": "/nowhere-at-all", "timeoutSeconds": 4}}
    desk.sign("9.0.0", base=base, sequence=9000, health=broken, minVersion=None)
    log, archive = school.folder / "agent.log", bench.folder / f"support-{secrets.token_hex(4)}.zip"
    watched = Watched(str(stand.file).encode())
    with ExitStack() as stack:
        stack.enter_context(bench.serving(desk.publish()))
        stack.enter_context(school.described(clms_rehearse=False))
        _plant(stack, etc / "secrets")
        stand.start_agent(school.name)
        stack.callback(stand.stop_agent, school.name)
        with watched.going_on():
            visitor, token = _visitor(bench, stack)
            (running,) = school.versions()
            kept = school.clms_update("backup", "--json")
            assert kept.code == 0, kept.output
            done = school.clms_update("update", "--version", "9.0.0", "--json")
            assert (done.code, done.json()["outcome"]) == (1, "ROLLED_BACK"), done.output
            _wait_told(bench)
            doctor = school.clms_update("doctor", "--bundle", str(archive), "--json")
            assert archive.exists(), doctor.output
            backup = school.clms_update("list", "--backups", "--json").json()["backups"][0]["id"]
            restored = school.clms_update("restore", backup, "--confirm", running, "--json")
            assert restored.code == 0, restored.output
            people = [
                school.clms_update(*command) for command in (("status",), ("list", "--events"), ("list", "--history"))
            ]
            pages = list(_pages(visitor, [done.json()["id"], 1], "9.0.0"))
            pages.append(_asked(visitor, token))
        private = secret_files(etc, school.folder / "page", stand.vendor)
        known = {**secrets_of(private), token.encode(): "a token"}
        needles = needles_of(known)
        volumes = [str(bench.engine.volume_path(volume)) for volume in sorted(school.picture().volumes)]
        assert all(Path(volume).is_dir() for volume in volumes), volumes
        folders = [school.folder, *(stand.vendor / name for name in _VENDOR), *map(Path, volumes)]
        searched = [path for folder in folders for path in files_below(folder, leave_out=private)]
        searched += _layers(bench)
    for name in ("recovery-sheet.txt", "page.key", "secret", "online.pem", "1.pem", "ca.key", "release-server.key"):
        assert any(path.name == name for path in private), f"{name} is not among the files with secrets"
    said = "".join(text.output + text.errors for text in (kept, done, doctor, restored, *people)).encode()
    hits = [f"{place} on the terminal" for needle, place in needles.items() if needle in said]
    hits += sorted(watched.hits(needles))
    hits += [f"{place} on a page" for needle, place in needles.items() if any(needle in page for page in pages)]
    hits += _in_support_file(archive, needles)
    for path in searched:
        with suppress(FileNotFoundError):  # CLMS works meanwhile
            hits += [f"{needles[needle]} in {path}" for needle in found_in(path, needles)]
    for container in school.picture().containers:
        logged = _logged(container)
        hits += [f"{place} in the log of {container}" for needle, place in needles.items() if needle in logged]
    assert not hits, f"{len(hits)} hits: {hits[:10]}"
    for path in private:  # the counterpart: where they have to be, they are found
        assert found_in(path, needles), f"the search finds nothing in {path.name}"
    for command in (b"9.0.0", b"backup", b"restore", b"--bundle", b"--token"):
        assert any(command in shown.split(b"\0") for shown in watched.shown), f"{command!r} was not watched"
    assert log.stat().st_size > 0
    assert b"NOTIFY_FAILED" in b"".join(pages), "nobody was to be told"
    assert list(school.home.glob("runner/artifacts/*/stdout")), "there are no artifacts"
    assert any(_logged(container) for container in school.picture().containers), "no container has said anything"
    return (
        f"{len(known)} secrets; 0 hits in {len(searched)} files, {len(watched.shown)} programs, {watched.looks} looks"
    )


def _plant(stack: ExitStack, folder: Path) -> list[str]:
    """Secrets whose names say so, and others, in the files that containers get; taken out again in the end."""
    planted = []
    for file, *names in (("backend.env", "EXTRA_TOKEN", "MYSQL_PWD"), ("mysql.env", "SMTP_PWD", "LDAP_BIND")):
        text = (folder / file).read_text()
        stack.callback((folder / file).write_text, text)
        settings = [f"{name}=canary-{secrets.token_hex(12)}" for name in names]
        (folder / file).write_text("\n".join([text.rstrip(), *settings, ""]))
        planted += settings
    return planted


def _in_support_file(archive: Path, needles: dict[bytes, str]) -> list[str]:
    with zipfile.ZipFile(archive) as support:
        said = {name: support.read(name) for name in support.namelist()}
    return [
        f"{place} in {name} of the support file"
        for name, data in said.items()
        for needle, place in needles.items()
        if needle in data
    ]


def others_may_read(bench: Bench, _: Result) -> str:
    """Updates refuse secrets that others may read, so people ask for help; a program has said all that there is."""
    school = bench.school
    folder, archive = school.folder / "etc/secrets", bench.folder / f"support-{secrets.token_hex(4)}.zip"
    described, log = json.dumps(school.description()), school.home / "runs/of-this-case/said.log"
    with ExitStack() as stack:
        planted = _plant(stack, folder)
        files = [path for path in sorted(folder.iterdir()) if str(path) in described]
        known = secrets_of(files)
        assert all(setting.partition("=")[2].encode() in known for setting in planted), "the search knows too little"
        for path in files:
            stack.callback(path.chmod, path.stat().st_mode)
            path.chmod(0o640)
        log.parent.mkdir(parents=True)  # those of runs are gone after a while
        stack.callback(shutil.rmtree, log.parent)
        log.write_bytes(b"".join(b"\n".join(_said(secret)) + b"\n" for secret in known))
        needles = needles_of(known)
        assert found_in(log, needles), "nothing was said"
        doctor = school.clms_update("doctor", "--bundle", str(archive), "--json")
        assert '"SECRET_FILE"' in doctor.output, doctor.output
    hits = _in_support_file(archive, needles)
    assert not hits, f"{len(hits)} hits: {hits[:10]}"
    with zipfile.ZipFile(archive) as support:
        said = support.read("runs/of-this-case/said.log")
    assert said.count(b"[removed]") >= len(known) * len(_said(b"x")), said[:2000]
    return f"{len(known)} secrets of {len(files)} files, said in {len(_said(b'x'))} ways; 0 hits"


def _said(secret: bytes) -> list[bytes]:
    """How programs say a secret."""
    return [
        b"the login is " + secret,
        b"mysql://clms:" + quote(secret, safe="").encode() + b"@mysql/clms",
        b"X-Key: " + base64.b64encode(secret),
        *(b"Authorization: Basic " + base64.b64encode(user + b":" + secret) for user in (b"root", b"clms", b"smoke")),
    ]


def _pages(visitor: Visitor, runs: Iterable[int], version: str) -> Iterator[bytes]:
    """What somebody is shown who has signed in; with the headers."""
    sure = [*_PAGES, *(f"/history/{run}" for run in runs), f"/release/{version}"]
    for path in (*sure, f"/schedule/{version}", "/rollback"):
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
    yield Case("secrets: a support file, while others may read them", others_may_read.__doc__ or "", others_may_read)
    yield Case("secrets: canaries in a failing update", canaries.__doc__ or "", canaries, slow=True, last=True)
    yield Case("plaintext: a backup and an update", plaintext.__doc__ or "", plaintext, slow=True, last=True)
