# SPDX-License-Identifier: GPL-3.0-or-later
"""Schools that are whole hosts: what the role `school_server` sets up there, and a server that is gone, set up on an
empty one from a backup's folder and the recovery sheet alone.
"""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pymysql
import pytest
import urllib3
import yaml

from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from tests.base_images.docker_cli import BuildError, docker
from tests.e2e.observe import wait_for
from tests.stand.hosted import NAME, Fleet, Hosted
from tests.stand.stand import Stand


@pytest.fixture(scope="module")
def fleet(stand: Stand) -> Iterator[Fleet]:
    """Hosts of the vendor's schools; their backups hold images too."""
    before = stand.settings["backup_images"]
    stand.settings["backup_images"] = True
    stand.save()
    fleet = Fleet(stand, page=True)
    try:
        fleet.make_template()
        yield fleet
    finally:
        fleet.remove()
        stand.settings["backup_images"] = before
        stand.save()


class Browser:
    """Asks the page of a host over TLS, and believes nobody but the authority that the role has made."""

    def __init__(self, school: Hosted) -> None:
        address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", school.host.name)

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex((address, 9443)) == 0

        wait_for(listens, seconds=120, what="the page to listen")  # the host may have been switched on just now
        authority = school.host.run("cat", "/etc/clms-update-page/tls/ca.crt")
        self._pool = urllib3.HTTPSConnectionPool(
            address, 9443, server_hostname=NAME, assert_hostname=NAME, ca_cert_data=authority, retries=False,
        )  # fmt: skip
        self._cookies: dict[str, str] = {}

    def open(self, path: str, host: str = f"{NAME}:9443", bearer: str | None = None, **fields: str) -> tuple[int, str]:
        """Status and text of a page; with fields, a form is sent, and its answer followed."""
        headers = {"Host": host, "Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        headers |= {"Authorization": f"Bearer {bearer}"} if bearer else {}
        if fields:
            page = self.open(path)[1]
            token = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page)
            assert token, page
            headers |= {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
            headers |= {"Referer": f"https://{NAME}:9443{path}", "Content-Type": "application/x-www-form-urlencoded"}
            fields |= {"csrf_token": token[1]}
        answer = self._pool.request(
            "POST" if fields else "GET",
            path,
            headers=headers,
            body=urlencode(fields) if fields else None,
            redirect=False,
        )
        for cookie in answer.headers.getlist("Set-Cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        if answer.status in (302, 303):
            return self.open(answer.headers["Location"])
        return answer.status, answer.data.decode()


def test_the_page_that_the_role_sets_up(fleet: Fleet) -> None:
    school = fleet.school("page")
    browser = Browser(school)
    user = school.host.run("systemctl", "show", "--value", "--property=User", "clms-update-page.service")
    processes = school.host.run("ps", "-eo", "user:32,args").splitlines()
    assert {line.split()[0] for line in processes if "webui.school" in line} == {user}
    assert browser.open("/", host="somewhere.else")[0] == 400
    # other servers see the metrics with the token that the role has made, and not without
    assert browser.open("/metrics")[0] == 404
    status, text = browser.open("/metrics", bearer=school.host.run("cat", "/etc/clms-update-page/metrics-token"))
    assert (status, 'clms_run_seconds_count{kind="install",outcome="COMPLETED"} 1.0' in text) == (200, True), text
    # the drives of which it speaks are mounted; how, is in `tests/integration/test_drives.py`
    rule = school.host.run("cat", "/etc/udev/rules.d/85-clms-update-drives.rules")
    assert "options=ro,nosuid,nodev,noexec $devnode /run/media/usb-$kernel" in rule
    # the first account, with the code that only root can have
    made = school.command("account", "--code")[1]["code"]
    status, text = browser.open("/set-up", code=made, name="anna", new="a few good words", again="a few good words")
    assert (status, "1.0.0" in text) == (200, True), text
    # what goes back to an older state wants the password, because the page is not root
    assert school.command("backup")[0] == 0
    backup = school.command("list", "--backups")[1]["backups"][0]["id"]
    path = f"/backups/{backup}/restore"
    text = browser.open(path, confirm="1.0.0", password="another one")[1]
    assert "Name and password do not belong together." in text
    # it can put a file into the folder for uploads, and nothing else on this server
    inside = ("runuser", "-u", user, "--")
    school.host.run(*inside, "touch", "/srv/school/uploads/upload-1.zip")
    for secret in ("/srv/school/etc/hosts.yml", "/etc/clms-update-page/tls/ca.key", "/srv/school/state/journal.db"):
        with pytest.raises(BuildError):
            school.host.run(*inside, "cat", secret)
    # what people have set stays when the role runs again; what the inventory says of it comes back
    path = school.folder / "etc/host_vars/school.yml"
    described = yaml.safe_load(path.read_text())
    title = described["clms_title"]
    changed = {"clms_contact": "Frau Vogt", "clms_schedule": {"tonight": "23:00"}, "clms_title": "Another School"}
    path.write_text(yaml.safe_dump(described | changed))
    fleet.stand.settings["schools"][NAME]["ssh_port"] = school.ports.ssh
    fleet.stand.save()
    fleet.stand.playbook("school", "--limit", NAME, inventory="hosts")
    again = yaml.safe_load(path.read_text())
    assert (again["clms_contact"], again["clms_schedule"]["tonight"]) == ("Frau Vogt", "23:00")
    assert again["clms_title"] == title
    assert {name for name in again if again[name] != described.get(name)} == {"clms_contact", "clms_schedule"}
    # it is there again after a power cut, without anybody
    school.host.cut_power()
    school.host.boot()
    assert Browser(school).open("/sign-in")[0] == 200
    school.host.remove()


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


@contextmanager
def without_vendor(fleet: Fleet, school: Hosted) -> Iterator[None]:
    """Neither the registry nor the release server can be reached from a host."""
    vendor = fleet.stand.settings["vendor"]
    servers = [vendor[name].rpartition(":")[::2] for name in ("registry", "releases")]
    rules = [("OUTPUT", "-p", "tcp", "--dport", port, "-j", "DROP") for _, port in servers]
    for rule in rules:
        school.host.run("iptables", "-I", *rule)
    try:
        for address, port in servers:
            with pytest.raises(BuildError):
                school.host.run("timeout", "2", "bash", "-c", f"</dev/tcp/{address}/{port}")
        yield
    finally:
        for rule in rules:
            school.host.run("iptables", "-D", *rule)


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

    with without_vendor(fleet, new):
        code, answer = new.command(*command)
        assert (code, answer["outcome"]) == (0, "COMPLETED"), answer
    with closing(Journal(new.folder / "state")) as journal:
        notes = [record.names for record in journal.records(answer["id"]) if record.step == "image_not_loaded"]
        images = journal.run(answer["id"]).result("image_pull")
        slot = journal.slot("current")
    assert (notes, images["pulled"]) == ([], []), images
    assert slot is not None
    assert {service.image for service in slot.services.values()} == {
        service.config for service in slot.services.values()
    }, "they were not loaded from the drive"
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
