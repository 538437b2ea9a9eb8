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
from ansible_collections.clms.update.plugins.module_utils.finding_texts import FINDINGS
from ansible_collections.clms.update.plugins.module_utils.journal import Journal, RunRow
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run
from ansible_collections.clms.update.plugins.module_utils.lock import is_held
from ansible_collections.clms.update.plugins.module_utils.phases.preflight_checks import (
    check_image_store,
    check_secrets,
    space_needed,
)
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


class Finding(Exception):
    """Something that was found: that all is well, or, raised, what is wrong and has no code of its own."""

    def __init__(self, name: str, *, repair: str | None = None, **values: str | int | float) -> None:
        """
        :param name: of :data:`.finding_texts.FINDINGS`
        :param repair: what the agent can be asked for to mend it, see ``agent/protocol.py``
        :param values: what its words name
        """
        super().__init__(name)
        self._name = name
        self._repair = repair
        self._values = values

    def as_dict(self) -> dict[str, Any]:
        """What a check says of it."""
        text, shown = FINDINGS[self._name], dict(self._values)
        if "ago" in shown:
            shown["ago"] = age(float(shown["ago"]))
        if "moment" in shown:
            shown["moment"] = moment(str(shown["moment"]))
        return {
            "message": text.happened.format(**shown),
            "remedy": text.remedy.format(**shown) or None,
            "repair": self._repair,
            "finding": self._name,
            "values": {name: str(value) for name, value in self._values.items()},
        }


class _NotSeen(Finding):
    """It cannot be checked, because something else is missing."""


def examine(school: School, sheet: Path | None = None) -> dict[str, Any]:
    """Make all checks.

    :param sheet: the recovery sheet, typed in from the print, to be proved as well
    :returns: ``ok``, and ``checks``, each with ``name``, ``ok`` (None where it could not be checked), ``message``,
        ``remedy``, ``code``, ``repair``: what the agent can be asked for to mend it, or None, and for who says it in
        another language the ``finding``, where it is no error with a code, and the ``values`` that it names
    """
    patient = _Patient(school)
    wanted = patient.checks() | ({"recovery sheet": lambda: patient.opens_with(sheet)} if sheet else {})
    checks = [_check(name, work) for name, work in wanted.items()]
    return {"ok": all(check["ok"] for check in checks), "checks": checks}


def _check(name: str, work: Callable[[], Finding]) -> dict[str, Any]:
    seen: dict[str, Any] = {"name": name, "ok": True, "code": None, "repair": None, "finding": None}
    try:
        return seen | work().as_dict()
    except _NotSeen as reason:
        return seen | {"ok": None, **reason.as_dict()}
    except Finding as problem:
        return seen | {"ok": False, **problem.as_dict()}
    except ClmsError as error:
        return seen | {"ok": False, **error.as_dict(), "repair": _REPAIRS.get(error.code)}
    except Exception as error:  # one check that breaks must not hide the others
        wrapped = ClmsError("INTERNAL", phase=f"doctor: {name}", detail=f"{type(error).__name__}: {error}"[:300])
        return seen | {"ok": False, **wrapped.as_dict()}


def _iso(seconds: float) -> str:
    return str(iso(seconds))


class _Patient:
    """A school under examination."""

    def __init__(self, school: School) -> None:
        self._school = school

    def checks(self) -> dict[str, Callable[[], Finding]]:
        """The checks in the order in which they are shown."""
        return {
            "description": lambda: Finding("DESCRIPTION_COMPLETE", school=self._school.title),
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
            "vendor": self._vendor,
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
            raise _NotSeen("SEEN_NO_INSTALLATION")
        if run is not None:  # it has stopped what would be missed here, and nobody should start that by hand
            raise _NotSeen("SEEN_NO_END", run=run.id)
        if self._engine is None:
            raise _NotSeen("SEEN_NO_ENGINE")
        return slot, self._engine

    def _context(self, journal: Any = None) -> Context:
        """What the functions of the phases ask for; there is no run, and nothing of it is used."""
        slot, engine = self._serving()
        row = RunRow(0, "update", KINDS["update"], self._school.raw, None, None, 0.0, None, None, None)
        context = Context(journal, Run(journal, row), "doctor")
        context.__dict__.update(school=self._school, engine=engine, slot=slot)
        return context

    def _secrets(self) -> Finding:
        check_secrets(self._school)
        return Finding("SECRETS_SAFE")

    def _journal(self) -> Finding:
        if problem := journal_file.problem(self._school.home):
            raise ClmsError("JOURNAL_UNREADABLE", path=journal_file.path_in(self._school.home), detail=problem)
        journal = Journal(self._school.home)
        try:
            row = journal.open_run()
            if row is None:
                last = journal.rows(limit=1)
                if last and last[0].outcome == "NEEDS_OPERATOR":
                    error = last[0].error or {}
                    detail, remedy = error.get("message", ""), error.get("remedy", "Call support.")
                    raise Finding("RUN_NOT_PUT_BACK", run=last[0].id, detail=detail, remedy=remedy)
                return Finding("RUN_NONE_INTERRUPTED")
            if not is_held(self._school.home):
                raise ClmsError("RUN_INTERRUPTED", run=row.id, kind=row.kind, phase=journal.run(row.id).phase())
            return Finding("RUN_GOES_ON", run=row.id, kind=row.kind)
        finally:
            journal.close()

    def _engine_answers(self) -> Finding:
        self._engine = Engine()
        check_image_store(self._engine)
        return Finding("ENGINE_ANSWERS", architecture=self._engine.architecture())

    def _containers(self) -> Finding:
        slot, engine = self._serving()
        stopped = [service.container for service in slot.services.values() if not engine.is_running(service.container)]
        if stopped:
            commands = " && ".join(f"docker start {name}" for name in stopped)
            raise Finding("CONTAINERS_STOPPED", containers=", ".join(stopped), commands=commands)
        return Finding("CONTAINERS_RUN", version=slot.version)

    def _database(self) -> Finding:
        slot, _ = self._serving()
        with database_of(self._context(), slot) as database:
            problems = database.settings_problems()
        if problems:
            raise ClmsError("DATABASE_SETTINGS", detail="; ".join(problems))
        return Finding("DATABASE_SAFE")

    def _gate(self) -> Finding:
        _, engine = self._serving()
        mode = GateControl(self._school, engine).mode()
        if mode == "blocked":
            raise Finding("GATE_BLOCKED", repair="update")
        if mode != "open":
            raise Finding("GATE_NOT_OPEN", mode=mode, repair="recover")
        return Finding("GATE_OPEN")

    def _disk(self) -> Finding:
        _, engine = self._serving()
        journal = Journal(self._school.home)
        try:
            needs = space_needed(self._context(journal), None, None, engine.architecture(), "update")
        finally:
            journal.close()
        lines = check_space(needs, reserve=self._school.reserve_bytes)
        return Finding("DISK_ENOUGH", detail="; ".join(lines))

    def _backup_place(self) -> Finding:
        check_place(Path(self._school.backup.path))
        return Finding("BACKUPS_WRITABLE", path=self._school.backup.path)

    def _last_backup(self) -> Finding:
        backups = backups_in(Path(self._school.backup.path))
        if not backups:
            raise Finding("BACKUP_NONE", repair="backup")
        old = time.time() - datetime.fromisoformat(backups[0].proven).timestamp()
        if old > _OLD_BACKUP:
            raise Finding("BACKUP_OLD", backup=backups[0].id, ago=old, repair="backup")
        return Finding("BACKUP_NEWEST", backup=backups[0].id, moment=backups[0].proven)

    def opens_with(self, sheet: Path) -> Finding:
        """That the newest backup can be opened on another server, with the recovery sheet and nothing else."""
        backups = backups_in(Path(self._school.backup.path))
        if not backups:
            raise _NotSeen("SEEN_NO_BACKUP")
        folder = Path(backups[0].path)
        manifest = takeover.opened(folder, sheet)
        takeover.configuration(folder, manifest, sheet)
        return Finding("SHEET_OPENS", backup=manifest.id, path=str(sheet))

    def _clock(self) -> Finding:
        store_of(self._school).check_clock()
        return Finding("CLOCK_SHOWS", moment=_iso(time.time()))

    def _keys(self) -> Finding:
        expires = store_of(self._school).root_expires()
        until = _iso(expires.timestamp())
        if expires - datetime.now(UTC) < _SOON:
            raise Finding("KEYS_END", moment=until, repair="check")
        return Finding("KEYS_COUNT", moment=until)

    def _news(self) -> Finding:
        seconds = store_of(self._school).news_age_seconds()
        if seconds is None:
            raise Finding("NEWS_NONE", repair="check")
        if seconds > _OLD_NEWS:
            raise Finding("NEWS_OLD", ago=seconds, repair="check")
        return Finding("NEWS_FRESH", ago=seconds)

    def _vendor(self) -> Finding:
        """Nobody else can sign a release; but who may answer in the vendor's place can keep news away."""
        trust = self._school.trust
        if not trust.ca_file and not trust.pins:
            raise Finding("VENDOR_ANYBODY", url=trust.url)
        return Finding("VENDOR_NAMED")

    def _registry(self) -> Finding:
        slot, _ = self._recorded
        if slot is None:
            raise _NotSeen("SEEN_NO_INSTALLATION")
        repositories = [i.repository for images in slot.parsed_release().images.values() for i in images.values()]
        if not repositories:
            raise _NotSeen("SEEN_BUILT_HERE", version=slot.version)
        registry_of(self._school, attempts=1).tags(repositories[0])
        return Finding("REGISTRY_ANSWERS", registry=self._school.registry)
