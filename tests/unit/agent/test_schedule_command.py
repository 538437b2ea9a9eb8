# SPDX-License-Identifier: GPL-3.0-or-later
"""``clms-update schedule`` from the command line to the table and back, with a real agent that does no runs."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent import agent as agent_module
from agent import cli
from agent.agent import Agent
from agent.planner import Planner
from agent.schedule import Store
from agent.service import Server
from ansible_collections.clms.update.plugins.module_utils.agent_client import Conversation
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run

from .conftest import description, write_config

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC).timestamp()
ENTRY_KEYS = {
    "id", "version", "state", "due_at", "due_local", "time_zone", "missed", "created_at", "run", "outcome", "code",
    "backup_location",
}  # fmt: skip


@pytest.fixture
def served(tmp_path: Path, home: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A school in Berlin with an agent; gives its configuration folder."""
    monkeypatch.setattr(agent_module, "_known_versions", lambda school: {"1.0.1"})
    with tempfile.TemporaryDirectory() as short:
        described = {
            **description(home),
            "agent_socket": f"{short}/agent.sock",
            "schedule": {"time_zone": "Europe/Berlin"},
        }
        folder = write_config(tmp_path / "etc", described)
        planner = Planner(folder, None, clock=lambda: NOW, check=lambda school: {"checked": school.title})  # type: ignore[arg-type]
        with Server(Path(short) / "agent.sock", Agent(folder, None, planner, None, None), None) as server:  # type: ignore[arg-type]
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            yield folder
            server.shutdown()
            thread.join()


class Command:
    """Runs the command and keeps what it said."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder, self._capsys = folder, capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        assert cli.main([*arguments, "--config", str(self._folder)]) == code
        out, err = self._capsys.readouterr()
        assert not (err if code == 0 else out)
        return out + err

    def json(self, *arguments: str, code: int = 0) -> Any:
        assert cli.main([*arguments, "--json", "--config", str(self._folder)]) == code
        out, err = self._capsys.readouterr()
        assert err == ""
        return json.loads(out)


@pytest.fixture
def command(served: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(served, capsys)


def test_in_words(command: Command) -> None:
    said = command("schedule", "--tonight")
    assert "The update to the newest version is scheduled for Tuesday, 24 November 2026, 22:00 (Europe/Berlin)." in said
    assert "To cancel it: clms-update schedule --cancel 1" in said
    assert "Tue 2026-11-24 22:00  newest   scheduled" in command("list", "--schedule")
    assert "Scheduled: the update to the newest version, Tuesday, 24 November 2026, 22:00" in command("status")
    assert "is cancelled" in command("schedule", "--cancel", "1")
    assert "Scheduled" not in command("status")
    assert "cancelled" in command("list", "--schedule")


def test_for_programs(command: Command) -> None:
    options = ("--version", "1.0.1", "--missed", "skip", "--backup-location", "local")
    said = command.json("schedule", "--at", "2026-11-25T10:00", *options)
    assert set(said) == {"schedule", "warnings"}
    assert set(said["schedule"]) == ENTRY_KEYS
    assert (said["schedule"]["due_at"], said["schedule"]["due_local"]) == (
        "2026-11-25T09:00:00Z",
        "2026-11-25T10:00:00+01:00",
    )
    assert [said["schedule"][name] for name in ("version", "missed", "backup_location")] == ["1.0.1", "skip", "local"]
    assert [warning["code"] for warning in said["warnings"]] == ["SCHOOL_HOURS"]
    assert set(command.json("status")) == {
        "current_version", "latest_version", "news_age_seconds", "news_expired", "running", "last_update", "backups",
    }  # fmt: skip
    listed = command.json("list", "--schedule")
    assert listed == {"schedules": [said["schedule"]], "time_zone": "Europe/Berlin", "checked_at": None}
    assert command.json("schedule", "--cancel", "1")["schedule"]["state"] == "CANCELLED"


def test_a_warning_is_shown(command: Command) -> None:
    said = command("schedule", "--at", "2026-11-25T10:00")
    assert "Note: Wednesday, 25 November 2026, 10:00 (Europe/Berlin) is during school hours" in said


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--at", "2026-11-24T08:59"], "SCHEDULE_PAST"),
        (["--at", "2027-03-28T02:30"], "SCHEDULE_TIME"),
        (["--at", "tomorrow"], "SCHEDULE_TIME"),
        (["--at", ""], "SCHEDULE_TIME"),
        (["--at", "9" * 100], "SCHEDULE_TIME"),
        (["--at", "to\nnight"], "SCHEDULE_TIME"),
        (["--tonight", "--version", "9.9.9"], "RELEASE_UNKNOWN"),
        (["--tonight", "--version", "{{ x }}"], "RELEASE_UNKNOWN"),
        (["--cancel", "7"], "SCHEDULE_UNKNOWN"),
        (["--cancel", "-7"], "SCHEDULE_UNKNOWN"),
        (["--cancel", "9" * 30], "SCHEDULE_UNKNOWN"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else None,
)
def test_refused(command: Command, arguments: list[str], code: str) -> None:
    assert command.json("schedule", *arguments, code=2)["error"]["code"] == code
    assert f"({code})" in command("schedule", *arguments, code=2)
    assert command.json("list", "--schedule")["schedules"] == []


def test_twice(command: Command) -> None:
    command("schedule", "--weekend")
    assert "clms-update schedule --cancel 1" in command("schedule", "--tonight", code=2)


@pytest.mark.parametrize("arguments", [["--tonight"], ["--cancel", "1"]], ids=" ".join)
def test_without_an_agent(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    write_config(folder, {**description(folder / "home"), "agent_socket": str(folder / "none.sock")})
    said = Command(folder, capsys).json("schedule", *arguments, code=2)
    assert said["error"]["code"] == "AGENT_MISSING"
    assert "clms-update update" in said["error"]["remedy"]


def test_nothing_is_scheduled(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = Command(folder, capsys)
    assert command("list", "--schedule").startswith("Nothing is scheduled.")
    assert command.json("list", "--schedule") == {"schedules": [], "time_zone": "UTC", "checked_at": None}


def test_status_of_a_school_whose_schedule_is_broken(command: Command, home: Path) -> None:
    (home / "schedule.db").write_bytes(b"broken" * 1000)
    assert "Scheduled" not in command("status")
    assert command.json("list", "--schedule", code=1)["error"]["code"] == "SCHEDULE_STORE"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--tonight", "--weekend"],
        ["--tonight", "--cancel", "1"],
        ["--cancel", "one"],
        ["--cancel", "1", "--version", "1.0.1"],
        ["--cancel", "1", "--missed", "skip"],
        ["--cancel", "1", "--backup-location", "local"],
        ["--tonight", "--backup-location", "/media/usb"],
        ["--tonight", "--missed", "later"],
        ["tonight"],
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_wrong_usage(folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--config", str(folder), "schedule", *arguments])
    assert caught.value.code == 2
    assert capsys.readouterr().out == ""


# over the socket alone


def ask(home: Path, folder: Path, request: dict[str, Any]) -> Any:
    from agent import config

    conversation = Conversation(config.load(folder).school.agent_socket, request)
    try:
        return conversation.wait(10)
    finally:
        conversation.close()


def test_a_check_over_the_socket_counts(served: Path, home: Path) -> None:
    assert ask(home, served, {"verb": "check"}) == {"checked": "Linden School"}
    assert ask(home, served, {"verb": "list", "what": "schedule"})["checked_at"] == "2026-11-24T08:00:00Z"


def test_a_run_is_asked_to_stop(served: Path, home: Path, begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(Run, "ask_to_cancel", lambda run: asked.append(run.id), raising=False)
    run = begin()
    assert ask(home, served, {"verb": "cancel", "run": run.id}) == {"run": run.id}
    assert asked == [run.id]


def test_a_run_that_cannot_stop_any_more(served: Path, home: Path, begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(run: Run) -> None:
        raise ClmsError("RUN_NONE", phase="cancel")

    monkeypatch.setattr(Run, "ask_to_cancel", too_late, raising=False)
    run = begin()
    for number in (run.id, 99):
        with pytest.raises(ClmsError) as caught:
            ask(home, served, {"verb": "cancel", "run": number})
        assert caught.value.code == ("RUN_CLOSED" if number == run.id else "RUN_UNKNOWN")


def test_what_is_going_on_is_listed(served: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = Command(served, capsys)
    for outcome, words in (("ROLLED_BACK", "rolled back"), ("REFUSED", "refused"), (None, "ended")):
        command("schedule", "--tonight")
        store = Store(home)
        entry = store.scheduled()
        assert entry is not None
        store.end(entry, "DONE", run=1, outcome=outcome, code="X")
        store.close()
        assert words in command("list", "--schedule").splitlines()[1]


def test_status_says_that_an_update_is_overdue(served: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["schedule", "--config", str(served), "--tonight"])
    capsys.readouterr()
    cli.main(["status", "--config", str(served)])
    assert "overdue" not in capsys.readouterr().out
    (home / "gate").mkdir()
    (home / "gate/state.map").write_text("mode blocked\n")
    cli.main(["status", "--config", str(served)])
    assert "A critical update is overdue" in capsys.readouterr().out
