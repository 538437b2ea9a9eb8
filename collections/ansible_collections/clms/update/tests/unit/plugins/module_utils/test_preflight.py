# SPDX-License-Identifier: GPL-3.0-or-later
"""May a run be done? Every reason why not, and what a run that may be done is given."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import lock
from ansible_collections.clms.update.plugins.module_utils import run as run_module
from ansible_collections.clms.update.plugins.module_utils.disk import Mount
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.phases import preflight
from ansible_collections.clms.update.plugins.module_utils.phases.preflight import Request, check_release
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.release import parse_release
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.slots import Slot
from ansible_collections.clms.update.plugins.module_utils.version import UPDATER

Begin = Callable[..., Context]
Make = Callable[..., dict[str, Any]]
GB = 10**9
UPDATE = Request("update")


def code(action: Callable[[], Any]) -> str:
    with pytest.raises(ClmsError) as caught:
        action()
    return caught.value.code


# may this release be installed over what runs?

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "current", "kind", "expected"),
    [
        pytest.param({}, "1.0.0", "update", None, id="update"),
        pytest.param({}, None, "install", None, id="install"),
        pytest.param({"minVersion": None}, "0.1.0", "update", None, id="any older version"),
        pytest.param({"minUpdaterVersion": UPDATER.text}, "1.0.0", "update", None, id="just this updater"),
        pytest.param({"expires": "2026-06-01T00:00:01Z"}, "1.0.0", "update", None, id="in its last second"),
        pytest.param({}, "1.0.1", "update", "RELEASE_SAME", id="it runs already"),
        pytest.param({}, "1.0.0", "install", "RELEASE_SAME", id="installed already"),
        pytest.param({}, "1.0.2", "update", "RELEASE_OLDER", id="older"),
        pytest.param({}, "0.9.0", "update", "RELEASE_MIN_VERSION", id="too far"),
        pytest.param({}, None, "update", "NOT_INSTALLED", id="nothing to update"),
        pytest.param({"minUpdaterVersion": "99.0.0"}, "1.0.0", "update", "RELEASE_UPDATER_TOO_OLD", id="updater"),
        pytest.param({"minUpdaterVersion": "99.0.0"}, None, "install", "RELEASE_UPDATER_TOO_OLD", id="its install"),
        pytest.param({"expires": "2026-06-01T00:00:00Z"}, "1.0.0", "update", "RELEASE_EXPIRED", id="expired"),
        pytest.param({"expires": "2025-01-01T00:00:00Z"}, None, "install", "RELEASE_EXPIRED", id="expired install"),
        pytest.param({"expires": "2025-01-01T00:00:00Z"}, "1.0.1", "update", "RELEASE_SAME", id="expired, but runs"),
    ],
)
def test_check_release(
    make_school_release: Make, old: Slot, changes: dict[str, Any], current: str | None, kind: str, expected: str | None
) -> None:
    release = parse_release(make_school_release("1.0.1", **changes))
    slot = Slot.from_dict({**old.as_dict(), "version": current}) if current else None
    if expected:
        assert code(lambda: check_release(release, slot, kind, now=NOW)) == expected
    else:
        check_release(release, slot, kind, now=NOW)


def test_without_a_reference_time_it_is_now(make_school_release: Make, old: Slot) -> None:
    expired = parse_release(make_school_release(expires="2020-01-01T00:00:00Z"))
    assert code(lambda: check_release(expired, old, "update")) == "RELEASE_EXPIRED"
    check_release(parse_release(make_school_release()), old, "update")


# words and numbers


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ({"borrows": 5, "books": 2}, "7 writes (2 in books, 5 in borrows)"),
        ({"books": 1}, "1 write (1 in books)"),
        ({"books": 3, "students": 0}, "3 writes (3 in books)"),
        ({}, "changes, although no new rows were found,"),
    ],
    ids=["several", "one", "untouched tables are left out", "none that could be counted"],
)
def test_words_for_lost_writes(lost: dict[str, int], words: str) -> None:
    assert preflight._words(lost) == words


@pytest.mark.parametrize(
    ("kind", "rehearse", "has_rehearsal"),
    [("update", True, True), ("update", False, False), ("update_images", False, False), ("backup", True, False)],
)
def test_a_school_may_skip_the_rehearsal(
    describe: Make, school: School, kind: str, rehearse: bool, has_rehearsal: bool
) -> None:
    found = preflight.phases_of(kind, preflight.parse_school(describe(rehearse=rehearse)))
    assert ("rehearse" in found) is has_rehearsal
    assert [phase for phase in KINDS[kind] if phase != "rehearse"] == [p for p in found if p != "rehearse"]


def test_the_mount_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    there = preflight.mount_of(tmp_path)
    assert preflight.mount_of(tmp_path / "a" / "b") == there
    assert there.identity == tmp_path.stat().st_dev
    assert tmp_path.is_relative_to(there.path)
    assert Path(there.path).is_mount()
    assert there.free > 0


def test_different_mounts() -> None:
    assert preflight.mount_of(Path("/proc")).identity != preflight.mount_of(Path("/")).identity
    assert preflight.mount_of(Path("/proc/self")).path == "/proc"
    assert preflight.mount_of(Path("/")).path == "/"


# looking at everything


@dataclass
class World:
    """What preflight looks at beside the engine: release, database, gate, disks."""

    release: dict[str, Any]
    problems: list[str] = field(default_factory=list)
    mode: str = "open"
    lost: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """folder's name -> bytes"""
    free: dict[str, int] = field(default_factory=lambda: {"docker": 100 * GB, "backups": 100 * GB})
    closed: int = 0


@pytest.fixture
def world(engine: Any, make_school_release: Make, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A school where everything is as it should be."""
    found = World(make_school_release())

    class Database:
        def settings_problems(self) -> list[str]:
            return found.problems

        def event_scheduler(self) -> str:
            return "ON"

        def close(self) -> None:
            found.closed += 1

    class Gate:
        def __init__(self, *_: Any) -> None: ...

        def mode(self) -> str:
            return found.mode

    def mount_of(path: Path) -> Mount:
        return Mount(0 if path.name == "docker" else 1, f"/{path.name}", found.free[path.name])

    monkeypatch.setattr(run_module, "Engine", lambda: engine)
    monkeypatch.setattr(preflight, "wanted_release", lambda school, version: parse_release(found.release))
    monkeypatch.setattr(preflight, "database_of", lambda *_, **__: Database())
    monkeypatch.setattr(preflight, "GateControl", Gate)
    monkeypatch.setattr(preflight, "lost_writes", lambda context, slot: found.lost)
    monkeypatch.setattr(preflight, "mount_of", mount_of)
    monkeypatch.setattr(preflight, "folder_bytes", lambda path: found.sizes.get(path.name, 0))
    return found


@pytest.mark.parametrize(
    ("asked", "migration", "kind", "slot"),
    [
        pytest.param("update", {}, "update", "r2", id="update"),
        pytest.param("update", {"migration": "none"}, "update_images", "r2", id="without migration"),
        pytest.param("backup", {}, "backup", None, id="backup"),
    ],
)
def test_what_a_run_is_given(
    begin: Begin, world: World, make_school_release: Make, asked: str, migration: dict[str, Any], kind: str, slot: Any
) -> None:
    world.release = make_school_release(**migration)
    context = begin(asked)
    findings = preflight.examine(context, Request(asked))
    assert findings.kind == kind
    assert (findings.slot.name if findings.slot else None) == slot
    assert findings.event_scheduler == "ON"
    assert world.closed == 1


def test_looking_changes_nothing(begin: Begin, world: World, engine: Any) -> None:
    context = begin()
    before = (context.journal.records(context.run.id), context.journal.events(), context.run.row)
    engine.calls.clear()
    preflight.examine(context, UPDATE)
    assert engine.calls == []
    assert (context.journal.records(context.run.id), context.journal.events(), context.run.row) == before


def stopped(world: World, engine: Any) -> None:
    engine.stop("linden-backend-r1", 1)


def removed(world: World, engine: Any) -> None:
    engine.remove("linden-redis-r1")


def one_problem(world: World, engine: Any) -> None:
    world.problems = ["innodb_flush_log_at_trx_commit is not 1", "it is set up as a replica"]


def gate_closed(world: World, engine: Any) -> None:
    world.mode = "closed"


def gate_held(world: World, engine: Any) -> None:
    world.mode = "held"


def docker_full(world: World, engine: Any) -> None:
    world.free["docker"] = 100


def backups_full(world: World, engine: Any) -> None:
    world.free["backups"] = 100
    world.sizes["linden-uploads-r1"] = 1000


def secret(name: str) -> Callable[[World, Any], None]:
    def open_to_all(world: World, engine: Any) -> None:
        (engine.folder.parent / "secrets" / name).chmod(0o644)

    return open_to_all


def no_env_file(world: World, engine: Any) -> None:
    (engine.folder.parent / "secrets" / "backend.env").write_text("canary\n")


def backups_are_a_file(world: World, engine: Any) -> None:
    (engine.folder.parent / "backups").write_text("")


REASONS = [
    pytest.param(stopped, "SCHOOL_NOT_RUNNING", "linden-backend-r1 of 'backend' does not run", id="stopped"),
    pytest.param(removed, "SCHOOL_NOT_RUNNING", "linden-redis-r1 of 'redis' does not run", id="container gone"),
    pytest.param(one_problem, "DATABASE_SETTINGS", "is not 1; it is set up as a replica", id="database"),
    pytest.param(gate_closed, "SCHOOL_NOT_RUNNING", "the gate is closed", id="gate closed"),
    pytest.param(gate_held, "SCHOOL_NOT_RUNNING", "the gate is closed", id="gate held"),
    pytest.param(docker_full, "DISK_TOO_SMALL", "on /docker: images 3 MB", id="no room for images"),
    pytest.param(backups_full, "DISK_TOO_SMALL", "on /backups: backup 1 kB", id="no room for a backup"),
    *(
        pytest.param(secret(name), "SECRET_FILE", name, id=f"{name} can be read by all")
        for name in ("mysql.env", "backend.env", "root.cnf", "host.key", "signing.pem", "smoke.json")
    ),
    pytest.param(no_env_file, "SECRET_FILE", "line 1", id="environment file that is none"),
    pytest.param(backups_are_a_file, "BACKUP_PLACE", "it is not a folder", id="backup place"),
]


@pytest.mark.parametrize(("spoil", "expected", "detail"), REASONS)
def test_reasons_to_refuse(
    begin: Begin, world: World, engine: Any, spoil: Callable[[World, Any], None], expected: str, detail: str
) -> None:
    context = begin()
    spoil(world, engine)
    with pytest.raises(ClmsError) as caught:
        preflight.examine(context, UPDATE)
    assert caught.value.code == expected
    assert detail in caught.value.happened
    assert "canary" not in str(caught.value)


def test_the_database_is_let_go_when_its_settings_are_wrong(begin: Begin, world: World) -> None:
    world.problems = ["x"]
    with pytest.raises(ClmsError):
        preflight.examine(begin(), UPDATE)
    assert world.closed == 1


# going back


def test_there_is_nothing_to_go_back_to(begin: Begin, world: World) -> None:
    context = begin("update")
    assert code(lambda: preflight.examine(context, Request("rollback"))) == "ROLLBACK_UNAVAILABLE"


@pytest.mark.parametrize("typed", [None, "", "yes", "1.0.1", "1.0.0 "])
def test_going_back_that_loses_writes_is_confirmed_by_typing_the_version(
    begin: Begin, world: World, typed: str | None
) -> None:
    world.lost = {"borrows": 5}
    context = begin("rollback")
    with pytest.raises(ClmsError) as caught:
        preflight.examine(context, Request("rollback", confirm=typed))
    assert caught.value.code == "CONFIRMATION_MISSING"
    assert caught.value.values == {"writes": "5 writes (5 in borrows)", "current": "1.0.1", "word": "1.0.0"}
    findings = preflight.examine(context, Request("rollback", confirm="1.0.0"))
    assert (findings.slot, findings.lost) == (context.journal.slot("previous"), {"borrows": 5})


def test_going_back_to_other_data_is_confirmed_even_where_no_write_was_counted(begin: Begin, world: World) -> None:
    assert code(lambda: preflight.examine(begin("rollback"), Request("rollback"))) == "CONFIRMATION_MISSING"


def test_going_back_to_the_same_data_needs_no_confirmation(
    begin: Begin, world: World, engine: Any, school: School, old: Slot, new_images: Slot
) -> None:
    context = begin("update_images")
    context.run.commit(new_images)
    engine.set_up(new_images, school.project)
    # the cache of the old slot is another one, and lost all the same
    assert new_images.own_volumes(old) == ["linden-redis-data-r2"]
    later = Context(context.journal, context.run, "preflight")
    later.engine = engine
    assert preflight.examine(later, Request("rollback")).slot == old


# space


def needs(context: Context, kind: str, slot: Slot | None) -> dict[str, tuple[str, int]]:
    release = slot.parsed_release() if slot else None
    found = preflight.space_needed(context, release, slot, "amd64", kind)
    return {need.purpose: (need.mount.path, need.size) for need in found}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param(
            "update",
            {
                "images": ("/docker", 3_000_000),
                "backup": ("/backups", 5 * GB + 3 * GB),
                "restore test": ("/docker", 10 * GB),
                "slot": ("/docker", 13 * GB),
            },
            id="update",
        ),
        pytest.param(
            "update_images",
            {
                "images": ("/docker", 3_000_000),
                "backup": ("/backups", 5 * GB + 3 * GB),
                "restore test": ("/docker", 10 * GB),
            },
            id="no second copy without a migration",
        ),
    ],
)
def test_space_that_a_run_needs(begin: Begin, world: World, kind: str, expected: dict[str, tuple[str, int]]) -> None:
    context = begin(kind)
    target = context.journal.slot("candidate")
    world.sizes = {"linden-mysql-data-r1": 10 * GB, "linden-uploads-r1": 3 * GB, "linden-logs-r1": 7 * GB}
    world.sizes |= {"linden-redis-data-r1": GB}  # neither logs nor cache are copied
    assert needs(context, kind, target) == expected


def test_images_that_are_here_already_need_no_space(begin: Begin, world: World, engine: Any, new: Slot) -> None:
    context = begin()
    layers = list(new.parsed_release().image("backend", "amd64").layers)
    engine.images[new.services["backend"].image] = {"RootFS": {"Layers": layers}}
    assert needs(context, "update", new) == {"images": ("/docker", 2_000_000)}


def test_space_of_earlier_slots_is_given_back_first(
    begin: Begin, world: World, engine: Any, old: Slot, new: Slot, school: School
) -> None:
    context = begin("rollback")  # the slot of 1.0.0 is kept beside that of 1.0.1
    world.sizes = {f"linden-{name}-{run}": GB for name in ("mysql-data", "uploads") for run in ("r1", "r2")}
    world.free["docker"] = 10 * GB
    free = {need.purpose: need.mount.free for need in preflight.space_needed(context, None, None, "amd64", "restore")}
    assert free == {"backup": 100 * GB, "restore test": 12 * GB, "slot": 12 * GB}
    kept = preflight.space_needed(context, None, None, "amd64", "rollback")
    assert {need.mount.free for need in kept if need.purpose == "restore test"} == {10 * GB}


# opening the run


@pytest.fixture
def installed(begin: Begin, world: World) -> Context:
    """1.0.0 is installed and no run is open."""
    context = begin()
    context.run.close("ABORTED")
    context.journal.set_slot(context.journal.slots("candidate")[0], "freed")
    return context


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Descriptors of the lock that were handed to the guard; they stay with this process here."""
    found: list[int] = []

    def release(home: Path) -> None:
        while found:
            os.close(found.pop())

    monkeypatch.setattr(lock, "hand_to_guard", lambda home, descriptor: found.append(descriptor))
    monkeypatch.setattr(lock, "release", release)
    return found


def test_a_run_is_opened(
    installed: Context, world: World, handed: list[int], describe: Make, journal: Journal, school: School
) -> None:
    answer = preflight.begin(describe(), UPDATE)
    row = journal.open_run()
    assert row is not None
    assert answer == {
        "run": row.id,
        "kind": "update",
        "version": "1.0.1",
        "phases": list(KINDS["update"]),
        "arithmetic": ["on /docker: images 3 MB + reserve 537 MB = 540 MB needed, 100.0 GB free"],
    }
    assert (row.version, row.from_version, row.phases) == ("1.0.1", "1.0.0", KINDS["update"])
    assert journal.run(row.id).phase() == "release"
    candidate = journal.slot("candidate")
    assert candidate is not None
    assert journal.run(row.id).result("preflight")["slot"] == candidate.as_dict()
    assert candidate.run == row.id
    assert lock.is_held(school.home)
    assert journal.events(limit=1)[0]["message"] == "A run of kind update has begun."


def test_the_same_version_again_is_no_failure(
    installed: Context, world: World, handed: list[int], describe: Make, make_school_release: Make, journal: Journal
) -> None:
    world.release = make_school_release("1.0.0", 1)
    rows = journal.rows()
    answer = preflight.begin(describe(), UPDATE)
    assert answer == {"run": 0, "kind": "update", "version": "1.0.0", "phases": [], "arithmetic": []}
    assert journal.rows() == rows
    assert not lock.is_held(journal.path.parent)
    assert preflight.look(describe(), UPDATE) == {name: value for name, value in answer.items() if name != "run"}


@pytest.mark.parametrize(("spoil", "expected", "detail"), REASONS[:6])
def test_a_refusal_is_recorded_and_leaves_no_run_open(
    installed: Context,
    world: World,
    engine: Any,
    handed: list[int],
    describe: Make,
    journal: Journal,
    spoil: Callable[[World, Any], None],
    expected: str,
    detail: str,
) -> None:
    spoil(world, engine)
    engine.calls.clear()
    assert code(lambda: preflight.begin(describe(), UPDATE)) == expected
    row = journal.rows(limit=1)[0]
    assert row.outcome == "REFUSED"
    assert row.error is not None
    assert (row.error["code"], row.error["phase"]) == (expected, "preflight")
    assert detail in row.error["message"]
    assert not lock.is_held(journal.path.parent)
    assert engine.calls == []
    assert journal.slots("candidate") == []
    assert journal.events(limit=1)[0]["type"] == "UPDATE_FAILED"


def test_what_nobody_expected_is_recorded_too(
    installed: Context, world: World, handed: list[int], describe: Make, journal: Journal, monkeypatch: Any
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(preflight, "check_serving", fail)
    assert code(lambda: preflight.begin(describe(), UPDATE)) == "INTERNAL"
    assert journal.rows(limit=1)[0].outcome == "REFUSED"
    assert not lock.is_held(journal.path.parent)


def test_while_a_run_goes_on_there_is_no_other(
    begin: Begin, world: World, handed: list[int], describe: Make, journal: Journal
) -> None:
    context = begin("update_images", phase="backup")
    descriptor = lock.acquire(journal.path.parent)
    assert descriptor is not None
    with pytest.raises(ClmsError) as caught:
        preflight.begin(describe(), UPDATE)
    os.close(descriptor)
    assert caught.value.code == "RUN_ACTIVE"
    assert caught.value.values == {"kind": "update", "run": context.run.id, "phase": "backup"}
    assert [row.id for row in journal.rows(limit=1)] == [context.run.id]
    assert journal.open_run() is not None


def test_while_a_run_is_about_to_begin_there_is_no_other(
    installed: Context, handed: list[int], describe: Make, journal: Journal
) -> None:
    descriptor = lock.acquire(journal.path.parent)
    assert descriptor is not None
    assert code(lambda: preflight.begin(describe(), UPDATE)) == "RUN_ACTIVE"
    os.close(descriptor)


def test_after_an_interruption_the_school_is_put_in_order_first(
    begin: Begin, world: World, handed: list[int], describe: Make, journal: Journal
) -> None:
    context = begin("update_images", phase="backup")
    with pytest.raises(ClmsError) as caught:
        preflight.begin(describe(), UPDATE)
    assert caught.value.code == "RUN_INTERRUPTED"
    assert caught.value.values == {"kind": "update", "run": context.run.id, "phase": "backup"}
    assert journal.row(context.run.id).outcome is None
    assert not lock.is_held(journal.path.parent)


def test_a_server_without_installation(describe: Make, tmp_path: Path) -> None:
    assert code(lambda: preflight.begin(describe(), UPDATE)) == "NOT_INSTALLED"
    assert not (tmp_path / "home").exists()


def test_an_incomplete_description_opens_nothing(installed: Context, describe: Make, journal: Journal) -> None:
    rows = journal.rows()
    assert code(lambda: preflight.begin(describe(title=""), UPDATE)) == "SCHOOL_INCOMPLETE"
    assert journal.rows() == rows


def test_earlier_slots_make_room(
    installed: Context, world: World, engine: Any, handed: list[int], describe: Make, journal: Journal, new: Slot
) -> None:
    journal.set_slot(new, "kept")  # of an update whose migration failed
    engine.set_up(new, "linden", running=False)
    assert preflight.begin(describe(), UPDATE)["run"] > 0
    assert "linden-mysql-data-r2" not in engine.volumes
    assert [slot.name for slot in journal.slots("freed")] == ["r2"]
    assert "linden-mysql-r1" in engine.running()


@pytest.mark.parametrize(
    ("kind", "kept"),
    [pytest.param("backup", True, id="a backup keeps the earlier slot"), pytest.param("update", False, id="update")],
)
def test_the_slot_of_the_version_before(
    begin: Begin,
    world: World,
    engine: Any,
    handed: list[int],
    describe: Make,
    make_school_release: Make,
    kind: str,
    kept: bool,
) -> None:
    context = begin("rollback")  # 1.0.1 serves, 1.0.0 is there
    context.run.close("ABORTED")
    world.release = make_school_release("1.0.2", 3)
    preflight.begin(describe(), Request(kind))
    assert (context.journal.slot("previous") is not None) is kept
    assert ("linden-mysql-data-r1" in engine.volumes) is kept
    assert "linden-logs-r1" in engine.volumes  # the serving slot uses it


def test_looking_says_the_same_and_opens_nothing(
    installed: Context, world: World, engine: Any, handed: list[int], describe: Make, journal: Journal
) -> None:
    rows, events = journal.rows(), journal.events()
    engine.calls.clear()
    seen = preflight.look(describe(), UPDATE)
    assert engine.calls == []
    assert (journal.rows(), journal.events()) == (rows, events)
    assert not lock.is_held(journal.path.parent)
    begun = preflight.begin(describe(), UPDATE)
    assert seen == {name: value for name, value in begun.items() if name != "run"}


def test_looking_while_a_run_goes_on(begin: Begin, world: World, describe: Make) -> None:
    begin(phase="backup")
    assert code(lambda: preflight.look(describe(), UPDATE)) == "RUN_ACTIVE"
