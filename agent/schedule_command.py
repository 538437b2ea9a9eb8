# SPDX-License-Identifier: GPL-3.0-or-later
"""``clms-update schedule``: have an update done later; and what the other commands say of it.

The agent does the update, so it is asked; what is scheduled is read from its file, which needs no agent.
"""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.calendar_rules import MISSED, local_text
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.school import LOCATIONS, School

REFUSALS = (
    "AGENT_MISSING", "AGENT_REQUEST", "BACKUP_LOCATION", "RELEASE_UNKNOWN", "SCHEDULE_PAST", "SCHEDULE_TIME",
    "SCHEDULE_TWICE", "SCHEDULE_UNKNOWN",
)  # fmt: skip
"""with these nothing was touched"""

_SECONDS = 120
"""within which the agent answers; it may have to ask the vendor whether there is such a version"""
_STATES = {
    "SCHEDULED": "scheduled",
    "STARTED": "going on",
    "CANCELLED": "cancelled",
    "MISSED": "missed",
}
_OUTCOMES = {
    "COMPLETED": "completed",
    "ROLLED_BACK": "rolled back",
    "ABORTED": "did not work",
    "REFUSED": "refused",
    "NEEDS_OPERATOR": "needs an operator",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--at", metavar="TIME", help="at this time, such as 2026-11-24T22:00, in the school's time zone")
    for name, text in (("tonight", "tonight"), ("weekend", "at the weekend")):
        what.add_argument(f"--{name}", dest="at", action="store_const", const=name, help=f"{text}, as the school says")
    what.add_argument("--cancel", type=int, metavar="NUMBER", help="do not do the update with this number after all")
    parser.add_argument("--version", metavar="V", help="this version instead of the newest at that time")
    parser.add_argument(
        "--missed",
        choices=MISSED,
        help="if the server is off at that time: update as soon as it is on, on the next night, or not at all "
        "(default: as the school says)",
    )
    add_location(parser)
    parser.set_defaults(usage_error=parser.error)


def add_location(parser: argparse.ArgumentParser) -> None:
    """Add the argument that says where the backup goes."""
    parser.add_argument(
        "--backup-location",
        choices=LOCATIONS,
        help="keep the backup on this server alone, or on the external drive, too (default: as the school says)",
    )


def answer(options: argparse.Namespace, school: School) -> tuple[dict[str, Any], str]:
    """What the agent says, and the same in words.

    :raises ClmsError: AGENT_MISSING, AGENT_SILENT, or why the agent refuses
    """
    from ansible_collections.clms.update.plugins.module_utils.agent_client import Conversation, is_installed

    request: dict[str, Any]
    if options.cancel is not None:
        if any(value is not None for value in (options.version, options.missed, options.backup_location)):
            options.usage_error("--cancel goes with none of --version, --missed and --backup-location")
        if not 0 < options.cancel < 2**53:
            raise ClmsError("SCHEDULE_UNKNOWN", schedule=options.cancel)
        request = {"verb": "cancel", "schedule": options.cancel}
    else:
        _check(options)
        names = ("at", "version", "missed", "backup_location")
        request = {"verb": "schedule", **{name: getattr(options, name) for name in names}}
    if not is_installed(school.agent_socket):
        raise ClmsError("AGENT_MISSING")
    conversation = Conversation(school.agent_socket, request)
    try:
        data = conversation.wait(_SECONDS)
    finally:
        conversation.close()
    if data is None:
        detail = f"it has not answered within {_SECONDS} seconds"
        raise ClmsError("AGENT_SILENT", path=school.agent_socket, detail=detail)
    return data, _text(data, school, cancelled=options.cancel is not None)


def _check(options: argparse.Namespace) -> None:
    """Refuse here what the agent would not even understand.

    :raises ClmsError: SCHEDULE_TIME, RELEASE_UNKNOWN
    """
    from ansible_collections.clms.update.plugins.module_utils.version import Version

    if not 0 < len(options.at) <= 64 or not options.at.isascii() or not options.at.isprintable():
        raise ClmsError("SCHEDULE_TIME", at=options.at[:64], detail="it is not written as 2026-11-24T22:00")
    if options.version is not None:
        try:
            options.version = Version(options.version).text
        except ValueError:
            raise ClmsError("RELEASE_UNKNOWN", version=options.version[:64]) from None


def _text(data: dict[str, Any], school: School, *, cancelled: bool) -> str:
    entry = data["schedule"]
    at = local_text(school.schedule, datetime.fromisoformat(entry["due_at"]))
    if cancelled:
        return f"{_name(entry)} that was scheduled for {at} is cancelled."
    lines = [f"{_name(entry)} is scheduled for {at}.", *(f"Note: {note['message']}" for note in data["warnings"])]
    return "\n".join([*lines, f"To cancel it: clms-update schedule --cancel {entry['id']}"])


def _name(entry: dict[str, Any]) -> str:
    return f"The update to {_version(entry['version'])}"


def _version(version: str | None) -> str:
    return f"version {version}" if version else "the newest version"


def listed(school: School) -> dict[str, Any]:
    """What is and was scheduled, as the agent's ``list`` answers it.

    :raises ClmsError: SCHEDULE_STORE
    """
    from . import schedule

    return schedule.described(*schedule.read(school.home), school.schedule)


def list_text(data: dict[str, Any]) -> str:
    """The same in words."""
    from .output import table

    rows = [
        (
            str(entry["id"]),
            datetime.fromisoformat(entry["due_local"]).strftime("%a %Y-%m-%d %H:%M"),
            entry["version"] or "newest",
            _STATES.get(entry["state"]) or _OUTCOMES.get(entry["outcome"] or "", "ended"),
            entry["code"] or "",
        )
        for entry in data["schedules"]
    ]
    head = ("number", f"when ({data['time_zone']})", "version", "state", "")
    return table(head, rows) or "Nothing is scheduled. To schedule an update: clms-update schedule --tonight"


def status_lines(school: School) -> list[str]:
    """What ``status`` says of a scheduled update and of one that is overdue; nothing where there is none."""
    if not (school.home / "schedule.db").exists():  # most of the time, and then it should cost nothing
        return []
    from ansible_collections.clms.update.plugins.module_utils.adapters.gate import mode_on_disk

    from . import schedule

    lines = []
    if mode_on_disk(school.home) == "blocked":
        lines.append("A critical update is overdue: people can look books up and do nothing else. "
                     "To install it now: clms-update update")  # fmt: skip
    entry = schedule.pending(school.home)
    if entry is not None:
        at = schedule.when(entry, school.schedule)
        lines.append(f"Scheduled: the update to {_version(entry.version)}, {at}. To cancel it: "
                     f"clms-update schedule --cancel {entry.id}")  # fmt: skip
    return lines
