# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.faults``: try the whole matrix on schools that are hosts of their own, several side by side.

Writes ``build/faults.json`` and ends with ``N passed, N failed``.
"""

from __future__ import annotations

import argparse
import json
import queue
import re
import secrets
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.stand.hosted import Fleet
from tests.stand.stand import ROOT, Stand

from .arrangements import NEWEST_BACKUP, filled_in
from .bench import Bench
from .cases import OLD, Case, Result, attempt
from .catalogue import Step, drawn, named

REPORT = ROOT / "build" / "faults.json"
VERSIONS = ("1.0.0", "1.0.1", "1.0.2")
BROKEN = ("dies", "nocheckout", "frontend", "fifthstatement", "baddata", "hangs")


def measure(bench: Bench, kind: str) -> list[Step]:
    """The steps of the newest run, with their times."""
    path = bench.school.folder / "state/journal.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as journal:
        records = journal.execute(
            "SELECT phase, step, event, at FROM records WHERE run = (SELECT MAX(id) FROM runs) ORDER BY id"
        ).fetchall()
    opened = records[0][3]
    steps: list[Step] = []
    seen: dict[tuple[str, str], int] = {}
    begun: dict[tuple[str, str], float] = {}
    for phase, step, event, at in records:
        key = (phase, step)
        if event == "intent":
            seen[key] = seen.get(key, 0) + 1
            begun[key] = at
        elif event == "done" and key in begun:
            steps.append(Step(phase, step, seen[key], at - begun[key], begun[key] - opened))
    if not steps:
        raise SystemExit(f"The run '{kind}' without faults has no steps.")
    return steps


def prepare(fleet: Fleet) -> tuple[dict[str, list[Step]], dict[str, Path]]:
    """Do each kind of run once without faults; its steps, and the disks of schools on 1.0.0 and 1.0.1."""
    bench = Bench(fleet, "measured")
    disks = {"1.0.0": fleet.template, "1.0.1": fleet.pool.disks / "updated.ext4"}
    measured = {}

    def do(kind: str, *command: str) -> None:
        code, answer = bench.school.command(*command)
        if code:
            raise SystemExit(f"The run '{kind}' without faults ended with {answer}")
        measured[kind] = measure(bench, kind)

    do("update", "update", "--version", "1.0.1")
    bench.host.stop()
    bench.host.save_disk(disks["1.0.1"])
    for kind, *command in (
        ("update_images", "update", "--version", "1.0.2"),
        ("rollback", "rollback", "--confirm", "1.0.0"),
        ("restore", "restore", NEWEST_BACKUP, "--confirm", "1.0.0"),
    ):
        bench.host.boot()
        bench.school.wait_serving()
        do(kind, *filled_in(tuple(command), bench.school.folder))
        bench.host.kill()
        bench.host.change_disk(disks["1.0.1"])
    bench.host.remove()
    return measured, disks


class Matrix:
    """Cases that are tried by several schools side by side."""

    def __init__(self, fleet: Fleet, cases: list[Case], disks: dict[str, Path], folder: Path) -> None:
        self._fleet = fleet
        self._disks = disks
        self._folder = folder
        self._queue: queue.SimpleQueue[Case] = queue.SimpleQueue()
        self._order = {case.name: number for number, case in enumerate(cases)}
        self._results: list[Result] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        for case in cases:
            self._queue.put(case)

    def run(self, schools: int) -> list[Result]:
        """Try them all; the results in the order of the cases."""
        # daemons: when this process is told to end, it does not wait for their cases
        names = [f"school{number}" for number in range(1, schools + 1)]
        workers = [threading.Thread(target=self._work, args=(name,), daemon=True) for name in names]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                worker.join()
        finally:
            self._stopped.set()  # no school is set up any more while everything is being removed
        return sorted(self._results, key=lambda result: self._order[result.name])

    def _work(self, name: str) -> None:
        bench = Bench(self._fleet, name)
        # the version that the school runs as if nothing had been done to it, so that the next case may go on there
        usable = "1.0.0"
        while not self._stopped.is_set():
            try:
                case = self._queue.get_nowait()
            except queue.Empty:
                break
            folder = self._folder / f"{self._order[case.name]:03}-{re.sub(r'[^A-Za-z0-9.]+', '-', case.name)}"
            folder.mkdir(parents=True)
            result = self._try(case, bench, folder, fresh=case.needs_fresh or usable != case.base)
            # where the old version serves as before, the next case is one more try of the same update
            unchanged = result.passed and result.end_state == OLD and not (case.again or case.arrange or case.act)
            usable = case.base if unchanged else ""
            self._report(result)
        bench.host.remove()

    def _try(self, case: Case, bench: Bench, folder: Path, *, fresh: bool) -> Result:
        try:
            if fresh:
                self._fleet.reset(bench.school, self._disks[case.base])
        except Exception as error:  # the school is broken for this case; the next one begins anew
            return Result(case.name, case.injected, detail=f"no school: {type(error).__name__}: {error}")
        return attempt(case, bench, folder)

    def _report(self, result: Result) -> None:
        with self._lock:
            self._results.append(result)
            words = "passed" if result.passed else "FAILED"
            print(
                f"{len(self._results):>3}/{len(self._order)} {words:<6} {result.seconds:>6.1f} s  "
                f"{result.end_state:<7} {result.name}",
                flush=True,
            )
            if not result.passed:
                print("      " + result.detail.replace("\n", "\n      "), flush=True)


def summary(results: list[Result]) -> str:
    """Times of recovery and what became of the writes, in two lines."""
    cuts = sorted(result.seconds for result in results if "power" in result.name and result.passed)
    acknowledged, lost = (sum(getattr(result, name) for result in results) for name in ("acknowledged", "lost"))
    invented = sum(result.invented for result in results)
    text = f"writes: {acknowledged} acknowledged, {lost} lost, {invented} invented"
    if cuts:
        text += f"\npower cuts: served again after {cuts[len(cuts) // 2]:.1f} s (median), {cuts[-1]:.1f} s (longest)"
    return text


def main() -> int:
    """The command line; the exit code is 1 when a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--schools", type=int, default=3, help="how many work side by side")
    parser.add_argument("--only", metavar="PATTERN", help="cases whose name has this regular expression")
    parser.add_argument("--part", type=int, default=1, metavar="N", help="each N-th case only, of every kind")
    parser.add_argument("--random", type=int, default=60, metavar="N", help="kills at random instants")
    parser.add_argument("--seed", type=int, default=None, help="of the random instants; printed, to be given again")
    parser.add_argument("--report", type=Path, default=REPORT, metavar="FILE", help="where the results go")
    parser.add_argument("--list", action="store_true", help="say what would be tried")
    parser.add_argument("--folder", type=Path, help="keep stand and logs in this folder")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was made is removed on the way out
    seed = options.seed if options.seed is not None else secrets.randbelow(10**6)
    began = time.monotonic()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="clms-faults-"))
    stand = Stand.create(folder, prefix=f"clms-faults-{secrets.token_hex(3)}", schools=[], backup_images=False)
    fleet = Fleet(stand)
    try:
        stand.set_up_vendor()
        stand.publish(*VERSIONS, *(f"1.0.9-{name}" for name in BROKEN))
        stand.bundle("1.0.1")
        fleet.make_template()
        measured, disks = prepare(fleet)
        cases = [*named(measured), *drawn(seed, options.random, measured["update"])]
        cases = [case for case in cases if re.search(options.only or "", case.name)][:: options.part]
        print(
            f"{len(cases)} cases on {options.schools} schools; seed {seed}; set up in {time.monotonic() - began:.0f} s"
        )
        if options.list:
            print("\n".join(case.name for case in cases))
            return 0
        results = Matrix(fleet, cases, disks, Path(tempfile.mkdtemp(prefix="logs-", dir=folder))).run(options.schools)
    finally:
        fleet.remove_hosts()
        if options.folder is None:
            fleet.remove()
            stand.remove()
    return report(results, seed, began, options.report)


def report(results: list[Result], seed: int, began: float, path: Path) -> int:
    """Write the report and say how it went."""
    rows: list[dict[str, Any]] = [result.as_dict() for result in results]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2))
    failed = [result for result in results if not result.passed]
    print(summary(results))
    print(f"{len(results)} cases in {(time.monotonic() - began) / 60:.1f} min; seed {seed}; written to {path}")
    for result in failed:
        print(f"FAILED: {result.name}: {result.detail.splitlines()[0] if result.detail else ''}")
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
