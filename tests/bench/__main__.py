# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.bench``: what `make bench` runs. Prints a table and writes ``build/bench.json``.

Ours and the script take turns on the same machine, images and data, so that their ratios mean something on any
machine. Both are asked 50 times a second by the same client. What an update saves of images (once per image) is left
out, as is their download: the layers are on the machine, only the registry is asked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from tests.base_images.docker_cli import BuildError, only_one
from tests.stand.stand import ROOT, Stand, StandError

from . import machine, measure, supply, watching
from .figures import KINDS, figures_table, in_order
from .ours import SCHOOL, BenchError, Ours

PREFIX = f"clms-bench-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]}"
FOLDER = ROOT / "build" / "bench"
RESULT = ROOT / "build" / "bench.json"
BULK_MB = 700

MEASUREMENTS: dict[Callable[..., measure.Runs], tuple[str, ...]] = {
    measure.check: ("check_seconds",),
    supply.verification: ("verification_seconds",),
    measure.idle: ("idle_memory_mb",),
    supply.bundle: ("bundle_ratio", "bundle_seconds", "by_hand_load_seconds", "bundle_memory_mb"),
    measure.with_migration: (
        "closed_ratio", "closed_seconds", "by_hand_closed_seconds", "bare_ansible_seconds", "update_ratio",
        "update_seconds", "by_hand_seconds", "restore_test_seconds", "rehearse_seconds", "journal_overhead_percent",
    ),
    watching.page: ("page_and_agent_memory_mb", "watching_percent", "page_seconds"),
    measure.failing: ("rollback_seconds",),
    measure.images_only: ("failed_requests", "longest_wait_seconds"),
}  # fmt: skip
"""figures that each of them gives; in this order, because the last one leaves the school on 1.0.1"""
_ONCE = (measure.check, supply.verification, measure.idle)
"""that are quick, and look often enough by themselves"""


def say(text: str) -> None:
    """Say how far it has come."""
    print(text, flush=True)


@contextmanager
def _stand(bulk_mb: int) -> Iterator[Ours]:
    """A vendor and a school on 1.0.0 with its data; everything is removed at the end, and what a killed bench left."""
    Stand(FOLDER).remove()
    stand = Stand.create(FOLDER, prefix=PREFIX, schools=[SCHOOL], backup_images=False)
    ours: Ours | None = None
    try:
        stand.set_up_vendor()
        stand.publish("1.0.0")
        stand.set_up_schools()
        stand.seed(SCHOOL, *(["--bulk-mb", str(bulk_mb)] if bulk_mb else []))
        stand.publish(*measure.VERSIONS)
        ours = Ours(stand)
        yield ours
    finally:
        with suppress(KeyboardInterrupt):
            if ours:
                ours.wait_until_left_alone()
        stand.remove()


def bench(wanted: set[str], runs: int, bulk_mb: int) -> dict[str, Any]:
    """Measure the figures in ``wanted`` and those that come with them; returns the content of ``build/bench.json``."""
    facts = machine.facts()
    say(", ".join(f"{name} {value}" for name, value in facts.items()))
    say(f"load average {machine.load()}; {runs} runs; database of {bulk_mb or 'a few'} MB\n")
    facts |= {"load_before": machine.load(), "database_mb": bulk_mb, "small": not bulk_mb}
    found: measure.Runs = {}
    say("Setting up a vendor and a school …")
    try:
        with _stand(bulk_mb) as ours:
            for function, gives in MEASUREMENTS.items():
                if wanted & set(gives):
                    say(f"{function.__name__}: {function.__doc__} Load average {machine.load()}.")
                    found |= function(ours) if function in _ONCE else function(ours, runs, say)
    except BaseException:
        if found:  # it took its time, so show it; but half a result is not written down
            say(f"\n{figures_table(in_order(found))}\n\nThis is not all: it was cut short.")
        raise
    facts["load_after"] = machine.load()
    figures = in_order(found)
    say(f"\n{figures_table(figures)}\n\nload average {facts['load_before']} before, {facts['load_after']} after")
    if not bulk_mb:
        say("This was the small bench: the figures of a full one are those to go by.")
    return {"machine": facts, "figures": [figure.as_dict() for figure in figures]}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--small", action="store_true", help="no bulk data and three runs, for CI")
    parser.add_argument("--runs", type=int, metavar="N", help="instead of five (three with --small)")
    parser.add_argument(
        "--only", nargs="+", choices=KINDS, metavar="NAME", help="only these figures, and what comes with them"
    )
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a figure missed its reach")
    arguments = parser.parse_args()
    runs = arguments.runs or (3 if arguments.small else 5)
    if runs < 1:
        parser.error("--runs must be at least 1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    try:
        with only_one(PREFIX):
            result = bench(set(arguments.only or KINDS), runs, 0 if arguments.small else BULK_MB)
    except (BenchError, BuildError, StandError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except ClmsError as error:
        print(f"\n{error.happened} {error.remedy} ({error.code})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    say(f"{RESULT.relative_to(ROOT)} written after {time.monotonic() - began:.0f} s")
    missed = [each["name"] for each in result["figures"] if each["reach"] is not None and each["value"] > each["reach"]]
    return 1 if missed and arguments.strict else 0


if __name__ == "__main__":
    sys.exit(main())
