# SPDX-License-Identifier: GPL-3.0-or-later
"""Moments, durations, sizes and names as people read them, in their language; times are those of the school."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from babel.dates import format_datetime
from babel.numbers import format_decimal
from flask import Flask

from ansible_collections.clms.update.plugins.module_utils.disk import human_parts
from ansible_collections.clms.update.plugins.module_utils.plan import PHASES
from ansible_collections.clms.update.plugins.module_utils.status import duration_parts

from .agent import agent
from .language import N_, current, gettext, ngettext

STATUSES = {
    "PENDING": N_("waiting"),
    "SCHEDULED": N_("scheduled"),
    "DOWNLOADING": N_("going on"),
    "UPDATING": N_("going on"),
    "COMPLETED": N_("completed"),
    "FAILED": N_("failed"),
    "ROLLED_BACK": N_("rolled back"),
}
KINDS = {
    "install": N_("Installation"),
    "update": N_("Update"),
    "rollback": N_("Going back"),
    "restore": N_("Restore of a backup"),
    "reinstall": N_("Set up from a backup"),
    "backup": N_("Backup"),
    "recover": N_("Putting in order"),
}
EVENTS = {
    "BACKUP_COPIED": N_("Backup copied"),
    "BACKUP_CREATED": N_("Backup made"),
    "BACKUP_EXTERNAL_MISSING": N_("Backup not copied"),
    "BACKUP_FAILED": N_("Backup failed"),
    "BACKUP_STARTED": N_("Backup begun"),
    "BACKUP_TAMPERED": N_("Backup damaged"),
    "BACKUP_VERIFIED": N_("Backup looked through"),
    "CHECK_FAILED": N_("Vendor not reached"),
    "CHECK_REFUSED": N_("Answer of the vendor not believed"),
    "CONTAINER_STARTED": N_("Part of CLMS started again"),
    "FILE_IMPORTED": N_("File taken in"),
    "FILE_REFUSED": N_("File refused"),
    "JOURNAL_BROKEN": N_("Journal begun anew"),
    "NOTIFY_FAILED": N_("Notification not sent"),
    "NOTIFY_NOBODY": N_("Nobody was told"),
    "ROLLBACK_COMPLETED": N_("CLMS was put back"),
    "ROLLBACK_FAILED": N_("Going back failed"),
    "ROLLBACK_STARTED": N_("Going back begun"),
    "SCHEDULE_LOST": N_("Schedule begun anew"),
    "SETTINGS_CHANGED": N_("Settings changed"),
    "UPDATE_AVAILABLE": N_("Update available"),
    "UPDATE_CANCELLED": N_("Update cancelled"),
    "UPDATE_CHECKED": N_("Vendor asked for updates"),
    "UPDATE_COMPLETED": N_("Update completed"),
    "UPDATE_DOWNLOADED": N_("Release fetched and verified"),
    "UPDATE_FAILED": N_("Update failed"),
    "UPDATE_MISSED": N_("Update missed"),
    "UPDATE_OFFLINE": N_("Update without the vendor's server"),
    "UPDATE_OVERDUE": N_("Critical update overdue"),
    "UPDATE_POSTPONED": N_("Update put off"),
    "UPDATE_SCHEDULED": N_("Update scheduled"),
    "UPDATE_STARTED": N_("Update begun"),
    "UPDATE_WAITING": N_("Update waits"),
}
"""Type of an event -> its title."""
CHECKS = {
    "description": N_("Description"),
    "secrets": N_("Secrets"),
    "journal": N_("Journal"),
    "engine": N_("Engine"),
    "containers": N_("Containers"),
    "database": N_("Database"),
    "gate": N_("Gate"),
    "disk": N_("Disk"),
    "backup place": N_("Backup place"),
    "last backup": N_("Last backup"),
    "clock": N_("Clock"),
    "news": N_("News"),
    "keys": N_("Keys"),
    "vendor": N_("Vendor"),
    "registry": N_("Registry"),
}
"""Name of something that is looked at, see ``agent/doctor.py`` -> its title."""


SETTINGS = {
    "contact": N_("Who helps"),
    "time_zone": N_("Time zone"),
    "school_hours": N_("School hours"),
    "quiet_days": N_("Holidays and exam weeks"),
    "tonight": N_("“Tonight” is at"),
    "weekend": N_("“At the weekend” is"),
    "missed": N_("If the server is off at the time of an update"),
    "check_interval_days": N_("Days between two looks for updates"),
    "check_on_startup": N_("Look for updates whenever the server starts, too"),
    "backup_path": N_("Folder of the backups"),
    "max_backups": N_("Backups to keep"),
    "external_backup_path": N_("Copy them to"),
    "update_server": N_("Update server"),
    "registry": N_("Docker registry"),
    "notify_language": N_("Language of what they are told"),
    "api_key": N_("API key of this school"),
    "notify": N_("Addresses"),
    "registry_login": N_("Login at the Docker registry"),
}
"""Name of a setting, see ``agent/settings.py`` -> what it is called."""


def install(app: Flask) -> None:
    """Give the templates these words."""
    filters = (moment, day, duration, size, age, phase, status, kind, event, check)
    app.jinja_env.filters.update({name.__name__: name for name in filters})
    app.jinja_env.globals.update(school=school, last_school=lambda: agent().kept("school"))


def school() -> dict[str, Any]:
    """What the agent says of the school, see ``agent/about.py``."""
    return agent().ask_kept("school")


def _zone() -> tzinfo:
    name = str(school()["time_zone"])
    return UTC if name == "UTC" else ZoneInfo(name)


def _local(text: str, pattern: str) -> str:
    at = datetime.fromisoformat(text).astimezone(_zone())
    return format_datetime(at, pattern, tzinfo=at.tzinfo, locale=current())


def moment(text: str | None) -> str:
    """``2026-11-23T14:05:09Z`` as ``Mon 23 November 2026, 15:05``."""
    if text is None:
        return gettext("unknown")
    # Translators: a pattern for day and time, see unicode.org/reports/tr35/tr35-dates.html
    return _local(text, gettext("EEE d MMMM y, HH:mm"))


def day(text: str) -> str:
    """``2026-11-23T14:05:09Z`` as ``23 November 2026``."""
    # Translators: a pattern for a day, see unicode.org/reports/tr35/tr35-dates.html
    return _local(text, gettext("d MMMM y"))


def _number(number: int | float) -> str:
    return format_decimal(number, "0.0" if isinstance(number, float) else "0", locale=current())


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``, ``4 days``."""
    parts = duration_parts(seconds)
    words = {
        "s": gettext("%(number)s s", number=_number(parts.get("s", 0))),
        "min": gettext("%(number)s min", number=_number(parts.get("min", 0))),
        "h": gettext("%(number)s h", number=_number(parts.get("h", 0))),
        "days": ngettext("%(num)s day", "%(num)s days", int(parts.get("days", 0))),
    }
    return " ".join(words[unit] for unit in parts)


def age(seconds: float | None) -> str:
    """How long ago something was: a minute is exact enough."""
    if seconds is None:
        return gettext("never")
    if seconds < 60:
        return gettext("just now")
    if days := int(duration_parts(seconds).get("days", 0)):
        return ngettext("%(num)s day ago", "%(num)s days ago", days)
    return gettext("%(duration)s ago", duration=duration(seconds))


def size(count: int) -> str:
    """Bytes as ``1.4 GB``."""
    number, unit = human_parts(count)
    return f"{_number(number)} {gettext(unit)}"


# names


def phase(name: str | None) -> str:
    """What goes on in a phase."""
    return gettext(PHASES[name].text) if name in PHASES else gettext("Finishing")


def status(name: str) -> str:
    """How far something has come."""
    return gettext(STATUSES[name])


def kind(name: str) -> str:
    """A kind of run."""
    known = KINDS.get(name.removesuffix("_images"))
    return gettext(known) if known else name


def event(name: str) -> str:
    """A type of event; that of an error is one too."""
    return gettext(EVENTS[name]) if name in EVENTS else name


def check(name: str) -> str:
    """Something that is looked at."""
    return gettext(CHECKS[name]) if name in CHECKS else name.capitalize()
