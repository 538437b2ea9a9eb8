# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run is shown while it goes on: taken from the journal, not from Ansible's output."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from ansible_collections.clms.update.plugins.module_utils.following import failed_line, phase_line
from ansible_collections.clms.update.plugins.module_utils.journal import Journal, RunRow
from ansible_collections.clms.update.plugins.module_utils.plan import PHASES, is_closed
from ansible_collections.clms.update.plugins.module_utils.status import (
    done_phases,
    duration,
    last_durations,
    progress_of,
)


@dataclass(frozen=True)
class View:
    """A run at one moment."""

    done: dict[str, float]
    """phases that have ended well, with their seconds"""
    phase: str | None
    closed: bool
    """whether CLMS is closed to users"""
    percent: int
    seconds_left: int | None
    failure: str | None
    """what went wrong, in one sentence; the run is being put back then"""


def view_of(journal: Journal, row: RunRow) -> View:
    """A run as it stands in the journal right now."""
    records = journal.records(row.id)
    phase, progress = progress_of(row, records, now=time.time(), history=last_durations(journal, row))
    failures = [record.names for record in records if record.event == "failed" and record.phase in PHASES]
    failure = failures[0] if failures else None
    done = done_phases(records)
    return View(
        done=done,
        phase=phase,
        closed=is_closed(row.phases, phase, done),
        percent=progress.percent,
        seconds_left=progress.seconds_left,
        failure=str(failure["message"]) if failure else None,
    )


class Display(Protocol):
    """Somebody who watches a run."""

    def show(self, view: View) -> None:
        """The run has come this far."""

    def say(self, text: str) -> None:
        """Something else that is worth knowing."""

    def close(self) -> None:
        """The run has ended."""


class Silent:
    """Nobody watches."""

    def show(self, view: View) -> None:
        """Nothing to do."""

    def say(self, text: str) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class Lines:
    """Plain lines, for a log file or a pipe: one for each phase that has ended."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown: set[str] = set()
        self._failed = False

    def show(self, view: View) -> None:
        """Write what is new."""
        for phase, seconds in view.done.items():
            if phase not in self._shown:
                self._shown.add(phase)
                self.say(phase_line(phase, seconds))
        if view.failure is not None and not self._failed:
            self._failed = True
            self.say(failed_line(view.phase or "", view.failure))

    def say(self, text: str) -> None:
        """Write a line."""
        with contextlib.suppress(BrokenPipeError):  # nobody reads it any more, but the run goes on
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to do."""


class Bar:
    """A line for each finished phase and a bar below them, on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

        self._console = Console(file=stream, highlight=False)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("Starting", total=100, left="")
        self._shown: set[str] = set()
        self._failed = False
        self._bar.start()

    def show(self, view: View) -> None:
        """Bring the terminal up to date."""
        for phase, seconds in view.done.items():
            if phase not in self._shown:
                self._shown.add(phase)
                self._print("✓", "green", f"{PHASES[phase].text:<58} {duration(seconds):>10}")
        if view.failure is not None and not self._failed:
            self._failed = True
            self._print("✗", "red", view.failure)
        text = PHASES[view.phase].text if view.phase else "Finishing"
        left = f"about {duration(view.seconds_left)} left" if view.seconds_left else ""
        if view.failure is not None:
            text, left = "Leaving everything as it was", ""
        self._bar.update(self._task, description=text, completed=view.percent, left=left)

    def _print(self, sign: str, colour: str, text: str) -> None:
        from rich.text import Text

        self._console.print(Text.assemble((sign, colour), f" {text}"))

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, markup=False)

    def close(self) -> None:
        """Take the bar away; the lines stay."""
        self._bar.stop()


def display_for(*, json: bool) -> Display:
    """The display that fits: with ``--json`` standard output belongs to the answer alone."""
    stream: Any = sys.stderr if json else sys.stdout
    if stream.isatty():
        return Bar(stream)
    return Silent() if json else Lines(stream)
