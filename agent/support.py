# SPDX-License-Identifier: GPL-3.0-or-later
"""The support bundle: what somebody needs to see who helps this school from elsewhere, without its secrets.

It is made here and sent by a person, who can look into it first. What people have entered into CLMS is not asked for;
applications may have written some of it into their logs, so what these quote is left out.
"""

from __future__ import annotations

import glob
import json
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils import overview
from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from ansible_collections.clms.update.plugins.module_utils.adapters.files import read_small
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.masking import without_quotes
from ansible_collections.clms.update.plugins.module_utils.redaction import secrets_in, without
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.version import UPDATER

from .output import events_for_json

_RUNS = 5
_LINES = 500
_LOG_BYTES = 300_000
_SECRET_BYTES = 1_000_000
_FOLDER_FILES, _FOLDER_BYTES = 500, 200_000
"""of a mounted folder that are looked at: one of secrets is small, and one of people's documents has no end"""
_PUBLIC = ("root_file", "ca_file", "registry_ca_file", "bundle_ca_file")
"""files of the description in which no secret is, whoever may read them; all others that it calls a file have some"""

Content = Callable[[], str]


def write(school: School, target: Path, examination: dict[str, Any]) -> dict[str, Any]:
    """Write the support bundle of a school.

    :param target: the file, which must not exist yet; readable for its owner only
    :param examination: see :func:`.doctor.examine`
    :returns: ``file``, ``size`` in bytes and ``contents``
    :raises ClmsError: SUPPORT_FILE
    """
    secrets = _secrets(school)
    contents = {"doctor.json": lambda: _as_json(examination), **_contents(school)}
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, content in contents.items():
                    archive.writestr(name, without(_tried(content), secrets))
        except BaseException:
            target.unlink(missing_ok=True)  # half a file would be in the way of the next one
            raise
    except OSError as error:
        raise ClmsError("SUPPORT_FILE", path=target, detail=error.strerror) from None
    return {"file": str(target), "size": target.stat().st_size, "contents": sorted(contents)}


def _tried(content: Content) -> str:
    """One thing that cannot be had must not keep the others away."""
    try:
        return content()
    except Exception as error:
        return f"not to be had: {type(error).__name__}: {error}\n"


def _contents(school: School) -> dict[str, Content]:
    """Name -> content."""
    found: dict[str, Content] = {
        "versions.json": _versions,
        "description.json": lambda: _as_json(school.raw),
        "status.json": lambda: _as_json(overview.status(school.home)),
        "history.json": lambda: _of_journal(school, lambda journal: overview.history(journal)),
        "events.json": lambda: _of_journal(school, lambda journal: events_for_json(journal.events(limit=500))),
        "records.json": lambda: _of_journal(school, _records),
        "agent.log": _agent_log,
        "disks.txt": lambda: _said("df", "--human-readable", "--output=target,fstype,size,used,avail"),
    }
    found |= {f"containers/{name}.log": log for name, log in _container_logs(school)}
    for path in [*_newest(school.home / "runs", "*/*.log"), *_newest(school.home / "runner", "artifacts/*/stdout")]:
        found[str(path.relative_to(school.home)).replace("artifacts/", "")] = lambda path=path: _end_of(path)  # type: ignore[misc]
    return found


def _secrets(school: School) -> set[str]:
    """Everything secret in the files that the description of the school names.

    Whoever else may read a file with secrets: it has them all the same, and this state is a reason to ask for help.
    Of other files, such as those that a container is given, what everybody may read is no secret.
    """
    found: set[str] = set()
    for name, path in _paths(school.raw):
        with suppress(OSError):
            status = path.stat()
            known = name.endswith("_file") and name not in _PUBLIC
            private = name not in _PUBLIC and not status.st_mode & stat.S_IROTH
            if stat.S_ISREG(status.st_mode) and status.st_size <= _SECRET_BYTES and (known or private):
                found |= secrets_in(path.read_text(errors="replace"))
            elif stat.S_ISDIR(status.st_mode) and name == "mounts":
                for content in _private_in(path.resolve()):
                    found |= secrets_in(content)
    return found


def _private_in(folder: Path) -> Iterator[str]:
    """What is in the files of a folder that not everybody may read, as far as a folder of secrets has that much.

    A container may write there: no link is followed, and nothing waits for a pipe.
    """
    entries, left = [(folder, False)], _FOLDER_BYTES
    for path, closed in entries:  # which grow meanwhile
        with suppress(OSError):
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                inside = closed or not mode & stat.S_IXOTH
                with os.scandir(path) as found:
                    entries += [(Path(entry), inside) for entry in islice(found, _FOLDER_FILES - len(entries))]
            elif closed or not mode & stat.S_IROTH:
                content = read_small(path, left)
                if b"\0" not in content:  # as it is in pictures
                    left -= len(content)
                    yield content.decode(errors="replace")


def _paths(value: Any, name: str = "") -> Iterator[tuple[str, Path]]:
    """What the description calls a file, and its path; of a mount, the path on this server is the name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if str(key).startswith("/"):
                yield name, Path(key)
            yield from _paths(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner, name)
    elif isinstance(value, str) and value.startswith("/"):
        yield name, Path(value)


def _of_journal(school: School, ask: Callable[[Journal], Any]) -> str:
    with closing(Journal(school.home)) as journal:
        return _as_json(ask(journal))


def _records(journal: Journal) -> list[dict[str, Any]]:
    return [{"run": row.id, **vars(record)} for row in journal.rows(limit=_RUNS) for record in journal.records(row.id)]


def _container_logs(school: School) -> list[tuple[str, Content]]:
    try:
        engine = Engine()
        names = engine.by_label(project=school.project)
    except Exception:  # the doctor says what is wrong with the engine
        return []
    return [(name, lambda name=name: without_quotes(engine.logs(name, lines=_LINES))) for name in names]  # type: ignore[misc]


def _newest(folder: Path, pattern: str) -> list[Path]:
    found = []
    for path in map(folder.joinpath, glob.iglob(pattern, root_dir=folder)):  # noqa: PTH207 - passes over what is gone
        with suppress(OSError):  # old runs are tidied up
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                found.append((status.st_mtime, path))
    return [path for _, path in sorted(found)[-2 * _RUNS :]]


def _end_of(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LOG_BYTES))
        return without_quotes(file.read().decode("utf-8", "replace"))


def _agent_log() -> str:
    return _said("journalctl", "--unit=clms-update-agent.service", f"--lines={4 * _LINES}", "--no-pager")


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    return done.stdout + done.stderr


def _versions() -> str:
    from importlib.metadata import distributions

    libraries = {found.metadata["Name"]: found.version for found in distributions()}
    return _as_json(
        {
            "clms_update": UPDATER.text,
            "python": sys.version,
            "system": " ".join(os.uname()),
            "engine": _said("docker", "version", "--format", "{{json .}}"),
            "libraries": dict(sorted(libraries.items())),
        }
    )


def _as_json(data: Any) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False, default=str)
