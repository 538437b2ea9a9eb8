# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page says of errors in its own words: what to do where it has a button for it, and details of refusals that
are no free words, because there are only these.
"""

from __future__ import annotations

import re

from .language import N_

REMEDIES = {
    "BACKUP_UNKNOWN": "Choose one of those that the page “Backups” shows.",
    "FORCED_NONE": "The overview shows what is new; “Check for updates” there asks the vendor.",
    "NOTIFY_FAILED": "Look through the addresses in the settings, save them, and send a test notification there.",
    "ROLLBACK_UNAVAILABLE": "Restore a backup instead; the page “Backups” shows them.",
    "RUN_ACTIVE": "Wait until it has ended, which the page “Progress” shows, then try again.",
    "SCHEDULE_TWICE": "Leave it at that, or cancel it on the overview first and schedule another one then.",
    "SCHEDULE_UNKNOWN": "The overview shows what is scheduled.",
}
"""Code -> what to do, in place of a command; a program and the command line are told the command."""
_DETAILS = {
    "PASSWORD_WEAK": (
        N_("it has to have {shortest} to {longest} characters"),
        N_("it is too easy to guess"),
    ),
    "SCHEDULE_TIME": (
        N_("it is more than {days} days ahead"),
        N_("it is not written as 2026-11-24T22:00"),
        N_("the clocks are put forward then, and leave this time out"),
        N_("there is no such time"),
    ),
    "SETTING_WRONG": (
        N_("backups are kept and copied to the same folder; choose one on an external drive for the copies"),
        N_("choose a folder below {folders}"),
        N_("it could not be looked at just now; try again in a minute"),
        N_("it has a value that is not allowed"),
        N_("it has days that end before they begin"),
        N_("it has hours that end before they begin"),
        N_("it is missing"),
        N_("it is no text, or far too long"),
        N_("it must be a list of allowed strings"),
        N_("it must be from {low} to {high}"),
        N_("it must be of type {type}"),
        N_("it must be written as '{one}' or '{other}'"),
        N_("it must be written as '{example}'"),
        N_("it must begin with https://"),
        N_("it must not contain a login"),
        N_("it names no time zone that this server knows"),
        N_("it needs a user name and a password"),
        N_("its port must be a number from 1 to 65535"),
        N_("no address in line {lines}; mail is written mailtos://user:password@school.example?to=anna@school.example"),
        N_("there are characters in it that nobody can type"),
        N_("there are only blanks in it"),
        N_("there is no address in it; mail is written mailtos://user:password@school.example?to=anna@school.example"),
        N_("there is no such setting"),
        N_("this school was set up without reports to the vendor"),
    ),
}
"""Code -> the details with which the agent says it, with names for what is another each time."""


def known_detail(code: str, detail: str) -> tuple[str, dict[str, str]] | None:
    """The text of a detail, and what it names; None where it is free words."""
    for text in _DETAILS.get(code, ()):
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(text))
        if found := re.fullmatch(pattern, detail):
            return text, found.groupdict()
    return None
