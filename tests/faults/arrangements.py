# SPDX-License-Identifier: GPL-3.0-or-later
"""Surroundings that a case needs, and cases that do more than one command: what :class:`.cases.Case` calls."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import requests
import yaml

from tests.stand.hosted import NAME
from tests.stand.stand import BIN

from . import injections
from .bench import Bench, NoFault, Point
from .injections import Injection
from .vendor_proxy import VendorProxy

Arrange = Callable[[Bench, ExitStack], None]
Act = Callable[[Bench, Path], float]

NEWEST_BACKUP = "NEWEST"
"""stands for the newest backup in a command"""

_BEGIN_SECONDS = 60
_AHEAD_SECONDS = 8
_UNIT = "clms-update-agent.service"
_STARTS = {"command": 8, "playbook": 4, "socket": 8}
_ASK = """
import json, socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("/run/clms-update/agent.sock")
    connection.sendall(b'{"verb": "update", "version": "1.0.1"}\\n')
    last = connection.makefile("rb").readlines()[-1]
print(last.decode())
"""


def all_of(*arranges: Arrange) -> Arrange:
    """Several at once."""

    def arrange(bench: Bench, stack: ExitStack) -> None:
        for one in arranges:
            one(bench, stack)

    return arrange


def disk_emptied(bench: Bench, stack: ExitStack) -> None:
    """The disk, which is filled later, has room again before the end is judged."""
    stack.callback(injections.empty_disk, bench)


def network_mended(bench: Bench, stack: ExitStack) -> None:
    """The network, which is cut later, works again before the end is judged."""
    stack.callback(injections.mend_network, bench)


def network_cut(bench: Bench, stack: ExitStack) -> None:
    """There is no way to the vendor."""
    network_mended(bench, stack)
    injections.cut_network(bench, 0)


def vendors_file(bench: Bench, stack: ExitStack) -> None:
    """The vendor's file with the update lies in the school's folder for such files."""
    folder = bench.school.folder / "updates"
    shutil.copy(bench.fleet.stand.bundle("1.0.1"), folder)
    code, answer = bench.school.command("check")
    if code or not answer["files"]:
        raise NoFault(f"the file was not taken in: {answer}")


def vendor_in_a_mood(server: str, mood: str) -> Arrange:
    """One of the vendor's servers answers this school badly; see :class:`.VendorProxy`."""

    def arrange(bench: Bench, stack: ExitStack) -> None:
        vendor = bench.fleet.stand.settings["vendor"]
        proxy = VendorProxy(vendor["address"], vendor[server], Path(vendor["folder"]) / "tls", mood)
        stack.callback(proxy.close)
        network_mended(bench, stack)
        bench.redirect(vendor[server].rpartition(":")[2], proxy.port)

    return arrange


def no_rehearsal(bench: Bench, stack: ExitStack) -> None:
    """The school skips the rehearsal, so that what is broken comes out when CLMS is closed."""
    path = bench.school.folder / "etc/host_vars/school.yml"
    text = path.read_text()
    path.write_text(yaml.safe_dump({**yaml.safe_load(text), "clms_rehearse": False}))
    stack.callback(path.write_text, text)


def bad_book(bench: Bench, stack: ExitStack) -> None:
    """The school has a book that the release ``1.0.9-baddata`` cannot cope with."""
    with bench.database() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO books (accession_no, title) VALUES ('BAD-DATA', 'A book with a damaged label')")


def clock(shift: str) -> Arrange:
    """The clock of the host is wrong.

    :param shift: as faketime(1) takes it, ``+1y``
    """

    def arrange(bench: Bench, stack: ExitStack) -> None:
        stack.callback(_clock_right, bench)
        _clock_wrong(bench, shift)

    return arrange


def clock_was_wrong(shift: str) -> Arrange:
    """The clock of the host was wrong during the run before, and is right again."""

    def arrange(bench: Bench, stack: ExitStack) -> None:
        _clock_wrong(bench, shift)
        code, answer = bench.school.command("backup")
        _clock_right(bench)
        if code != 0:
            raise NoFault(f"no backup: {answer}")

    return arrange


def _clock_wrong(bench: Bench, shift: str) -> None:
    library = bench.host.run("sh", "-c", "ls /usr/lib/*/faketime/libfaketime.so.1")
    bench.host.run("sh", "-c", f"echo {shift} > /etc/faketimerc && echo {library} > /etc/ld.so.preload")
    bench.host.run("systemctl", "restart", "clms-update-agent.service")


def _clock_right(bench: Bench) -> None:
    bench.host.run("rm", "-f", "/etc/ld.so.preload", "/etc/faketimerc")
    bench.host.run("systemctl", "restart", "clms-update-agent.service")


# cases that do more than one command


def _playbook(bench: Bench) -> subprocess.Popen[str]:
    """Start the update of this host from here, over ssh."""
    return bench.fleet.stand.start(
        "ansible-playbook", "playbooks/update.yml", "-i", "inventories/hosts", "--limit", NAME,
        "-e", json.dumps({"clms_version": "1.0.1", "ansible_port": bench.school.ports.ssh}),
    )  # fmt: skip


def controller_killed(phase: str) -> Act:
    """The controller is killed when the run has come to ``phase``."""

    def act(bench: Bench, folder: Path) -> float:
        run = bench.newest_run() + 1
        process = _playbook(bench)
        deadline = time.monotonic() + 2 * _BEGIN_SECONDS
        while phase not in bench.phases_begun(run):
            if time.monotonic() > deadline or process.poll() is not None:
                process.kill()
                raise NoFault(f"the run did not come to {phase}: {process.communicate()[0][-300:]}")
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return time.monotonic()

    return act


def twenty_starts(bench: Bench, folder: Path) -> float:
    """Many start an update at the same time, by every way there is; exactly one run comes of it.

    :raises AssertionError: when it is more or less than one, or somebody is not told
    """
    before = bench.newest_run()
    struck = time.monotonic()
    processes = [_playbook(bench) for _ in range(_STARTS["playbook"])]
    processes += [bench.school.clms_update("update", "--version", "1.0.1", "--json") for _ in range(_STARTS["command"])]
    processes += [bench.host.popen(str(BIN / "python"), "-c", _ASK) for _ in range(_STARTS["socket"])]
    answers = [process.communicate()[0] for process in processes]
    told = sum("RUN_ACTIVE" in answer for answer in answers)
    done = sum(
        process.returncode == 0 and "RUN_ACTIVE" not in answer
        for answer, process in zip(answers, processes, strict=True)
    )
    # who came when it was over found nothing to do
    assert told + done == len(processes), f"{told} told, {done} done of {len(processes)}: {answers}"
    assert told >= len(processes) // 2, answers
    assert bench.newest_run() == before + 1, "more than one run"
    return struck


def at_moment(seconds: float, inject: Injection) -> Act:
    """The fault strikes so many seconds after the beginning of a run."""

    def act(bench: Bench, folder: Path) -> float:
        run = bench.newest_run() + 1
        bench.start("update", "--version", "1.0.1")
        deadline = time.monotonic() + _BEGIN_SECONDS
        while bench.newest_run() < run:
            if time.monotonic() > deadline:
                raise NoFault("no run began")
            time.sleep(0.02)
        time.sleep(seconds)
        struck = time.monotonic()
        inject(bench, 0)
        return struck

    return act


def journal_spoilt(bench: Bench, folder: Path) -> float:
    """While nothing goes on, the journal is no database any more; the agent keeps it aside, and updates go on."""
    struck = time.monotonic()
    injections.spoil_journal(bench, 0)
    bench.wait_settled(since=struck)
    code, answer = bench.school.command("update", "--version", "1.0.1")
    assert code == 0, answer
    assert list((bench.school.folder / "state").glob("journal-broken-*")), "it was not kept"
    return struck


def journal_newer(bench: Bench, folder: Path) -> float:
    """The journal is of a newer program: nothing is done and nothing is changed."""
    path = bench.school.folder / "state/journal.db"
    bench.host.run("systemctl", "stop", _UNIT)
    known = _format(path, 99)
    struck = time.monotonic()
    bench.quietly("systemctl", "start", _UNIT)
    _, answer = bench.school.command("update", "--version", "1.0.1")
    assert answer["error_code"] == "JOURNAL_NEWER", answer
    bench.quietly("systemctl", "stop", _UNIT)
    _format(path, known)
    bench.host.run("systemctl", "start", _UNIT)
    return struck


def needs_operator(bench: Bench, folder: Path) -> float:
    """The old version cannot be started: the gate shows what to do, and once the cause is mended that is enough."""
    (backend,) = [name for name in bench.picture().running if "backend" in name]
    point = Point("migrate", "migrate", "before")
    bench.arm(point)
    process = bench.start("update", "--version", "1.0.1")
    pid = bench.wait_hit(point)
    bench.host.run("docker", "rename", backend, "elsewhere")
    injections.kill_everything(bench, pid)
    answer = json.loads(bench.wait_commands())
    assert process.returncode == 3, answer
    assert answer["error_code"] == "ROLLBACK_FAILED", answer
    with requests.Session() as session:
        session.trust_env = False
        page = session.get(bench.school.url, timeout=10)
    assert page.status_code == 503
    assert f"docker start {backend}" in page.text, page.text
    bench.host.run("docker", "rename", "elsewhere", backend)
    struck = time.monotonic()
    code, answer = bench.school.command("recover")
    assert code == 0, answer
    return struck


def _format(path: Path, number: int) -> int:
    """Give the journal another format; the one it had."""
    with closing(sqlite3.connect(path)) as journal:
        found = int(journal.execute("PRAGMA user_version").fetchone()[0])
        journal.execute(f"PRAGMA user_version={number}")
    return found


def missed(policy: str) -> Act:
    """The server has no power at the time for which an update is scheduled.

    :param policy: what the admin has chosen for that
    """

    def act(bench: Bench, folder: Path) -> float:
        due = time.time() + _AHEAD_SECONDS
        at = datetime.fromtimestamp(due, UTC).isoformat(timespec="seconds")
        code, answer = bench.school.command("schedule", "--at", at, "--version", "1.0.1", "--missed", policy)
        assert code == 0, answer
        run = bench.newest_run() + 1
        bench.host.cut_power()
        time.sleep(max(0.0, due - time.time()) + 1)
        bench.host.boot()
        struck = time.monotonic()
        while bench.newest_run() < run:
            if time.monotonic() - struck > _BEGIN_SECONDS:
                raise AssertionError("the missed update did not begin")
            time.sleep(0.1)
        return struck

    return act


def filled_in(command: tuple[str, ...], school_folder: Path) -> tuple[str, ...]:
    """A command with the name of the newest backup in its place."""
    backups = sorted(path.name for path in (school_folder / "backups").iterdir() if path.name[0].isdigit())
    return tuple(backups[-1] if part == NEWEST_BACKUP else part for part in command)
