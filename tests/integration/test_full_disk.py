# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal on a file system that is full: a small one of its own, really full."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ansible_collections.clms.update.plugins.module_utils import reserve
from ansible_collections.clms.update.plugins.module_utils.adapters.files import write_atomically
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS

pytestmark = pytest.mark.engine  # not for an engine: it mounts a file system, as tests of this kind may


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The state folder of a school, on a file system of 24 MB."""
    folder = tmp_path / "home"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "clms-test", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> None:
    """Write until nothing more can be written."""
    with (folder / "filler").open("ab", buffering=0) as file:
        while True:
            try:
                file.write(b"x" * 4096)
            except OSError:
                return


def take_notes(run: Run, count: int) -> None:
    """Write records of about half a kilobyte."""
    for number in range(count):
        run.record("slot", "copy", "note", detail=f"{number}" * 200)


def test_a_run_on_a_full_disk_can_be_put_back(home: Path) -> None:
    with closing(Journal(home, create=True)) as journal:
        reserve.set_aside(home)
        run = journal.begin("update", phases=KINDS["update"], school={}, version="1.0.1")
        run.enter("preflight")
        fill(home)
        take_notes(run, 500)
        assert not (home / "reserve").exists()
        run.fail("slot", ClmsError("SLOT_FAILED", detail="no space left"))
        write_atomically(home / "state.map", "mode open\n")
        run.close("ROLLED_BACK", run.failure())
    with closing(Journal(home)) as journal:
        assert journal.row(1).outcome == "ROLLED_BACK"
        assert len(journal.records(1)) == 502


def test_without_that_space_it_could_not(home: Path) -> None:
    """The proof of the proof."""
    with closing(Journal(home, create=True)) as journal:
        run = journal.begin("update", phases=KINDS["update"], school={}, version="1.0.1")
        fill(home)
        with pytest.raises(sqlite3.OperationalError, match=r"full|disk I/O"):
            take_notes(run, 500)


def test_where_it_cannot_be_set_aside(home: Path) -> None:
    fill(home)
    with pytest.raises(OSError, match="No space left"):
        reserve.set_aside(home)
