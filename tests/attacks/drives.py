# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup on a drive that somebody else had in their hands: what lies there in place of its files."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from .bench import Bench
from .cases import REFUSED, Case, Result
from .desk import flip

_SECONDS = 30
"""a refusal does not take longer than that: nothing waited, and nothing that has no end was read"""
Spoil = Callable[[Path], None]


@contextmanager
def on_a_drive(bench: Bench) -> Iterator[Path]:
    """The newest backup of the school, which is only on its drive."""
    done = bench.school.clms_update("backup", "--json")
    assert done.code == 0, done.output + done.errors
    here = max((bench.school.folder / "backups").glob("*-r*"))
    drive = bench.folder / "drive"
    shutil.rmtree(drive, ignore_errors=True)
    drive.mkdir()
    folder = here.rename(drive / here.name)
    place = {**bench.school.description()["clms_backup"], "external_path": str(drive)}
    with bench.school.described(clms_backup=place):
        yield folder


def spoilt(name: str, spoil: Spoil, bench: Bench, _: Result) -> str:
    """Somebody has put something else in place of one of its files; the school is asked to restore it."""
    folder: Path = bench.for_this_row(partial(on_a_drive, bench))
    path = folder / name
    kept = path.rename(folder.with_name(f"{name}.kept"))
    shutil.copy(kept, path)
    here = set((bench.school.folder / "backups").iterdir())
    spoil(path)
    (version,) = bench.school.versions()
    began = time.monotonic()
    try:
        bench.refused("BACKUP_TAMPERED", "restore", folder.name, "--confirm", version)
    finally:
        path.unlink()
        kept.rename(path)
    assert time.monotonic() - began < _SECONDS
    assert set((bench.school.folder / "backups").iterdir()) == here, "something of it was copied"
    return REFUSED


def sparse(size: int, path: Path) -> None:
    """A file that takes no room on the drive."""
    path.write_bytes(b"")
    os.truncate(path, size)


def link(target: str, path: Path) -> None:
    """It leads elsewhere."""
    path.unlink()
    path.symlink_to(target)


def pipe(path: Path) -> None:
    """Nobody writes into it."""
    path.unlink()
    os.mkfifo(path)


def cases() -> Iterator[Case]:
    """All of them; they need a backup."""
    dump, manifest, signature = "database.sql.zst.age", "manifest.json", "manifest.sig"
    for what, name, spoil in (
        ("a dump of 1 TB", dump, partial(sparse, 1 << 40)),
        ("a dump that leads to what never ends", dump, partial(link, "/dev/zero")),
        ("a dump that is a pipe", dump, pipe),
        ("a dump with another bit", dump, flip),
        ("a manifest of 1 TB", manifest, partial(sparse, 1 << 40)),
        ("a manifest that is a pipe", manifest, pipe),
        ("a signature of 1 GB", signature, partial(sparse, 10**9)),
        ("a signature that leads to what never ends", signature, partial(link, "/dev/zero")),
    ):
        yield Case(f"drive: {what}", spoilt.__doc__ or "", partial(spoilt, name, spoil), slow=True)
