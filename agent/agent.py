# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent does with each request that it has understood; ``agent/protocol.py`` says which there are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils import overview
from ansible_collections.clms.update.plugins.module_utils.adapters.backup_store import backups_in
from ansible_collections.clms.update.plugins.module_utils.adapters.vendor import store_of
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.phases.loss import would_lose
from ansible_collections.clms.update.plugins.module_utils.plan import kind_word
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.told import told

from . import backups, config, doctor, files, notifications, output, protocol, runs, schedule, settings
from .about import about
from .accounts import Accounts
from .enforcer import Enforcer
from .executor import Executor, Job
from .once import Once
from .planner import Planner

Answer = Callable[[protocol.Request, School], dict[str, Any]]


class Agent:
    """Answers requests; runs go to the executor, and what is to be done later to the planner."""

    def __init__(
        self, folder: Path, executor: Executor, planner: Planner, accounts: Accounts, enforcer: Enforcer
    ) -> None:
        self._folder = folder
        self._executor = executor
        self._planner = planner
        self._accounts = accounts
        self._answers: dict[str, Answer] = {
            "status": lambda _, school: overview.status(school.home),
            "check": lambda *_: planner.ask_vendor(),
            "school": lambda _, school: about(school, planner.now()),
            "release": lambda request, school: overview.release(school, request.version),
            "list": _list,
            "events": _events,
            "health": lambda _, school: doctor.examine(school),
            "enforcement": lambda *_: enforcer.answer(),
            "loss": lambda request, school: would_lose(school.raw, request.backup),
            "settings": lambda *_: settings.settings(folder),
            "schedule": self._schedule,
            "cancel": self._cancel,
            "import": lambda request, school: files.import_upload(school, str(request.file)),
            "change": self._change,
            "notify": lambda _, school: notifications.send_test(school),
            "postpone": lambda request, _: enforcer.postpone(request.deadline),
            "verify": lambda request, school: backups.verify(school, str(request.backup)),
            "copy": lambda request, school: backups.copy_out(school, str(request.backup)),
            "once": self._once,
        }

    def answer(self, request: protocol.Request, *, as_root: bool = False) -> dict[str, Any]:
        """The answer to a request that is no run.

        :param as_root: whether root asks
        :raises ClmsError: why there is none
        """
        self._check_person(request, as_root=as_root)
        if request.verb in protocol.ACCOUNTS:  # also where the school is not described yet
            return self._accounts.answer(request)
        return self._answers[request.verb](request, config.load(self._folder).school)

    def parcel(self, request: protocol.Request) -> backups.Parcel:
        """What is to be downloaded.

        :raises ClmsError: as :class:`.backups.Parcel`
        """
        return backups.Parcel(config.load(self._folder).school, str(request.backup))

    def begin(self, request: protocol.Request, *, as_root: bool) -> Job:
        """Start a run.

        :param as_root: whether root asks
        :raises ClmsError: why it is refused
        """
        self._check_person(request, as_root=as_root)
        school = config.load(self._folder).school
        _check_version(school, request.version)
        school.backup.copied_to(request.backup_location)  # refused here, before there is a run
        return self._executor.begin(runs.Order(request.verb, request.version, request.variables))

    def home(self) -> Path:
        """Where the journal lies.

        :raises ClmsError: SCHOOL_INCOMPLETE
        """
        return config.load(self._folder).school.home

    def _check_person(self, request: protocol.Request, *, as_root: bool) -> None:
        """:raises ClmsError: as :meth:`.accounts.Accounts.sign_in`, unless whoever asks may ask for what is guarded"""
        if request.verb in protocol.GUARDED and not as_root:
            self._accounts.sign_in(request.name or "", request.password or "", signed_in=True)

    def _once(self, request: protocol.Request, school: School) -> dict[str, Any]:
        if request.name not in self._accounts.generations():  # of others, there would be no end of keys
            raise ClmsError("ACCOUNT_UNKNOWN", name=str(request.name)[:40])
        return Once(school.home).answer(request)

    def _schedule(self, request: protocol.Request, school: School) -> dict[str, Any]:
        _check_version(school, request.version)
        _check_installable(school, request.version)
        return self._planner.schedule(
            str(request.at),
            version=request.version,
            missed=request.missed,
            backup_location=request.backup_location,
        )

    def _cancel(self, request: protocol.Request, school: School) -> dict[str, Any]:
        if request.schedule is not None:
            return self._planner.cancel(request.schedule)
        with closing(Journal(school.home)) as journal:
            return _cancel_run(journal, int(request.run or 0))

    def _change(self, request: protocol.Request, school: School) -> dict[str, Any]:
        changed = settings.change(self._folder, dict(request.settings))
        if changed:
            names = ", ".join(changed)
            by = told("CHANGED_BY", name=request.name, settings=names) if request.name else None
            schedule.tell(school.home, "SETTINGS_CHANGED", by or told("CHANGED", settings=names))
            self._planner.rules_changed()
        return {"changed": changed}


def _list(request: protocol.Request, school: School) -> dict[str, Any]:
    if request.what == "schedule":
        return schedule.described(*schedule.read(school.home), school.schedule)
    if request.what == "files":
        return {"files": overview.files(school), "folder": str(school.upload_folder)}
    if request.what == "backups":
        return {"backups": [backup.as_dict() for backup in backups_in(Path(school.backup.path))]}
    if request.what == "history":
        with closing(Journal(school.home)) as journal:
            return {"history": overview.history(journal, before=request.before, limit=request.limit)}
    if request.what == "totals":
        with closing(Journal(school.home)) as journal:
            return {"totals": journal.totals()}
    return {"releases": overview.releases(school)}


def _events(request: protocol.Request, school: School) -> dict[str, Any]:
    with closing(Journal(school.home)) as journal:
        return {"events": output.events_for_json(journal.events(after=request.after, before=request.before))}


def _cancel_run(journal: Journal, number: int) -> dict[str, Any]:
    """Ask a run to stop; its playbook looks for that where it can still go back.

    :raises ClmsError: RUN_UNKNOWN, RUN_CLOSED
    """
    try:
        run = journal.run(number)
    except ClmsError as error:
        raise (ClmsError("RUN_UNKNOWN", run=number) if error.code == "RUN_NONE" else error) from None
    try:
        run.ask_to_cancel()
    except ClmsError as error:
        ended = error.code == "RUN_NONE"
        raise (ClmsError("RUN_CLOSED", run=number, kind=kind_word(run.row.kind)) if ended else error) from None
    return {"run": number}


def _check_version(school: Any, version: str | None) -> None:
    """:raises ClmsError: RELEASE_UNKNOWN for a version that is named and not known"""
    if version is not None and version not in _known_versions(school):
        raise ClmsError("RELEASE_UNKNOWN", version=version)


def _check_installable(school: Any, version: str | None) -> None:
    """What cannot be installed is refused when it is scheduled, and not at night.

    :raises ClmsError: why it cannot be, as :func:`.overview.release` says it
    """
    try:
        blocked = overview.release(school, version)["blocked"] if version is not None else None
    except ClmsError:  # it is listed, and its description is not here: the run fetches it
        return
    if blocked:
        raise ClmsError.from_dict(blocked)


def _known_versions(school: Any) -> set[str]:
    """The versions whose descriptions this school has verified; it asks the vendor for news first, where it can."""
    with suppress(ClmsError):  # offline: what is known has to do, and a run would say why it cannot be had
        store_of(school).refresh()
    return {release["version"] for release in overview.releases(school)}
