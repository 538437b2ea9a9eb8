# SPDX-License-Identifier: GPL-3.0-or-later
"""Run layers of checks: `python tests/run.py [LAYER…]`, all of them when none is named.

Every layer runs, also after a failure. The last line is `N passed, N failed`; a tool such as a linter and a molecule
scenario count as one case each, pytest's cases one by one. Where nothing is named, what needs no school runs beside
what waits a lot; what those layers have said is shown when they have ended.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree  # reads what pytest has just written, nothing from outside
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "tests"
BIN = Path(sys.executable).parent
NO_TESTS = 5  # pytest's exit code


_told: contextvars.ContextVar[IO[str] | None] = contextvars.ContextVar("_told", default=None)
"""where a layer that runs beside another one says what it says"""


class Count(NamedTuple):
    """Cases that passed and cases that failed."""

    passed: int = 0
    failed: int = 0

    def plus(self, other: Count) -> Count:
        """Both together."""
        return Count(self.passed + other.passed, self.failed + other.failed)


def say(text: str) -> None:
    """Say something, of the layer that runs."""
    print(text, file=_told.get() or sys.stdout, flush=True)


def command(*arguments: str, log: Path | None = None) -> int:
    """Run a tool of the virtual environment from the repository's root and return its exit code."""
    # Tools start each other: ansible-lint looks for ansible, molecule for ansible-playbook.
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("w")) if log else _told.get()
        return subprocess.run(
            [BIN / arguments[0], *arguments[1:]],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        ).returncode


def tools(*lines: str) -> Count:
    """Run simple commands, one case each."""
    count = Count()
    for line in lines:
        code = command(*line.split())
        count = count.plus(Count(failed=1) if code else Count(passed=1))
        if code:
            say(f"FAILED: {line}")
    return count


def pytest(name: str, *arguments: str) -> Count:
    """Run pytest and count its cases; a folder without tests counts as nothing, a crash as one failure."""
    report = OUT / f"{name}.xml"
    report.unlink(missing_ok=True)
    code = command("pytest", "-q", f"--junit-xml={report}", *arguments)
    if code == NO_TESTS:
        return Count()
    if not report.exists():
        return Count(failed=1)
    suites = ElementTree.parse(report).getroot().iter("testsuite")  # noqa: S314
    count = Count()
    for suite in suites:
        total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        count = count.plus(Count(total - skipped - failed, failed))
    # An exit code without a failed case (a usage error, an interrupted run) is a failure all the same.
    return count if count.failed or not code else count.plus(Count(failed=1))


def lint() -> Count:
    """Style of Python, YAML, roles and playbooks."""
    return tools("ruff check --quiet .", "ruff format --quiet --check .", "yamllint --strict .", "ansible-lint -q")


def types() -> Count:
    """Types of the code that decides."""
    return tools("mypy --no-error-summary")


def unit() -> Count:
    """Everything that needs no Docker engine."""
    return pytest("unit", "-n", "2", "-m", "not engine")


def sanity() -> Count:
    """Ansible's own rules for a collection."""
    return tools("python tests/sanity.py")


def integration() -> Count:
    """Modules and adapters against real containers."""
    return pytest("integration", "-m", "engine", "tests/integration", "tests/sample_clms")


def molecule() -> Count:
    """Every scenario; one without a converge playbook only serves the others."""
    count = Count()
    for playbook in sorted(ROOT.glob("molecule/*/converge.yml")):
        scenario = playbook.parent.name
        log = OUT / f"molecule-{scenario}.log"
        code = command("molecule", "test", "--no-command-borders", "--scenario-name", scenario, log=log)
        count = count.plus(Count(failed=1) if code else Count(passed=1))
        say(f"{scenario}: {'FAILED' if code else 'passed'}")
        if code:
            say("\n".join(log.read_text(errors="replace").splitlines()[-60:]))
            say(f"The whole log: {log.relative_to(ROOT)}")
    return count


def browser() -> Count:
    """The school's page in a real browser."""
    return pytest("browser", "tests/browser")


def fuzz() -> Count:
    """The API of the school's page against its own description."""
    return pytest("fuzz", "tests/fuzz")


def scenarios() -> Count:
    """What people do on the page of a real school; not a part of `make test`, but `make scenarios`."""
    return pytest("scenarios", "tests/scenarios")


def e2e() -> Count:
    """A vendor and a school, from the outside."""
    return pytest("e2e", "tests/e2e") if (ROOT / "tests/e2e").is_dir() else Count()


def reported(name: str, *arguments: str) -> Count:
    """Run `python -m tests.<name>` and count the cases of its report."""
    report = OUT / f"{name}.json"
    report.unlink(missing_ok=True)
    code = command("python", "-m", f"tests.{name}", *arguments, "--report", str(report))
    if not report.exists():
        return Count(failed=1)
    passed = [case["passed"] for case in json.loads(report.read_text())]
    count = Count(passed.count(True), passed.count(False))
    return count if count.failed or not code else count.plus(Count(failed=1))


def attacks() -> Count:
    """The attacks that need no update; `make attacks` tries all of them."""
    return reported("attacks", "--fast", "--inputs", "5000")


def faults() -> Count:
    """A part of the fault matrix, on schools that are whole hosts; `make faults` tries all of it."""
    return reported("faults", "--part", "16", "--random", "48")


LAYERS: dict[str, Callable[[], Count]] = {
    layer.__name__: layer
    for layer in (lint, types, unit, sanity, browser, fuzz, integration, molecule, e2e, attacks, faults, scenarios)
}


BESIDE = (("lint", "types", "unit", "sanity", "browser", "fuzz"), ("molecule", "integration"))
"""what runs one after the other, beside the other lane: one reckons, the other one waits"""
ALONE = ("e2e", "attacks", "faults")
"""what runs afterwards, one after the other: it says what a school is like that nobody else disturbs"""


def layer(name: str) -> Count:
    """Run a layer, and say how it ended."""
    say(f"== {name}: {(LAYERS[name].__doc__ or '').strip()}")
    start = time.monotonic()
    count = LAYERS[name]()
    result = f"{count.passed} passed, {count.failed} failed" if any(count) else "nothing there yet"
    say(f"== {name} took {time.monotonic() - start:.0f} s: {result}")
    return count


def side_by_side() -> Count:
    """Run both lanes at the same time."""
    counts: list[Count] = []
    showing = threading.Lock()

    def lane(names: tuple[str, ...]) -> None:
        for name in names:
            path = OUT / f"{name}.log"
            with path.open("w") as file:
                _told.set(file)
                counts.append(layer(name))
            with showing:
                sys.stdout.write(path.read_text(errors="replace"))
                sys.stdout.flush()

    threads = [threading.Thread(target=lane, args=(names,)) for names in BESIDE]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    missing = sum(map(len, BESIDE)) - len(counts)  # of a lane that has broken off
    return total(counts).plus(Count(failed=missing))


def total(counts: list[Count]) -> Count:
    """All of them together."""
    return Count(sum(count.passed for count in counts), sum(count.failed for count in counts))


def main(names: list[str]) -> int:
    """Run the named layers and report; the exit code is 1 when a case failed."""
    unknown = [name for name in names if name not in LAYERS]
    if unknown:
        print(f"No such layer: {', '.join(unknown)}. There are: {', '.join(LAYERS)}.", file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    everything = total([layer(name) for name in names]) if names else side_by_side().plus(total([*map(layer, ALONE)]))
    say(f"{everything.passed} passed, {everything.failed} failed")
    return 1 if everything.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
