# SPDX-License-Identifier: GPL-3.0-or-later
"""The school's server is gone: it is set up on an empty one from a backup's folder and the recovery sheet alone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.stand.hosted import Fleet, Hosted
from tests.stand.stand import Stand


@pytest.fixture(scope="module")
def fleet(stand: Stand) -> Iterator[Fleet]:
    """Hosts of the vendor's schools; their backups hold images too."""
    before = stand.settings["backup_images"]
    stand.settings["backup_images"] = True
    stand.save()
    fleet = Fleet(stand)
    try:
        fleet.make_template()
        yield fleet
    finally:
        fleet.remove()
        stand.settings["backup_images"] = before
        stand.save()


def rows(school: Hosted, credentials: Path) -> dict[str, Any]:
    """What is in the database of a host."""
    connection = pymysql.connect(
        host="127.0.0.1", port=school.ports.database, read_default_file=str(credentials), database="clms_database"
    )
    with closing(connection), connection.cursor() as cursor:
        found = {}
        for table in ("students", "books", "borrows"):
            cursor.execute(f"CHECKSUM TABLE {table}")
            found[table] = cursor.fetchone()
        return found


def test_from_a_backup_and_the_sheet_alone(fleet: Fleet, tmp_path: Path) -> None:
    old = fleet.school("old")
    credentials = tmp_path / "database.cnf"
    shutil.copy(old.folder / "etc/secrets/database.cnf", credentials)
    before = rows(old, credentials)
    code, made = old.command("backup")
    assert code == 0, made
    sheet = old.folder / "etc/recovery-sheet.txt"
    code, examined = old.command("doctor", "--recovery-sheet", "/srv/school/etc/recovery-sheet.txt")
    assert [check["ok"] for check in examined["checks"] if check["name"] == "recovery sheet"] == [True]
    new = fleet.empty("new")
    drive = new.folder / "usb"
    shutil.copytree(old.folder / "backups", drive)
    shutil.copy(sheet, drive / "sheet.txt")
    old.host.remove()
    (backup,) = [path.name for path in drive.iterdir() if path.name[0].isdigit()]
    command = ("restore", f"/srv/school/usb/{backup}", "--recovery-sheet", "/srv/school/usb/sheet.txt")

    # a sheet that was typed in wrong, and one that others can read
    text = (drive / "sheet.txt").read_text()
    (drive / "sheet.txt").write_text(re.sub("AGE-SECRET-KEY-1.", "AGE-SECRET-KEY-1", text))
    assert new.command(*command)[1]["error_code"] == "RECOVERY_SHEET"
    (drive / "sheet.txt").write_text(text)
    (drive / "sheet.txt").chmod(0o644)
    assert new.command(*command)[1]["error_code"] == "SECRET_FILE"
    (drive / "sheet.txt").chmod(0o600)
    # a backup that somebody else has written
    manifest = drive / backup / "manifest.json"
    good = manifest.read_bytes()
    manifest.write_bytes(good.replace(b"1.0.0", b"1.0.9", 1))
    assert new.command(*command)[1]["error_code"] == "BACKUP_TAMPERED"
    manifest.write_bytes(good)
    assert not (new.folder / "state/journal.db").exists()

    code, answer = new.command(*command)
    assert (code, answer["outcome"]) == (0, "COMPLETED"), answer
    (drive / "sheet.txt").unlink()
    new.wait_serving()
    assert rows(new, credentials) == before
    # it is a school like any other: it checks, makes backups, restores them and can be updated
    assert new.command("check")[0] == 0
    code, examined = new.command("doctor")
    assert code == 0, [check for check in examined["checks"] if check["ok"] is not True]
    assert new.command("restore", backup, "--confirm", "1.0.0")[0] == 0
    code, answer = new.command("update", "--version", "1.0.1")
    assert (code, answer["outcome"]) == (0, "COMPLETED"), answer["message"]
    assert new.command(*command)[1]["error_code"] in ("NEW_SERVER", "RECOVERY_SHEET", "SECRET_FILE")
