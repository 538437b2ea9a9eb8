# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a school, with real processes: who holds it, and who lets it go when somebody dies."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.clms.update.plugins.module_utils import lock

# As Ansible does it: the playbook starts a shell, the shell starts the module.
DRIVER = """
import subprocess, sys
subprocess.run(["sh", "-c", '"$0" -c "$1" "$2"; :', sys.executable, sys.argv[1], sys.argv[2]], check=True)
print("the module has ended", flush=True)
sys.stdin.read()
"""
MODULE = """
import sys
from pathlib import Path
from ansible_collections.clms.update.plugins.module_utils import lock
home = Path(sys.argv[1])
descriptor = lock.acquire(home)
if descriptor is None:
    sys.exit("somebody else has it")
lock.hand_to_guard(home, descriptor)
"""
HOLDER = """
import sys
from pathlib import Path
from ansible_collections.clms.update.plugins.module_utils import lock
print(lock.acquire(Path(sys.argv[1])) is not None, flush=True)
sys.stdin.read()
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python processes, and ends them with the test."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, *map(str, arguments)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def playbook(tmp_path: Path, home: Path, start: Start) -> Iterator[subprocess.Popen[str]]:
    """A playbook whose module has taken the lock, handed it to the guard and ended; the playbook goes on."""
    script = tmp_path / "ansible-playbook"
    script.write_text(DRIVER)
    driver = start(script, MODULE, home)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "the module has ended\n"
    yield driver
    lock.release(home)


def becomes_free(home: Path, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while lock.is_held(home):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def guard_of(home: Path) -> int:
    return int((home / "lock").read_text())


def test_nobody_holds_it(home: Path) -> None:
    assert not lock.is_held(home)
    assert not home.exists()  # asking leaves nothing behind
    lock.release(home)


def test_one_at_a_time(home: Path) -> None:
    first = lock.acquire(home)
    assert first is not None
    assert lock.is_held(home)
    assert lock.acquire(home) is None
    os.close(first)
    assert not lock.is_held(home)
    second = lock.acquire(home)
    assert second is not None
    os.close(second)


def test_it_is_for_root_only(home: Path) -> None:
    descriptor = lock.acquire(home)
    assert descriptor is not None
    os.close(descriptor)
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "lock").stat().st_mode & 0o777 == 0o600


def test_a_process_started_by_the_holder_does_not_inherit_it(home: Path) -> None:
    descriptor = lock.acquire(home)
    assert descriptor is not None
    assert not os.get_inheritable(descriptor)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        try:
            os.close(descriptor)
            assert becomes_free(home)  # the kernel may still be busy with closing it
            assert child.poll() is None
        finally:
            child.communicate(b"\n")


def test_a_holder_that_is_killed_leaves_no_lock(home: Path, start: Start) -> None:
    holder = start("-c", HOLDER, home)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    assert lock.is_held(home)
    assert lock.acquire(home) is None
    holder.kill()
    assert becomes_free(home)


def test_asking_keeps_nobody_from_taking_it(home: Path, start: Start) -> None:
    asker = start(
        "-c",
        "import sys\nfrom pathlib import Path\n"
        f"from {lock.__name__} import is_held\n"
        "print(is_held(Path(sys.argv[1])), flush=True)\n"
        "while True: is_held(Path(sys.argv[1]))\n",
        home,
    )
    assert asker.stdout is not None
    assert asker.stdout.readline() == "False\n"
    for _ in range(100):
        descriptor = lock.acquire(home)
        assert descriptor is not None
        os.close(descriptor)


def test_those_who_ask_do_not_see_each_other(home: Path) -> None:
    descriptor = lock.acquire(home)
    assert descriptor is not None
    os.close(descriptor)
    with (home / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # as another one does who is just asking
        assert not lock.is_held(home)


# the guard


def test_the_guard_keeps_it_after_the_module_has_ended(home: Path, playbook: subprocess.Popen[str]) -> None:
    assert lock.is_held(home)
    assert lock.acquire(home) is None
    assert guard_of(home) != playbook.pid
    assert os.getsid(guard_of(home)) == guard_of(home)  # it has no terminal that could end it
    time.sleep(1.2)  # longer than it takes to look twice
    assert lock.is_held(home)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_the_guard_lets_go_when_the_playbook_dies(
    home: Path, playbook: subprocess.Popen[str], number: signal.Signals
) -> None:
    playbook.send_signal(number)
    playbook.wait()
    assert becomes_free(home)


def test_the_guard_lets_go_when_the_playbook_ends(home: Path, playbook: subprocess.Popen[str]) -> None:
    playbook.communicate("")
    assert playbook.returncode == 0
    assert becomes_free(home)


def test_release_frees_it_at_once(home: Path, playbook: subprocess.Popen[str]) -> None:
    guard = guard_of(home)
    lock.release(home)
    assert not lock.is_held(home)
    assert playbook.poll() is None
    assert not (Path("/proc") / str(guard) / "fd" / "0").exists()
    lock.release(home)  # once more does no harm
    assert not lock.is_held(home)


def test_the_next_run_of_the_same_playbook_gets_it(home: Path, playbook: subprocess.Popen[str], start: Start) -> None:
    lock.release(home)
    holder = start("-c", HOLDER, home)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    lock.release(home)  # the old guard's number still stands there; it must not matter
    assert lock.is_held(home)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("x", id="no-number"),
        pytest.param("999999999 ", id="no-such-process"),
        pytest.param("1         ", id="another-process"),
        pytest.param(f"{os.getpid():<10}", id="this-process"),
    ],
)
def test_release_ends_nobody_but_a_guard(home: Path, content: str) -> None:
    home.mkdir()
    (home / "lock").write_text(content)
    lock.release(home)
    assert (home / "lock").read_text() == content  # and this process goes on


# which process drives a run

PLAYBOOK = "/srv/.venv/bin/python\0/srv/.venv/bin/ansible-playbook\0update.yml\0"


@pytest.mark.parametrize(
    ("above", "driver"),
    [
        pytest.param([("bash", "bash\0")], 0, id="started by hand: the shell"),
        pytest.param([("sh", "sh\0"), ("a", PLAYBOOK), ("a", PLAYBOOK), ("bash", "bash\0")], 2, id="not the worker"),
        pytest.param([("a", PLAYBOOK), ("a", PLAYBOOK), ("bash", "bash\0")], 1, id="no shell in between"),
        pytest.param(
            [("sh", "sh\0"), ("a", PLAYBOOK), ("a", PLAYBOOK), ("bash", "bash\0"), ("sshd", "sshd: admin\0")],
            2,
            id="a playbook in an ssh session outlives no session",
        ),
        pytest.param([("sh", "sh\0"), ("sshd-session", "sshd-session: root\0"), ("sshd", "sshd\0")], 1, id="over ssh"),
        pytest.param(
            [
                ("python3", "python3\0"),
                ("sudo", "sudo\0"),
                ("sh", "sh\0"),
                ("sshd", "sshd: admin\0"),
                ("sshd", "sshd\0"),
            ],
            3,
            id="over ssh with sudo",
        ),
        pytest.param(
            [("sh", "sh\0"), ("a", PLAYBOOK), ("python3", "python3\0-m\0agent.detached\0"), ("systemd", "systemd\0")],
            1,
            id="by the agent",
        ),
        pytest.param(
            [("sh", "sh\0"), ("a", PLAYBOOK), ("vi", "vi\0ansible-playbook\0"), ("a", PLAYBOOK)], 3, id="one in another"
        ),
        pytest.param(
            [("sh", "sh\0"), ("less", "less\0-x\0-y\0ansible-playbook.log\0")], 0, id="only a file of that name"
        ),
        pytest.param([("a) (b", "x\0"), ("sshd", "sshd\0")], 1, id="brackets in a name"),
        pytest.param([], 0, id="the parent has gone"),
    ],
)
def test_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, above: list[tuple[str, str]], driver: int) -> None:
    first = 100
    for position, (name, command) in enumerate(above):
        folder = tmp_path / "proc" / str(first + position)
        folder.mkdir(parents=True)
        parent = first + position + 1 if position + 1 < len(above) else 1
        (folder / "stat").write_text(f"{first + position} ({name}) S {parent} " + " ".join(["0"] * 17) + " 4711 0 0\n")
        (folder / "cmdline").write_text(command)
    monkeypatch.setattr(lock, "Path", lambda path: tmp_path / str(path).lstrip("/"))
    monkeypatch.setattr(lock.os, "getppid", lambda: first)
    assert lock.driver() - first == driver


def test_when_a_process_began() -> None:
    own = lock._stat(os.getpid())
    assert own is not None
    assert own[1] == os.getppid()
    assert int(own[2]) > 0
    assert own == lock._stat(os.getpid())
    assert lock._stat(999_999_999) is None
