# SPDX-License-Identifier: GPL-3.0-or-later
"""The words for what a look through a server finds where it is no error with a code; see ``agent/doctor.py``.

Two values are no texts yet: ``ago``, in seconds, and ``moment``, as ``2026-11-23T14:05:09Z``.
"""

from __future__ import annotations

from .error_texts import ErrorText

FINDINGS: dict[str, ErrorText] = {
    # what is in order
    "DESCRIPTION_COMPLETE": ErrorText("The description of {school} is complete.", ""),
    "SECRETS_SAFE": ErrorText("The files with secrets can be read by their owner only.", ""),
    "RUN_NONE_INTERRUPTED": ErrorText("No run was interrupted.", ""),
    "RUN_GOES_ON": ErrorText("Run number {run} ({kind}) is going on.", ""),
    "ENGINE_ANSWERS": ErrorText("The Docker engine answers ({architecture}).", ""),
    "CONTAINERS_RUN": ErrorText("All containers of CLMS {version} run.", ""),
    "DATABASE_SAFE": ErrorText("The database takes the updater's login, and its settings are safe.", ""),
    "GATE_OPEN": ErrorText("The gate is open.", ""),
    "DISK_ENOUGH": ErrorText("There is room for an update, its images not counted: {detail}.", ""),
    "BACKUPS_WRITABLE": ErrorText("Backups can be written to {path}.", ""),
    "BACKUP_NEWEST": ErrorText("The newest backup is {backup}, proven by restoring it on {moment}.", ""),
    "SHEET_OPENS": ErrorText("The recovery sheet opens the backup {backup}. Delete the file {path} now.", ""),
    "CLOCK_SHOWS": ErrorText("The clock of this server shows {moment}.", ""),
    "KEYS_COUNT": ErrorText("The vendor's keys, as this server knows them, count until {moment}.", ""),
    "NEWS_FRESH": ErrorText("The release server last answered {ago}.", ""),
    "VENDOR_NAMED": ErrorText("The release server has to show a certificate or a key that the settings name.", ""),
    "REGISTRY_ANSWERS": ErrorText("The image registry {registry} answers and takes this school's login.", ""),
    # what is to be mended
    "RUN_NOT_PUT_BACK": ErrorText("Run number {run} could not be put back: {detail}", "{remedy}"),
    "CONTAINERS_STOPPED": ErrorText("These containers of CLMS do not run: {containers}.", "Start them: {commands}"),
    "GATE_NOT_OPEN": ErrorText(
        "The gate is {mode}, so users cannot use CLMS.",
        "Run 'clms-update recover'; if the gate stays as it is, call support.",
    ),
    "GATE_BLOCKED": ErrorText(
        "A critical update is overdue: until it is installed, people can look books up and do nothing else.",
        "Install it: clms-update update",
    ),
    "BACKUP_NONE": ErrorText("There is no backup yet.", "Make one: clms-update backup"),
    "BACKUP_OLD": ErrorText("The newest backup, {backup}, was proven {ago}.", "Make another one: clms-update backup"),
    "KEYS_END": ErrorText(
        "The vendor's keys, as this server knows them, count until {moment}.",
        "Ask the vendor for newer ones: clms-update check",
    ),
    "NEWS_NONE": ErrorText("The release server was never asked for news.", "Ask it: clms-update check"),
    "NEWS_OLD": ErrorText(
        "The release server last answered {ago}.",
        "Run 'clms-update check'; if it fails, it says what is wrong.",
    ),
    "VENDOR_ANYBODY": ErrorText(
        "Every authority that this server knows may vouch for the release server {url}.",
        "Name the vendor's own authority (ca_file) or two of its keys (pins) in clms_trust.",
    ),
    # what could not be looked at
    "SEEN_NO_INSTALLATION": ErrorText("not looked at, because no installation is recorded", ""),
    "SEEN_NO_END": ErrorText("not looked at, because run number {run} has not ended", ""),
    "SEEN_NO_ENGINE": ErrorText("not looked at, because the Docker engine does not answer", ""),
    "SEEN_NO_BACKUP": ErrorText("not looked at, because there is no backup yet", ""),
    "SEEN_BUILT_HERE": ErrorText("not looked at, because version {version} was built here", ""),
}
"""What was found -> what it is and what to do."""
