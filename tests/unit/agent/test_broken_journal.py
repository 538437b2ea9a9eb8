# SPDX-License-Identifier: GPL-3.0-or-later
"""A journal that cannot be read, as the command line and the agent meet it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent import cli, doctor, output, runs
from agent.config import Config
from agent.executor import Executor
from agent.progress import Silent
from ansible_collections.clms.update.plugins.module_utils import journal_file
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run
from ansible_collections.clms.update.plugins.module_utils.plan import RECOVERY

from .conftest import FakeRunner, ended

Begin = Callable[..., Run]
REFUSED = ended(2, "JOURNAL_BROKEN", path="x", problem="y", detail="nothing says it", commands="docker ps")


@pytest.fixture
def broken(home: Path, journal: Journal, begin: Begin) -> Path:
    """The school's state folder, with a journal that was spoilt in the middle of a run."""
    begin()
    journal.close()
    (home / "journal.db").write_bytes(b"\0" * 8192)
    return home


def made_anew(home: Path, outcome: str | None = "COMPLETED") -> Callable[[], None]:
    """What the playbook does."""

    def work() -> None:
        journal_file.set_aside(home)
        journal = Journal(home, create=True)
        run = journal.begin("recover", phases=RECOVERY, school={}, version="1.0.0", number=9)
        if outcome:
            run.close(outcome)
        journal.close()

    return work


def test_recovery_begins_a_new_one(settings: Config, broken: Path) -> None:
    run, code = runs.recover(settings, Silent(), FakeRunner(made_anew(broken), ending=ended()))
    assert (code, run["id"], run["kind"], run["outcome"]) == (0, 9, "recover", "COMPLETED")
    assert output.recovery_text(run).startswith("The journal could not be read, so a new one was begun")
    assert "CLMS runs version 1.0.0." in output.recovery_text(run)


def test_what_keeps_it_from_being_finished_is_told(settings: Config, broken: Path) -> None:
    fake = FakeRunner(made_anew(broken, None), ending=ended(2, "ENGINE_UNREACHABLE", detail="x"))
    run, code = runs.recover(settings, Silent(), fake)
    assert (code, run["id"], run["error_code"]) == (3, 9, "ENGINE_UNREACHABLE")


@pytest.mark.parametrize(("ending", "code"), [(REFUSED, "JOURNAL_BROKEN"), (None, "INTERNAL"), (ended(), "INTERNAL")])
def test_a_person_has_to_decide(settings: Config, broken: Path, ending: Any, code: str) -> None:
    run, exit_code = runs.recover(settings, Silent(), FakeRunner(ending=ending))
    assert (exit_code, run["id"], run["error_code"]) == (3, None, code)


@pytest.mark.parametrize("command", ["status", "update", "list"])
def test_other_commands_say_what_to_do(
    folder: Path, broken: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    what = ["--history"] if command == "list" else []
    assert cli.main([command, *what, "--config", str(folder), "--json"]) != 0
    answer = json.loads(capsys.readouterr().out)
    assert "clms-update recover" in str(answer)


def test_the_doctor_finds_it(settings: Config, broken: Path) -> None:
    checks = {check["name"]: check for check in doctor.examine(settings.school)["checks"]}
    assert checks["journal"]["code"] == "JOURNAL_UNREADABLE"


def test_the_agent_puts_it_in_order_at_its_start(folder: Path, broken: Path) -> None:
    fake = FakeRunner(made_anew(broken), ending=ended())
    executor = Executor(folder, lambda play, **_: fake(play))
    job = executor.recover()
    assert job is not None
    assert job.ended.wait(10)
    assert [play.playbook for play in fake.plays] == ["recover"]
    assert job.run is not None
    assert (job.run["kind"], job.run["outcome"], job.exit_code) == ("recover", "COMPLETED", 0)
    assert executor.recover() is None


def test_an_agent_of_a_new_server_has_nothing_to_do(folder: Path, home: Path) -> None:
    assert Executor(folder, FakeRunner()).recover() is None
    assert not (home / "journal.db").exists()
