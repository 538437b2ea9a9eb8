# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be asked of the agent, and nothing else: one JSON object in a line, of at most 64 KiB.

A request is ``{"verb": …}`` with exactly the fields of its verb; anything unknown, missing or too large is refused. An
answer is ``{"ok": true, "result": {…}}`` or ``{"ok": false, "error": {"code", "message", "remedy"}}``. A run is
answered twice: when it begins, and when it has ended (architecture.md, "The web UI holds no power"). Events that are
followed are answered at once and then again whenever there are new ones, until the other side closes its direction.

Whoever is not root has to give name and password of an account for what goes back to an older state or changes settings
(:data:`GUARDED`): the page has no power of its own, also when somebody has taken it over.

==========  ==========================================  ============================================================
verb        fields                                      result
==========  ==========================================  ============================================================
status                                                  see :func:`.overview.status`
check                                                   see :func:`.overview.check`
school                                                  see :func:`.about.about`
release     version: may be left out                    see :func:`.overview.release`
list        what: one of :data:`LISTS`; for             ``releases``, ``backups``, ``history`` or ``totals`` (see
              ``history`` may be left out: before:        :meth:`.journal.Journal.totals`); for ``schedule`` the keys
              runs with a lower number; limit: how        ``schedules``, ``time_zone`` and ``checked_at``; for ``files``
              many, at most :data:`MOST_RUNS`             also ``folder``, in which uploads are put
events      after and before: numbers, follow: true     ``events``, the newest first: 100 of them
              or false; may be left out
schedule    at: ``tonight``, ``weekend`` or ISO 8601;   ``schedule`` (see :meth:`.schedule.Entry.as_dict`) and
            version, missed, backup_location: may be      ``warnings`` (``code``, ``message``)
            left out
cancel      schedule: number                            ``schedule``
cancel      run: number                                 ``run``; it stops when it comes to a point where it can
verify      backup: its name                            see :func:`.backups.verify`
copy        backup                                      see :func:`.backups.copy_out`
download    backup                                      ``name`` and ``bytes`` of a tar archive, which follows
import      file: name of a file in the folder for        ``version``, ``architecture``, ``created``, ``file``,
            uploads; it is gone afterwards                ``size``
health                                                  see :func:`.doctor.examine`
enforcement                                             see :meth:`.enforcer.Enforcer.answer`
postpone    deadline: the one that was seen, may be     the same; puts a forced update off once more, unless its
              left out                                    deadline is another one by now
loss        backup: may be left out                     see :func:`.loss.would_lose`
settings                                                see :func:`.settings.settings`
change      settings: see :func:`.settings.change`;     ``changed``: their names
            name, password: may be left out
notify                                                  ``sent``; tells everybody that this is a test
accounts                                                ``accounts``: name -> how often its password was set
set_up      code, name, password                        ``name``, ``generation``; makes the first account
sign_in     name, password                              ``name``, ``generation``
password    name, password, new: another password       ``name``, ``generation``
token       token                                       ``name``, ``generation``, ``id`` of the token
once        name, key, body: tells requests apart;      ``answer``: what :class:`.once.Once` was given for this
              answer: JSON, or free: true, where it       key, or None for the first request with it
              has come to something or to nothing
update      version, backup_location: may be left out   ``begun``; at the end ``run`` and ``exit_code``, like all below
rollback    confirm, name, password: may be left out
restore     backup; the same three
backup
recover
==========  ==========================================  ============================================================
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.backup_manifest import ID_PATTERN
from ansible_collections.clms.update.plugins.module_utils.calendar_rules import MISSED
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fields import FieldError, Fields
from ansible_collections.clms.update.plugins.module_utils.school import LOCATIONS
from ansible_collections.clms.update.plugins.module_utils.version import Version

MAX_BYTES = 64 * 1024
MOST_RUNS = 100
"""of the history in one answer"""
RUNS = ("update", "rollback", "restore", "backup", "recover")
BACKUPS = ("verify", "copy", "download")
READS = ("status", "check", "list", "events", "school", "release", "health", "settings", "enforcement", "loss")
CHANGES = ("schedule", "cancel", "import", "change", "notify", "postpone", *BACKUPS)
ACCOUNTS = ("accounts", "set_up", "sign_in", "password", "token")
KEYS = ("once",)
GUARDED = ("rollback", "restore", "change")
LISTS = ("releases", "backups", "files", "history", "schedule", "totals")

_UPLOAD = r"[A-Za-z0-9][A-Za-z0-9._-]*\.zip"
_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
_VERSION = r"[0-9A-Za-z.+-]{1,64}"
_TYPED = 1000


@dataclass(frozen=True)
class Request:
    """A request that was understood."""

    verb: str
    version: str | None = None
    """for ``update``, ``schedule`` and ``release``: one that this school has verified; None is the newest"""
    backup: str | None = None
    """for ``restore``, ``loss`` and :data:`BACKUPS`: the name of a backup"""
    confirm: str | None = None
    """for ``rollback`` and ``restore``: the version that a person has typed"""
    what: str = "releases"
    """for ``list``: one of :data:`LISTS`"""
    before: int | None = None
    """for ``list`` of the history and ``events``: those with a lower number"""
    limit: int = MOST_RUNS
    """for ``list`` of the history: how many runs"""
    after: int = 0
    """for ``events``: those with a higher number"""
    follow: bool = False
    """for ``events``: whether to send those that are yet to come"""
    deadline: str | None = None
    """for ``postpone``: the one that was seen"""
    at: str | None = None
    """for ``schedule``: the time as a person gives it"""
    missed: str | None = None
    """for ``schedule``: what becomes of it when the server is off; None is the school's own rule"""
    backup_location: str | None = None
    """for ``update`` and ``schedule``: see :meth:`.school.BackupPlace.copied_to`"""
    schedule: int | None = None
    """for ``cancel``: number of a scheduled update"""
    run: int | None = None
    """for ``cancel``: number of a run that goes on"""
    file: str | None = None
    """for ``import``: name of an uploaded file"""
    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    """for ``change``: name -> value"""
    name: str | None = None
    """of an account"""
    password: str | None = field(default=None, repr=False)
    new: str | None = field(default=None, repr=False)
    """for ``password``: the one that counts from then on"""
    code: str | None = field(default=None, repr=False)
    """for ``set_up``: the code that lies on the server"""
    token: str | None = field(default=None, repr=False)
    """for ``token``: what a program has shown"""
    key: str | None = None
    """for ``once``: what a program has named its request"""
    body: str | None = None
    answer: str | None = field(default=None, repr=False)
    free: bool = False

    @property
    def variables(self) -> dict[str, str]:
        """The extra variables of the run's playbook."""
        named = {
            "clms_version": self.version,
            "clms_backup_id": self.backup,
            "clms_confirm": self.confirm,
            "clms_backup_location": self.backup_location,
        }
        return {name: value for name, value in named.items() if value is not None}


def parse(line: bytes) -> Request:
    """Read a request.

    :raises ClmsError: AGENT_REQUEST
    """
    try:
        if len(line) > MAX_BYTES:
            raise FieldError("it is too large")
        fields = Fields(json.loads(line))
        verb = fields.text("verb", limit=20)
        if verb not in (*RUNS, *READS, *CHANGES, *ACCOUNTS, *KEYS):
            raise FieldError(f"verb {verb!r} is not known")
        versioned = verb in ("update", "schedule", "release")
        personal = verb in ("set_up", "sign_in", "password")
        once = verb in KEYS
        request = Request(
            verb,
            version=fields.text("version", pattern=_VERSION, default=None) if versioned else None,
            backup=_backup(fields, verb),
            confirm=fields.text("confirm", pattern=_VERSION, default=None) if verb in ("rollback", "restore") else None,
            what=fields.text("what", pattern="|".join(LISTS), default="releases") if verb == "list" else "releases",
            before=fields.number("before", low=1, default=None) if verb in ("list", "events") else None,
            limit=fields.number("limit", low=1, high=MOST_RUNS, default=MOST_RUNS) if verb == "list" else MOST_RUNS,
            after=fields.number("after", default=0) if verb == "events" else 0,
            follow=fields.get("follow", bool, False) if verb == "events" else False,
            deadline=fields.text("deadline", pattern=_MOMENT, default=None) if verb == "postpone" else None,
            at=fields.text("at", pattern="[ -~]+", limit=64) if verb == "schedule" else None,
            missed=fields.text("missed", pattern="|".join(MISSED), default=None) if verb == "schedule" else None,
            backup_location=_location(fields) if verb in ("update", "schedule") else None,
            schedule=fields.number("schedule", low=1, default=None) if verb == "cancel" else None,
            run=fields.number("run", low=1, default=None) if verb == "cancel" else None,
            file=fields.text("file", pattern=_UPLOAD, limit=160) if verb == "import" else None,
            settings=fields.get("settings", dict) if verb == "change" else {},
            name=_secret(fields, "name", personal or once, verb in GUARDED),
            password=_secret(fields, "password", personal, verb in GUARDED),
            new=_secret(fields, "new", verb == "password"),
            code=_secret(fields, "code", verb == "set_up"),
            token=_secret(fields, "token", verb == "token"),
            key=fields.text("key", pattern="[ -~]+", limit=128) if once else None,
            body=fields.text("body", pattern="[0-9a-f]{64}") if once else None,
            answer=fields.text("answer", limit=8192, default=None) if once else None,
            free=fields.get("free", bool, False) if once else False,
        )
        fields.done()
        if verb == "cancel" and (request.schedule is None) == (request.run is None):
            raise FieldError("either schedule or run must say what to cancel")
        if request.version is not None:
            Version(request.version)
        if request.answer is not None:
            json.loads(request.answer)
        return request
    except (ValueError, RecursionError) as error:  # JSON, texts, versions and fields alike
        detail = str(error) if isinstance(error, FieldError) else "it is no JSON object as it should be"
        raise ClmsError("AGENT_REQUEST", detail=detail[:200]) from None


def _backup(fields: Fields, verb: str) -> str | None:
    backup: str | None = None
    if verb in ("restore", *BACKUPS):
        backup = fields.text("backup", pattern=ID_PATTERN)
    elif verb == "loss":
        backup = fields.text("backup", pattern=ID_PATTERN, default=None)
    return backup


def _location(fields: Fields) -> str | None:
    location: str | None = fields.text("backup_location", pattern="|".join(LOCATIONS), default=None)
    return location


def _secret(fields: Fields, name: str, needed: bool, possible: bool = False) -> str | None:
    """What a person has typed, of any characters; how long a password may be is not for this to say."""
    text: str | None = None
    if needed:
        text = fields.text(name, limit=_TYPED)
    elif possible:
        text = fields.text(name, limit=_TYPED, default=None)
    if text is not None:
        text.encode()  # JSON can hold half of a character, which is no text
    return text


def answer(result: dict[str, Any]) -> bytes:
    """The line that says what came of a request."""
    return _line({"ok": True, "result": result})


def refusal(error: ClmsError) -> bytes:
    """The line that says why a request is refused."""
    waiting = {name: error.values[name] for name in ("seconds",) if name in error.values}
    return _line({"ok": False, "error": error.as_dict() | waiting})


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode() + b"\n"
