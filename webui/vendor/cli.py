# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the release server's operator: ``clms-release-server``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .config import VARIABLE, Settings, load
from .database import Database
from .reports import list_reports
from .schools import SCOPES, Schools

DONE, FAILED, REFUSED = 0, 1, 2

Command = Callable[[Database, argparse.Namespace], dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; see ``clms-release-server --help``."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        with closing(Database(_settings(options).database)) as database:
            if command is not _init_db:
                database.check()
            result = command(database, options)
    except ClmsError as error:
        if options.json:
            print(json.dumps({"error": error.as_dict()}, ensure_ascii=False))
        else:
            print(f"{error.happened}\n{error.remedy}", file=sys.stderr)
        return FAILED if error.code == "SERVER_DATABASE" else REFUSED
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        _print(result)
    return DONE


def _settings(options: argparse.Namespace) -> Settings:
    if options.config is None:
        detail = f"none is named, neither by --config nor by the environment variable {VARIABLE}"
        raise ClmsError("SERVER_SETTINGS", path="?", detail=detail)
    return load(Path(options.config))


def _init_db(database: Database, _options: argparse.Namespace) -> dict[str, Any]:
    if database.migrate():
        with database.transaction() as session:
            Schools(session, now=time.time()).schema_changed()
    return {"database": database.engine.url.render_as_string(hide_password=True)}


def _school_add(database: Database, options: argparse.Namespace) -> dict[str, Any]:
    with database.transaction() as session:
        schools = Schools(session, now=time.time())
        key = schools.add(options.name)
        # in the same transaction: a bad key file leaves no school whose API key nobody has seen
        keyid = schools.set_signing_key(options.name, options.public_key) if options.public_key else None
    return {"school": options.name, "api_key": key, "keyid": keyid}


def _school_list(database: Database, _options: argparse.Namespace) -> dict[str, Any]:
    with database.transaction() as session:
        return {"schools": Schools(session, now=time.time()).describe()}


def _school_revoke(database: Database, options: argparse.Namespace) -> dict[str, Any]:
    with database.transaction() as session:
        Schools(session, now=time.time()).revoke(options.name)
    return {"school": options.name, "revoked": True}


def _school_set_key(database: Database, options: argparse.Namespace) -> dict[str, Any]:
    with database.transaction() as session:
        keyid = Schools(session, now=time.time()).set_signing_key(options.name, options.file)
    return {"school": options.name, "keyid": keyid}


def _key_add(database: Database, options: argparse.Namespace) -> dict[str, Any]:
    with database.transaction() as session:
        key = Schools(session, now=time.time()).add_key(options.name, options.scope or SCOPES)
    return {"school": options.name, "api_key": key}


def _key_revoke(database: Database, options: argparse.Namespace) -> dict[str, Any]:
    with database.transaction() as session:
        Schools(session, now=time.time()).revoke_key(options.key)
    return {"key": options.key, "revoked": True}


def _reports_list(database: Database, options: argparse.Namespace) -> dict[str, Any]:
    with database.transaction() as session:
        return {"reports": list_reports(session, school=options.school, limit=options.limit)}


def _print(result: dict[str, Any]) -> None:
    for school in result.pop("schools", ()):
        print(school["name"] + (f"  revoked {school['revoked']}" if school["revoked"] else ""))
        for key in school["api_keys"]:
            print(f"  API key {key['key']}  {' '.join(key['scopes']):<12}  added {key['added']}{_revoked(key)}")
        for key in school["signing_keys"]:
            print(f"  signing key {key['keyid']}  added {key['added']}{_revoked(key)}")
    for row in result.pop("reports", ()):
        columns = (row["received_at"], row["school"], row["kind"], row["version"] or "-", row["status"])
        print("  ".join([*columns, row["error_code"] or ""]).rstrip())
    if "api_key" in result:
        print(f"API key, shown this once: {result.pop('api_key')}")
    for name, value in result.items():
        if value is not None:
            print(f"{name}: {value}")


def _revoked(key: dict[str, Any]) -> str:
    return f"  revoked {key['revoked']}" if key["revoked"] else ""


def _parser() -> argparse.ArgumentParser:
    # abbreviations of options would become part of people's scripts
    parser = argparse.ArgumentParser(prog="clms-release-server", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def group(name: str, text: str) -> Any:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        return sub.add_subparsers(required=True, metavar="COMMAND")

    def add(parent: Any, name: str, command: Command, text: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = parent.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.add_argument("--config", default=os.environ.get(VARIABLE), metavar="FILE", help=f"default: ${VARIABLE}")
        sub.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
        sub.set_defaults(command=command)
        return sub

    add(commands, "init-db", _init_db, "Make the database, or bring it to this version's schema.")

    school = group("school", "Schools that may ask and report.")
    added = add(school, "add", _school_add, "Add a school and print its API key, this once.")
    added.add_argument("name", metavar="NAME")
    added.add_argument("--public-key", type=_absolute, metavar="FILE", help="its Ed25519 public key, PEM")
    add(school, "list", _school_list, "List the schools and their keys.")
    revoked = add(school, "revoke", _school_revoke, "Take all rights from a school, for good.")
    revoked.add_argument("name", metavar="NAME")
    set_key = add(school, "set-key", _school_set_key, "Set the key with which a school signs; older ones end.")
    set_key.add_argument("name", metavar="NAME")
    set_key.add_argument("file", type=_absolute, metavar="FILE", help="Ed25519 public key, PEM")

    key = group("key", "API keys of schools.")
    one_more = add(key, "add", _key_add, "Give a school one more API key and print it, this once.")
    one_more.add_argument("name", metavar="NAME")
    one_more.add_argument("--scope", action="append", choices=SCOPES, help="may be repeated; default: all")
    ended = add(key, "revoke", _key_revoke, "Revoke one API key.")
    ended.add_argument("key", type=int, metavar="NUMBER", help="see 'school list'")

    reports = group("reports", "What schools reported.")
    listed = add(reports, "list", _reports_list, "List the newest reports.")
    listed.add_argument("--school", metavar="NAME")
    listed.add_argument("--limit", type=int, default=50, metavar="NUMBER")
    return parser


def _absolute(text: str) -> Path:
    return Path(text).absolute()


if __name__ == "__main__":
    sys.exit(main())
