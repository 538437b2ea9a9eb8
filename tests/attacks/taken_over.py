# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody has taken the page over: what its user can reach, and what the agent's socket answers to it.

On a school server that user is in the agent's group and nothing else; here it is ``nobody``, in a group that the agent
was told of.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent import protocol
from tests.e2e.observe import wait_for

from .bench import Bench
from .cases import REFUSED, Case, Result
from .needles import files_below
from .page import make_account, nothing_done, remove_account

USER, GROUP, STRANGER = "nobody", "nogroup", "daemon"
ENGINE = "/var/run/docker.sock"
_BACKUP = "20261124T101112Z-1.0.0-r1"
_DOES = r"""
import json, os, socket, sys

def tried(what, *values):
    try:
        return what(*values) or "done"
    except OSError as error:
        return type(error).__name__

def reached(path):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)

def asked(line):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("agent.sock")
        connection.sendall(line.encode() + b"\n")
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile() as answers:
            return answers.readline()

def read(path):
    with open(path, "rb") as file:
        file.read(1)

order = json.load(sys.stdin)
json.dump({
    "reached": {path: tried(reached, path) for path in order.get("reach", [])},
    "read": {path: tried(read, path) for path in order.get("read", [])},
    "writable": [path for path in order.get("write", []) if os.access(path, os.W_OK)],
    "ended": {number: tried(os.kill, number, 0) for number in order.get("end", [])},
    "linked": [tried(os.symlink, *pair) for pair in order.get("link", [])],
    "answers": [tried(asked, line) for line in order.get("ask", [])],
}, sys.stdout)
"""
_FIELDS: dict[str, dict[str, Any]] = {
    **{verb: {"backup": _BACKUP} for verb in (*protocol.BACKUPS, "restore")},
    "schedule": {"at": "tonight"},
    "cancel": {"schedule": 1},
    "import": {"file": "clms.zip"},
    "change": {"settings": {}},
    "set_up": {"code": "00000000", "name": "evil", "password": "a long password"},
    "sign_in": {"name": "evil", "password": "a long password"},
    "password": {"name": "evil", "password": "a long password", "new": "another password"},
    "token": {"token": "clms_00000000_0"},
    "once": {"name": "evil", "key": "1", "body": "0" * 64},
}
"""what the verbs need that need something"""
_EXTRA = ("extra", "clms_backup_path", "variables", "playbook", "as_root")


@contextmanager
def with_group(bench: Bench) -> Iterator[None]:
    """The school's agent, which the page's user may ask."""
    folder = bench.school.folder
    mode = folder.stat().st_mode & 0o7777
    folder.chmod(0o711)  # the socket of a school server lies where everybody can come to
    log = folder / "agent.log"
    bench.stand.fork(log, "clms-update-agent", "--config", folder / "etc", "--group", GROUP)
    try:
        wait_for(lambda: bench.stand.agent_process(bench.school.name) is not None, seconds=60, what="an agent")
        yield
        assert "Traceback" not in log.read_text(), log.read_text()[-3000:]
    finally:
        bench.stand.stop_agent(bench.school.name)
        folder.chmod(mode)


def as_user(bench: Bench, *, user: str = USER, **order: Any) -> dict[str, Any]:
    """What comes of it when another user tries something, from the folder of the school."""
    found = pwd.getpwnam(user)
    groups = [grp.getgrnam(GROUP).gr_gid] if user == USER else []
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", _DOES], cwd=bench.school.folder, input=json.dumps(order).encode(),
        user=found.pw_uid, group=found.pw_gid, extra_groups=groups, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def reach(bench: Bench, _: Result) -> str:
    """The page's user asks the engine, looks into every file of the school, would write there, and would end the agent;
    a user who is not in the group asks the agent.
    """
    folder, agent = bench.school.folder, bench.stand.agent_process
    with with_group(bench), nothing_done(bench):
        process = agent(bench.school.name)
        private = [folder / name for name in ("etc", "state", "backups")]
        files = [str(path) for place in private for path in files_below(place) if "gate/" not in str(path)]
        files += [f"/proc/{process}/{name}" for name in ("environ", "mem")]
        places = [str(folder), *(str(path) for path in folder.rglob("*") if path.is_dir() or path.is_file())]
        places = [path for path in places if not path.startswith(str(bench.uploads))]
        found = as_user(bench, reach=[ENGINE, "agent.sock"], read=files, write=[*places, ENGINE], end=[process])
        assert found["reached"] == {ENGINE: "PermissionError", "agent.sock": "done"}, found["reached"]
        assert set(found["read"].values()) == {"PermissionError"}, found["read"]
        assert found["writable"] == [], found["writable"]
        assert found["ended"] == {str(process): "PermissionError"}, found["ended"]
        stranger = as_user(bench, user=STRANGER, reach=[ENGINE, "agent.sock"])
        assert set(stranger["reached"].values()) == {"PermissionError"}, stranger
        # the counterpart: for root there is an engine
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(ENGINE)
    assert len(files) > 10, files
    return f"refused: engine, agent's process, {len(files)} files"


def strictly(bench: Bench, _: Result) -> str:
    """The page's user asks the agent for releases, backups and files that there are not, with fields that no request
    has, for what needs a password without one, and for settings that nobody may change here.
    """
    name, password = make_account(bench)
    with with_group(bench), nothing_done(bench):
        refused = [*_unknown(), *_guarded(name, password)]
        verbs = [*protocol.RUNS, *protocol.READS, *protocol.CHANGES, *protocol.ACCOUNTS, *protocol.KEYS]
        for verb in verbs:
            fields = {"verb": verb, **_FIELDS.get(verb, {})}
            protocol.parse(json.dumps(fields).encode())  # without the field more it would be understood
            refused += [({**fields, more: "/etc"}, "AGENT_REQUEST", more) for more in _EXTRA]
        good = [{"verb": "status"}, {"verb": "list", "what": "backups"}]
        lines = [json.dumps(request) for request in (*(request for request, _, _ in refused), *good)]
        answers = [json.loads(line) for line in as_user(bench, ask=lines)["answers"]]
        for (request, code, says), answer in zip(refused, answers, strict=False):
            assert not answer["ok"], (request, answer)
            assert answer["error"]["code"] == code, (request, answer)
            assert says in answer["error"]["message"], (request, answer)
            assert answer["error"]["remedy"], answer
        assert all(answer["ok"] for answer in answers[len(refused) :]), "the counterpart: what it may ask for"
    remove_account(bench, name)
    return f"{len(refused)} requests refused, unchanged"


def _unknown() -> Iterator[tuple[dict[str, Any], str, str]]:
    """What there is not."""
    for verb in ("update", "release", "schedule"):
        fields = _FIELDS.get(verb, {})
        yield {"verb": verb, **fields, "version": "9.9.9"}, "RELEASE_UNKNOWN", "9.9.9"
        for version in ("../../9.9.9", "latest", "1.0.1;reboot", "{{ 7 }}", "", 1, ["1.0.1"]):
            yield {"verb": verb, **fields, "version": version}, "AGENT_REQUEST", ""
    for verb in ("verify", "download"):
        yield {"verb": verb, "backup": _BACKUP}, "BACKUP_UNKNOWN", ""
    for verb in (*protocol.BACKUPS, "restore", "loss"):
        for backup in ("../../../etc", "/etc/shadow", f"{_BACKUP}/..", "*"):
            yield {"verb": verb, "backup": backup}, "AGENT_REQUEST", ""
    for file in ("../clms.zip", "/etc/shadow", "clms.zip/../../x.zip", ".zip", "clms.zip\0", "clms"):
        yield {"verb": "import", "file": file}, "AGENT_REQUEST", ""
    yield {"verb": "exec", "command": "id"}, "AGENT_REQUEST", "not known"


def _guarded(name: str, password: str) -> Iterator[tuple[dict[str, Any], str, str]]:
    """What needs a password, and what nobody may do with one either."""
    for verb in protocol.GUARDED:
        yield {"verb": verb, **_FIELDS.get(verb, {})}, "SIGN_IN_REFUSED", ""
        yield {"verb": verb, **_FIELDS.get(verb, {}), "name": name, "password": "guessed-it"}, "SIGN_IN_REFUSED", ""
    for setting, value in (
        ("backup_path", "/etc/cron.d"), ("backup_path", "/srv/../etc"), ("external_backup_path", "/root"),
        ("agent_socket", "/tmp/evil.sock"), ("home", "/"), ("trust", {}), ("root_file", "/tmp/root.json"),
        ("update_server", "http://evil.test"), ("update_server", "file:///etc"), ("registry", "evil.test/../x"),
    ):  # fmt: skip
        yield (
            {"verb": "change", "settings": {setting: value}, "name": name, "password": password},
            "SETTING_WRONG", "",
        )  # fmt: skip
    yield {"verb": "set_up", **_FIELDS["set_up"]}, "ACCOUNT_EXISTS", ""
    yield {"verb": "token", **_FIELDS["token"]}, "TOKEN_REFUSED", ""
    yield {"verb": "once", **_FIELDS["once"]}, "ACCOUNT_UNKNOWN", ""


def linked_upload(bench: Bench, _: Result) -> str:
    """The page's user puts a link to a file of root's into the folder for uploads, and asks to take it in."""
    name = f"{secrets.token_hex(4)}.zip"
    target = bench.school.folder / "etc/secrets/backend.env"
    before = target.read_bytes()
    with with_group(bench), bench.unchanged():
        link = str(Path(os.path.relpath(bench.uploads, bench.school.folder)) / name)
        done = as_user(bench, link=[(str(target), link)], ask=[json.dumps({"verb": "import", "file": name})])
        assert done["linked"] == ["done"], done
        answer = json.loads(done["answers"][0])
        assert not answer["ok"], answer
        assert answer["error"]["code"] == "BUNDLE_MISSING", answer
        assert not list(bench.uploads.iterdir())
    assert target.read_bytes() == before
    return REFUSED


def cases() -> Iterator[Case]:
    """All of them."""
    yield Case("page taken over: what its user can reach", reach.__doc__ or "", reach)
    yield Case("page taken over: what the agent answers", strictly.__doc__ or "", strictly)
    yield Case("page taken over: a link as an upload", linked_upload.__doc__ or "", linked_upload, slow=True)
