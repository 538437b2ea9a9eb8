# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.attacks``: try the whole catalogue on a school and its vendor.

Writes ``build/attacks.json`` and ends with ``N passed, N failed``.
"""

from __future__ import annotations

import argparse
import json
import re
import secrets
import signal
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from tests.stand.stand import ROOT, Stand

from . import (
    bundles,
    drives,
    file_servers,
    forced,
    fuzz,
    packages,
    page,
    registry,
    reports,
    rotation,
    secrets_left,
    taken_over,
    transport,
    trust,
    uploads,
    vendor_keys,
)
from .bench import CHAIN, SCHOOL, Bench
from .cases import Case, Result, attempt

REPORT = ROOT / "build" / "attacks.json"
_SMALL = ("--students", "50", "--books", "100", "--loans", "200")


def catalogue() -> list[Case]:
    """All cases, in the order in which they are tried."""
    groups = (
        trust,
        rotation,
        vendor_keys,
        transport,
        reports,
        packages,
        bundles,
        file_servers,
        drives,
        uploads,
        page,
        taken_over,
        forced,
        registry,
        fuzz,
        secrets_left,
    )
    cases = [case for group in groups for case in group.cases()]
    assert len({case.name for case in cases}) == len(cases), "two cases have the same name"
    return sorted(cases, key=lambda case: case.last)


def set_up(stand: Stand) -> None:
    """A vendor with releases, and a school on the first of them, as far as they are not there."""
    stand.set_up_vendor()
    stand.start_release_api()
    stand.publish(*CHAIN)
    if not (stand.school_folder(SCHOOL) / "etc/secrets/librarian.json").exists():
        stand.set_up_schools(SCHOOL)
        stand.enrol(SCHOOL)
        stand.seed(SCHOOL, *_SMALL)


def try_all(cases: list[Case], bench: Bench) -> list[Result]:
    """Try cases one after the other, and say how each of them went."""
    results = []
    for number, case in enumerate(cases, 1):
        ends_row = number == len(cases) or cases[number].row != case.row
        result = attempt(case, bench, ends_row=ends_row)
        results.append(result)
        words = "passed" if result.passed else "FAILED"
        print(f"{number:>3}/{len(cases)} {words:<6} {result.seconds:>6.1f} s  {result.name}", flush=True)
        if not result.passed:
            print("      " + result.detail.replace("\n", "\n      "), flush=True)
    return results


def main() -> int:
    """The command line; the exit code is 1 when a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("--only", metavar="REGEX", help="cases whose name has this regular expression")
    parser.add_argument("--part", type=int, default=1, metavar="N", help="each N-th case only")
    parser.add_argument("--fast", action="store_true", help="only cases that need no update and little time")
    parser.add_argument("--inputs", type=int, default=100_000, metavar="N", help="inputs of all fuzz cases together")
    parser.add_argument("--seed", type=int, default=None, help="of the fuzz cases; printed, to be given again")
    parser.add_argument("--report", type=Path, default=REPORT, metavar="FILE", help="where the results go")
    parser.add_argument("--list", action="store_true", help="say what would be tried")
    parser.add_argument("--folder", type=Path, help="keep the stand in this folder, and use it again")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was made is removed on the way out
    cases = [case for case in catalogue() if re.search(options.only or "", case.name)]
    cases = [case for case in cases if not (options.fast and case.slow)][:: options.part]
    if options.list:
        print("\n".join(f"{case.name}{' (slow)' if case.slow else ''}" for case in cases))
        return 0
    seed = options.seed if options.seed is not None else secrets.randbelow(10**6)
    began = time.monotonic()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="clms-attacks-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        stand = Stand.create(
            folder, prefix=f"clms-attacks-{secrets.token_hex(3)}", schools=[SCHOOL], backup_images=False
        )
        set_up(stand)
        print(f"{len(cases)} cases; seed {seed}; set up in {time.monotonic() - began:.0f} s", flush=True)
        with (
            tempfile.TemporaryDirectory(prefix="tries-", dir=folder) as tries,
            closing(Bench(stand, Engine(), Path(tries), inputs=options.inputs, seed=seed)) as bench,
        ):
            results = try_all(cases, bench)
    finally:
        if options.folder is None:
            Stand(folder).remove()
    return report(results, seed, began, options.report)


def report(results: list[Result], seed: int, began: float, path: Path) -> int:
    """Write the report and say how it went."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([result.as_dict() for result in results], indent=2))
    failed = [result for result in results if not result.passed]
    print(f"{len(results)} cases in {(time.monotonic() - began) / 60:.1f} min; seed {seed}; written to {path}")
    for result in failed:
        print(f"FAILED: {result.name}: {result.detail.splitlines()[0] if result.detail else ''}")
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
