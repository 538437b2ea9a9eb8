# SPDX-License-Identifier: GPL-3.0-or-later
"""How a phase is carried out: its records, its failures, and what the module returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import lock, phases
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.phases import ARGUMENTS, carry_out, work_of
from ansible_collections.clms.update.plugins.module_utils.plan import PHASES
from ansible_collections.clms.update.plugins.module_utils.run import Context, do_phase, read_env_file
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

Begin = Callable[..., Context]


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "preflight"])
def test_a_phase_has_a_module_of_its_name(phase: str) -> None:
    work = work_of(phase)
    assert work.__module__.rsplit(".", 1) == [phases.__name__, phase]
    assert phase in ARGUMENTS["name"]["choices"]


def test_the_result_of_a_phase_is_kept(begin: Begin, old: Slot, new: Slot) -> None:
    context = begin(phase="backup")
    seen: list[Context] = []

    def work(inside: Context) -> dict[str, Any]:
        seen.append(inside)
        assert (inside.old, inside.new) == (old, new)
        assert inside.release.version.text == "1.0.1"
        return {"backup": "b"}

    home = context.journal.path.parent
    assert do_phase(home, context.run.id, "backup", work) == {"backup": "b"}
    assert len(seen) == 1
    assert context.run.result("backup") == {"backup": "b"}
    assert context.run.phase() == "rehearse"


@pytest.mark.parametrize(
    ("problem", "code", "detail"),
    [
        pytest.param(ClmsError("BACKUP_FAILED", detail="x"), "BACKUP_FAILED", "x.", id="one of ours"),
        pytest.param(ZeroDivisionError("a fault"), "INTERNAL", "ZeroDivisionError: a fault", id="any other"),
        pytest.param(OSError(28, "No space left on device"), "INTERNAL", "No space left", id="the disk"),
    ],
)
def test_a_failure_is_kept_and_the_run_stays_open(begin: Begin, problem: Exception, code: str, detail: str) -> None:
    context = begin(phase="backup")

    def work(_: Context) -> dict[str, Any]:
        raise problem

    with pytest.raises(ClmsError) as caught:
        do_phase(context.journal.path.parent, context.run.id, "backup", work)
    assert caught.value.code == code
    failure = context.run.failure()
    assert failure == {"phase": "backup", **caught.value.as_dict()}
    assert detail in failure["message"]
    assert context.journal.row(context.run.id).outcome is None
    assert context.run.phase() == "backup"


def test_a_phase_that_is_not_due_does_nothing(begin: Begin) -> None:
    context = begin(phase="backup")

    def work(_: Context) -> dict[str, Any]:
        raise AssertionError("it must not come to this")

    home = context.journal.path.parent
    for phase, run, code in (
        ("slot", context.run.id, "RUN_PHASE"),
        ("backup", context.run.id - 1, "RUN_NONE"),  # a process of an older run
        ("backup", 99, "RUN_NONE"),
    ):
        with pytest.raises(ClmsError) as caught:
            do_phase(home, run, phase, work)
        assert caught.value.code == code
    assert context.run.failure() is None


@pytest.mark.parametrize(("phase", "released"), [("open", False), ("clean_up", True)])
def test_the_lock_is_let_go_with_the_last_phase(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, phase: str, released: bool
) -> None:
    context = begin(phase=phase)
    asked: list[Path] = []
    monkeypatch.setattr(lock, "release", asked.append)
    do_phase(context.journal.path.parent, context.run.id, phase, lambda _: {})
    assert bool(asked) is released
    assert (context.journal.row(context.run.id).outcome == "COMPLETED") is released


# what the module returns


@pytest.fixture
def options(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of the module for the phase `backup`, which is due."""
    context = begin(phase="backup")
    return {"name": "backup", "home": str(context.journal.path.parent), "run": context.run.id}


def test_the_module_returns_the_result(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "work_of", lambda phase: lambda context: {"of": phase, "run": context.run.id})
    assert carry_out(options, check_mode=False) == {
        "changed": True,
        "phase": "backup",
        "result": {"of": "backup", "run": options["run"]},
    }


def test_the_module_returns_an_error(options: dict[str, Any]) -> None:
    error = ClmsError("RUN_PHASE", phase="slot", detail="the run is at step 'backup'")
    answer = carry_out({**options, "name": "slot"}, check_mode=False)
    assert answer == {
        "changed": True,
        "phase": "slot",
        "msg": error.happened,
        "code": "RUN_PHASE",
        "remedy": error.remedy,
    }


def test_in_check_mode_nothing_is_done(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, journal: Any) -> None:
    monkeypatch.setattr(phases, "work_of", lambda phase: 1 / 0)
    before = journal.records(options["run"])
    assert carry_out(options, check_mode=True) == {"changed": True, "phase": "backup", "result": {}}
    assert journal.records(options["run"]) == before


# what a phase sees


def test_the_school_is_the_one_of_the_beginning(begin: Begin) -> None:
    context = begin(phase="backup")
    context.run.row.school["title"] = "Another"
    assert context.school.title == "Another"
    assert Context(context.journal, context.journal.run(context.run.id), "backup").school.title == "Linden School"


def test_the_folder_of_a_run_is_for_root_only(begin: Begin) -> None:
    context = begin(phase="backup")
    assert context.folder == context.journal.path.parent / "runs" / str(context.run.id)
    assert context.folder.stat().st_mode & 0o777 == 0o700


def test_environment(begin: Begin, secrets: Path) -> None:
    context = begin(phase="backup")
    assert context.environment(context.school.service("mysql")) == {"MYSQL_ROOT_PASSWORD": "canary-root"}
    assert context.environment(context.school.service("frontend")) == {}


def test_an_environment_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.env"
    path.touch(mode=0o600)
    path.write_bytes(b"A=canary\xff\n")
    with pytest.raises(ClmsError, match="it is not a text file") as caught:
        read_env_file(path)
    assert caught.value.code == "SECRET_FILE"
    assert "canary" not in str(caught.value)


def test_before_the_first_installation_there_is_no_old_version(journal: Any, school: Any) -> None:
    run = journal.begin("install", phases=("preflight",), school=school.raw)
    context = Context(journal, run, "preflight")
    assert context.slot is None
    with pytest.raises(ClmsError) as caught:
        context.old  # noqa: B018 - asking is what fails
    assert caught.value.code == "NOT_INSTALLED"
