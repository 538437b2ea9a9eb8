# SPDX-License-Identifier: GPL-3.0-or-later
"""Forced updates in the wrong hands: dates that nobody has signed, and a clock that is wrong."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.e2e.observe import wait_for

from .bench import CHAIN, Bench
from .cases import HELD, Case, Result
from .desk import Desk, altered
from .page import asked_agent
from .trust import case

VERSION = "1.0.9-forced"


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


def cases() -> Iterator[Case]:
    """All of them."""
    yield Case("forced update abused: clock five years ahead, offline", clock_ahead.__doc__ or "", clock_ahead)
    yield case("forced update abused: a date that was not signed", unsigned_date.__doc__ or "", unsigned_date)
