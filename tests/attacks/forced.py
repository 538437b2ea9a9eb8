# SPDX-License-Identifier: GPL-3.0-or-later
"""Forced updates in the wrong hands: dates that nobody has signed, a clock that is wrong, and what a hurry may skip."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from tests.e2e.observe import wait_for

from .bench import CHAIN, Bench
from .cases import HELD, Case, Result
from .desk import Desk, altered
from .page import asked_agent
from .trust import case

VERSION = "1.0.9-forced"
_BY_ITSELF = 150.0
"""seconds within which a forced update begins by itself: two looks of the agent, on a slow machine"""
_RUN_SECONDS = 300.0
_ONLY_OVERDUE = {"school_hours": [], "quiet_days": []}


def forced(desk: Desk, version: str, base: str, *, days: int, **changes: Any) -> None:
    """Sign a critical release whose date is in so many days."""
    date = f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"
    desk.sign(version, base=base, sequence=9000, minVersion=None, critical=True, forceAfterDate=date, **changes)


@contextmanager
def agent(bench: Bench, **variables: str) -> Iterator[None]:
    """The agent of the school, with variables of its environment."""
    name, folder = bench.school.name, bench.school.folder
    bench.stand.fork(folder / "agent.log", "clms-update-agent", "--config", folder / "etc", **variables)
    try:
        wait_for(lambda: bench.stand.agent_process(name) is not None, seconds=60, what="an agent")
        yield
    finally:
        bench.stand.stop_agent(name)


def clock_ahead(bench: Bench, _: Result) -> str:
    """A forced release is known, its date is months away; then the school is offline, and the clock of its agent five
    years ahead: people are told that the news are old, and work on.
    """
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    ahead = {"LD_PRELOAD": str(library), "FAKETIME": "+5y", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
             "DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
    desk = bench.desk()
    forced(desk, VERSION, bench.next_version(), days=200)
    with bench.serving(desk.publish()):
        bench.check_works(VERSION)
    with bench.trusting(url="https://127.0.0.1:1"), bench.unchanged():
        with agent(bench):  # the counterpart: with the right clock it is forced, and not overdue
            found = asked_agent(bench, {"verb": "enforcement"})
            assert (found["forced"]["version"], found["forced"]["overdue"]) == (VERSION, False), found
            assert not asked_agent(bench, {"verb": "status"})["news_expired"]
        with agent(bench, **ahead):
            assert asked_agent(bench, {"verb": "enforcement"}) == {"forced": None, "blocked": False}
            assert asked_agent(bench, {"verb": "status"})["news_expired"], "there is no warning"
            planned = asked_agent(bench, {"verb": "list", "what": "schedule"})["schedules"]
            assert [entry for entry in planned if entry["state"] == "SCHEDULED"] == [], planned
    people_work(bench)
    return HELD


def people_work(bench: Bench) -> None:
    """Books can be lent."""
    folder = Path(tempfile.mkdtemp(prefix="writes-", dir=bench.folder))
    with bench.school.writing(folder) as written:
        written.wait_acknowledged()
    written.assert_nothing_lost()


def unsigned_date(bench: Bench, desk: Desk) -> None:
    """In the description of the newest release stands a date of yesterday that the vendor has not signed."""

    def overdue(release: dict[str, Any]) -> None:
        release |= {"critical": True, "forceAfterDate": f"{datetime.now(UTC) - timedelta(1):%Y-%m-%dT%H:%M:%SZ}"}

    altered(desk.target(f"releases/{CHAIN[-1]}.json"), overdue)


@contextmanager
def overdue(bench: Bench, version: str, **changes: Any) -> Iterator[dict[str, Any]]:
    """A forced release is overdue, and the agent of the school begins the update by itself; gives its run."""
    desk = bench.desk()
    forced(desk, version, bench.next_version(), days=-1, **changes)
    before = bench.runs()
    with bench.serving(desk.publish()), bench.school.described(clms_schedule=_ONLY_OVERDUE):
        bench.check_works(version)
        with agent(bench):
            wait_for(lambda: bench.runs() > before, seconds=_BY_ITSELF, what="a forced update")
            wait_for(lambda: ended(bench, version), seconds=_RUN_SECONDS, what="the end of the forced update")
            yield bench.school.last_run()


def ended(bench: Bench, version: str) -> bool:
    """Whether the newest run is one to that version, and over."""
    run = bench.school.last_run()
    return run["version"] == version and run["outcome"] is not None


def no_shortcut(what: str, bench: Bench, _: Result) -> str:
    """An overdue release whose package somebody else has signed, or for which no backup can be made: the update that
    begins by itself is refused like any other, and people can work again.
    """
    version = f"{VERSION}-{what}"
    (running,) = bench.school.versions()
    place = {**bench.school.description()["clms_backup"], "path": "/proc/nowhere"}
    changes = {"clms_backup": place} if what == "backup" else {}
    signature = {"signature": b"no signature at all"} if what == "signature" else {}
    serving = bench.school.picture().serving
    with bench.school.described(**changes), overdue(bench, version, **signature) as run:
        assert run["outcome"] in ("REFUSED", "ABORTED"), run
        wanted = ("BACKUP_", "DISK_") if what == "backup" else ("SIGNATURE_", "PACKAGE_", "TRUST_")
        assert str(run["error_code"]).startswith(wanted), run
        assert "drain" not in bench.school.phases_begun(run["id"]), "CLMS was closed for it"
        found = asked_agent(bench, {"verb": "enforcement"})
        assert found["forced"] is None or found["forced"]["lifted_until"], found
        wait_for(
            lambda: not asked_agent(bench, {"verb": "enforcement"})["blocked"], seconds=_BY_ITSELF, what="an open gate"
        )
        people_work(bench)
    assert bench.school.picture().serving == serving
    bench.school.assert_serves(running)
    return f"{run['error_code']}, unchanged"


def all_of_it(bench: Bench, _: Result) -> str:
    """The counterpart: an overdue release is installed by itself, verified, backed up and rehearsed like any other."""
    (running,) = bench.school.versions()
    began = time.monotonic()
    with overdue(bench, VERSION) as run:
        assert run["outcome"] == "COMPLETED", run
        phases = {"preflight", "release", "image_pull", "backup", "rehearse", "health_check", "commit"}
        assert phases <= bench.school.phases_begun(run["id"]), bench.school.phases_begun(run["id"])
        with bench.school.journal() as journal:
            backup = journal.run(run["id"]).result("backup")
        assert backup, "there is no backup"
        people_work(bench)
    seconds = time.monotonic() - began
    done = bench.school.clms_update("rollback", "--confirm", running, "--json")
    assert done.code == 0, done.output
    return f"installed by itself within {seconds:.0f} s, with a backup"


def cases() -> Iterator[Case]:
    """All of them."""
    yield Case(
        "forced update abused: clock five years ahead, offline", clock_ahead.__doc__ or "", clock_ahead, slow=True
    )
    yield case("forced update abused: a date that was not signed", unsigned_date.__doc__ or "", unsigned_date)
    for what in ("signature", "backup"):
        act = partial(no_shortcut, what)
        yield Case(f"forced update abused: no {what}", no_shortcut.__doc__ or "", act, slow=True, last=True)
    yield Case("forced update abused: the counterpart", all_of_it.__doc__ or "", all_of_it, slow=True, last=True)
