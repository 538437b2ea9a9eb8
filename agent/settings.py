# SPDX-License-Identifier: GPL-3.0-or-later
"""What people may change of a school's description on its page (original design, section 3.4).

The description stays the only truth: a change is written into its file, whose comments and order are kept, and only if
the school is complete with it. Secrets are written into files of their own and never shown again.
"""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from ansible_collections.clms.update.plugins.module_utils.adapters.files import write_atomically
from ansible_collections.clms.update.plugins.module_utils.calendar_rules import DEFAULTS
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.https import check_address
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.secret_file import read_credentials, read_secret

from . import addresses, config

PLACES: dict[str, tuple[str, ...]] = {
    "contact": ("contact",),
    "notify_language": ("notify_language",),
    **{name: ("schedule", name) for name in DEFAULTS},
    "backup_path": ("backup", "path"),
    "max_backups": ("backup", "maximum"),
    "external_backup_path": ("backup", "external_path"),
    "update_server": ("trust", "url"),
    "registry": ("registry",),
}
"""Name of a setting -> where it stands in the description, without the prefix of its variables."""
SECRETS = ("api_key", "registry_login", "notify")
"""Settings of which only is told whether they are there."""

PLACES_FOR_BACKUPS = ("/srv", "/mnt", "/media", "/run/media", "/backup", "/backups", "/var/backups")
"""Below these people may have backups written, and beside those that there are; elsewhere who writes the file may."""
_changing = threading.Lock()
_PLACE = re.compile(rf"{config.PREFIX}([a-z_.]+)(?:\[\d+\])? (.+)", re.DOTALL)
_NOTIFY = ("notify_file",)
_SECRET_CHARACTERS = 4000

_T = TypeVar("_T")


def settings(folder: Path) -> dict[str, Any]:
    """The settings as they are.

    :returns: ``settings``: name -> value or None, for all of :data:`PLACES`; ``secrets``: name -> whether it is there,
        for all of :data:`SECRETS`; and ``registry_user``, or None
    :raises ClmsError: SCHOOL_INCOMPLETE
    """
    school = config.load(folder).school
    login = _there(school.registry_credentials_file, read_credentials)
    return {
        "settings": _values(school),
        "secrets": {
            "api_key": bool(_there(school.trust.api_key_file, read_secret)),
            "registry_login": login is not None,
            "notify": bool(_there(school.notify_file, read_secret)),
        },
        "registry_user": login.username if login else None,
    }


def _values(school: School) -> dict[str, Any]:
    rules, given = school.schedule, {**DEFAULTS, **school.raw.get("schedule", {})}
    return {
        **given,
        "quiet_days": [str(days) for days in given["quiet_days"]],
        "tonight": f"{rules.tonight:%H:%M}",
        "contact": school.contact,
        "notify_language": school.notify_language,
        "backup_path": school.backup.path,
        "max_backups": school.backup.maximum,
        "external_backup_path": school.backup.external_path,
        "update_server": school.trust.url,
        "registry": school.registry,
    }


def _there(path: str | None, read: Callable[[Path], _T]) -> _T | None:
    try:
        return read(Path(path)) if path else None
    except ClmsError:
        return None


def change(folder: Path, wanted: dict[str, Any]) -> list[str]:
    """Change settings, all of them or none.

    :param wanted: name -> value; None takes a setting out of the description. Of the secrets, ``api_key`` and
        ``notify`` (addresses, one in a line; none: tell nobody any more) are texts, and ``registry_login`` has
        ``username`` and ``password``.
    :returns: the names of those that are another now; secrets always are
    :raises ClmsError: SETTING_WRONG, with ``setting`` and ``detail``; SETTINGS_CHANGED, SETTINGS_UNWRITABLE,
        SCHOOL_INCOMPLETE
    """
    with _changing:
        return _change(folder, wanted)


def _change(folder: Path, wanted: dict[str, Any]) -> list[str]:
    before = config.load(folder)
    telling_nobody = wanted.get("notify") == ""
    wanted = {name: value.strip() if isinstance(value, str) else value for name, value in wanted.items()}
    unknown = sorted(set(wanted) - {*PLACES, *SECRETS})
    if unknown:
        raise ClmsError("SETTING_WRONG", setting=unknown[0][:40], detail="there is no such setting")
    secrets = {name: wanted.pop(name) for name in SECRETS if wanted.get(name) is not None}
    # what a school has without saying so stays unsaid: a page sends everything, whatever of it is another
    values = _values(before.school)
    places = {
        PLACES[name]: wanted[name] for name in wanted if name in PLACES and not _is_same(wanted[name], values[name])
    }
    if telling_nobody:
        del secrets["notify"]
        places[_NOTIFY] = None
    files = {name: _secret_file(folder, before.school, name, value, places) for name, value in secrets.items()}
    for name in ("backup_path", "external_backup_path"):
        _check_place(name, wanted.get(name), before.school)
    _check_server(wanted.get("update_server"))
    text = before.path.read_bytes()
    new = _written(text, places)
    try:
        variables = config.variables_in(new, before.path)
        after = config.school_of(variables, before.path)
    except ClmsError as error:
        raise _explained(error) from None
    _check_two_places(wanted, after)
    if "notify" in files:
        _check_addresses(files["notify"][1])
    # what is written on must not be read in another way than before, by whatever rules of YAML
    touched = {config.PREFIX + place[0] for place in places}
    old = config.variables_in(text, before.path)
    if {k: v for k, v in variables.items() if k not in touched} != {k: v for k, v in old.items() if k not in touched}:
        raise ClmsError("SETTINGS_UNWRITABLE", path=before.path)
    if new != text and before.path.read_bytes() != text:
        raise ClmsError("SETTINGS_CHANGED")
    for path, content in files.values():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomically(path, content)
    if new != text:
        write_atomically(before.path, new)
    changed = [name for name in wanted if name in PLACES and _at(variables, PLACES[name]) != _at(old, PLACES[name])]
    if _at(variables, _NOTIFY) != _at(old, _NOTIFY):
        changed.append("notify")
    return list(dict.fromkeys([*changed, *files]))


def _is_same(one: Any, other: Any) -> bool:
    return one == other and type(one) is type(other)  # 1 is no truth, though Python says so


def _check_place(name: str, value: Any, school: School) -> None:
    """:raises ClmsError: SETTING_WRONG for a place on which this server may depend, or which others may change"""
    known = [Path(path) for path in (school.backup.path, school.backup.external_path) if path]
    if not isinstance(value, str) or Path(value) in known:
        return
    place = Path(value).resolve()
    allowed = [*map(Path, PLACES_FOR_BACKUPS), *(path.resolve().parent for path in known)]
    if not any(path in place.parents for path in allowed) or place.is_relative_to(school.upload_folder.resolve()):
        detail = f"choose a folder below {', '.join(PLACES_FOR_BACKUPS)}"
        raise ClmsError("SETTING_WRONG", setting=name, detail=detail)


def _check_two_places(wanted: dict[str, Any], after: School) -> None:
    """:raises ClmsError: SETTING_WRONG where backups would be copied onto themselves"""
    name = next((name for name in ("external_backup_path", "backup_path") if wanted.get(name) is not None), None)
    external = after.backup.external_path
    if name and external and Path(external).resolve() == Path(after.backup.path).resolve():
        detail = "backups are kept and copied to the same folder; choose one on an external drive for the copies"
        raise ClmsError("SETTING_WRONG", setting=name, detail=detail)


def _check_server(value: Any) -> None:
    """:raises ClmsError: SETTING_WRONG for an address that nobody can be asked at"""
    if not isinstance(value, str):
        return
    try:
        check_address(value)
    except ClmsError as error:
        raise ClmsError("SETTING_WRONG", setting="update_server", detail=error.values["detail"]) from None


def _check_addresses(text: str) -> None:
    """Have Apprise look at addresses, without telling anybody anything. That goes on where they are told, too: what an
    address makes a service do when it is read is none of root's business either.

    :raises ClmsError: SETTING_WRONG; no address is quoted, it may hold a password
    """
    lines = addresses.lines_in(text)
    problems = [outcome.problem for outcome in addresses.send([(line, ()) for line in lines])]
    wrong = [line.number for line, problem in zip(lines, problems, strict=True) if problem == addresses.NO_ADDRESS]
    if wrong or not lines:
        said = f"no address in line {', '.join(map(str, wrong))}" if wrong else "there is no address in it"
        detail = f"{said}; mail is written mailtos://user:password@school.example?to=anna@school.example"
    elif any(problems):
        detail = "it could not be looked at just now; try again in a minute"
    else:
        return
    raise ClmsError("SETTING_WRONG", setting="notify", detail=detail)


def _at(variables: dict[str, Any], place: tuple[str, ...]) -> Any:
    value: Any = variables.get(config.PREFIX + place[0])
    for name in place[1:]:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _written(text: bytes, places: dict[tuple[str, ...], Any]) -> bytes:
    """The file with other values at these places."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000
    document = yaml.load(text)
    changed = False
    for place, value in places.items():
        *parents, name = (config.PREFIX + place[0], *place[1:])
        inside = document
        for parent in parents:
            if inside.get(parent) is None:
                inside[parent] = {}
            inside = inside[parent]
        if value is None:
            changed |= inside.pop(name, None) is not None
        elif inside.get(name) != value:
            inside[name] = _quoted(value)
            changed = True
    if not changed:
        return text
    out = io.BytesIO()
    yaml.dump(document, out)
    return out.getvalue()


def _quoted(value: Any) -> Any:
    """Texts in quotation marks: what is a text for one reader of YAML is a number for another."""
    if isinstance(value, list):
        return [_quoted(item) for item in value]
    return DoubleQuotedScalarString(value) if isinstance(value, str) else value


def _explained(error: ClmsError) -> ClmsError:
    """The complaint about a description as one about a setting."""
    found = _PLACE.match(str(error.values.get("detail", "")))
    names = {".".join(place): name for name, place in PLACES.items()}
    if found is None or found[1] not in names:
        return error
    return ClmsError("SETTING_WRONG", setting=names[found[1]], detail=f"it {found[2]}")


def _secret_file(
    folder: Path, school: School, name: str, value: Any, places: dict[tuple[str, ...], Any]
) -> tuple[Path, str]:
    """The file of a secret and what is to stand in it; where the school has none yet, ``places`` names it from now on.

    :raises ClmsError: SETTING_WRONG
    """
    found = {
        "api_key": school.trust.api_key_file,
        "registry_login": school.registry_credentials_file,
        "notify": school.notify_file,
    }[name]
    if name == "api_key" and found is None:
        raise ClmsError("SETTING_WRONG", setting=name, detail="this school was set up without reports to the vendor")
    path = Path(found) if found else folder.absolute() / "secrets" / name
    if found is None:
        places[_NOTIFY if name == "notify" else ("registry_credentials_file",)] = str(path)
    return path, _secret_text(name, value)


def _secret_text(name: str, value: Any) -> str:
    """:raises ClmsError: SETTING_WRONG"""
    login = name == "registry_login"
    given = [value.get("username"), value.get("password")] if login and isinstance(value, dict) else [value]
    parts = [part for part in given if isinstance(part, str) and len(part) <= _SECRET_CHARACTERS]
    detail = None
    if len(parts) != (2 if login else 1):
        detail = "it needs a user name and a password" if login else "it is no text, or far too long"
    elif not all(part.strip() for part in parts):
        detail = "it needs a user name and a password" if login else "there are only blanks in it"
    elif name != "notify" and not all(part.strip().isprintable() for part in parts):
        detail = "there are characters in it that nobody can type"
    if detail:
        raise ClmsError("SETTING_WRONG", setting=name, detail=detail)
    if login:  # a password may begin or end with a blank
        return json.dumps({"username": parts[0].strip(), "password": parts[1]})
    return f"{parts[0].strip()}\n"
