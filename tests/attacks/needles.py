# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be nowhere else: all secrets of a stand, in every form, and where they turn up.

It knows what a secret is without asking the product, which has its own opinion on that.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

_ZSTD = b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 20
_SHORTEST = 9
"""characters of a secret that would not be found everywhere"""
_SETTING = re.compile(rb"^([A-Za-z_]\w*)[ \t]*=[ \t]*(.+?)[ \t]*$", re.MULTILINE)
_PLAIN = {b"HOST", b"FRONTEND_URL", b"ALLOWED_ORIGINS", b"MYSQL_DATABASE", b"MYSQL_USER", b"user"}
"""settings in files with secrets that are none"""
_CANARY = re.compile(rb"canary-[0-9a-f]{24}")
_GPG = re.compile(rb"\(d\s+#([0-9A-F\s]+)#")
_NO_SECRET = {
    *("school.yml", "hosts.yml", "recovery-recipient.txt", "config.yml", "trustdb.gpg", "pubring.kbx~", "htpasswd"),
    *("server.db", "server.db-shm", "server.db-wal", "page.crt"),
}
"""files that only their owner reads although there is no secret in them, or its hash alone"""


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


def secret_files(*folders: Path) -> list[Path]:
    """The files of these folders that only their owner may read, and that say something to others."""
    private = [path for folder in folders for path in files_below(folder) if not path.stat().st_mode & 0o077]
    return [path for path in private if path.name not in _NO_SECRET]


def secrets_of(paths: Iterable[Path]) -> dict[bytes, str]:
    """Secret -> the files that it is in."""
    found: dict[bytes, str] = {}
    for path in paths:
        values = {value for value in _values(path.read_bytes()) if len(value) >= _SHORTEST}
        assert values, f"no secret was found in {path}"
        for value in values:
            found[value] = f"{found[value]} and {path.name}" if value in found else path.name
    return found


def _values(data: bytes) -> list[bytes]:
    if data.startswith(b"{"):
        return [str(value).encode() for name, value in json.loads(data).items() if name != "username"]
    if b"-----BEGIN" in data:  # a revocation has words before it
        lines = data.partition(b"-----BEGIN")[2].splitlines()[1:]
        return [line for line in lines if re.fullmatch(rb"[A-Za-z0-9+/=]{16,}", line)]
    if b"AGE-SECRET-KEY" in data:
        return [line for line in data.splitlines() if line.startswith(b"AGE-")]
    if b"(private-key" in data:
        return [bytes.fromhex(number.decode()) for number in _GPG.findall(data)]
    settings = [(name, value.strip(b"\"'")) for name, value in _SETTING.findall(data) if name not in _PLAIN]
    if not settings:
        return [data.strip(), *_CANARY.findall(data)]
    passwords = [urlsplit(value.decode()).password for _, value in settings]
    return [*(value for _, value in settings), *(password.encode() for password in passwords if password)]


def forms(secret: bytes) -> set[bytes]:
    """A secret as it may be written somewhere."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode(), quote(secret, safe="").encode()}
    with suppress(UnicodeDecodeError):
        found.add(json.dumps(secret.decode())[1:-1].encode())
    for before in range(3):  # what stands before it decides how its bits are cut into characters
        encoded = base64.b64encode(bytes(before) + secret)
        middle = encoded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]
        found |= {middle, middle.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def needles_of(secrets: dict[bytes, str]) -> dict[bytes, str]:
    """Form -> the files that the secret is in."""
    return {form: place for secret, place in secrets.items() for form in forms(secret)}


@dataclass
class Watched:
    """What the process list has shown while something went on."""

    stand: bytes
    """what the environment of the product's own processes has in it; a container's has its secrets, as it must"""
    shown: set[bytes] = field(default_factory=set)
    """command lines with the environments that are looked at"""
    looks: int = 0
    _known: dict[str, tuple[float, bytes]] = field(default_factory=dict)
    """process -> when it was seen first, and its command line"""

    def look(self) -> None:
        """Look at all processes that are new, or may have become another program since."""
        self.looks += 1
        names = os.listdir("/proc")  # noqa: PTH208 - hundreds of paths each time would cost too much
        now, there = time.monotonic(), set(filter(str.isdigit, names))
        self._known = {process: self._known[process] for process in self._known.keys() & there}
        for process in there:
            began, line = self._known.get(process, (now, b""))
            if line and now - began > 1 and self.looks % 50:
                continue
            with suppress(OSError):
                shown = Path(f"/proc/{process}/cmdline").read_bytes()
                self._known[process] = began, shown or b"-"
                if shown != line:
                    environment = Path(f"/proc/{process}/environ").read_bytes()
                    self.shown.add(shown + (b"\0" + environment if self.stand in environment else b""))

    def hits(self, needles: dict[bytes, str]) -> list[str]:
        """Where a process has shown one of the texts."""
        return [
            f"{place} in {shown[:80]!r}" for shown in self.shown for needle, place in needles.items() if needle in shown
        ]

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Look again and again while the body works: what lives for a hundredth of a second is seen."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.005):
                self.look()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
