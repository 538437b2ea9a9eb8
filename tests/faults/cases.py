# SPDX-License-Identifier: GPL-3.0-or-later
"""One case of the matrix, and how it is tried on a school."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .arrangements import NEWEST_BACKUP, filled_in
from .bench import Bench, NoFault, Picture, Point
from .injections import Injection

OLD, NEW = "old", "new"
UPDATE = ("update", "--version", "1.0.1")


@dataclass(frozen=True)
class Case:
    """A fault, and the states in which a school may be after it."""

    name: str
    injected: str
    """what was done, in a sentence"""
    faults: tuple[tuple[Point, Injection], ...] = ()
    """where, and what; the second one strikes while the first is being put in order"""
    expected: frozenset[str] = frozenset({OLD})
    command: tuple[str, ...] = UPDATE
    base: str = "1.0.0"
    """version that the school runs at first"""
    target: str = "1.0.1"
    arrange: Callable[[Bench, ExitStack], None] | None = None
    """prepares the school before the command starts; what it registers is undone before the end is judged"""
    act: Callable[[Bench, Path], float] | None = None
    """does the whole case instead of ``command`` and ``faults``; the moment (monotonic) at which the fault struck"""
    says: str = ""
    """a word that whoever gave the command has to read"""
    again: bool = False
    """whether the command is given once more afterwards, and has to succeed"""
    gives_up_writes: bool = False
    """the run takes the school to an earlier state of its data, as somebody confirmed"""

    @property
    def frees_previous(self) -> bool:
        """Whether the preflight of the run removes the slot before the one that serves, as it should."""
        return self.base != "1.0.0" and self.command[0] != "rollback"

    @property
    def needs_fresh(self) -> bool:
        """Whether a school on which another case was tried does not come to the fault, or to another backup."""
        once = any(point.phase in ("preflight", "image_pull") for point, _ in self.faults)
        # an update that was tried before has freed the version to go back to
        return once or NEWEST_BACKUP in self.command or self.command[0] == "rollback"


@dataclass
class Result:
    """What came of a case; the fields are those of ``build/faults.json``."""

    name: str
    injected: str
    end_state: str = "unknown"
    acknowledged: int = 0
    lost: int = 0
    invented: int = 0
    seconds: float = 0.0
    """from the fault to serving again"""
    passed: bool = False
    digests: dict[str, str] = field(default_factory=dict)
    """what was running at the end: container -> image by digest"""
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        return vars(self)


def attempt(case: Case, bench: Bench, folder: Path) -> Result:
    """Try a case; the school is left as it ended."""
    result = Result(case.name, case.injected)
    try:
        _attempt(case, bench, folder, result)
    except NoFault as error:
        result.detail = f"no fault: {error}"
    except Exception as error:  # the next case goes on
        result.detail = f"{type(error).__name__}: {error}"
    if result.passed is False:
        result.detail += "\n" + bench.diagnosis()
    return result


def _attempt(case: Case, bench: Bench, folder: Path, result: Result) -> None:
    log = folder / "writes.log"
    before = bench.picture()
    bench.disarm()
    bench.said = ""
    with ExitStack() as arranged, bench.writing(log) as writer:
        if case.arrange is not None:
            case.arrange(bench, arranged)
        struck = _strike(case, bench) if case.act is None else case.act(bench, folder)
        result.seconds = bench.wait_settled(since=struck)
        arranged.close()
        said = bench.wait_commands()
        bench.wait_settled(since=time.monotonic())
        if not case.gives_up_writes:
            wait_acknowledged(writer)
    if case.gives_up_writes:  # who wrote before may write of what is not there any more
        with bench.writing(folder / "afterwards.log") as writer:
            wait_acknowledged(writer)
    bench.disarm()
    _judge(case, bench, log, before, result)
    if case.says not in said:
        result.passed, result.detail = False, f"{result.detail}; {case.says!r} is not in: {said}"
    if result.passed and case.again:
        code, answer = bench.school.command(*case.command)
        if code != 0 or answer.get("status") != "COMPLETED":
            result.passed, result.detail = False, f"once more: exit code {code}, {answer.get('message')}"


def _strike(case: Case, bench: Bench) -> float:
    bench.arm(*(point for point, _ in case.faults))
    bench.start(*filled_in(case.command, bench.school.folder))
    struck = time.monotonic()
    for point, inject in case.faults:
        bench.hold_next()
        pid = bench.wait_hit(point)
        struck = time.monotonic()
        inject(bench, pid)
    if not case.faults:  # the release or the surroundings are the fault
        bench.wait_commands()
    return struck


def wait_acknowledged(writer: Any, *, seconds: float = 60) -> None:
    """Users can work again: one more write is acknowledged.

    :raises TimeoutError: when none is
    """
    before, deadline = writer.log.counts["acknowledged"], time.monotonic() + seconds
    while writer.log.counts["acknowledged"] == before:
        if time.monotonic() > deadline:
            raise TimeoutError("no write was acknowledged any more")
        time.sleep(0.05)


def _judge(case: Case, bench: Bench, log: Path, before: Picture, result: Result) -> None:
    after = bench.picture()
    result.digests = after.digests
    version = bench.version(after)
    state = {case.base: OLD, case.target: NEW}.get(version, version)
    result.end_state = state
    problems = []
    if state not in case.expected:
        problems.append(f"ended {state} ({version}), expected {' or '.join(sorted(case.expected))}")
    problems += _stray(state, before, after, frees_previous=case.frees_previous)
    if not (case.gives_up_writes and state == NEW):
        judgement = bench.judge(log)
        result.acknowledged, result.lost = judgement.acknowledged, judgement.lost
        result.invented = judgement.invented + judgement.duplicates
        if not judgement.good:
            problems.append(f"writes: {judgement.examples}")
        if not judgement.acknowledged:
            problems.append("no write was acknowledged at all")
    result.detail = "; ".join(problems)
    result.passed = not problems


def _stray(state: str, before: Picture, after: Picture, *, frees_previous: bool) -> list[str]:
    """What is there and should not be, or the other way round."""
    problems = []
    if state == OLD:
        if after.running != before.running:
            problems.append(f"other containers run: {sorted(after.running)}, before {sorted(before.running)}")
        for kind, was, there in (
            ("containers", set(before.containers), set(after.containers)),
            ("networks", set(before.networks), set(after.networks)),
        ):
            stray, gone = sorted(there - was), sorted(was - there)
            if stray or (gone and not frees_previous):
                problems.append(f"{kind}: more {stray}, less {gone}")
    else:
        # the slot that serves and the one before it, nothing else
        known = set(before.containers) | set(after.running)
        if set(after.containers) - known:
            problems.append(f"containers: {sorted(set(after.containers) - known)}")
    temporary = [name for name in after.containers if any(word in name for word in ("migrate", "rehears", "throwaway"))]
    if temporary:
        problems.append(f"left over: {temporary}")
    return problems
