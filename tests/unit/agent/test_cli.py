# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from agent import cli, output, runs
from agent.protocol import parse
from agent.runner import Play
from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run
from ansible_collections.clms.update.plugins.module_utils.told import told
from publisher.repository import Repository

from .conftest import FakeRunner, ended

STATUS_KEYS = {
    "current_version",
    "latest_version",
    "news_age_seconds",
    "news_expired",
    "running",
    "last_update",
    "backups",
}
BACKUP = "20261123T020000Z-1.0.0-r3"
RUN_KEYS = {"id", "version", "status", "started_at", "finished_at", "closed_seconds", "error_code", "message", "phases"}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Play]:
    """What the command line would have run; every playbook refuses."""
    plays: list[Play] = []

    def start(what: Play) -> FakeRunner:
        plays.append(what)
        return FakeRunner(ending=ended(2, "RUN_ACTIVE", kind="backup", run=3, phase="backup"))

    for name in ("carry_out", "recover"):
        original = getattr(runs, name)
        monkeypatch.setattr(runs, name, lambda *a, original=original: original(*a, start=start))
    return plays


@pytest.mark.parametrize(
    ("arguments", "playbook", "variables"),
    [
        (["update"], "update", {}),
        (["update", "--version", "1.0.2"], "update", {"clms_version": "1.0.2"}),
        (["rollback"], "rollback", {}),
        (["rollback", "--confirm", "1.0.0"], "rollback", {"clms_confirm": "1.0.0"}),
        (["rollback", "--confirm", "{{ x }}"], "rollback", {}),
        (["rollback", "--confirm", "yes"], "rollback", {}),
        (["rollback", "--confirm", f"1.0.0-{'x' * 60}"], "rollback", {}),
        (["backup"], "backup", {}),
        (["restore", BACKUP], "restore", {"clms_backup_id": BACKUP}),
        (["restore", BACKUP, "--confirm", "1.0.0"], "restore", {"clms_backup_id": BACKUP, "clms_confirm": "1.0.0"}),
        (["restore", "--confirm", "1.0.0", BACKUP], "restore", {"clms_backup_id": BACKUP, "clms_confirm": "1.0.0"}),
        (["restore", BACKUP, "--confirm", "{{ x }}"], "restore", {"clms_backup_id": BACKUP}),
        (["restore", BACKUP, "--confirm", ""], "restore", {"clms_backup_id": BACKUP}),
        (["recover"], "recover", {}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_commands_that_run_a_playbook(
    folder: Path,
    journal: Journal,
    started: list[Play],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    playbook: str,
    variables: dict[str, str],
) -> None:
    assert cli.main(["--config", str(folder), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Another run is going on: backup number 3" in err
    assert "(RUN_ACTIVE)" in err
    assert [(play.playbook, play.variables) for play in started] == [(playbook, variables)]
    assert cli.main([*arguments, "--json", "--config", str(folder)]) == 2
    data = json.loads(capsys.readouterr().out)
    assert set(data) >= RUN_KEYS
    assert data["error_code"] == "RUN_ACTIVE"


@pytest.mark.parametrize(
    "confirm", ["1.0.0", f"1.0.0-{'x' * 58}", f"1.0.0-{'x' * 59}", "yes", "1.0.0+x", "{{ x }}", ""]
)
def test_the_agent_understands_every_confirmation_that_is_passed_on(confirm: str) -> None:
    """What is no version is left out, so that the answer is the same with an agent and without one."""
    variables = cli._confirmation(argparse.Namespace(confirm=confirm))
    request = {"verb": "rollback", **({"confirm": variables["clms_confirm"]} if variables else {})}
    assert parse(json.dumps(request).encode()).variables == variables


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["update", "--version", "{{ lookup('pipe', 'id') }}"], "RELEASE_UNKNOWN"),
        (["update", "--version", "newest"], "RELEASE_UNKNOWN"),
        (["update", "--version", ""], "RELEASE_UNKNOWN"),
        (["restore", "{{ 7 * 7 }}"], "BACKUP_UNKNOWN"),
        (["restore", "../../etc"], "BACKUP_UNKNOWN"),
        (["restore", "../../etc", "--confirm", "1.0.0"], "BACKUP_UNKNOWN"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_texts_that_name_nothing_never_reach_ansible(
    folder: Path,
    journal: Journal,
    started: list[Play],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: str,
) -> None:
    assert cli.main([*arguments, "--json", "--config", str(folder)]) == 2
    assert json.loads(capsys.readouterr().out)["error_code"] == code
    assert not started


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["restore"],
        ["restore", BACKUP, "--confirm"],
        ["update", "1.0.2"],
        ["list", "--backups", "--history"],
        ["status", "--js"],
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("order", [["--json", "status"], ["status", "--json"]], ids=" ".join)
def test_status_where_nothing_is_installed(
    folder: Path, order: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLMS_UPDATE_CONFIG", str(folder))
    assert cli.main(order) == 0
    data = json.loads(capsys.readouterr().out)
    assert set(data) == STATUS_KEYS
    assert data["current_version"] is None


def test_status_in_words(
    folder: Path, home: Path, begin: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    begin().enter("preflight")
    assert cli.main(["status", "--config", str(folder)]) == 0
    assert "The update to version 1.0.1 was interrupted. To put CLMS back in order" in capsys.readouterr().out
    descriptor = lock.acquire(home)
    assert descriptor is not None
    assert cli.main(["status", "--config", str(folder)]) == 0
    assert "Going on right now: The update to version 1.0.1, 0 %" in capsys.readouterr().out
    os.close(descriptor)


@pytest.mark.parametrize(
    ("option", "key", "empty"),
    [
        ("--backups", "backups", "There is no backup yet."),
        ("--history", "history", "Nothing has been done here yet."),
        ("--events", "events", "Nothing has happened here yet."),
        (None, "releases", "Nothing is known yet."),
    ],
)
def test_lists(
    folder: Path, journal: Journal, option: str | None, key: str, empty: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["list", *([option] if option else []), "--config", str(folder)]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.startswith(empty)
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[key] == []


def test_history_and_events(
    folder: Path, journal: Journal, begin: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    begin().close("COMPLETED")
    journal.event("UPDATE_CHECKED", told("NEWEST_NONE"))
    assert cli.main(["list", "--history", "--config", str(folder)]) == 0
    assert "CLMS was updated to version 1.0.1." in capsys.readouterr().out
    assert cli.main(["list", "--events", "--config", str(folder), "--json"]) == 0
    event = json.loads(capsys.readouterr().out)["events"][0]
    assert (event["type"], event["message"]) == ("UPDATE_CHECKED", "Newest release: none.")
    assert event["at"].endswith("Z")


def test_check_needs_an_installation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--json", "--config", str(folder)]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "NOT_INSTALLED"


@pytest.mark.parametrize("content", [None, b"", b"PK no bundle"], ids=["missing", "empty", "another file"])
def test_import_of_what_is_no_bundle(
    folder: Path, content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str], vendor_root: Path
) -> None:
    path = tmp_path / "clms.zip"
    if content is not None:
        path.write_bytes(content)
    assert cli.main(["import", str(path), "--json", "--config", str(folder)]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == ("BUNDLE_MISSING" if content is None else "BUNDLE_REFUSED")
    assert str(path) in error["message"]


def test_import_in_words() -> None:
    text = output.import_text(
        {"version": "1.0.1", "architecture": "amd64", "created": "2026-11-24T10:00:00Z", "file": "x", "size": 3 * 10**9}
    )
    assert "Version 1.0.1 is on this server now" in text
    assert text.endswith("clms-update update --version 1.0.1")


@pytest.mark.parametrize(
    ("heard", "words"),
    [(3 * 86_400, "was last heard of 3 days ago"), (0, "was last heard of just now"), (None, "was never heard of")],
)
def test_news_of_a_file_say_how_old_those_of_the_vendor_are(heard: int | None, words: str) -> None:
    offline = ClmsError("SERVER_UNREACHABLE", url="https://releases.test", detail="no route").as_dict()
    text = output.check_text(
        {"message": "x", "updateInfo": None, "blocked": None, "offline": offline, "newsAgeSeconds": heard}
    )
    assert f"The vendor could not be asked, and {words}: {offline['message']}" in text


def test_a_release_in_a_file_is_listed_with_its_age() -> None:
    created = (datetime.now(UTC) - timedelta(days=9, hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    release = {"version": "1.0.1", "channel": "stable", "sequence": 1, "listed": False}
    here = {**release, "file": "clms-1.0.1-amd64.zip", "created": created}
    answer = {"releases": [here], "current_version": "1.0.0", "news_age_seconds": None}
    text = output.list_text(answer)
    assert "file clms-1.0.1-amd64.zip, made 9 days" in text
    assert text.endswith("\nThe vendor was never asked.")
    there = {**release, "listed": True, "file": None, "created": None}
    text = output.list_text({**answer, "releases": [there], "news_age_seconds": 120})
    assert text.endswith("\nThe vendor was asked 2 min ago.")


@pytest.fixture
def vendor_root(folder: Path, tmp_path: Path) -> Path:
    """The pinned root of a vendor."""
    signer = CryptoSigner.generate_ed25519()
    root = tmp_path / "secrets/root.json"
    root.parent.mkdir(exist_ok=True)
    root.write_bytes(Repository.create(tmp_path / "vendor", [signer], signer, signer).root_bytes())
    return root


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (PermissionError(13, "Permission denied", "/var/lib/clms-update/journal.db"), "JOURNAL_UNREADABLE"),
        (RuntimeError("boom"), "INTERNAL"),
    ],
    ids=["not root", "bug"],
)
def test_no_traceback(
    folder: Path, problem: Exception, code: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> Any:
        raise problem

    monkeypatch.setattr("ansible_collections.clms.update.plugins.module_utils.overview.status", fail)
    monkeypatch.delenv("CLMS_UPDATE_DEBUG", raising=False)
    assert cli.main(["status", "--config", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert (out, "Traceback" in err) == ("", False)
    assert f"({code})" in err
    monkeypatch.setenv("CLMS_UPDATE_DEBUG", "1")
    with pytest.raises(type(problem)):
        cli.main(["status", "--config", str(folder)])
