#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a Debian machine to the point where everything in this repository runs; `make setup` calls it.

It needs Python 3.11 and nothing else. Each step looks first and acts only where something is missing, so it can be
called before every command, and once more after any interruption.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK_FILE = ROOT / "requirements.lock"
STAMP = VENV / "setup-stamp"
ENGINE_LOG = Path("/var/log/clms-dockerd.log")
ENGINE_SECONDS = 60
APT_LOCK_SECONDS = 600
SBIN = ":/usr/sbin:/sbin"  # root's programs are not on everybody's PATH

PACKAGES = {
    "age": "encrypts backups",
    "apache2-utils": "makes the password file of the vendor's registry",
    "chromium": "opens the page of a school in tests",
    "debootstrap": "makes the base images without an image registry",
    "faketime": "lets clocks be wrong in tests",
    "gnupg": "signs releases",
    "hyperfine": "times commands in the benchmark",
    "iproute2": "makes networks for tests",
    "openssh-client": "reaches the hosts in tests",
    "procps": "watches processes in tests",
    "rsync": "copies uploads to a new slot",
    "xfsprogs": "makes the file system that hosts in tests have their disks on",
    "zstd": "compresses backups",
}


class SetupError(Exception):
    """A step cannot be done; says why and what a person can do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class Narrator:
    """Says one line for each step; what needed nothing is left out when quiet."""

    def __init__(self, *, quiet_when_done: bool) -> None:
        self.quiet_when_done = quiet_when_done

    def doing(self, line: str) -> None:
        """Something is about to be done, and why."""
        print(f"setup: {line}", flush=True)

    def done(self, line: str) -> None:
        """Nothing had to be done."""
        if not self.quiet_when_done:
            self.doing(line)


def tail(text: str, lines: int = 12) -> str:
    """The last lines of a tool's output, indented."""
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-lines:])


def run(command: Sequence[str | Path], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command without a terminal and keep all its output in `stdout`."""
    return subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "LC_ALL": "C.UTF-8", **variables},
        check=False,
    )


@contextlib.contextmanager
def one_at_a_time(say: Narrator) -> Iterator[None]:
    """Let a second call wait for the first; the lock goes with the process, so none is ever left behind."""
    path = Path(tempfile.gettempdir()) / f"clms-setup-{os.geteuid()}.lock"
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say.doing("waiting for another setup on this machine to end")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def missing_packages() -> dict[str, str]:
    """The packages that are not there, with what each is for."""
    wanted = dict(PACKAGES)
    if importlib.util.find_spec("ensurepip") is None:
        wanted["python3-venv"] = "makes the virtual environment"
    if shutil.which("dockerd", path=os.environ.get("PATH", "") + SBIN) is None and engine_answer()[0] is None:
        wanted["docker.io"] = "runs the containers"
    if shutil.which("dpkg-query") is None:
        raise SetupError("This is not a Debian machine.", f"Install by hand what is missing of: {', '.join(wanted)}.")
    known = run(["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *wanted]).stdout
    return {name: why for name, why in wanted.items() if f"{name} installed" not in known.splitlines()}


def apt_get(*arguments: str) -> None:
    """Run apt-get; where another apt-get holds the lock, wait for it."""
    deadline = time.monotonic() + APT_LOCK_SECONDS
    while True:
        result = run(["apt-get", "--quiet", *arguments], DEBIAN_FRONTEND="noninteractive")
        if result.returncode == 0:
            return
        if "Could not get lock" not in result.stdout or time.monotonic() > deadline:
            raise SetupError(
                f"'apt-get {arguments[0]}' failed:\n{tail(result.stdout)}",
                f"Run 'apt-get {' '.join(arguments)}' by hand, mend what it names, then run 'make setup' again.",
            )
        time.sleep(3)


def debian_packages(say: Narrator) -> None:
    """Install the Debian packages that are missing."""
    missing = missing_packages()
    if not missing:
        say.done("Debian packages: all there")
        return
    reasons = ", ".join(f"{name} ({why})" for name, why in missing.items())
    if os.geteuid() != 0:
        raise SetupError(
            f"Debian packages are missing: {reasons}.",
            f"Run 'sudo apt-get install {' '.join(missing)}', then 'make setup' again.",
        )
    say.doing(f"Debian packages: installing {reasons}")
    apt_get("update")
    apt_get("install", "--yes", "--no-install-recommends", *missing)


def wanted_stamp() -> str:
    """What the virtual environment is made from."""
    content = b"".join(path.read_bytes() for path in (LOCK_FILE, ROOT / "pyproject.toml"))
    return f"{sys.version.split()[0]} {hashlib.sha256(content).hexdigest()}\n"


def install_step(*command: str | Path) -> None:
    """Run one step of the Python installation."""
    result = run(command)
    if result.returncode != 0:
        raise SetupError(
            f"A step of the Python installation failed:\n{tail(result.stdout)}",
            "Check that the Python package index is reachable and the disk is not full, then run 'make setup' again.",
        )


def virtual_environment(say: Narrator) -> None:
    """Make `.venv` from the lock file, byte for byte what was tested."""
    stamp, python = wanted_stamp(), VENV / "bin" / "python"
    if STAMP.exists() and STAMP.read_text() == stamp and python.exists():
        say.done("Python packages: all there")
        return
    say.doing("Python packages: installing what requirements.lock names into .venv; takes a minute or two")
    STAMP.unlink(missing_ok=True)
    # The same Python again keeps what is there; another one starts afresh.
    same = python.exists() and run([python, "--version"]).stdout.split()[-1] == sys.version.split()[0]
    install_step(sys.executable, "-m", "venv", *([] if same else ["--clear"]), VENV)
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    # pip would compile Ansible's thousands of modules, which are sent as source
    install_step(*pip, "--no-compile", "--require-hashes", "--requirement", LOCK_FILE)
    install_step(*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT)
    # what is imported is compiled now: with PYTHONDONTWRITEBYTECODE, or from a read-only mount, nobody does it later
    left_out = r"ansible_collections/(?!community/(docker|crypto))"
    compile_all: list[str | Path] = [python, "-m", "compileall", "-q", "-j", "0", "-x", left_out]
    compile_all += VENV.glob("lib/python*/site-packages")
    run(compile_all)  # some packages bring files that are no Python
    STAMP.write_text(stamp)


def engine_answer() -> tuple[str | None, str]:
    """The version of the engine that answers (or None), and what was said."""
    # Debian's own client first: it belongs to Debian's engine.
    docker = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else shutil.which("docker")
    if docker is None:
        return None, "there is no docker command"
    result = run(["timeout", "10", docker, "version", "--format", "{{.Server.Version}}"])
    return (result.stdout.strip() or None) if result.returncode == 0 else None, result.stdout


def forget_dead_engine() -> None:
    """Remove pid files that an engine killed with its machine left: the number may belong to another process now."""
    for path, name in (("/run/docker.pid", "dockerd"), ("/run/docker/containerd/containerd.pid", "containerd")):
        with contextlib.suppress(FileNotFoundError):
            owner = Path("/proc", Path(path).read_text().strip(), "comm")
            if not owner.exists() or owner.read_text().strip() != name:
                Path(path).unlink()


def start_engine() -> subprocess.Popen[bytes] | None:
    """Start the engine so that it outlives this process; None where systemd looks after it."""
    if Path("/run/systemd/system").exists():
        run(["systemctl", "start", "docker"])
        return None
    forget_dead_engine()
    with ENGINE_LOG.open("ab") as log:
        return subprocess.Popen(
            # the engine's own default is 31 networks, which several schools on one machine soon use up
            ["dockerd", "--default-address-pool", "base=172.16.0.0/12,size=24"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            env={**os.environ, "PATH": os.environ.get("PATH", "") + SBIN},
        )


def engine_failure(process: subprocess.Popen[bytes] | None) -> SetupError:
    """Why the engine did not come up, in its own last words."""
    if process is None:
        words, place = run(["journalctl", "--unit=docker", "--lines=12", "--output=cat"]).stdout, "journalctl -u docker"
    else:
        words, place = ENGINE_LOG.read_text(errors="replace"), str(ENGINE_LOG)
    return SetupError(
        f"The Docker engine did not start; its last words:\n{tail(words)}",
        f"Mend what they name (the whole log: {place}), or start an engine yourself, then run 'make setup' again.",
    )


def docker_engine(say: Narrator) -> None:
    """Start a Docker engine where none answers."""
    version, words = engine_answer()
    if version:
        say.done(f"Docker engine: {version} answers")
        return
    if os.geteuid() != 0:
        raise SetupError(
            f"No Docker engine answers this user:\n{tail(words, 3)}",
            "Run 'sudo make setup', or start Docker and add your user to the group 'docker'.",
        )
    say.doing("Docker engine: none answers; starting one")
    process = start_engine()
    deadline = time.monotonic() + ENGINE_SECONDS
    while not engine_answer()[0]:
        if time.monotonic() > deadline or (process and process.poll() is not None):
            raise engine_failure(process)
        time.sleep(0.5)


def base_images(say: Narrator) -> None:
    """Make the images that the sample CLMS, the gate and the registry are built on."""
    builder = subprocess.Popen(
        [sys.executable, "-u", ROOT / "tests" / "base_images" / "build.py"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in builder.stdout or ():
        (say.done if "up to date" in line else say.doing)(line.strip())
    if builder.wait() != 0:
        raise SetupError(
            "The base images could not be made (see above).",
            "Mend what is named above, then run 'make setup' again; 'docker system df' shows what uses the disk.",
        )


def main() -> int:
    """The command line; the exit code is 0 when everything is there."""
    parser = argparse.ArgumentParser(description="Install what this repository needs, where it is missing.")
    parser.add_argument("--no-images", action="store_true", help="leave the base images out")
    parser.add_argument("--no-engine", action="store_true", help="leave the Docker engine and the images out")
    parser.add_argument("--quiet-when-done", action="store_true", help="say nothing about what is there already")
    options = parser.parse_args()
    say = Narrator(quiet_when_done=options.quiet_when_done)
    try:
        if sys.version_info < (3, 11):  # noqa: UP036 - whichever python3 the machine has runs this
            raise SetupError(f"Python {sys.version.split()[0]} is too old.", "Install Python 3.11 or newer.")
        with one_at_a_time(say):
            debian_packages(say)
            virtual_environment(say)
            if not options.no_engine:
                docker_engine(say)
            if not (options.no_engine or options.no_images):
                base_images(say)
    except SetupError as error:
        print(f"setup failed: {error}\nWhat to do: {error.remedy}", file=sys.stderr)
    except OSError as error:
        print(f"setup failed: {error}\nWhat to do: mend what it names, then run 'make setup' again.", file=sys.stderr)
    except KeyboardInterrupt:
        print("setup was interrupted; 'make setup' goes on where it stopped.", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
