# SPDX-License-Identifier: GPL-3.0-or-later
"""The measurements; each gives the runs of some figures."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path

import requests

from ansible_collections.clms.update.plugins.module_utils import overview
from ansible_collections.clms.update.plugins.module_utils.adapters.engine import wait_until
from ansible_collections.clms.update.plugins.module_utils.journal import Journal, Record
from ansible_collections.clms.update.plugins.module_utils.status import done_phases
from tests.sample_clms.releases import RELEASES

from . import breakdown
from .by_hand import ByHand
from .figures import table
from .ours import SCHOOL, Baseline, BenchError, Ours, Run
from .probe import Probe, Sample, closed_window, failed, first_served, longest_wait

Runs = dict[str, list[float]]

BROKEN = "1.0.9-nocheckout"
VERSIONS = ("1.0.1", "1.0.2", BROKEN)
_CHECKS = 20
_LOOKS = 10
_PATH = "/api/version"
"""answered by the backend of every version, without asking the database"""
_LIST = "/api/books?limit=5"
_SECONDS = 60
_CALM = 1.0
"""seconds that CLMS serves the probe before something begins and after it ended"""


def check(ours: Ours) -> Runs:
    """How long it takes to ask the vendor for news, in process."""
    seconds = []
    for _ in range(_CHECKS):
        began = time.monotonic()
        overview.check(ours.school)
        seconds.append(time.monotonic() - began)
    return {"check_seconds": seconds}


def idle(ours: Ours) -> Runs:
    """How much memory the agent takes while nothing goes on, with all that it has started."""
    ours.stand.start_agent(SCHOOL)
    try:
        found = []
        for _ in range(_LOOKS):
            time.sleep(_CALM)
            process = ours.stand.agent_process(SCHOOL)
            if process is None:
                raise BenchError("The agent has ended.")
            found.append(memory_mb(process))
        return {"idle_memory_mb": found}
    finally:
        ours.stand.stop_agent(SCHOOL)


def memory_mb(process: int) -> float:
    """What a process and its children have in memory, in MB; shared parts are shared out (proc(5), ``Pss``)."""
    folder = Path(f"/proc/{process}")
    lines = (folder / "smaps_rollup").read_text().splitlines()
    kibibytes = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    children = (folder / "task" / str(process) / "children").read_text().split()
    return kibibytes * 1024 / 1e6 + sum(memory_mb(int(child)) for child in children)


def with_migration(ours: Ours, runs: int, say: Callable[[str], None]) -> Runs:
    """Updates from 1.0.0 to 1.0.1, by turns with ours and by hand, each on the same data."""
    pulled = {service: ours.image("1.0.1", service) for service in ("backend", "frontend")}
    start = ours.baseline("1.0.0")
    ours.stop()
    hand = ByHand(ours)
    hand.install()
    found: Runs = {}
    closed: list[list[dict[str, float]]] = [[], []]
    whole: list[list[dict[str, float]]] = [[], []]

    def ours_once() -> None:
        run, samples = _ours(ours, start, "1.0.1", pulled)
        restore_test = sum(run.result("backup")["seconds"][part] for part in ("start", "restore"))
        rehearse = done_phases(run.records)["rehearse"]
        add(found, "closed_seconds", _closed(samples, "the update", say))
        add(found, "update_seconds", run.seconds - restore_test - rehearse)
        add(found, "restore_test_seconds", restore_test)
        add(found, "rehearse_seconds", rehearse)
        add(found, "bare_ansible_seconds", breakdown.between_phases(run.records))
        add(found, "journal_overhead_percent", 100 * replay_seconds(run.records, ours.home) / run.seconds)
        closed[0].append(breakdown.ours(run.records))
        whole[0].append(breakdown.whole_ours(run))

    def by_hand_once() -> None:
        seconds, moments, samples = _by_hand(ours, hand, pulled)
        add(found, "by_hand_closed_seconds", _closed(samples, "the script", say))
        add(found, "by_hand_seconds", seconds)
        closed[1].append(breakdown.by_hand(moments))
        whole[1].append(breakdown.whole_by_hand(moments))

    for number in range(runs):
        for once in (ours_once, by_hand_once)[:: 1 if number % 2 == 0 else -1]:  # neither is always the first
            once()
        for ratio, mine, theirs in (
            ("closed_ratio", "closed_seconds", "by_hand_closed_seconds"),
            ("update_ratio", "update_seconds", "by_hand_seconds"),
        ):
            add(found, ratio, found[mine][-1] / found[theirs][-1])
        say(f"run {number + 1}: closed {_pair(found, 'closed')}, whole {_pair(found, 'update', 'by_hand_seconds')}")
    for title, parts in (("while CLMS is closed", closed), ("without restore test and rehearsal", whole)):
        say("\n" + table(breakdown.rows(title, *parts)) + "\n")
    ours.reset(start)
    ours.start()
    return found


def failing(ours: Ours, runs: int, say: Callable[[str], None]) -> Runs:
    """Updates to a release whose smoke test fails once CLMS is closed, and back."""
    start = ours.baseline("before-failing")
    found: Runs = {}
    for number in range(runs):
        ours.reset(start)
        ours.start()
        _settle(ours.url)
        with Probe(ours.url + _PATH) as probe:
            _calm(probe)
            run = ours.update_without_rehearsal(BROKEN)
            time.sleep(_CALM)
        if run.outcome != "ROLLED_BACK":
            raise BenchError(f"The update to {BROKEN} ended as {run.outcome}.")
        cause = next(record for record in run.records if record.event == "failed")
        served = first_served(probe.samples, cause.at)
        if served is None or cause.phase != "health_check":
            raise BenchError(f"The update to {BROKEN} failed in {cause.phase}; served again: {served is not None}.")
        add(found, "rollback_seconds", served - cause.at)
        say(f"run {number + 1}: serving {found['rollback_seconds'][-1]:.2f} s after the failed probe")
    ours.reset(start)
    ours.start()
    return found


def images_only(ours: Ours, runs: int, say: Callable[[str], None]) -> Runs:
    """Updates from 1.0.1 to 1.0.2, without migration, while users send 50 requests a second."""
    if ours.slot().version == "1.0.0" and ours.update("1.0.1").outcome != "COMPLETED":
        raise BenchError("The update to 1.0.1 failed.")
    start = ours.baseline("1.0.1")
    pulled = {service: ours.image("1.0.2", service) for service in ("backend", "frontend")}
    token = _token(ours)
    found: Runs = {}
    for number in range(runs):
        _, samples = _ours(ours, start, "1.0.2", pulled, path=_LIST, token=token)
        add(found, "failed_requests", failed(samples))
        add(found, "longest_wait_seconds", longest_wait(samples))
        say(
            f"run {number + 1}: {len(samples)} requests, {found['failed_requests'][-1]:.0f} failed,"
            f" longest wait {found['longest_wait_seconds'][-1]:.2f} s"
        )
    return found


def replay_seconds(records: Sequence[Record], disk: Path) -> float:
    """How long it takes to write the records of a run into a new journal, which each phase opens anew as in the run.

    :param disk: a folder on the disk of the real journal
    """
    with tempfile.TemporaryDirectory(dir=disk) as folder:
        with closing(Journal(Path(folder), create=True)) as journal:
            number = journal.begin("update", phases=("preflight",), school={}).id
        began = time.monotonic()
        for _, phase in groupby(records, key=lambda record: record.phase):
            with closing(Journal(Path(folder))) as journal:
                run = journal.run(number)
                for record in phase:
                    run.record(record.phase, record.step, record.event, **record.names)
        return time.monotonic() - began


# one run of each side


def _ours(
    ours: Ours, start: Baseline, version: str, pulled: dict[str, str], *, path: str = _PATH, token: str = ""
) -> tuple[Run, list[Sample]]:
    ours.reset(start)
    _forget(ours, pulled)
    ours.start()
    _settle(ours.url)
    with Probe(ours.url + path, token=token) as probe:
        _calm(probe)
        run = ours.update(version)
        time.sleep(_CALM)
    if run.outcome != "COMPLETED":
        failure = next((record.names for record in run.records if record.event == "failed"), {})
        raise BenchError(f"The update to {version} ended as {run.outcome}: {failure.get('message')}")
    if version == "1.0.1":
        ours.reset(start)
        ours.stop()
    return run, probe.samples


def _by_hand(ours: Ours, hand: ByHand, pulled: dict[str, str]) -> tuple[float, dict[str, float], list[Sample]]:
    hand.reset()
    _forget(ours, pulled)
    hand.start()
    _settle(hand.url)
    with Probe(hand.url + _PATH) as probe:
        _calm(probe)
        seconds, moments = hand.update(pulled, RELEASES["1.0.1"].health_path)
        time.sleep(_CALM)
    hand.reset()
    hand.stop()
    return seconds, moments, probe.samples


def _forget(ours: Ours, images: dict[str, str]) -> None:
    """Each run has to ask the registry; layers that other images have as well stay."""
    for image in images.values():
        ours.engine.remove_image(image)


def _settle(url: str) -> None:
    """Begin only when CLMS serves and what was written before is on the disk."""
    if not wait_until(lambda: _status(url + _PATH) == 200, seconds=_SECONDS):
        raise BenchError(f"{url} does not serve.")
    os.sync()


def _status(url: str) -> int:
    try:
        return requests.get(url, timeout=5).status_code
    except requests.RequestException:
        return 0


def _calm(probe: Probe) -> None:
    time.sleep(_CALM)
    if failed(probe.samples) or not probe.samples:
        raise BenchError("CLMS does not serve the probe.")


def _token(ours: Ours) -> str:
    login = ours.stand.librarian("linden")
    answer = requests.post(f"{ours.url}/api/auth/login", json=login, timeout=_SECONDS)
    return str(answer.json()["data"]["accessToken"])


# what was found


def add(found: Runs, name: str, value: float) -> None:
    """One more run of a figure."""
    found.setdefault(name, []).append(value)


def _closed(samples: Sequence[Sample], who: str, say: Callable[[str], None]) -> float:
    window = closed_window(samples)
    if window is None:
        raise BenchError(f"CLMS was never closed, or never opened again, by {who}.")
    outside = failed([sample for sample in samples if not window.began <= sample.sent <= window.ended])
    if outside:
        say(f"note: {outside} requests failed before or after {who} had CLMS closed")
    return window.seconds


def _pair(found: Runs, what: str, theirs: str = "by_hand_closed_seconds") -> str:
    mine, hand = found[f"{what}_seconds"][-1], found[theirs][-1]
    return f"{mine:.2f} s / {hand:.2f} s = {mine / hand:.2f}"
