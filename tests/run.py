# SPDX-License-Identifier: GPL-3.0-or-later
"""Run layers of checks: `python tests/run.py [LAYER…]`, all of them when none is named.

Every layer runs, also after a failure. The last line is `N passed, N failed`; a tool such as a linter and a molecule
scenario count as one case each, pytest's cases one by one.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree  # reads what pytest has just written, nothing from outside
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "tests"
BIN = Path(sys.executable).parent
NO_TESTS = 5  # pytest's exit code


class Count(NamedTuple):
    """Cases that passed and cases that failed."""

    passed: int = 0
    failed: int = 0

    def plus(self, other: Count) -> Count:
        """Both together."""
        return Count(self.passed + other.passed, self.failed + other.failed)


def command(*arguments: str, log: Path | None = None) -> int:
    """Run a tool of the virtual environment from the repository's root and return its exit code."""
    # Tools start each other: ansible-lint looks for ansible, molecule for ansible-playbook.
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb")) if log else None
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
            print(f"FAILED: {line}", flush=True)
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
        print(f"{scenario}: {'FAILED' if code else 'passed'}", flush=True)
        if code:
            print("\n".join(log.read_text(errors="replace").splitlines()[-60:]))
            print(f"The whole log: {log.relative_to(ROOT)}", flush=True)
    return count


def browser() -> Count:
    """The school's page in a real browser."""
    return pytest("browser", "tests/browser")


def fuzz() -> Count:
    """The API of the school's page against its own description."""
    return pytest("fuzz", "tests/fuzz")


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
    return reported("faults", "--part", "12", "--random", "36")


LAYERS: dict[str, Callable[[], Count]] = {
    layer.__name__: layer
    for layer in (lint, types, unit, sanity, browser, fuzz, integration, molecule, e2e, attacks, faults)
}


def main(names: list[str]) -> int:
    """Run the named layers and report; the exit code is 1 when a case failed."""
    unknown = [name for name in names if name not in LAYERS]
    if unknown:
        print(f"No such layer: {', '.join(unknown)}. There are: {', '.join(LAYERS)}.", file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    everything = Count()
    for name in names or LAYERS:
        print(f"== {name}: {(LAYERS[name].__doc__ or '').strip()}", flush=True)
        start = time.monotonic()
        count = LAYERS[name]()
        everything = everything.plus(count)
        result = f"{count.passed} passed, {count.failed} failed" if any(count) else "nothing there yet"
        print(f"== {name} took {time.monotonic() - start:.0f} s: {result}", flush=True)
    print(f"{everything.passed} passed, {everything.failed} failed", flush=True)
    return 1 if everything.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
