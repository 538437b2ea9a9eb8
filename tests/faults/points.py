# SPDX-License-Identifier: GPL-3.0-or-later
"""Fault points: on a host under test, and nowhere else, :mod:`.bench` puts a journal with them in the real one's place.

The product itself has none. ``/faults/points.json`` lists where the process that does a run is to stop:
before, in the middle of or after a step, seen by what it writes into the journal. It then writes ``/faults/hit`` and
waits for ``/faults/go``.
"""

import contextlib
import json
import os
import pathlib
import signal
import threading
import time

FOLDER = pathlib.Path("/faults")
POINTS, HIT, GO = FOLDER / "points.json", FOLDER / "hit", FOLDER / "go"


def _take(phase, step, at, number):
    """The next fault point, if it is this one; it is used up then."""
    try:
        points = json.loads(POINTS.read_text())
    except (OSError, ValueError):
        return None
    if not points:
        return None
    point = points[0]
    wanted = (point["phase"], point["step"], point["at"])
    if wanted != (phase, step, at) or (number and point["number"] != number):
        return None
    _put(POINTS, points[1:])
    return point


def _put(path, content):
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content))
    new.replace(path)


def _hit(point):
    _put(HIT, {**point, "pid": os.getpid()})


def _pause(point):
    _hit(point)
    while not GO.exists():
        time.sleep(0.002)


class _Freeze(threading.Thread):
    """Stops the process in the middle of a step, whose child processes go on."""

    def __init__(self, point):
        super().__init__(daemon=True)
        self._point = point
        self._over = threading.Event()

    def run(self):
        self._over.wait(self._point["delay"])
        _hit(self._point)
        os.kill(os.getpid(), signal.SIGSTOP)

    def step_is_over(self):
        """A step that is shorter than it was when it was measured is stopped at its end."""
        self._over.set()
        self.join()


def install(run):
    """Put fault points into the class ``Run`` of the journal."""
    enter, leave, intend, step, commit = run.enter, run.leave, run.intend, run.step, run.commit
    freezing = []

    def number_of(self, phase, name):
        return sum((r.phase, r.step, r.event) == (phase, name, "intent") for r in self.journal.records(self.id))

    def pause(self, phase, name, at):
        if POINTS.exists():
            point = _take(phase, name, at, number_of(self, phase, name) if name else None)
            if point:
                _pause(point)

    def new_enter(self, phase):
        enter(self, phase)
        pause(self, phase, "", "before")

    def new_leave(self, phase, **result):
        pause(self, phase, "", "after")
        leave(self, phase, **result)

    def new_intend(self, phase, name, **names):
        intend(self, phase, name, **names)
        pause(self, phase, name, "before")
        if POINTS.exists():
            point = _take(phase, name, "middle", number_of(self, phase, name))
            if point:
                freezing.append(_Freeze(point))
                freezing[-1].start()

    @contextlib.contextmanager
    def new_step(self, phase, name, **names):
        with step(self, phase, name, **names) as outcome:
            yield outcome
            while freezing:
                freezing.pop().step_is_over()
            pause(self, phase, name, "after")

    def new_commit(self, slot):
        pause(self, "commit", "record", "before")
        commit(self, slot)
        pause(self, "commit", "record", "after")

    run.enter, run.leave, run.intend, run.step, run.commit = new_enter, new_leave, new_intend, new_step, new_commit
