# SPDX-License-Identifier: GPL-3.0-or-later
"""Fault points: on a host under test, and nowhere else, :mod:`.bench` puts a journal with them in the real one's place.

The product itself has none. ``/faults/points.json`` lists where the process that does a run is to stop:
before, in the middle of or after a step, seen by what it writes into the journal. It then writes ``/faults/hit`` and
waits for ``/faults/go``.
"""

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
    if wanted != (phase, step, at) or (number is not None and point["number"] != number):
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


def _freeze(point):
    """In the middle of a step, whose child processes go on."""
    time.sleep(point["delay"])
    _hit(point)
    os.kill(os.getpid(), signal.SIGSTOP)


def install(run):
    """Put fault points into the class ``Run`` of the journal."""
    write, commit = run.record, run.commit

    def record(self, phase, step, event, **names):
        if not POINTS.exists():
            return write(self, phase, step, event, **names)
        kind = {"enter": "before", "leave": "after", "intent": "before", "done": "after"}.get(event)
        number = None
        if step and kind:
            begun = [r for r in self.journal.records(self.id) if (r.phase, r.step, r.event) == (phase, step, "intent")]
            number = len(begun) + (event == "intent")
        if kind == "after":
            point = _take(phase, step, "after", number)
            if point:
                _pause(point)
        result = write(self, phase, step, event, **names)
        if kind == "before":
            point = _take(phase, step, "before", number)
            if point:
                _pause(point)
            point = _take(phase, step, "middle", number)
            if point:
                threading.Thread(target=_freeze, args=(point,), daemon=True).start()
        return result

    def commit_record(self, slot):
        point = _take("commit", "record", "before", None)
        if point:
            _pause(point)
        result = commit(self, slot)
        point = _take("commit", "record", "after", None)
        if point:
            _pause(point)
        return result

    run.record, run.commit = record, commit_record
