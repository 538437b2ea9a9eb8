# SPDX-License-Identifier: GPL-3.0-or-later
"""The support bundle: complete, and without a secret wherever one has ended up."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent import cli, support
from agent.config import Config
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run
from ansible_collections.clms.update.plugins.module_utils.told import told

CANARY = "canary-7d1e5f"


class Engine:
    """Two containers, one of which has said too much."""

    def by_label(self, **_: str) -> list[str]:
        return ["clms-backend-r1", "clms-gate"]

    def logs(self, name: str, *, lines: int) -> str:
        return f"{name} ready\nAccess denied for {CANARY}\nDuplicate entry 'Ada Lovelace' for key 'students.name'\n"


@pytest.fixture
def files(settings: Config, home: Path, journal: Journal, begin: Callable[..., Run], monkeypatch: Any) -> None:
    """A school with a canary in each secret file, which has got into everything that is kept."""
    monkeypatch.setattr(support, "Engine", Engine)
    monkeypatch.setattr(support, "_said", lambda *command: f"{command[0]} said {CANARY}")
    secrets = home.parent / "secrets"
    secrets.mkdir(exist_ok=True)
    for name in ("mysql.env", "backend.env", "root.cnf"):
        (secrets / name).touch(mode=0o600)
        (secrets / name).write_text(f"PASSWORD={CANARY}\n")
    run = begin()
    run.record("drain", "stop", "note", detail=f"it said {CANARY}")
    run.close("ABORTED", {"phase": "drain", **ClmsError("DRAIN_FAILED", detail=CANARY).as_dict()})
    journal.event("UPDATE_FAILED", told("NOT_BEGUN", update=None, failure=ClmsError("DRAIN_FAILED", detail=CANARY)))
    for path in (home / "runs/1/clms-backend-r1.log", home / "runner/artifacts/x/stdout"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"a line\n{CANARY}\n")


def test_everything_is_in_it_but_no_secret(files: None, settings: Config, tmp_path: Path) -> None:
    target = tmp_path / "support.zip"
    answer = support.write(settings.school, target, {"ok": False, "checks": [{"message": CANARY}]})
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with zipfile.ZipFile(target) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert sorted(texts) == answer["contents"]
    assert texts.keys() >= {
        "doctor.json", "status.json", "history.json", "events.json", "records.json", "description.json",
        "versions.json", "agent.log", "disks.txt", "containers/clms-backend-r1.log", "containers/clms-gate.log",
        "runs/1/clms-backend-r1.log", "runner/x/stdout",
    }  # fmt: skip
    assert [name for name, text in texts.items() if CANARY in text] == []
    for name in ("doctor.json", "events.json", "records.json", "history.json", "agent.log", "runner/x/stdout"):
        assert "[removed]" in texts[name], name
    assert "ready" in texts["containers/clms-gate.log"]
    assert "Ada" not in texts["containers/clms-gate.log"]
    assert "students.name" in texts["containers/clms-gate.log"]
    assert json.loads(texts["status.json"])["last_update"]["error_code"] == "DRAIN_FAILED"


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o660])
def test_secrets_in_files_that_others_may_read(files: None, settings: Config, tmp_path: Path, mode: int) -> None:
    """Updates refuse such a file, and that is when people ask for help."""
    secrets = Path(settings.school.raw["database"]["credentials_file"]).parent
    for path in secrets.iterdir():
        path.chmod(mode)
    support.write(settings.school, tmp_path / "support.zip", {"said": CANARY})
    with zipfile.ZipFile(tmp_path / "support.zip") as archive:
        assert [name for name in archive.namelist() if CANARY in archive.read(name).decode()] == []


def test_what_a_container_is_given(files: None, settings: Config, tmp_path: Path) -> None:
    """A key is left out; a setting that everybody may read is none, and neither is whom this server trusts."""
    for name, mode in (("key.pem", 0o640), ("config.js", 0o644), ("ca.crt", 0o600)):
        (tmp_path / name).write_text(f"PASSWORD=canary-in-{name}\n")
        (tmp_path / name).chmod(mode)
    raw = settings.school.raw
    raw["services"][0]["mounts"] = {str(tmp_path / name): f"/etc/{name}" for name in ("key.pem", "config.js")}
    raw["trust"]["ca_file"] = str(tmp_path / "ca.crt")
    support.write(
        settings.school, tmp_path / "support.zip", {"said": "canary-in-key.pem canary-in-config.js canary-in-ca.crt"}
    )
    with zipfile.ZipFile(tmp_path / "support.zip") as archive:
        assert json.loads(archive.read("doctor.json")) == {"said": "[removed] canary-in-config.js canary-in-ca.crt"}


@pytest.fixture
def mounted(settings: Config, tmp_path: Path) -> Path:
    """A folder that a container is given."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    settings.school.raw["services"][0]["mounts"] = {str(folder): "/run/secrets"}
    return folder


def test_folders_that_a_container_is_given(files: None, settings: Config, mounted: Path, tmp_path: Path) -> None:
    """Neither a link out of them is followed nor is a pipe waited for."""
    for name in ("open", "closed", "closed/deep"):
        (mounted / name).mkdir()
    (mounted / "closed").chmod(0o710)
    outside = tmp_path / "outside"
    outside.mkdir()
    places = {"key": mounted, "page": mounted / "open", "word": mounted / "closed/deep", "file": outside}
    for name, folder in places.items():
        (folder / name).write_text(f"canary-{name}\n")
        (folder / name).chmod(0o600 if name in ("key", "file") else 0o644)
    (mounted / "open/folder").symlink_to(outside)
    (mounted / "open/link").symlink_to(outside / "file")
    os.mkfifo(mounted / "pipe", mode=0o600)
    (mounted / "picture").write_bytes(b"canary-picture\0")
    (mounted / "picture").chmod(0o600)
    assert support._secrets(settings.school) == {
        CANARY, f"PASSWORD={CANARY}", "canary-key", "canary-word"
    }  # fmt: skip


def test_as_much_of_a_folder_as_one_of_secrets_has(
    files: None, settings: Config, mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support, "_FOLDER_FILES", 9)
    for number in range(20):
        path = mounted / f"folder-{number}" if number % 2 else mounted
        path.mkdir(exist_ok=True)
        (path / f"{number}").touch(mode=0o600)
        (path / f"{number}").write_text(f"canary-{number}\n")
    assert len(list(support._private_in(mounted))) <= 8
    monkeypatch.setattr(support, "_FOLDER_FILES", 500)
    assert len(list(support._private_in(mounted))) == 20
    monkeypatch.setattr(support, "_FOLDER_BYTES", 100)
    assert sum(len(content) for content in support._private_in(mounted)) <= 100


def test_what_vanishes_meanwhile(files: None, settings: Config, tmp_path: Path, monkeypatch: Any) -> None:
    real = Path.stat

    def vanishing(path: Path, **options: Any) -> os.stat_result:
        found = real(path, **options)
        if path.name == "clms-backend-r1.log" and not stat.S_ISDIR(found.st_mode):
            path.unlink()
        return found

    monkeypatch.setattr(Path, "stat", vanishing)
    answer = support.write(settings.school, tmp_path / "support.zip", {})
    assert "runner/x/stdout" in answer["contents"]


def test_half_a_file_is_not_in_the_way_of_the_next_one(
    files: None, settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "writestr", full)
        with pytest.raises(ClmsError, match="No space left"):
            support.write(settings.school, tmp_path / "support.zip", {})
    assert not (tmp_path / "support.zip").exists()
    support.write(settings.school, tmp_path / "support.zip", {})


def test_without_an_engine_and_without_a_journal(settings: Config, tmp_path: Path, monkeypatch: Any) -> None:
    def nobody() -> None:
        raise ClmsError("ENGINE_UNREACHABLE", detail="x")

    monkeypatch.setattr(support, "Engine", nobody)
    support.write(settings.school, tmp_path / "support.zip", {})
    with zipfile.ZipFile(tmp_path / "support.zip") as archive:
        assert archive.read("history.json").startswith(b"not to be had: ClmsError")


@pytest.mark.parametrize("place", ["there", "missing/support.zip"])
def test_a_file_that_cannot_be_written(
    files: None, folder: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").write_text("something of somebody")
    arguments = ["doctor", "--bundle", str(tmp_path / place), "--json", "--config", str(folder)]
    assert cli.main(arguments) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "SUPPORT_FILE"
    assert (tmp_path / "there").read_text() == "something of somebody"
