# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: what is in it after each step of a run, and what it refuses."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import journal as journal_module
from ansible_collections.clms.update.plugins.module_utils.errors import CATALOGUE, ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_file import FORMAT
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.slots import Slot
from ansible_collections.clms.update.plugins.module_utils.told import Told

Open = Callable[..., Run]
PHASES = ("preflight", "backup", "clean_up")


@pytest.fixture
def open_run(journal: Journal) -> Open:
    """Opens a run of three phases."""

    def begin(kind: str = "backup", **values: Any) -> Run:
        return journal.begin(kind, phases=PHASES, school={"title": "x"}, **values)

    return begin


@pytest.fixture
def again(journal: Journal) -> Iterator[Journal]:
    """The same journal, as another process sees it."""
    other = Journal(journal.path.parent)
    yield other
    other.close()


def events(journal: Journal, run: int) -> list[tuple[str, str, str]]:
    return [(record.phase, record.step, record.event) for record in journal.records(run)]


def code(action: Callable[[], Any]) -> str:
    with pytest.raises(ClmsError) as caught:
        action()
    return caught.value.code


# runs


def test_a_run_from_begin_to_end(journal: Journal, again: Journal, open_run: Open) -> None:
    run = open_run(version="1.0.1", from_version="1.0.0")
    assert run.phase() == "preflight"
    for phase in PHASES:
        assert run.row.outcome is None
        assert again.run(run.id).phase() == phase
        run.enter(phase)
        assert again.run(run.id).phase() == phase  # it is due until it has been left
        run.leave(phase, number=len(phase))
    assert run.phase() is None
    assert run.row.outcome == "COMPLETED"
    row = again.row(run.id)
    assert (row.kind, row.phases, row.version, row.from_version) == ("backup", PHASES, "1.0.1", "1.0.0")
    assert row.school == {"title": "x"}
    assert row.closed_at is not None
    assert row.closed_at >= row.opened_at
    assert again.open_run() is None
    assert events(again, run.id) == [(phase, "", event) for phase in PHASES for event in ("enter", "leave")]
    assert again.run(run.id).result("backup") == {"number": 6}


@pytest.mark.parametrize(
    ("done", "phase", "detail"),
    [
        pytest.param(0, "backup", "the run is at step 'preflight'", id="too-early"),
        pytest.param(2, "preflight", "the run is at step 'clean_up'", id="done-already"),
        pytest.param(1, "slot", "the run is at step 'backup'", id="not-of-this-kind"),
        pytest.param(1, "no_such_phase", "the run is at step 'backup'", id="unknown"),
    ],
)
def test_the_wrong_phase_is_refused(open_run: Open, done: int, phase: str, detail: str) -> None:
    run = open_run()
    for name in PHASES[:done]:
        run.enter(name)
        run.leave(name)
    with pytest.raises(ClmsError) as caught:
        run.enter(phase)
    assert (caught.value.code, caught.value.values["detail"]) == ("RUN_PHASE", detail)
    assert (phase, "", "enter") not in events(run.journal, run.id)[2 * done :]


def test_a_phase_that_was_interrupted_may_be_entered_again(open_run: Open) -> None:
    run = open_run()
    run.enter("preflight")
    run.enter("preflight")
    run.leave("preflight")
    assert run.phase() == "backup"


@pytest.mark.parametrize("outcome", ["COMPLETED", "REFUSED", "ABORTED", "ROLLED_BACK", "NEEDS_OPERATOR"])
def test_a_run_that_has_ended_takes_no_phase(journal: Journal, again: Journal, open_run: Open, outcome: str) -> None:
    run = open_run()
    again.run(run.id).close(outcome)  # in another process, so this one does not know yet
    assert run.row.outcome is None
    assert code(lambda: run.enter("preflight")) == "RUN_NONE"
    assert journal.records(run.id) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda run, new: run.enter("preflight"), id="enter"),
        pytest.param(lambda run, new: run.leave("preflight"), id="leave"),
        pytest.param(lambda run, new: run.step("preflight", "copy").__enter__(), id="step"),
        pytest.param(lambda run, new: run.commit(new), id="commit"),
    ],
)
def test_a_process_that_was_left_behind_changes_nothing_any_more(
    two_slots: Run, again: Journal, new: Slot, change: Callable[[Run, Slot], Any]
) -> None:
    again.run(two_slots.id).close("ROLLED_BACK")
    assert code(lambda: change(two_slots, new)) == "RUN_NONE"
    assert again.records(two_slots.id) == []
    assert states(again) == {"r1": "current", "r2": "candidate"}
    assert not again.run(two_slots.id).committed()


def test_an_end_is_not_overwritten(open_run: Open) -> None:
    run = open_run()
    error = ClmsError("BACKUP_FAILED", detail="x").as_dict()
    run.close("ROLLED_BACK", error)
    closed = run.row
    run.close("COMPLETED")
    assert run.row == closed
    assert (run.row.outcome, run.row.error) == ("ROLLED_BACK", error)


def test_the_last_phase_and_the_end_of_its_run_are_one(open_run: Open, again: Journal, monkeypatch: Any) -> None:
    run = open_run()
    for phase in PHASES[:-1]:
        run.enter(phase)
        run.leave(phase)
    run.enter("clean_up")

    def power_cut(*_: Any, **__: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Run, "close", power_cut)
        with pytest.raises(SystemExit):
            run.leave("clean_up")
    assert again.run(run.id).phase() == "clean_up"  # so that it is taken up again, and not left open for ever
    run.leave("clean_up")
    assert again.row(run.id).outcome == "COMPLETED"


def test_only_one_run_is_open(journal: Journal, again: Journal, open_run: Open) -> None:
    run = open_run("update")
    run.enter("preflight")
    run.leave("preflight")
    with pytest.raises(ClmsError) as caught:
        again.begin("backup", phases=PHASES, school={})
    assert caught.value.code == "RUN_ACTIVE"
    assert caught.value.values == {"kind": "update", "run": run.id, "phase": "backup"}
    assert len(journal.rows()) == 1
    run.close("ABORTED")
    assert again.begin("backup", phases=PHASES, school={}).id == run.id + 1


@pytest.mark.parametrize(
    ("code", "happened"),
    [
        pytest.param(None, "Another run is going on: update number 1, at step 'backup'.", id="by itself"),
        pytest.param("RUN_ACTIVE", "Another run is going on: update number 1, at step 'backup'.", id="going on"),
        pytest.param("RUN_INTERRUPTED", "Run number 1 (update) was interrupted at step 'backup'.", id="interrupted"),
    ],
)
def test_what_is_in_the_way(journal: Journal, open_run: Open, code: str | None, happened: str) -> None:
    run = open_run("update_images")
    run.enter("preflight")
    run.leave("preflight")
    error = journal.in_the_way(code) if code else journal.in_the_way()
    assert (error.code, error.happened) == (code or "RUN_ACTIVE", happened)


def test_in_the_way_before_a_run_is_open(journal: Journal, open_run: Open) -> None:
    open_run("update").close("ABORTED")
    assert journal.in_the_way().values == {"kind": "run", "run": "?", "phase": "preflight"}


def test_a_run_that_does_not_exist(journal: Journal) -> None:
    assert code(lambda: journal.run(99)) == "RUN_NONE"


def test_runs_newest_first(journal: Journal, open_run: Open) -> None:
    for kind in ("install", "backup", "update"):
        open_run(kind).close("COMPLETED")
    assert [row.kind for row in journal.rows()] == ["update", "backup", "install"]
    assert [row.kind for row in journal.rows(limit=2)] == ["update", "backup"]
    assert [row.kind for row in journal.rows(kinds=("backup", "install"))] == ["backup", "install"]
    assert [row.kind for row in journal.rows(kinds=("backup", "install"), limit=1)] == ["backup"]
    assert journal.rows(kinds=("restore",)) == []


def test_what_a_run_is_about_is_settled_later(again: Journal, open_run: Open) -> None:
    run = open_run("update")
    run.use(kind="update_images", phases=("preflight", "clean_up"), version="1.0.2", from_version="1.0.0")
    for row in (run.row, again.row(run.id)):
        assert (row.kind, row.phases) == ("update_images", ("preflight", "clean_up"))
        assert (row.version, row.from_version) == ("1.0.2", "1.0.0")


def test_a_run_that_found_nothing_to_do_leaves_nothing(journal: Journal, open_run: Open) -> None:
    run = open_run()
    run.enter("preflight")
    run.discard()
    assert journal.open_run() is None
    assert journal.rows() == []
    assert journal.records(run.id) == []
    assert open_run().id > run.id  # numbers name containers and volumes: none is given twice


@pytest.mark.parametrize(
    ("outcome", "open_again"),
    [("NEEDS_OPERATOR", True), ("ROLLED_BACK", False), ("ABORTED", False), ("COMPLETED", False)],
)
def test_only_a_run_that_was_given_up_is_opened_again(open_run: Open, outcome: str, open_again: bool) -> None:
    run = open_run()
    run.close(outcome, ClmsError("ROLLBACK_FAILED", detail="x", commands="y").as_dict())
    run.reopen()
    assert (run.row.outcome is None) is open_again
    assert (run.row.closed_at is None) is open_again
    assert (run.row.error is None) is open_again


# records


def test_intent_is_written_before_the_body(again: Journal, open_run: Open) -> None:
    run = open_run()
    with run.step("backup", "copy", volume="v") as outcome:
        (intent,) = again.records(run.id)
        assert (intent.phase, intent.step, intent.event, intent.names) == ("backup", "copy", "intent", {"volume": "v"})
        outcome["bytes"] = 7
    done = again.records(run.id)[-1]
    assert (done.event, done.names) == ("done", {"volume": "v", "bytes": 7})


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_step_that_fails_is_not_done(open_run: Open, problem: type[BaseException]) -> None:
    run = open_run()
    with pytest.raises(problem), run.step("backup", "copy"):
        raise problem
    assert events(run.journal, run.id) == [("backup", "copy", "intent")]
    assert run.intended("copy")


def test_what_was_begun(open_run: Open) -> None:
    run = open_run()
    run.record("drain", "gate_close", "intent")
    assert run.intended("gate_close")
    assert run.intended("x", "gate_close")
    assert not run.intended("gate_open")


def test_the_result_of_a_phase_is_the_last_one(open_run: Open) -> None:
    run = open_run()
    assert run.result("preflight") == {}
    for number in (1, 2):
        run.leave("preflight", number=number)
    assert run.result("preflight") == {"number": 2}


def test_the_first_failure_is_the_cause(open_run: Open) -> None:
    run = open_run()
    assert run.failure() is None
    first = ClmsError("BACKUP_FAILED", detail="first")
    run.fail("backup", first)
    run.fail("backup", ClmsError("BACKUP_FAILED", detail="second"))
    assert run.failure() == {"phase": "backup", **first.as_dict()}
    assert run.row.outcome is None  # it stays open until it has been put back


def test_a_failed_attempt_to_put_a_run_back_is_not_its_cause(open_run: Open) -> None:
    run = open_run()
    run.record("rollback", "attempt", "failed", number=1, detail="no engine")
    assert run.failure() is None


# slots and the commit record


@pytest.fixture
def two_slots(journal: Journal, old: Slot, new: Slot) -> Run:
    """1.0.0 serves, and a run has made a slot for 1.0.1."""
    first = journal.begin("install", phases=PHASES, school={})
    journal.set_slot(old, "candidate")
    first.commit(old)
    first.close("COMPLETED")
    run = journal.begin("update", phases=PHASES, school={})
    journal.set_slot(new, "candidate")
    return run


def states(journal: Journal) -> dict[str, str]:
    names = ("candidate", "current", "previous", "kept", "freed")
    return {slot.name: state for state in names for slot in journal.slots(state)}


def test_commit_moves_the_slots(two_slots: Run, again: Journal, old: Slot, new: Slot) -> None:
    assert states(again) == {"r1": "current", "r2": "candidate"}
    assert not two_slots.committed()
    two_slots.commit(new)
    assert states(again) == {"r1": "previous", "r2": "current"}
    assert again.run(two_slots.id).committed()
    assert again.slot("current") == new
    assert again.slot("previous") == old


def test_going_back_moves_them_again(two_slots: Run, journal: Journal, old: Slot, new: Slot) -> None:
    two_slots.commit(new)
    two_slots.close("COMPLETED")
    back = journal.begin("rollback", phases=PHASES, school={})
    assert not back.committed()
    back.commit(old)
    assert states(journal) == {"r1": "current", "r2": "previous"}


def test_half_a_commit_is_none(two_slots: Run, again: Journal, new: Slot) -> None:
    two_slots.journal.file.db.execute(
        "CREATE TRIGGER cut BEFORE UPDATE ON slots WHEN NEW.state = 'current' BEGIN SELECT RAISE(ABORT, 'cut'); END"
    )
    with pytest.raises(sqlite3.Error, match="cut"):
        two_slots.commit(new)
    assert states(again) == {"r1": "current", "r2": "candidate"}
    assert not again.run(two_slots.id).committed()


def test_a_run_commits_once(two_slots: Run, new: Slot) -> None:
    two_slots.commit(new)
    with pytest.raises(sqlite3.IntegrityError):
        two_slots.commit(new)


def test_a_slot_that_the_journal_does_not_know_cannot_serve(two_slots: Run, again: Journal, new: Slot) -> None:
    two_slots.journal.file.db.execute("DELETE FROM slots WHERE name = 'r2'")
    with pytest.raises(sqlite3.IntegrityError):
        two_slots.commit(new)
    assert states(again) == {"r1": "current"}


def test_slots_of_several_states(two_slots: Run, journal: Journal, old: Slot, new: Slot) -> None:
    assert journal.slots("candidate", "current") == [old, new]
    assert journal.slot("candidate", "current") == new
    assert journal.slot("kept") is None
    journal.set_slot(new, "freed")
    assert states(journal) == {"r1": "current", "r2": "freed"}


def test_events_newest_first(journal: Journal, open_run: Open) -> None:
    run = open_run()
    journal.event("UPDATE_CHECKED", Told("first", "NEWEST", {"version": "1.0.1"}))
    journal.event("UPDATE_STARTED", Told("second", "", {}), run=run.id)
    journal.event("UPDATE_SCHEDULED", Told("third", "", {}), schedule=4)
    found = [(event["type"], event["run"], event["schedule"], event["message"]) for event in journal.events()]
    assert found == [
        ("UPDATE_SCHEDULED", None, 4, "third"),
        ("UPDATE_STARTED", run.id, None, "second"),
        ("UPDATE_CHECKED", None, None, "first"),
    ]
    assert len(journal.events(limit=1)) == 1
    assert journal.events()[2]["told"] == {"code": "NEWEST", "values": {"version": "1.0.1"}}


# the file


def test_the_journal_is_safe_from_a_power_cut_and_from_other_users(journal: Journal) -> None:
    assert journal.file.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal.file.db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_server_without_installation(tmp_path: Path) -> None:
    assert code(lambda: Journal(tmp_path / "home")) == "NOT_INSTALLED"
    assert not (tmp_path / "home").exists()


def test_whether_there_is_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert not Journal.exists(home)
    home.mkdir()
    assert not Journal.exists(home)
    with closing(Journal(home, create=True)):
        assert Journal.exists(home)
    assert Journal.exists(home)


def test_opening_it_again_keeps_everything(journal: Journal, open_run: Open) -> None:
    run = open_run()
    journal.close()
    with closing(Journal(journal.path.parent, create=True)) as opened:
        assert opened.row(run.id) == run.row


def test_a_journal_of_a_newer_version(journal: Journal) -> None:
    journal.file.db.execute(f"PRAGMA user_version={FORMAT + 1}")
    with pytest.raises(ClmsError) as caught:
        Journal(journal.path.parent)
    assert caught.value.code == "JOURNAL_NEWER"
    assert (caught.value.values["found"], caught.value.values["known"]) == (FORMAT + 1, FORMAT)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.write_bytes(b"this is no database\n" * 200), id="something-else"),
        pytest.param(lambda path: path.write_bytes(b"\0" * 8192), id="zeros"),
        pytest.param(lambda path: path.mkdir(), id="a-folder"),
        pytest.param(lambda path: path.symlink_to("/dev/full"), id="a-device"),
    ],
)
@pytest.mark.parametrize("create", [False, True])
def test_a_file_that_cannot_be_read(tmp_path: Path, spoil: Callable[[Path], Any], create: bool) -> None:
    spoil(tmp_path / "journal.db")
    assert code(lambda: Journal(tmp_path, create=create)) == "JOURNAL_UNREADABLE"


# several processes

BEGIN = """
import sys, time
from pathlib import Path
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
home, at = Path(sys.argv[1]), float(sys.argv[2])
time.sleep(max(0, at - time.time()))
try:
    print(Journal(home, create=True).begin("update", phases=("preflight",), school={}).id)
except ClmsError as error:
    print(error.code)
"""


def test_of_several_processes_one_gets_the_run(tmp_path: Path) -> None:
    at = time.time() + 1.0  # by then all of them have started
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN, str(tmp_path / "home"), str(at)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    answers = sorted(process.communicate(timeout=30)[0].strip() for process in processes)
    assert answers == ["1", *["RUN_ACTIVE"] * 3]
    with closing(Journal(tmp_path / "home")) as journal:
        assert [row.id for row in journal.rows()] == [1]


def test_two_processes_write_records_at_the_same_time(journal: Journal, open_run: Open) -> None:
    run = open_run()
    program = (
        "import sys\nfrom pathlib import Path\n"
        f"from {journal_module.__name__} import Journal\n"
        "run = Journal(Path(sys.argv[1])).run(int(sys.argv[2]))\n"
        "for number in range(30): run.record('backup', sys.argv[3], 'note', number=number)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(journal.path.parent), str(run.id), name])
        for name in ("a", "b")
    ]
    assert [writer.wait(timeout=30) for writer in writers] == [0, 0]
    for name in ("a", "b"):
        found = [record.names["number"] for record in journal.records(run.id) if record.step == name]
        assert found == list(range(30))


def test_an_error_survives_the_journal(again: Journal, open_run: Open) -> None:
    run = open_run()
    error = ClmsError("SMOKE_FAILED", detail="step 'Bücher' answered 500")
    run.fail("backup", error)
    run.close("ABORTED", run.failure())
    assert again.row(run.id).error == {"phase": "backup", **error.as_dict()}
    assert error.code in CATALOGUE
    assert json.dumps(again.row(run.id).error)


def test_an_event_that_is_told_once(journal: Journal) -> None:
    for message in ("Version 1.0.1 is available.", "Version 1.0.2 is available.", "Version 1.0.1 is available."):
        journal.event_once("UPDATE_AVAILABLE", Told(message, "", {}))
    journal.event_once("UPDATE_CHECKED", Told("Version 1.0.1 is available.", "", {}))
    assert [(event["type"], event["message"][8:13]) for event in reversed(journal.events())] == [
        ("UPDATE_AVAILABLE", "1.0.1"),
        ("UPDATE_AVAILABLE", "1.0.2"),
        ("UPDATE_CHECKED", "1.0.1"),
    ]


def test_runs_of_before(journal: Journal) -> None:
    for kind in ("update", "backup", "update"):
        journal.begin(kind, phases=KINDS[kind], school={}).close("COMPLETED")
    assert [row.id for row in journal.rows(before=3)] == [2, 1]
    assert [row.id for row in journal.rows(before=3, kinds=("update",))] == [1]
    assert journal.rows(before=1) == []


def test_totals(journal: Journal) -> None:
    for outcome in ("COMPLETED", "COMPLETED", "ROLLED_BACK"):
        journal.begin("update", phases=KINDS["update"], school={}).close(outcome)
    journal.begin("update", phases=KINDS["update"], school={})
    found = journal.totals()
    assert [(one["kind"], one["outcome"], one["count"]) for one in found] == [
        ("update", "COMPLETED", 2),
        ("update", "ROLLED_BACK", 1),
    ]
    assert all(0 <= one["seconds"] < 60 for one in found)
