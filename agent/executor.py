# SPDX-License-Identifier: GPL-3.0-or-later
"""The one that does runs: it holds the school's lock, starts playbooks in a control group of their own, and recovers.

One run at a time. Whatever becomes of a playbook, at the end of its run the school is in order or a person is told.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils import journal_file, lock
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.plan import events_of
from ansible_collections.clms.update.plugins.module_utils.status import cause_of, failed_with
from ansible_collections.clms.update.plugins.module_utils.told import told

from . import config, notify, runs
from .cgroup import Group
from .detached import Driver
from .inhibitor import Inhibitor, WhileClosed
from .progress import Silent
from .runner import Play
from .schedule import tell
from .watchdog import Watchdog

_POLL_SECONDS = 1.0
_ASK_SECONDS = 0.2
_ENDING_SECONDS = 10.0
"""for which a run that the journal says has ended may still hold the lock: its playbook is about to end"""
_ATTEMPTS = 3
"""at putting a run in order; a person is needed then"""

log = logging.getLogger("clms-update-agent")


@dataclass
class Job:
    """A run that goes on, or has ended."""

    order: runs.Order
    ended: threading.Event = field(default_factory=threading.Event)
    run: dict[str, Any] | None = None
    """as ``last_update`` shows it, once it has ended"""
    exit_code: int = runs.FAILED


class Executor:
    """Does the runs of one school."""

    def __init__(
        self,
        folder: Path,
        start: Callable[..., runs.Running] = Driver,
        *,
        group: Callable[[str], Group | None] = Group.beside,
        inhibitor: Inhibitor | None = None,
    ) -> None:
        """:param folder: the configuration folder, read anew for each run
        :param group: gives the control group of a name
        """
        self._folder = folder
        self._start = start
        settings = config.load(folder)
        self._home = settings.school.home
        self._group = _usable(group(f"{settings.school.project}-run"))
        self._inhibitor = inhibitor or Inhibitor()
        self._beginning = threading.Lock()
        self._job: Job | None = None
        self.stopping = threading.Event()
        """set by :meth:`stop`"""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only agent of this school while the body runs.

        :raises ClmsError: AGENT_TWICE
        """
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._home / "agent.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ClmsError("AGENT_TWICE") from None
            yield

    def recover(self) -> Job | None:
        """At the start: end what an earlier agent has left behind, and put an interrupted run in order.

        It waits for the end of a run that goes on without the agent; nothing can be asked of an agent that waits.

        :returns: the run that does so, or None where there is nothing to put in order or the agent is to end
        """
        try:
            self._end_processes()
            self._wait_for_others()
            while not self.stopping.is_set() and self._is_out_of_order():
                try:
                    return self.begin(runs.Order("recover"))
                except ClmsError as error:
                    if error.code != "RUN_ACTIVE":  # else somebody was faster
                        raise
                self._wait_for_others()
        except ClmsError:
            if not self.stopping.is_set():
                raise
        return None

    def _is_out_of_order(self) -> bool:
        """Whether a run was interrupted, or the journal has to be replaced."""
        return journal_file.problem(self._home) is not None or self._left_open() is not None

    def begin(self, order: runs.Order) -> Job:
        """Start a run.

        :raises ClmsError: RUN_ACTIVE while another one goes on, SCHOOL_INCOMPLETE, AGENT_SILENT after :meth:`stop`
        """
        settings = config.load(self._folder)
        deadline = time.monotonic() + _ENDING_SECONDS
        while (job := self._begin(order, settings)) is None:
            if self._left_open() is not None or time.monotonic() >= deadline:
                raise self._in_the_way()
            self.stopping.wait(_ASK_SECONDS)
        return job

    def _begin(self, order: runs.Order, settings: config.Config) -> Job | None:
        """Start a run, unless somebody else holds the lock.

        :raises ClmsError: AGENT_SILENT after :meth:`stop`
        """
        with self._beginning:
            if self.stopping.is_set():
                raise _ending(settings)
            held = lock.acquire(self._home)
            if held is None:
                return None
            job = Job(order)
            try:
                threading.Thread(target=self._do, args=(job, settings, held), name=f"run {order.kind}").start()
            except RuntimeError:  # no room for another thread
                os.close(held)
                raise
            self._job = job
        return job

    def stop(self) -> None:
        """Begin nothing any more, no recovery either. A playbook that goes on is carried to its end."""
        with self._beginning:
            self.stopping.set()
        notify.tell(notify.STOPPING, notify.PATIENCE)

    def wait_for_end(self) -> None:
        """After :meth:`stop`: wait until the run that goes on has ended."""
        job = self._job
        if job is None or job.ended.is_set():
            return
        words = f"waiting for {self._name(job)} to end"
        log.info("%s", words)
        notify.tell(notify.PATIENCE, notify.status(words))
        while not job.ended.wait(_POLL_SECONDS):
            notify.tell(notify.PATIENCE)

    def _name(self, job: Job) -> str:
        try:
            number = self._left_open()
        except ClmsError:
            number = None
        return f"the {job.order.kind}" if number is None else f"run {number} ({job.order.kind})"

    def _do(self, job: Job, settings: config.Config, held: int) -> None:
        order = job.order
        notify.tell(notify.status(f"a run goes on: {order.kind}"))
        try:
            job.run, job.exit_code = self._come_to(order, settings, held)
            if job.run["id"] is None and job.run["error_code"] and order.schedule is None:
                # a run tells how it ends; whoever has begun this one may not have waited for that
                tell(self._home, events_of(order.kind).failed, told("CAUSE", cause=cause_of(job.run)))
        finally:
            os.close(held)
            job.ended.set()
            notify.tell(notify.status("no run goes on"))

    def _come_to(self, order: runs.Order, settings: config.Config, held: int) -> tuple[dict[str, Any], int]:
        """What becomes of a run, whatever breaks: whoever waits has to learn of it."""
        try:
            return self._carry_out(order, settings, held)
        except ClmsError as error:
            return runs.without_run(order, error.as_dict()), runs.REFUSED
        except Exception as error:
            log.exception("a run broke: %s", order.kind)
            wrapped = ClmsError("INTERNAL", phase=order.kind, detail=f"{type(error).__name__}: {error}"[:300])
            return runs.without_run(order, wrapped.as_dict()), runs.FAILED

    def _carry_out(self, order: runs.Order, settings: config.Config, held: int) -> tuple[dict[str, Any], int]:
        with Watchdog(self._home, self._end_processes).on() if self._group else nullcontext():
            return self._do_run(order, settings, held)

    def _do_run(self, order: runs.Order, settings: config.Config, held: int) -> tuple[dict[str, Any], int]:
        started: list[Play] = []

        def start(what: Play) -> runs.Running:
            if self.stopping.is_set():
                raise _ending(settings)
            started.append(what)
            return self._start(what, held=held, group=self._group)

        try:
            if order.kind == "recover":
                return self._put_in_order(settings, start)
            run, code = runs.carry_out(settings, order, WhileClosed(self._inhibitor), start, locked=True)
            self._end_processes()
            if self._left_open() is None:
                return run, code
            # its playbook was killed, or could not put it in order
            self._put_in_order(settings, start)
            return (run, code) if run["id"] is None else runs.judged(settings, run["id"])
        except ClmsError as error:
            left = self._left_open() if started else None
            if left is None:
                raise
            run, code = runs.judged(settings, left)
            return {**run, **failed_with(error.as_dict())}, code
        finally:
            self._inhibitor.release()

    def _put_in_order(self, settings: config.Config, start: runs.Start) -> tuple[dict[str, Any], int]:
        self._inhibitor.hold()
        for attempt in range(1, _ATTEMPTS + 1):
            self._end_processes()
            run = runs.recover(settings, Silent(), start)
            self._end_processes()
            if attempt == _ATTEMPTS or self.stopping.is_set() or self._left_open() is None:
                break
            log.warning("CLMS is not in order yet: %s", run[0]["message"])
        return run

    def _end_processes(self) -> None:
        """End what a playbook has left behind; nothing is begun before it is gone.

        :raises ClmsError: PROCESSES_STAY when the agent is to end meanwhile
        """
        while self._group is not None:
            notify.tell(notify.PATIENCE)
            try:
                if self._group.end():
                    log.info("ended processes that a run had left behind")
                return
            except ClmsError as error:
                log.error("%s", error)
                notify.tell(notify.status(error.happened))
                if self.stopping.is_set():
                    raise

    def _wait_for_others(self) -> None:
        """Wait until nobody else does a run, or the agent is to end."""
        said = False
        while not self.stopping.is_set() and lock.is_held(self._home):
            if not said:
                said = True
                words = "waiting for the end of a run that goes on without the agent"
                log.info("%s. %s", words, self._in_the_way().happened)
                notify.tell(notify.status(words))
            notify.tell(notify.PATIENCE)
            self.stopping.wait(_POLL_SECONDS)

    def _in_the_way(self) -> ClmsError:
        """The refusal while somebody else holds the lock."""
        if not Journal.exists(self._home):  # it is about to be made
            return ClmsError("RUN_ACTIVE", kind="run", run="?", phase="preflight")
        with closing(Journal(self._home)) as journal:
            return journal.in_the_way()

    def _left_open(self) -> int | None:
        """The number of the run that has not ended."""
        if not Journal.exists(self._home):
            return None
        with closing(Journal(self._home)) as journal:
            row = journal.open_run()
        return row.id if row else None


def _ending(settings: config.Config) -> ClmsError:
    return ClmsError("AGENT_SILENT", path=settings.school.agent_socket, detail="it has been told to end")


def _usable(group: Group | None) -> Group | None:
    """The group if it can be made; else the log says what is not promised."""
    reason = "the kernel has no control groups of version 2"
    if group is not None:
        try:
            group.make()
            return group
        except OSError as error:
            reason = f"{group.path} cannot be made ({error.strerror})"
    log.warning(
        "%s: what a killed run has started is not ended, and putting CLMS in order waits until it has ended by itself",
        reason,
    )
    return None
