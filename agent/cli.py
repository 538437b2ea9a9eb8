# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line on a school server: ``clms-update``."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from . import account_command, config, output, schedule_command

# What only some commands need is imported by them: `check` has to answer in half a second.

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
_REFUSALS = (
    *("SCHOOL_INCOMPLETE", "NOT_INSTALLED", "SECRET_FILE", "CA_FILE", "SERVER_ADDRESS", "TRUST_MISSING"),
    *("NOTIFY_NOBODY", "BUNDLE_MISSING", "BUNDLE_REFUSED", "BUNDLE_OLD", "SUPPORT_FILE"),
    *schedule_command.REFUSALS,
    *account_command.REFUSALS,
)
_BACKUP = r"[A-Za-z0-9.-]{1,120}"

Answer = tuple[dict[str, Any], str, int]
"""for ``--json``, for people, exit code"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; see ``clms-update --help``.

    :returns: 0 done or nothing to do; 1 failed, the school is serving; 2 refused, nothing touched; 3 needs an operator
    """
    start = argparse.Namespace(config=config.default_folder(), json=False)
    options = _parser().parse_args(arguments, start)
    command: Callable[[argparse.Namespace], Answer] = options.command
    try:
        data, text, code = command(options)
    except ClmsError as error:
        data, text = {"error": error.as_dict()}, output.error_text(error.as_dict())
        code = REFUSED if error.code in _REFUSALS else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # people get a sentence; CLMS_UPDATE_DEBUG shows developers where it came from
        if os.environ.get("CLMS_UPDATE_DEBUG"):
            raise
        known = _unexpected(error, options.name)
        data, text, code = {"error": known.as_dict()}, output.error_text(known.as_dict()), FAILED
    # what the doctor finds is an answer, whatever it is
    failed = code not in (DONE, INTERRUPTED) and "checks" not in data
    try:
        if options.json:
            print(json.dumps(data, ensure_ascii=False), flush=True)
        else:
            print(text, file=sys.stderr if failed else sys.stdout, flush=True)
    except BrokenPipeError:  # whoever read it has seen enough; Python would complain of it once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _unexpected(error: Exception, command: str) -> ClmsError:
    if isinstance(error, PermissionError):
        detail = "permission denied; start the command as root, with 'sudo'"
        return ClmsError("JOURNAL_UNREADABLE", path=error.filename, detail=detail)
    return ClmsError("INTERNAL", phase=command, detail=f"{type(error).__name__}: {error}"[:500])


def _status(options: argparse.Namespace) -> Answer:
    from ansible_collections.clms.update.plugins.module_utils import overview

    school = config.load(options.config).school
    data = overview.status(school.home)
    lines = [output.status_text(data, school.title), *schedule_command.status_lines(school)]
    return data, "\n".join(lines), DONE


def _account(options: argparse.Namespace) -> Answer:
    data, text = account_command.answer(options, config.load(options.config).school)
    return data, text, DONE


def _notify(options: argparse.Namespace) -> Answer:
    from .notifications import send_test

    return send_test(config.load(options.config).school), "A test notification was sent to every address.", DONE


def _check(options: argparse.Namespace) -> Answer:
    from ansible_collections.clms.update.plugins.module_utils import overview

    data = overview.check(config.load(options.config).school)
    return data, output.check_text(data), DONE


def _list(options: argparse.Namespace) -> Answer:
    from ansible_collections.clms.update.plugins.module_utils import overview
    from ansible_collections.clms.update.plugins.module_utils.adapters.backup_store import backups_in
    from ansible_collections.clms.update.plugins.module_utils.adapters.vendor import store_of
    from ansible_collections.clms.update.plugins.module_utils.journal import Journal

    school = config.load(options.config).school
    data: dict[str, Any]
    if options.what == "backups":
        data = {"backups": [backup.as_dict() for backup in backups_in(Path(school.backup.path))]}
        return data, output.list_text(data), DONE
    if options.what == "schedule":
        data = schedule_command.listed(school)
        return data, schedule_command.list_text(data), DONE
    journal = Journal(school.home)
    try:
        if options.what == "history":
            data = {"history": overview.history(journal)}
        elif options.what == "events":
            data = {"events": output.events_for_json(journal.events())}
        else:
            slot = journal.slot("current")
            data = {
                "releases": overview.releases(school),
                "current_version": slot.version if slot else None,
                "news_age_seconds": store_of(school).news_age_seconds(),
            }
    finally:
        journal.close()
    return data, output.list_text(data), DONE


def _import(options: argparse.Namespace) -> Answer:
    from . import files

    data = files.import_file(config.load(options.config).school, options.file)
    return data, output.import_text(data), DONE


def _doctor(options: argparse.Namespace) -> Answer:
    from . import doctor

    school = config.load(options.config).school
    data = doctor.examine(school, options.recovery_sheet)
    text = output.doctor_text(data)
    if options.bundle is not None:
        from . import support

        data["bundle"] = support.write(school, options.bundle, data)
        text += f"\n{output.support_text(data['bundle'])}"
    return data, text, DONE if data["ok"] else FAILED


def _version(text: str) -> str:
    """The text if it is a version, else an empty one."""
    from ansible_collections.clms.update.plugins.module_utils.version import Version

    try:
        return Version(text).text
    except ValueError:
        return ""


def _update(options: argparse.Namespace) -> Answer:
    location = options.backup_location
    variables = {"clms_backup_location": location} if location else {}
    if options.version is None:
        return _run(options, "update", variables)
    version = _version(options.version)
    # Ansible would take a text with braces for a template, so only what can be a version goes there
    return _run(options, "update", {**variables, "clms_version": version}, version=options.version, known=bool(version))


def _schedule(options: argparse.Namespace) -> Answer:
    data, text = schedule_command.answer(options, config.load(options.config).school)
    return data, text, DONE


def _confirmation(options: argparse.Namespace) -> dict[str, str]:
    version = _version(options.confirm or "")
    # a confirmation that is no version confirms nothing; the agent would not even understand it
    return {"clms_confirm": version} if version else {}


def _rollback(options: argparse.Namespace) -> Answer:
    return _run(options, "rollback", _confirmation(options))


def _backup(options: argparse.Namespace) -> Answer:
    return _run(options, "backup", {})


def _restore(options: argparse.Namespace) -> Answer:
    if options.recovery_sheet is not None:
        from . import new_server

        try:
            backup = new_server.prepare(Path(options.backup), options.recovery_sheet, options.config)
        except ClmsError as error:
            from . import runs

            order = runs.Order("reinstall")
            return (data := runs.without_run(order, error.as_dict())), output.outcome_text(data), REFUSED
        return _run(options, "reinstall", {"clms_backup_id": backup})
    known = bool(re.fullmatch(_BACKUP, options.backup))
    return _run(options, "restore", {"clms_backup_id": options.backup, **_confirmation(options)}, known=known)


def _recover(options: argparse.Namespace) -> Answer:
    return _run(options, "recover", {})


def _run(
    options: argparse.Namespace,
    kind: str,
    variables: dict[str, str],
    *,
    version: str | None = None,
    known: bool = True,
) -> Answer:
    """Do a run; every answer has the shape of ``last_update``, also a refusal."""
    from ansible_collections.clms.update.plugins.module_utils.agent_client import is_installed

    from . import runs
    from .progress import display_for

    order = runs.Order(kind, version, variables)
    try:
        if not known and kind == "restore":
            raise ClmsError("BACKUP_UNKNOWN", backup=options.backup[:120])
        if not known:
            raise ClmsError("RELEASE_UNKNOWN", version=options.version[:64])
        settings = config.load(options.config)
        display = display_for(json=options.json)
        if is_installed(settings.school.agent_socket):
            data, code = runs.through_agent(settings, order, display)
        elif kind == "recover":
            data, code = runs.recover(settings, display)
        else:
            data, code = runs.carry_out(settings, order, display)
    except ClmsError as error:
        data, code = runs.without_run(order, error.as_dict()), REFUSED
    except runs.StoppedWatching:
        text = "The run goes on. To see how far it has come: clms-update status"
        return {**runs.without_run(order, None), "status": "UPDATING", "outcome": None, "message": text}, text, 130
    return data, output.outcome_text(data) if kind != "recover" or code else output.recovery_text(data), code


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    # may stand before and after the command; without a default here, one place does not undo the other
    common.add_argument(
        "--config",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="DIR",
        help=f"folder with the description of the school (default: {config.DEFAULT_FOLDER}, or ${config.VARIABLE})",
    )
    common.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="answer with one JSON object, for programs"
    )
    parser = argparse.ArgumentParser(
        prog="clms-update",
        description="Keep the library system CLMS on this server up to date: safely, and with a way back.",
        epilog="Exit code: 0 done or nothing to do, 1 it did not work but CLMS is running, 2 refused and nothing "
        "was touched, 3 call support.",
        parents=[common],
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="name")

    def add(name: str, command: Callable[[argparse.Namespace], Answer], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)
        sub.set_defaults(command=command)
        return sub

    add("status", _status, "Show which version runs, whether an update is going on, and how the last one ended.")
    add("check", _check, "Ask the vendor for a newer version and show what is new in it.")
    listed = add("list", _list, "List the versions the vendor offers, backups, past or scheduled updates, or events.")
    which = listed.add_mutually_exclusive_group()
    for what, text in (
        ("backups", "the backups on this server"),
        ("history", "what was done on this server, and how it ended"),
        ("schedule", "what is scheduled on this server, and what became of it"),
        ("events", "everything that happened, in order"),
    ):
        which.add_argument(f"--{what}", dest="what", action="store_const", const=what, help=text)
    update = add("update", _update, "Install the newest version. If it does not work here, the old one stays.")
    update.add_argument("--version", metavar="V", help="this version instead of the newest, for example 1.0.2")
    schedule_command.add_location(update)
    later = add("schedule", _schedule, "Have the update done later: tonight, at the weekend, or at another time.")
    schedule_command.add_arguments(later)
    rollback = add("rollback", _rollback, "Go back to the version before the last update, with the data of that time.")
    rollback.add_argument(
        "--confirm", metavar="V", help="the version to go back to; asked for when work since the update would be lost"
    )
    add("backup", _backup, "Make a backup now and prove it by restoring it to a copy. CLMS stays open.")
    restore = add("restore", _restore, "Put a backup in place of the current data, which is backed up first.")
    restore.add_argument(
        "backup",
        metavar="BACKUP",
        help="its name, as 'clms-update list --backups' shows it, or its folder",
    )
    restore.add_argument(
        "--recovery-sheet",
        type=Path,
        metavar="FILE",
        help="set the school up on this new, empty server from the folder of a backup and the recovery sheet, typed in",
    )
    restore.add_argument(
        "--confirm", metavar="V", help="the version of the backup; asked for because work since then would be lost"
    )
    account = add("account", _account, "Say who may sign in to the page of this school, or set a password anew.")
    account_command.add_arguments(account)
    add("notify", _notify, "Send a test notification to everybody who is told what happens here.")
    add("recover", _recover, "Put CLMS back in order after an update that was interrupted, by a power cut for example.")
    imported = add("import", _import, "Take in a file of the vendor with a release, to update without the network.")
    imported.add_argument("file", type=Path, metavar="FILE", help="made by the vendor with 'clms-release bundle'")
    doctor = add("doctor", _doctor, "Check everything an update depends on, and say what to do about each problem.")
    doctor.add_argument(
        "--recovery-sheet", type=Path, metavar="FILE", help="also prove that this sheet opens the newest backup"
    )
    doctor.add_argument(
        "--bundle", type=Path, metavar="FILE", help="also write a ZIP for support: logs and records without secrets"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
