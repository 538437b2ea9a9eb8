# SPDX-License-Identifier: GPL-3.0-or-later
"""The answers of `status`, `check` and `list`, with a vendor that serves from a folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tuf.api.exceptions import DownloadError

from ansible_collections.clms.update.plugins.module_utils import lock, overview, status
from ansible_collections.clms.update.plugins.module_utils.adapters import offline
from ansible_collections.clms.update.plugins.module_utils.adapters import supply as supply_adapter
from ansible_collections.clms.update.plugins.module_utils.adapters import vendor as vendor_adapter
from ansible_collections.clms.update.plugins.module_utils.adapters.supply import supply
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.release import parse_release
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.slots import Slot
from ansible_collections.clms.update.plugins.module_utils.told import Told
from ansible_collections.clms.update.plugins.module_utils.trust import ReleaseEntry, TrustStore
from ansible_collections.clms.update.plugins.module_utils.version import Version

Begin = Callable[..., Context]


@pytest.fixture
def store(make_store: Callable[..., TrustStore], monkeypatch: pytest.MonkeyPatch) -> TrustStore:
    """The vendor's metadata as this school knows it: 1.0.1 and 1.0.2 of the channel stable."""
    found = make_store()
    for module in (overview, offline, supply_adapter, vendor_adapter):
        monkeypatch.setattr(module, "store_of", lambda school: found)
    return found


def serves(journal: Journal, slot: Slot, version: str) -> None:
    """The school runs this version."""
    run = journal.begin("install", phases=KINDS["install"], school={}, version=version)
    journal.set_slot(Slot.from_dict({**slot.as_dict(), "version": version}), "candidate")
    run.commit(slot)
    run.close("COMPLETED")


# check


@pytest.mark.parametrize(
    ("current", "available", "message"),
    [
        pytest.param("1.0.0", True, "Version 1.0.2 is available; version 1.0.0 is running.", id="newer"),
        pytest.param("1.0.1", True, "Version 1.0.2 is available; version 1.0.1 is running.", id="one-newer"),
        pytest.param("1.0.2", False, "Version 1.0.2 is the newest.", id="newest"),
        pytest.param("2.0.0", False, "Version 2.0.0 is newer than what the vendor offers.", id="ahead"),
    ],
)
def test_check(
    journal: Journal, school: School, store: TrustStore, old: Slot, current: str, available: bool, message: str
) -> None:
    serves(journal, old, current)
    answer = overview.check(school)
    assert (answer["updateAvailable"], answer["message"]) == (available, message)
    assert (answer["currentVersion"], answer["latestVersion"]) == (current, "1.0.2")
    assert (answer["updateInfo"] is not None) is available
    assert answer["blocked"] is None
    types = [event["type"] for event in journal.events()]
    assert types == (["UPDATE_AVAILABLE"] if available else []) + ["UPDATE_CHECKED"]


def test_a_newer_version_that_cannot_be_installed_yet(
    journal: Journal, school: School, store: TrustStore, vendor: Any, old: Slot
) -> None:
    serves(journal, old, "1.0.0")
    vendor.add("1.1.0", 3, minVersion="1.0.2")
    answer = overview.check(school)
    assert answer["updateAvailable"] is True
    assert answer["blocked"]["code"] == "RELEASE_MIN_VERSION"
    assert "Update to version 1.0.2 first" in answer["blocked"]["remedy"]


def test_a_release_that_has_expired_is_blocked(
    journal: Journal, school: School, store: TrustStore, vendor: Any, old: Slot
) -> None:
    serves(journal, old, "1.0.0")
    vendor.add("1.1.0", 3, expires="2020-01-01T00:00:00Z")
    assert overview.check(school)["blocked"]["code"] == "RELEASE_EXPIRED"


def test_before_the_first_installation(journal: Journal, school: School, store: TrustStore) -> None:
    answer = overview.check(school)
    assert answer["message"] == "Version 1.0.2 is available; CLMS is not installed yet."
    assert answer["currentVersion"] is None


def test_a_vendor_that_cannot_be_reached(
    journal: Journal, school: School, store: TrustStore, vendor: Any, old: Slot
) -> None:
    serves(journal, old, "1.0.0")
    vendor.spoil("timestamp.json", DownloadError("no route"))
    with pytest.raises(ClmsError):
        overview.check(school)
    assert journal.events() == []


@pytest.mark.parametrize("current", ["1.0.1", "1.0.2"])
def test_where_a_file_speaks_for_the_vendor_nothing_is_told_as_up_to_date(
    journal: Journal, school: School, store: TrustStore, old: Slot, monkeypatch: pytest.MonkeyPatch, current: str
) -> None:
    serves(journal, old, current)

    def away(*asked: Any) -> Any:
        return replace(supply(*asked), away=ClmsError("SERVER_UNREACHABLE", url="https://x.test", detail="no route"))

    monkeypatch.setattr(overview, "supply", away)
    answer = overview.check(school)
    assert answer["offline"]["code"] == "SERVER_UNREACHABLE"
    assert answer["message"].startswith("There is no fresh news; the vendor was last heard of: ")
    assert answer["message"].endswith(
        "Version 1.0.2 is available; version 1.0.1 is running."
        if current == "1.0.1"
        else "Version 1.0.2 is the newest that this server knows of."
    )


def test_update_info(make_school_release: Callable[..., dict[str, Any]]) -> None:
    raw = make_school_release("1.0.1", critical=True, forceAfterDate="2026-02-01T00:00:00Z")
    info = overview.update_info(parse_release(raw))
    assert info["version"] == "1.0.1"
    assert (info["critical"], info["forceAfterDate"], info["minVersion"]) == (True, "2026-02-01T00:00:00Z", "1.0.0")
    assert info["migrationNotes"] == "20250101_init → 20260101_authors"
    assert info["size"] == raw["package"]["size"]
    assert info["gracePeriodDays"] == 0
    backend = raw["services"]["backend"]["images"]["amd64"]
    assert info["dockerTags"]["backend"] == f"clms/backend@{backend['digest']}"
    assert overview.update_info(parse_release(make_school_release(migration="none")))["migrationNotes"] is None


@pytest.mark.parametrize(
    ("entries", "channel", "expected"),
    [
        pytest.param([], "stable", None, id="none"),
        pytest.param([("1.0.1", 1, "stable"), ("1.0.2", 2, "stable")], "stable", "1.0.2", id="highest-sequence"),
        pytest.param([("1.0.2", 2, "stable"), ("1.0.1", 3, "stable")], "stable", "1.0.1", id="not-highest-version"),
        pytest.param([("1.0.1", 1, "stable"), ("2.0.0", 2, "beta")], "stable", "1.0.1", id="another-channel"),
        pytest.param([("2.0.0", 2, "beta")], "stable", None, id="only-another-channel"),
    ],
)
def test_newest(entries: list[tuple[str, int, str]], channel: str, expected: str | None) -> None:
    listed = [ReleaseEntry(Version(version), sequence, name) for version, sequence, name in entries]
    found = vendor_adapter.newest(listed, channel)
    assert (found.version.text if found else None) == expected


@pytest.mark.parametrize(("asked", "given"), [(None, "1.0.2"), ("1.0.1", "1.0.1"), ("9.9.9", None)])
def test_the_release_that_was_asked_for(school: School, store: TrustStore, asked: str | None, given: str) -> None:
    if given:
        found = supply(school, asked, "amd64")
        assert (found.release.version.text, found.bundle, found.away) == (given, None, None)
        return
    with pytest.raises(ClmsError) as caught:
        supply(school, asked, "amd64")
    assert caught.value.code == "RELEASE_UNKNOWN"


# status


def test_nothing_is_installed(tmp_path: Path) -> None:
    answer = overview.status(tmp_path / "home")
    assert (answer.pop("backups"), answer.pop("news_expired")) == (0, False)
    assert set(answer) == {"current_version", "latest_version", "news_age_seconds", "running", "last_update"}
    assert set(answer.values()) == {None}
    assert not (tmp_path / "home").exists()


def test_status_asks_nobody(begin: Begin, store: TrustStore, vendor: Any) -> None:
    context = begin("backup", phase="clean_up")
    context.run.enter("clean_up")
    context.run.leave("clean_up")
    answer = overview.status(context.journal.path.parent)
    assert vendor.asked == []
    assert (answer["current_version"], answer["latest_version"], answer["news_age_seconds"]) == ("1.0.0", None, None)
    assert answer["running"] is None
    assert (answer["last_update"]["kind"], answer["last_update"]["id"]) == ("install", 1)  # a backup is no update
    store.refresh()
    answer = overview.status(context.journal.path.parent)
    assert answer["latest_version"] == "1.0.2"
    assert answer["news_age_seconds"] >= 0
    assert answer["news_expired"] is False


@pytest.mark.parametrize("damage", [b"", b"{}"], ids=["empty", "no metadata"])
@pytest.mark.parametrize("name", ["timestamp", "targets"])
def test_status_when_what_was_heard_cannot_be_believed(
    begin: Begin, store: TrustStore, tmp_path: Path, damage: bytes, name: str
) -> None:
    """What runs here is told all the same."""
    context = begin("backup", phase="clean_up")
    store.refresh()
    (path,) = (tmp_path / "state").rglob(f"{name}.json")
    path.write_bytes(damage)
    answer = overview.status(context.journal.path.parent)
    assert answer["current_version"] == "1.0.0"
    assert answer["latest_version"] in (None, "1.0.2" if name == "timestamp" else None)
    store.refresh()
    answer = overview.status(context.journal.path.parent)
    assert (answer["latest_version"], answer["news_expired"]) == ("1.0.2", False)


def test_a_run_that_goes_on(begin: Begin) -> None:
    context = begin(phase="backup")
    context.run.enter("backup")
    home = context.journal.path.parent
    descriptor = lock.acquire(home)
    assert descriptor is not None
    seen = overview.running(context.journal)
    os.close(descriptor)
    assert seen is not None
    phases = seen.pop("phases")
    assert [phase["name"] for phase in phases] == list(KINDS["update"])
    assert [phase["seconds"] is None for phase in phases] == [number > 2 for number in range(len(phases))]
    assert seen == {
        "id": context.run.id,
        "kind": "update",
        "version": "1.0.1",
        "phase": "backup",
        "percent": 21,
        "seconds_left": None,
        "closed": False,
        "over": False,
        "failure": None,
        "events": [],
        "interrupted": False,
    }
    context.journal.event("BACKUP_CREATED", Told("The backup was made.", "", {}), run=context.run.id)
    context.journal.event("UPDATE_AVAILABLE", Told("That is not about this run.", "", {}))
    seen = overview.running(context.journal)
    assert seen is not None
    assert seen["interrupted"] is True
    assert [(event["type"], event["message"]) for event in seen["events"]] == [
        ("BACKUP_CREATED", "The backup was made.")
    ]


def test_an_update_without_migration_is_an_update_for_people(begin: Begin) -> None:
    seen = overview.running(begin("update_images", phase="backup").journal)
    assert seen is not None
    assert seen["kind"] == "update"


def test_no_run(journal: Journal) -> None:
    assert overview.running(journal) is None


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        pytest.param([], {}, id="first"),
        pytest.param(["COMPLETED"], {"preflight": 1.0}, id="one"),
        pytest.param(["COMPLETED", "ROLLED_BACK"], {"preflight": 1.0}, id="a-failed-one-says-nothing"),
        pytest.param(["COMPLETED", "COMPLETED"], {"preflight": 2.0}, id="the-newest-counts"),
    ],
)
def test_how_long_it_took_last_time(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, outcomes: list[str], expected: dict[str, float]
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    for number, outcome in enumerate(outcomes, start=1):
        for kind in ("update", "backup"):
            run = journal.begin(kind, phases=KINDS[kind], school={})
            run.enter("preflight")
            now[0] += number if kind == "update" else 99
            run.leave("preflight")
            run.close(outcome)
    row = journal.row(journal.begin("update", phases=KINDS["update"], school={}).id)
    assert status.last_durations(journal, row) == expected


def test_history_newest_first(begin: Begin) -> None:
    context = begin("rollback")
    assert [run["kind"] for run in overview.history(context.journal)] == ["rollback", "update", "install"]
    assert [run["kind"] for run in overview.history(context.journal, limit=1)] == ["rollback"]


def test_releases(school: School, store: TrustStore) -> None:
    store.refresh()
    assert overview.releases(school) == [
        {"version": "1.0.1", "sequence": 1, "channel": "stable", "listed": True, "file": None, "created": None},
        {"version": "1.0.2", "sequence": 2, "channel": "stable", "listed": True, "file": None, "created": None},
    ]


# what is recorded of a check


@pytest.mark.parametrize(
    ("error", "recorded"),
    [
        pytest.param(ClmsError("TRUST_REFUSED", detail="x"), ["CHECK_REFUSED"], id="refused"),
        pytest.param(ClmsError("TRUST_EXPIRED", detail="x"), ["CHECK_REFUSED"], id="frozen"),
        pytest.param(ClmsError("SERVER_REFUSED", url="x", detail="y"), ["CHECK_REFUSED"], id="in between"),
        pytest.param(ClmsError("SERVER_UNREACHABLE", url="x", detail="y"), [], id="silent"),
    ],
)
def test_a_check_that_came_to_nothing(
    school: School, journal: Journal, monkeypatch: pytest.MonkeyPatch, error: ClmsError, recorded: list[str]
) -> None:
    """Recorded once, however often an agent tries again; a server that is silent is the agent's affair."""

    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(overview, "supply", refuse)
    for _ in range(3):
        with pytest.raises(ClmsError):
            overview.check(school)
    found = journal.events()
    assert [(event["type"], event["message"]) for event in found] == [(kind, str(error)) for kind in recorded]


# one release


@pytest.mark.parametrize(("asked", "expected"), [(None, "1.0.2"), ("1.0.1", "1.0.1")])
def test_what_is_known_of_a_release(
    journal: Journal, school: School, store: TrustStore, vendor: Any, old: Slot, asked: str | None, expected: str
) -> None:
    serves(journal, old, "1.0.0")
    store.refresh()
    store.release(expected)  # a check has fetched what it shows
    vendor.asked.clear()
    answer = overview.release(school, asked)
    assert vendor.asked == [], "somebody was asked"
    assert answer["info"]["version"] == expected
    assert (answer["blocked"], answer["file"], answer["root_version"]) == (None, None, 1)
    assert answer["expected_seconds"] is None


def test_what_was_rehearsed_is_expected(
    begin: Begin, journal: Journal, school: School, store: TrustStore, old: Slot
) -> None:
    context = begin(phase="rehearse")
    context.run.enter("rehearse")
    context.run.leave("rehearse", migration_seconds=300.0)
    context.run.close("ABORTED", {"phase": "drain", "code": "X", "message": "x", "remedy": "y"})
    store.refresh()
    store.release("1.0.1")
    answer = overview.release(school, "1.0.1")
    assert (answer["rehearsed"], answer["expected_seconds"]) == (True, 300)
    store.release("1.0.2")
    answer = overview.release(school, "1.0.2")
    assert (answer["rehearsed"], answer["expected_seconds"]) == (False, None)


def test_a_release_that_runs_already_is_blocked(journal: Journal, school: School, store: TrustStore, old: Slot) -> None:
    serves(journal, old, "1.0.2")
    store.refresh()
    store.release("1.0.2")
    assert overview.release(school, None)["blocked"]["code"] == "RELEASE_SAME"


def test_a_release_that_nobody_has_heard_of(journal: Journal, school: School, store: TrustStore) -> None:
    for version in (None, "9.9.9"):
        with pytest.raises(ClmsError) as caught:
            overview.release(school, version)
        assert caught.value.code == "RELEASE_UNKNOWN"
        store.refresh() if version is None else None
