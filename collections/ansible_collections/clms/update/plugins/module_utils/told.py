# SPDX-License-Identifier: GPL-3.0-or-later
"""What events tell: a table of sentences, each with a name, so that they can be told in another language too.

Beside names and numbers, a value can be an error (``cause``: what happened; ``failure``: that and what to do), a
moment as :func:`.calendar_rules.local_text` writes it (``at``, ``later``), or the version of an ``update``, none for
the newest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from .errors import ClmsError, writable
from .plan import COMPLETED_TEXTS, kind_word

TOLD: dict[str, str] = {
    "CAUSE": "{cause}",
    "FAILURE": "{failure}",
    # updates that are scheduled
    "SCHEDULED": "{update} is scheduled for {at}.",
    "SCHEDULED_FORCED": "The update to version {version} is overdue, and begins on {at}.",
    "SCHEDULED_LATER": "{update} was missed at {at} and is put off to {later}.",
    "SCHEDULED_AFTER_ALL": "The clock was put back: {update} begins at {at} after all.",
    "CANCELLED": "{update} that was scheduled for {at} was cancelled.",
    "GIVEN_WAY": "{update} that was scheduled for {at} was cancelled: the update to version {version} is overdue, "
    "and takes its place.",
    "NOT_OVERDUE": "{update} is not overdue any more, and does not begin on {at}.",
    "WAITING": "{update} is due and waits. {cause}",
    "NOT_BEGUN": "{update} could not begin. {failure}",
    "NOT_SUCCEEDED": "{update} did not succeed. {cause}",
    "OVERDUE": "The critical update to version {version} had to be installed by {at}. "
    "Until it is, people can look books up in CLMS and do nothing else.",
    "POSTPONED": "The update to version {version} was put off until {at}; that can be done {left} times more.",
    "SCHEDULE_LOST": "The schedule {detail}; it is kept as {file}. What was scheduled has to be scheduled again.",
    # news of the vendor, and files
    "NEWEST": "Newest release: {version}.",
    "NEWEST_NONE": "Newest release: none.",
    "AVAILABLE": "Version {version} is available.",
    "CHECK_FAILED": "The vendor could not be asked for news. {failure}",
    "IMPORTED": "Version {version} was taken in with the file {file}.",
    "CROWDED": "In {folder} lie more than {most} ZIP files; the newest were looked at.",
    "REFUSED_MORE": "{count} more files were refused at the same time. Move what is not the vendor's elsewhere.",
    "OFFLINE": "{cause} The update goes on with the file {file}.",
    # runs
    "BEGUN": "A run of kind {kind} has begun.",
    "BEGUN_VERSION": "A run of kind {kind} to version {version} has begun.",
    "DOWNLOADED": "The package of version {version} was verified.",
    **{f"COMPLETED_{kind.upper()}": text for kind, text in COMPLETED_TEXTS.items()},
    "JOURNAL_KEPT": "The journal could not be read ({problem}); it is kept in {path}. "
    "Version {version} is the valid one, as {detail}.",
    "JOURNAL_GONE": "The journal could not be read ({problem}); nothing is left of it. "
    "Version {version} is the valid one, as {detail}.",
    # backups
    "BACKUP_MADE": "The backup {backup} was made and proven.",
    "BACKUP_WHOLE": "The backup {backup} is whole, and opens with the key of this server.",
    "BACKUP_COPIED": "The backup {backup} was copied to {path}.",
    "NO_SECOND_COPY": "There is no second copy of the backup on the external drive. {cause}",
    "NO_SECOND_COPY_DRIVE": "There is no second copy of the backup on the external drive. {path}: {detail}.",
    # all else
    "TEST": "Notifications of CLMS updates arrive here.",
    "CONTAINER_STARTED": "The container {container} did not run, as the engine could not start it ({detail}); "
    "it runs again.",
    "CHANGED": "These settings were changed: {settings}.",
    "CHANGED_BY": "These settings were changed by {name}: {settings}.",
}
"""Name of a sentence -> its template, see :func:`told`."""

TITLES = {
    "UPDATE_AVAILABLE": "an update is available",
    "UPDATE_SCHEDULED": "an update is scheduled",
    "UPDATE_STARTED": "an update has begun",
    "UPDATE_COMPLETED": "the update was completed",
    "UPDATE_FAILED": "the update did not work",
    "ROLLBACK_STARTED": "CLMS is being put back",
    "ROLLBACK_COMPLETED": "CLMS was put back",
    "ROLLBACK_FAILED": "going back did not work",
    "BACKUP_FAILED": "a backup did not work",
    "UPDATE_MISSED": "an update was missed",
    "UPDATE_OVERDUE": "a critical update is overdue",
    "CHECK_REFUSED": "what the vendor's server says is not believed",
}
"""Type of an event of which people are told by mail or chat -> the title of what they get."""
TEST_TITLE = "a test"


@dataclass(frozen=True)
class Told:
    """What an event tells: in English, and what it takes to tell it in another language."""

    message: str
    code: str
    """key of :data:`TOLD`"""
    values: Mapping[str, Any]
    """texts, and errors as :meth:`.errors.ClmsError.as_dict` makes them"""

    def as_dict(self) -> dict[str, Any]:
        """``code`` and ``values``, as events carry them beside their message."""
        return {"code": self.code, "values": dict(self.values)}


def told(code: str, **values: object) -> Told:
    """The sentence of that name.

    :param values: what it names, never a secret; ``cause`` and ``failure`` are errors or what was recorded of one
    :raises KeyError: for a name that is not in the table, or a value that it needs and has not
    """
    kept = {name: _kept(value) for name, value in values.items()}
    message = TOLD[code].format(**{name: _english(name, value) for name, value in kept.items()})
    return Told(message.strip(), code, kept)


def completed(kind: str, version: str | None) -> Told:
    """What a run that was completed has done."""
    return told(f"COMPLETED_{kind_word(kind).upper()}", version=version or "")


def names_in(text: str) -> set[str]:
    """The values that a sentence needs."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def _kept(value: object) -> Any:
    if isinstance(value, ClmsError):
        return value.as_dict()
    if isinstance(value, Mapping):
        return {name: value.get(name) for name in ("code", "message", "remedy", "values")}
    return writable("" if value is None else str(value))


def _english(name: str, value: Any) -> str:
    if name == "update":
        return f"The update to version {value}" if value else "The update to the newest version"
    if name == "cause":
        return str(value["message"])
    if name == "failure":
        return f"{value['message']} {value['remedy'] or ''}".strip()
    return str(value)
