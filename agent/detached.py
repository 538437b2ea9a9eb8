# SPDX-License-Identifier: GPL-3.0-or-later
"""A playbook in a process of its own, which goes on when whoever asked for it is gone.

An update must not end in the middle because somebody closes a window, loses an ssh connection or presses Ctrl-C. The
process therefore has no terminal, a session of its own and process 1 as its parent: the school's lock is tied to the
nearest ssh server above the playbook, and above this process there is none. The caller only watches; a pipe tells it
the ending, and breaks when the process is gone.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from ansible_collections.clms.update.plugins.module_utils import lock

from .cgroup import Group
from .runner import Ending, Play, environment, play


class Driver:
    """A playbook that is being run in a process of its own."""

    def __init__(self, what: Play, *, held: int | None = None, group: Group | None = None) -> None:
        """Start it.

        :param held: descriptor of the school's lock, which the process keeps open as long as it lives
        :param group: control group that the process joins, with all that it starts
        """
        folder = Path(what.folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._pipe, other_end = os.pipe()
        self._said = b""
        order = {
            "what": asdict(what), "pipe": other_end, "held": held, "group": str(group.path) if group else None
        }  # fmt: skip
        try:
            with (folder / "driver.log").open("ab") as log:  # its own words, should it not even start
                subprocess.run(
                    [sys.executable, "-m", "agent.detached", json.dumps(order)],
                    pass_fds=(other_end,) if held is None else (other_end, held),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    cwd="/",
                    umask=0o022,
                    env=environment(folder),
                    check=False,
                )
        finally:
            os.close(other_end)

    def wait(self, seconds: float) -> bool:
        """Wait for the end, but not longer than ``seconds``; returns whether it has come."""
        while select.select([self._pipe], [], [], seconds)[0]:
            chunk = os.read(self._pipe, 65536)
            if not chunk:
                return True
            self._said += chunk
        return False

    def ending(self) -> Ending | None:
        """How it ended, after :meth:`wait` said so; None when the process was killed."""
        os.close(self._pipe)
        return Ending(**json.loads(self._said)) if self._said else None


def main(what: Play, pipe: int, held: int | None, group: Group | None) -> None:
    """Leave the caller behind, run the playbook and tell how it ended; the arguments are those of :class:`Driver`."""
    if os.fork():
        os._exit(0)
    os.set_inheritable(pipe, False)
    if held is not None:
        os.set_inheritable(held, False)
        lock.sign(held)
    if group is not None:
        try:
            group.join()
        except OSError as error:  # as where there are no groups: a recovery waits for what it cannot end
            print(f"This run is in no control group: {error}", file=sys.stderr, flush=True)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    try:
        ending = play(what)
    except Exception as error:  # whatever it is, the one who watches should learn of it
        from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

        detail = f"{type(error).__name__}: {error}"[:500]
        ending = Ending(1, ClmsError("INTERNAL", phase=what.playbook, detail=detail).as_dict(), "")
    try:
        os.write(pipe, json.dumps(asdict(ending)).encode())
    except BrokenPipeError:
        return  # nobody watches any more


if __name__ == "__main__":
    _order = json.loads(sys.argv[1])
    _group = Group(Path(_order["group"])) if _order["group"] else None
    main(Play(**_order["what"]), _order["pipe"], _order["held"], _group)
