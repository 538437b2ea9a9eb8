# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from agent import runs
from agent.config import Config
from agent.progress import Lines, Silent
from agent.runner import Ending
from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS

from .conftest import FakeRunner, ended

Begin = Callable[..., Run]
UPDATE = runs.Order("update", "1.0.1", {"clms_version": "1.0.1"})


def _complete(run: Run) -> None:
    for phase in run.row.phases:
        run.enter(phase)
        run.leave(phase)


def test_completed(settings: Config, journal: Journal, begin: Begin) -> None:
    _complete(begin(version="1.0.0"))  # an earlier run is not this one
    fake = FakeRunner(lambda: _complete(begin()), ending=ended())
    stream = io.StringIO()
    run, code = runs.carry_out(settings, UPDATE, Lines(stream), fake)
    assert (code, run["id"], run["status"], run["outcome"]) == (0, 2, "COMPLETED", "COMPLETED")
    assert [phase["name"] for phase in run["phases"]] == list(KINDS["update"])
    assert [line.split()[0] for line in stream.getvalue().splitlines()] == list(KINDS["update"])
    play = fake.plays[0]
    assert (play.playbook, play.inventory) == ("update", str(settings.inventory))
    assert play.folder == str(settings.school.home / "runner")
    assert play.variables == {"clms_version": "1.0.1"}


@pytest.mark.parametrize(
    ("outcome", "error", "expected"),
    [
        ("ABORTED", ClmsError("BACKUP_FAILED", detail="no"), 1),
        ("ROLLED_BACK", ClmsError("HEALTH_FAILED", detail="no"), 1),
        ("REFUSED", ClmsError("RELEASE_UNKNOWN", version="9.9.9"), 2),
        ("NEEDS_OPERATOR", ClmsError("ROLLBACK_FAILED", detail="no", commands="docker start x"), 3),
    ],
    ids=["aborted", "rolled back", "refused", "needs operator"],
)
def test_outcomes(settings: Config, begin: Begin, outcome: str, error: ClmsError, expected: int) -> None:
    def fail() -> None:
        run = begin()
        run.enter("preflight")
        run.fail("preflight", error)
        run.close(outcome, {"phase": "preflight", **error.as_dict()})

    fake = FakeRunner(fail, ending=ended(2, "INTERNAL", phase="x", detail="y"))
    run, code = runs.carry_out(settings, UPDATE, Silent(), fake)
    assert (code, run["outcome"], run["error_code"]) == (expected, outcome, error.code)
    assert (run["message"], run["remedy"]) == (error.happened, error.remedy)


@pytest.mark.parametrize(
    ("ending", "expected", "said"),
    [
        (ended(2, "RUN_ACTIVE", kind="update", run=7, phase="backup"), 2, "RUN_ACTIVE"),
        (ended(2, "RUN_INTERRUPTED", kind="update", run=7, phase="backup"), 2, "RUN_INTERRUPTED"),
        (ended(2, "SCHOOL_INCOMPLETE", detail="x"), 2, "SCHOOL_INCOMPLETE"),
        (ended(4, "INTERNAL", phase="update", detail="the inventory is broken"), 1, "INTERNAL"),
        (None, 1, "INTERNAL"),
    ],
    ids=["active", "interrupted", "incomplete", "playbook broken", "killed"],
)
def test_no_run_of_its_own(settings: Config, journal: Journal, ending: Any, expected: int, said: str) -> None:
    run, code = runs.carry_out(settings, UPDATE, Silent(), FakeRunner(ending=ending))
    assert (code, run["id"], run["error_code"], run["status"]) == (expected, None, said, "FAILED")
    assert run["version"] == "1.0.1"


def test_nothing_to_do(settings: Config, journal: Journal) -> None:
    run, code = runs.carry_out(settings, UPDATE, Silent(), FakeRunner(ending=ended(0)))
    assert (code, run["id"], run["error_code"], run["status"]) == (0, None, None, "COMPLETED")
    assert "nothing to do" in run["message"]


def test_somebody_elses_run_is_not_taken_for_ours(settings: Config, begin: Begin) -> None:
    fake = FakeRunner(lambda: begin(), ending=ended(2, "RUN_ACTIVE", kind="update", run=1, phase="backup"))
    run, code = runs.carry_out(settings, UPDATE, Silent(), fake)
    assert (code, run["id"], run["error_code"]) == (2, None, "RUN_ACTIVE")
    assert len(fake.plays) == 1


def test_a_run_that_was_left_open_is_recovered(settings: Config, journal: Journal, begin: Begin) -> None:
    def put_back() -> None:
        journal.run(1).close(
            "ROLLED_BACK", {"phase": "migrate", **ClmsError("INTERNAL", phase="x", detail="y").as_dict()}
        )

    fake = FakeRunner(ending=ended(2, "INTERNAL", phase="x", detail="y"))
    fakes = iter([FakeRunner(lambda: begin(), ending=fake.ending()), FakeRunner(put_back, ending=ended())])
    started: list[str] = []

    def start(what: Any) -> FakeRunner:
        started.append(what.playbook)
        return next(fakes)

    run, code = runs.carry_out(settings, UPDATE, Silent(), start)
    assert started == ["update", "recover"]
    assert (code, run["outcome"]) == (1, "ROLLED_BACK")


def test_a_killed_process_is_left_to_the_person(settings: Config, begin: Begin) -> None:
    fake = FakeRunner(lambda: begin().enter("preflight"), ending=None)
    run, code = runs.carry_out(settings, UPDATE, Silent(), fake)
    assert [play.playbook for play in fake.plays] == ["update"]
    assert (code, run["error_code"], run["outcome"]) == (3, "RUN_INTERRUPTED", None)
    assert "clms-update recover" in run["remedy"]


def test_not_installed(settings: Config) -> None:
    fake = FakeRunner()
    with pytest.raises(ClmsError, match="No installation"):
        runs.carry_out(settings, UPDATE, Silent(), fake)
    assert not fake.plays
    assert not settings.school.home.exists()


def test_recover(settings: Config, journal: Journal, begin: Begin) -> None:
    begin()
    fake = FakeRunner(lambda: journal.run(1).close("ROLLED_BACK", {"phase": "migrate"}), ending=ended())
    run, code = runs.recover(settings, Silent(), fake)
    assert (code, run["id"], run["outcome"]) == (0, 1, "ROLLED_BACK")


def _give_up(run: Run) -> ClmsError:
    error = ClmsError("ROLLBACK_FAILED", detail="no database", commands="docker start x")
    run.close("NEEDS_OPERATOR", {"phase": "rollback", **error.as_dict()})
    return error


@pytest.mark.parametrize("outcome", ["ROLLED_BACK", "COMPLETED"])
def test_a_run_that_was_given_up_is_taken_up_again(
    settings: Config, journal: Journal, begin: Begin, outcome: str
) -> None:
    _give_up(begin())
    begin().close("REFUSED")  # somebody has tried to update meanwhile

    def put_back() -> None:
        journal.run(1).reopen()
        journal.run(1).close(outcome, {"phase": "migrate", "code": "x", "message": "y", "remedy": "z"})

    fake = FakeRunner(put_back, ending=ended())
    run, code = runs.recover(settings, Silent(), fake)
    assert [play.playbook for play in fake.plays] == ["recover"]
    assert (code, run["id"], run["outcome"]) == (0, 1, outcome)


@pytest.mark.parametrize(
    "ending",
    [ended(), ended(2, "ENGINE_UNREACHABLE", detail="x"), None],
    ids=["tried in vain", "and failed at something after that", "and killed after that"],
)
def test_a_run_that_is_given_up_again_says_so(
    settings: Config, journal: Journal, begin: Begin, ending: Ending | None
) -> None:
    _give_up(begin())
    again = ClmsError("ROLLBACK_FAILED", detail="still no database", commands="docker start y")

    def try_in_vain() -> None:
        journal.run(1).reopen()
        journal.run(1).close("NEEDS_OPERATOR", {"phase": "rollback", **again.as_dict()})

    run, code = runs.recover(settings, Silent(), FakeRunner(try_in_vain, ending=ending))
    assert (code, run["id"], run["outcome"], run["error_code"]) == (3, 1, "NEEDS_OPERATOR", "ROLLBACK_FAILED")
    assert (run["message"], run["remedy"]) == (again.happened, again.remedy)


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        pytest.param(
            ended(2, "ENGINE_UNREACHABLE", detail="x"), ClmsError("ENGINE_UNREACHABLE", detail="x"), id="engine down"
        ),
        pytest.param(
            None,
            ClmsError("INTERNAL", phase="recover", detail="the process that does the work was killed"),
            id="killed",
        ),
    ],
)
@pytest.mark.parametrize(
    ("reopened", "outcome"),
    [
        pytest.param(False, "NEEDS_OPERATOR", id="not even tried"),
        pytest.param(
            True,
            None,
            id="while it was tried",
        ),
    ],
)
def test_what_keeps_a_run_that_was_given_up_from_being_taken_up_again_is_told(
    settings: Config,
    journal: Journal,
    begin: Begin,
    reopened: bool,
    outcome: str | None,
    ending: Ending | None,
    error: ClmsError,
) -> None:
    _give_up(begin())
    steps = [journal.run(1).reopen] if reopened else []
    run, code = runs.recover(settings, Silent(), FakeRunner(*steps, ending=ending))
    assert (code, run["id"], run["outcome"]) == (3, 1, outcome)
    assert (run["error_code"], run["message"], run["remedy"]) == (error.code, error.happened, error.remedy)


def test_what_keeps_a_run_from_being_put_in_order_is_told(settings: Config, begin: Begin) -> None:
    begin()
    error = ClmsError("ENGINE_UNREACHABLE", detail="x")
    run, code = runs.recover(settings, Silent(), FakeRunner(ending=ended(2, "ENGINE_UNREACHABLE", detail="x")))
    assert (code, run["id"], run["outcome"]) == (3, 1, None)
    assert (run["error_code"], run["message"], run["remedy"]) == (error.code, error.happened, error.remedy)


def test_a_recovery_that_was_killed_is_told(settings: Config, begin: Begin) -> None:
    begin()
    run, code = runs.recover(settings, Silent(), FakeRunner(ending=None))
    assert (code, run["id"], run["error_code"]) == (3, 1, "INTERNAL")
    assert "the process that does the work was killed" in run["message"]


@pytest.mark.parametrize("open_run", [True, False], ids=["it goes on", "another one has just begun"])
def test_nothing_is_put_in_order_while_a_run_goes_on(
    settings: Config, journal: Journal, begin: Begin, open_run: bool
) -> None:
    if open_run:
        begin()
    else:
        _give_up(begin())
    fake = FakeRunner(ending=ended(2, "RUN_ACTIVE", kind="update", run=7, phase="slot"))
    run, code = runs.recover(settings, Silent(), fake)
    assert (code, run["id"], run["error_code"]) == (2, None, "RUN_ACTIVE")
    assert "Wait until it has ended" in run["remedy"]


@pytest.mark.parametrize(
    "outcomes",
    [
        [],
        ["COMPLETED"],
        ["NEEDS_OPERATOR", "COMPLETED"],  # the later one has shown that CLMS serves
    ],
    ids=["nothing was ever done", "completed", "mended by hand"],
)
def test_there_was_nothing_to_put_in_order(
    settings: Config, journal: Journal, begin: Begin, outcomes: list[str]
) -> None:
    for outcome in outcomes:
        begin().close(outcome)
    run, code = runs.recover(settings, Silent(), FakeRunner(ending=ended()))
    assert (code, run["id"], run["status"]) == (0, None, "COMPLETED")
    assert run["message"] == "There was nothing to put in order."


@pytest.mark.parametrize(
    ("open_run", "outcome", "ending", "expected"),
    [
        (False, None, ended(2, "ENGINE_UNREACHABLE", detail="x"), 3),
        (False, None, ended(), 0),
        (True, "NEEDS_OPERATOR", ended(), 3),
        (True, None, ended(2, "ENGINE_UNREACHABLE", detail="x"), 3),
        (True, None, ended(2, "RUN_ACTIVE", kind="update", run=1, phase="slot"), 2),
        (True, None, None, 3),
    ],
    ids=["engine down, nothing to do", "nothing", "cannot", "engine down", "going on", "killed"],
)
def test_recover_exit_codes(
    settings: Config, journal: Journal, begin: Begin, open_run: bool, outcome: str | None, ending: Any, expected: int
) -> None:
    if open_run:
        begin()
    steps = [lambda: journal.run(1).close(outcome)] if outcome else []
    assert runs.recover(settings, Silent(), FakeRunner(*steps, ending=ending))[1] == expected


def test_control_c_does_not_end_the_run(settings: Config, begin: Begin) -> None:
    def press() -> None:
        raise KeyboardInterrupt

    stream = io.StringIO()
    fake = FakeRunner(press, lambda: _complete(begin()), ending=ended())
    assert runs.carry_out(settings, UPDATE, Lines(stream), fake)[1] == 0
    assert "Press Ctrl-C again to stop watching" in stream.getvalue()
    with pytest.raises(runs.StoppedWatching):
        runs.carry_out(settings, UPDATE, Lines(stream), FakeRunner(press, press))


def test_waits_for_the_lock_before_it_recovers(settings: Config, begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    held = iter([True, True, False])
    monkeypatch.setattr(lock, "is_held", lambda home: next(held))
    fake = FakeRunner(lambda: begin(), ending=ended(2, "INTERNAL", phase="x", detail="y"))
    runs.carry_out(settings, UPDATE, Silent(), fake)
    assert next(held, None) is None
