# SPDX-License-Identifier: GPL-3.0-or-later
"""``clms-update doctor``: whether everything that an update depends on is in order, each problem with its remedy.

Looks and changes nothing. The checks are those of the phase `preflight`; here all of them are made, not only the
first that fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils import journal_file
from ansible_collections.clms.update.plugins.module_utils.adapters import takeover
from ansible_collections.clms.update.plugins.module_utils.adapters.backup_store import backups_in, check_place
from ansible_collections.clms.update.plugins.module_utils.adapters.database import database_of
from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from ansible_collections.clms.update.plugins.module_utils.adapters.gate import GateControl
from ansible_collections.clms.update.plugins.module_utils.adapters.vendor import registry_of, store_of
from ansible_collections.clms.update.plugins.module_utils.disk import check_space
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal, RunRow
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run
from ansible_collections.clms.update.plugins.module_utils.lock import is_held
from ansible_collections.clms.update.plugins.module_utils.phases.preflight import check_secrets, space_needed
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.slots import Slot
from ansible_collections.clms.update.plugins.module_utils.status import iso

from .output import age, moment

_OLD_NEWS = 14 * 24 * 3600
_OLD_BACKUP = 90 * 24 * 3600
_SOON = timedelta(days=30)
_REPAIRS = {"RUN_INTERRUPTED": "recover"}
"""Code of a problem -> what the agent can be asked for to mend it."""


class Problem(Exception):
    """Something is wrong that has no code of its own."""

    def __init__(self, message: str, remedy: str, repair: str | None = None) -> None:
        """:param repair: what the agent can be asked for to mend it, see ``agent/protocol.py``"""
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.repair = repair


class _NotSeen(Exception):
    """It cannot be checked, because something else is missing."""


def examine(school: School, sheet: Path | None = None) -> dict[str, Any]:
    """Make all checks.

    :param sheet: the recovery sheet, typed in from the print, to be proved as well
    :returns: ``ok``, and ``checks``, each with ``name``, ``ok`` (None where it could not be checked), ``message``,
        ``remedy``, ``code``, and ``repair``: what the agent can be asked for to mend it, or None
    """
    patient = _Patient(school)
    wanted = patient.checks() | ({"recovery sheet": lambda: patient.opens_with(sheet)} if sheet else {})
    checks = [_check(name, work) for name, work in wanted.items()]
    return {"ok": all(check["ok"] for check in checks), "checks": checks}


def _check(name: str, work: Callable[[], str]) -> dict[str, Any]:
    seen: dict[str, Any] = {"name": name, "ok": True, "remedy": None, "code": None, "repair": None}
    try:
        return seen | {"message": work()}
    except _NotSeen as reason:
        return seen | {"ok": None, "message": f"not looked at, because {reason}"}
    except Problem as problem:
        return seen | {"ok": False, "message": problem.message, "remedy": problem.remedy, "repair": problem.repair}
    except ClmsError as error:
        return seen | {"ok": False, **error.as_dict(), "repair": _REPAIRS.get(error.code)}
    except Exception as error:  # one check that breaks must not hide the others
        wrapped = ClmsError("INTERNAL", phase=f"doctor: {name}", detail=f"{type(error).__name__}: {error}"[:300])
        return seen | {"ok": False, **wrapped.as_dict()}


class _Patient:
    """A school under examination."""

    def __init__(self, school: School) -> None:
        self._school = school

    def checks(self) -> dict[str, Callable[[], str]]:
        """The checks in the order in which they are shown."""
        return {
            "description": lambda: f"The description of {self._school.title} is complete.",
            "secrets": self._secrets,
            "journal": self._journal,
            "engine": self._engine_answers,
            "containers": self._containers,
            "database": self._database,
            "gate": self._gate,
            "disk": self._disk,
            "backup place": self._backup_place,
            "last backup": self._last_backup,
            "clock": self._clock,
            "news": self._news,
            "keys": self._keys,
            "registry": self._registry,
        }

    @cached_property
    def _recorded(self) -> tuple[Slot | None, RunRow | None]:
        """The slot that serves, and the run that has not ended, as far as there is a journal."""
        try:
            journal = Journal(self._school.home)
        except ClmsError:
            return None, None
        try:
            return journal.slot("current"), journal.open_run()
        finally:
            journal.close()

    @cached_property
    def _engine(self) -> Engine | None:
        try:
            return Engine()
        except ClmsError:
            return None

    def _serving(self) -> tuple[Slot, Engine]:
        slot, run = self._recorded
        if slot is None:
            raise _NotSeen("no installation is recorded")
        if run is not None:  # it has stopped what would be missed here, and nobody should start that by hand
            raise _NotSeen(f"run number {run.id} has not ended")
        if self._engine is None:
            raise _NotSeen("the Docker engine does not answer")
        return slot, self._engine

    def _context(self, journal: Any = None) -> Context:
        """What the functions of the phases ask for; there is no run, and nothing of it is used."""
        slot, engine = self._serving()
        row = RunRow(0, "update", KINDS["update"], self._school.raw, None, None, 0.0, None, None, None)
        context = Context(journal, Run(journal, row), "doctor")
        context.__dict__.update(school=self._school, engine=engine, slot=slot)
        return context

    def _secrets(self) -> str:
        check_secrets(self._school)
        return "The files with secrets can be read by their owner only."

    def _journal(self) -> str:
        if problem := journal_file.problem(self._school.home):
            raise ClmsError("JOURNAL_UNREADABLE", path=journal_file.path_in(self._school.home), detail=problem)
        journal = Journal(self._school.home)
        try:
            row = journal.open_run()
            if row is None:
                last = journal.rows(limit=1)
                if last and last[0].outcome == "NEEDS_OPERATOR":
                    error = last[0].error or {}
                    raise Problem(
                        f"Run number {last[0].id} could not be put back: {error.get('message', '')}",
                        error.get("remedy", "Call support."),
                    )
                return "No run was interrupted."
            if not is_held(self._school.home):
                raise ClmsError("RUN_INTERRUPTED", run=row.id, kind=row.kind, phase=journal.run(row.id).phase())
            return f"Run number {row.id} ({row.kind}) is going on."
        finally:
            journal.close()

    def _engine_answers(self) -> str:
        self._engine = Engine()
        return f"The Docker engine answers ({self._engine.architecture()})."

    def _containers(self) -> str:
        slot, engine = self._serving()
        stopped = [service.container for service in slot.services.values() if not engine.is_running(service.container)]
        if stopped:
            commands = " && ".join(f"docker start {name}" for name in stopped)
            raise Problem(f"These containers of CLMS do not run: {', '.join(stopped)}.", f"Start them: {commands}")
        return f"All containers of CLMS {slot.version} run."

    def _database(self) -> str:
        slot, _ = self._serving()
        with database_of(self._context(), slot) as database:
            problems = database.settings_problems()
        if problems:
            raise ClmsError("DATABASE_SETTINGS", detail="; ".join(problems))
        return "The database takes the updater's login, and its settings are safe."

    def _gate(self) -> str:
        _, engine = self._serving()
        mode = GateControl(self._school, engine).mode()
        if mode == "blocked":
            raise Problem(
                "A critical update is overdue: until it is installed, people can look books up and do nothing else.",
                "Install it: clms-update update",
                "update",
            )
        if mode != "open":
            raise Problem(
                f"The gate is {mode}, so users cannot use CLMS.",
                "Run 'clms-update recover'; if the gate stays as it is, call support.",
                "recover",
            )
        return "The gate is open."

    def _disk(self) -> str:
        _, engine = self._serving()
        journal = Journal(self._school.home)
        try:
            needs = space_needed(self._context(journal), None, None, engine.architecture(), "update")
        finally:
            journal.close()
        lines = check_space(needs, reserve=self._school.reserve_bytes)
        return f"There is room for an update, its images not counted: {'; '.join(lines)}."

    def _backup_place(self) -> str:
        check_place(Path(self._school.backup.path))
        return f"Backups can be written to {self._school.backup.path}."

    def _last_backup(self) -> str:
        backups = backups_in(Path(self._school.backup.path))
        if not backups:
            raise Problem("There is no backup yet.", "Make one: clms-update backup", "backup")
        old = time.time() - datetime.fromisoformat(backups[0].proven).timestamp()
        if old > _OLD_BACKUP:
            message = f"The newest backup, {backups[0].id}, was proven {age(old)}."
            raise Problem(message, "Make another one: clms-update backup", "backup")
        return f"The newest backup is {backups[0].id}, proven by restoring it on {moment(backups[0].proven)}."

    def opens_with(self, sheet: Path) -> str:
        """That the newest backup can be opened on another server, with the recovery sheet and nothing else."""
        backups = backups_in(Path(self._school.backup.path))
        if not backups:
            raise _NotSeen("there is no backup yet")
        folder = Path(backups[0].path)
        manifest = takeover.opened(folder, sheet)
        takeover.configuration(folder, manifest, sheet)
        return f"The recovery sheet opens the backup {manifest.id}. Delete the file {sheet} now."

    def _clock(self) -> str:
        store_of(self._school).check_clock()
        return f"The clock of this server shows {moment(iso(time.time()))}."

    def _keys(self) -> str:
        expires = store_of(self._school).root_expires()
        message = f"The vendor's keys, as this server knows them, count until {moment(iso(expires.timestamp()))}."
        if expires - datetime.now(UTC) < _SOON:
            raise Problem(message, "Ask the vendor for newer ones: clms-update check", "check")
        return message

    def _news(self) -> str:
        seconds = store_of(self._school).news_age_seconds()
        if seconds is None:
            raise Problem("The release server was never asked for news.", "Ask it: clms-update check", "check")
        message = f"The release server last answered {age(seconds)}."
        if seconds > _OLD_NEWS:
            raise Problem(message, "Run 'clms-update check'; if it fails, it says what is wrong.", "check")
        return message

    def _registry(self) -> str:
        slot, _ = self._recorded
        if slot is None:
            raise _NotSeen("no installation is recorded")
        repositories = [i.repository for images in slot.parsed_release().images.values() for i in images.values()]
        if not repositories:
            raise _NotSeen(f"version {slot.version} was built here")
        registry_of(self._school).tags(repositories[0])
        return f"The image registry {self._school.registry} answers and takes this school's login."
