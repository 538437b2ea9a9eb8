# SPDX-License-Identifier: GPL-3.0-or-later
"""What can break. Each injection takes the school and the process that stands at the fault point, and breaks it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.base_images.docker_cli import BuildError

from .bench import Bench

Injection = Callable[[Bench, int], None]

_UNIT = "clms-update-agent.service"
FILLER = "filler"


def kill_everything(bench: Bench, pid: int) -> None:
    """Kill -9 of the agent and of all that it has started."""
    bench.host.run("systemctl", "kill", "--signal=KILL", "--kill-who=all", _UNIT)


def kill_agent(bench: Bench, pid: int) -> None:
    """Kill -9 of the agent alone, while its playbook goes on."""
    main = bench.host.run("systemctl", "show", "--property=MainPID", "--value", _UNIT)
    bench.host.run("kill", "-KILL", main)
    bench.let_go(pid)


def kill_worker(bench: Bench, pid: int) -> None:
    """Kill -9 of the process that does the step."""
    bench.host.run("kill", "-KILL", str(pid))


def kill_playbook(bench: Bench, pid: int) -> None:
    """Kill -9 of every ansible-playbook on the host."""
    bench.quietly("pkill", "-KILL", "-f", "bin/ansible-playbook")
    bench.let_go(pid)


def cut_power(bench: Bench, pid: int) -> None:
    """The host is without power; what was not on its disk is lost. Then it is switched on."""
    bench.host.cut_power()
    bench.host.boot()


def kill_host(bench: Bench, pid: int) -> None:
    """Everything on the host is killed at once, then it is started."""
    bench.host.kill()
    bench.host.boot()


def restart_engine(bench: Bench, pid: int) -> None:
    """The Docker engine is restarted."""
    bench.host.run("systemctl", "restart", "docker.service")
    bench.let_go(pid)


def kill_engine(bench: Bench, pid: int) -> None:
    """Kill -9 of the Docker engine; systemd starts it again."""
    bench.host.run("systemctl", "kill", "--signal=KILL", "docker.service")
    time.sleep(0.3)
    bench.let_go(pid)


def kill_databases(bench: Bench, pid: int) -> None:
    """Kill -9 of every database that runs on the host."""
    bench.quietly("pkill", "-KILL", "-x", "mariadbd")
    bench.let_go(pid)


def fill_disk(bench: Bench, pid: int) -> None:
    """The disk is filled to its last byte; :func:`empty_disk` makes room again."""
    fill(bench.host.mount / FILLER)
    bench.let_go(pid)


def fill(path: Path) -> None:
    """Write a file that takes all the space there is."""
    step = 1 << 30
    size = 0
    with path.open("wb") as file:
        while step >= 4096:
            try:
                os.posix_fallocate(file.fileno(), size, step)
                size += step
            except OSError:
                step //= 2


def empty_disk(bench: Bench) -> None:
    """Take away what :func:`fill_disk` has written."""
    (bench.host.mount / FILLER).unlink(missing_ok=True)


def cut_network(bench: Bench, pid: int) -> None:
    """Nothing reaches the vendor any more; :func:`mend_network` undoes it."""
    for port in bench.vendor_ports():
        bench.host.run("iptables", "-I", "OUTPUT", "-p", "tcp", "--dport", port, "-j", "DROP")
    bench.let_go(pid)


def mend_network(bench: Bench) -> None:
    """Take away what :func:`cut_network` and :meth:`.Bench.redirect` have done."""
    try:
        bench.host.run("iptables", "-F", "OUTPUT")
        bench.host.run("iptables", "-t", "nat", "-D", "OUTPUT", "-j", "FAULTS")
    except BuildError:
        pass  # nothing was redirected


def spoil_journal(bench: Bench, pid: int) -> None:
    """Everything is killed, and the journal is no database any more."""
    bench.host.run("systemctl", "stop", "--no-block", _UNIT)
    kill_everything(bench, pid)
    for path in (bench.school.folder / "state").glob("journal.db*"):
        path.write_bytes(b"this was a journal once\n" * 400)
    bench.host.run("systemctl", "start", _UNIT)


def prune(bench: Bench, pid: int) -> None:
    """Somebody runs ``docker image prune --all``."""
    bench.host.run("docker", "image", "prune", "--all", "--force")
    bench.let_go(pid)


def ask_for_shutdown(bench: Bench, pid: int) -> None:
    """Somebody switches the host off, which it refuses while CLMS is closed.

    :raises AssertionError: when it would have gone down
    """
    held = bench.host.run("systemd-inhibit", "--list", "--no-pager")
    assert "CLMS Update" in held, held
    refused = bench.host.run("sh", "-c", "systemctl poweroff --check-inhibitors=yes 2>&1 || true")
    assert "inhibit" in refused.lower(), refused
    bench.let_go(pid)


def corrupt_backup(bench: Bench, pid: int) -> None:
    """A bit of the dump turns over on the disk."""
    path = _newest_dump(bench)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    bench.let_go(pid)


def truncate_backup(bench: Bench, pid: int) -> None:
    """The end of the dump is missing."""
    path = _newest_dump(bench)
    os.truncate(path, path.stat().st_size - 200)
    bench.let_go(pid)


def _newest_dump(bench: Bench) -> Path:
    dumps = [path for path in (bench.school.folder / "backups").rglob("database*") if path.is_file()]
    return max(dumps, key=lambda path: path.stat().st_mtime)
