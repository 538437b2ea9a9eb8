# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody has the whole release server: no key with which schools could be led astray for good is there."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from publisher.vendor import Vendor
from tests.base_images.docker_cli import docker

from .bench import Bench
from .cases import HELD, Case, Result
from .needles import files_below, found_in

_SECRET = re.compile(rb"\(d#([0-9A-Fa-f]+)#\)")
_CHUNK = 1 << 24


def forms(secret: bytes) -> set[bytes]:
    """A private key as it may lie somewhere."""
    text = secret.hex().encode()
    return {secret, text, text.upper(), base64.b64encode(secret).rstrip(b"=")[:-1]}


def keys_of(vendor: Vendor) -> dict[bytes, str]:
    """What has to be nowhere else -> the file that it is in: the keys of the root, and of the list of releases."""
    found: dict[bytes, str] = {}
    for path in sorted(vendor.root_keys.glob("*.pem")):
        key = load_pem_private_key(path.read_bytes(), None)
        raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())  # type: ignore[attr-defined]
        found |= dict.fromkeys(forms(raw), path.name)
        found |= {line: path.name for line in path.read_bytes().splitlines() if line and not line.startswith(b"-")}
    for path in sorted((vendor.gpg_home / "private-keys-v1.d").glob("*.key")):
        (secret,) = _SECRET.findall(re.sub(rb"\s", b"", path.read_bytes()))
        found |= dict.fromkeys(forms(bytes.fromhex(secret.decode())), path.name)
    return found


def family(process: int) -> set[int]:
    """A process and all that it has started."""
    found = {process}
    for stat in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda path: int(path.parent.name)):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) in found:
                found.add(int(stat.parent.name))
    return found


def memory(process: int, needles: Iterable[bytes]) -> set[bytes]:
    """Which of the texts a process has in the memory that it can write to, in its orders and in its environment."""
    place, needles, found = Path(f"/proc/{process}"), list(needles), set()
    said = (place / "cmdline").read_bytes() + b"\0" + (place / "environ").read_bytes()
    found |= {needle for needle in needles if needle in said}
    with (place / "mem").open("rb", buffering=0) as file:
        for line in (place / "maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if not rights.startswith("rw"):
                continue
            begin, end = (int(number, 16) for number in span.split("-"))
            for at in range(begin, end, _CHUNK):
                with suppress(OSError):  # what the kernel keeps for itself
                    data = os.pread(file.fileno(), min(_CHUNK + 100, end - at), at)
                    found |= {needle for needle in needles if needle in data}
    return found


def release_server(bench: Bench, _: Result) -> str:
    """After all that was published: files, database, memory and open files of the release server and what its
    containers see are searched for the private keys of the root and of the list of releases.
    """
    vendor = Vendor.load(bench.stand.release_manager)
    keys = keys_of(vendor)
    assert set(keys.values()) >= {path.name for path in vendor.root_keys.glob("*.pem")}, set(keys.values())
    assert len(set(keys.values())) == len(list(vendor.root_keys.glob("*.pem"))) + 1, set(keys.values())
    process = bench.stand.release_api_process()
    assert process is not None
    bench.check_works()  # it has something to do
    bench.stand.release_server("school", "list")
    hits: list[str] = []
    searched = [*files_below(bench.stand.vendor / "releases"), *files_below(bench.stand.vendor / "registry")]
    for path in searched:
        hits += [f"{keys[needle]} in {path}" for needle in found_in(path, keys)]
    processes = family(process)
    here = str(bench.stand.release_api).encode()
    for number in sorted(processes):
        seen = memory(number, [*keys, here])
        hits += [f"{keys[needle]} in process {number}" for needle in seen - {here}]
        opened = {str(path.readlink()) for path in Path(f"/proc/{number}/fd").iterdir() if path.is_symlink()}
        hits += [path for path in opened if path.startswith(str(vendor.home))]
        assert here in seen, "the counterpart: its memory was not searched"
    for name in ("registry", "releases"):
        (found,) = json.loads(docker("inspect", f"{bench.stand.prefix}-vendor-{name}"))
        mounts = [mount["Source"] for mount in found["Mounts"]]
        hits += [f"{name} sees {path}" for path in mounts if _overlap(Path(path), vendor.home)]
    assert not hits, hits
    # the counterpart: where they have to be, they are found
    everywhere = {keys[needle] for path in files_below(vendor.home) for needle in found_in(path, keys)}
    assert everywhere == set(keys.values()), everywhere
    return f"{HELD}; 0 hits in {len(searched)} files and {len(processes)} processes"


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def cases() -> Iterator[Case]:
    """All of them."""
    yield Case("key stolen: the release server in the wrong hands", release_server.__doc__ or "", release_server)
