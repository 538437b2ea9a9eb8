# SPDX-License-Identifier: GPL-3.0-or-later
"""The one that does runs: it holds the school's lock, starts playbooks in a control group of their own, and recovers.

One run at a time. Whatever becomes of a playbook, at the end of its run the school is in order or a person is told.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils import journal_file, lock
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal

from . import config, runs
from .cgroup import Group
from .detached import Driver
from .progress import Silent


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

    def __init__(self, folder: Path, start: Callable[..., runs.Running] = Driver) -> None:
        """:param folder: the configuration folder, read anew for each run"""
        self._folder = folder
        self._start = start
        settings = config.load(folder)
        self._home = settings.school.home
        self._group = Group.beside(f"{settings.school.project}-run")

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

        :returns: the run that does so, or None where there is nothing to put in order
        :raises ClmsError: RUN_ACTIVE while a run goes on that was started without the agent
        """
        self._end_processes()
        return self.begin(runs.Order("recover")) if self._is_out_of_order() else None

    def _is_out_of_order(self) -> bool:
        """Whether a run was interrupted, or the journal has to be replaced."""
        if journal_file.problem(self._home) is not None:
            return True
        if not Journal.exists(self._home):
            return False
        with closing(Journal(self._home)) as journal:
            return journal.open_run() is not None

    def begin(self, order: runs.Order) -> Job:
        """Start a run.

        :raises ClmsError: RUN_ACTIVE while another one goes on, SCHOOL_INCOMPLETE
        """
        settings = config.load(self._folder)
        held = lock.acquire(self._home)
        if held is None:
            with closing(Journal(self._home)) as journal:
                raise journal.in_the_way()
        job = Job(order)
        threading.Thread(target=self._do, args=(job, settings, held), name=f"run {order.kind}").start()
        return job

    def _do(self, job: Job, settings: config.Config, held: int) -> None:
        start = partial(self._start, held=held, group=self._group)
        try:
            job.run, job.exit_code = self._carry_out(job.order, settings, start)
        except ClmsError as error:
            job.run, job.exit_code = runs.without_run(job.order, error.as_dict()), runs.REFUSED
        except Exception as error:  # whoever waits has to learn of it
            wrapped = ClmsError("INTERNAL", phase=job.order.kind, detail=f"{type(error).__name__}: {error}"[:300])
            job.run = runs.without_run(job.order, wrapped.as_dict())
        finally:
            os.close(held)
            job.ended.set()

    def _carry_out(
        self, order: runs.Order, settings: config.Config, start: Callable[..., runs.Running]
    ) -> tuple[dict[str, Any], int]:
        if order.kind == "recover":
            return runs.recover(settings, Silent(), start)
        run, code = runs.carry_out(settings, order, Silent(), start, locked=True)
        self._end_processes()
        with closing(Journal(self._home)) as journal:
            left_open = journal.open_run() is not None
        if left_open:  # its playbook was killed, or could not put it in order
            runs.recover(settings, Silent(), start)
            if run["id"] is not None:
                return runs.judged(settings, run["id"])
        return run, code

    def _end_processes(self) -> None:
        if self._group is not None:
            self._group.end()
