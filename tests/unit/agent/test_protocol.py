# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent understands, and everything else."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol import ACCOUNTS, CHANGES, KEYS, MAX_BYTES, READS, RUNS, Request, answer, parse, refusal
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

BACKUP = "20261124T020000Z-1.0.0-r3"


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


@pytest.mark.parametrize(
    ("fields", "request_", "variables"),
    [
        ({"verb": "status"}, Request("status"), {}),
        ({"verb": "backup"}, Request("backup"), {}),
        ({"verb": "update"}, Request("update"), {}),
        ({"verb": "update", "version": "1.0.1"}, Request("update", version="1.0.1"), {"clms_version": "1.0.1"}),
        ({"verb": "rollback", "confirm": "1.0.0"}, Request("rollback", confirm="1.0.0"), {"clms_confirm": "1.0.0"}),
        (
            {"verb": "restore", "backup": BACKUP, "confirm": "1.0.0"},
            Request("restore", backup=BACKUP, confirm="1.0.0"),
            {"clms_backup_id": BACKUP, "clms_confirm": "1.0.0"},
        ),
        ({"verb": "list", "what": "history"}, Request("list", what="history"), {}),
        (
            {"verb": "list", "what": "history", "before": 8, "limit": 1},
            Request("list", what="history", before=8, limit=1),
            {},
        ),
        ({"verb": "list", "what": "schedule"}, Request("list", what="schedule"), {}),
        ({"verb": "events", "after": 7}, Request("events", after=7), {}),
        ({"verb": "events", "before": 7}, Request("events", before=7), {}),
        ({"verb": "events", "follow": True}, Request("events", follow=True), {}),
        ({"verb": "schedule", "at": "tonight"}, Request("schedule", at="tonight"), {}),
        (
            {"verb": "schedule", "at": "2026-11-24T22:00", "version": "1.0.1", "missed": "skip"},
            Request("schedule", at="2026-11-24T22:00", version="1.0.1", missed="skip"),
            {"clms_version": "1.0.1"},
        ),
        (
            {"verb": "schedule", "at": "tonight", "backup_location": "local"},
            Request("schedule", at="tonight", backup_location="local"),
            {"clms_backup_location": "local"},
        ),
        (
            {"verb": "update", "backup_location": "external"},
            Request("update", backup_location="external"),
            {"clms_backup_location": "external"},
        ),
        ({"verb": "loss"}, Request("loss"), {}),
        ({"verb": "loss", "backup": BACKUP}, Request("loss", backup=BACKUP), {"clms_backup_id": BACKUP}),
        ({"verb": "cancel", "schedule": 3}, Request("cancel", schedule=3), {}),
        ({"verb": "import", "file": "clms-1.0.1-amd64.zip"}, Request("import", file="clms-1.0.1-amd64.zip"), {}),
        ({"verb": "cancel", "run": 7, "schedule": None}, Request("cancel", run=7), {}),
        (
            {"verb": "change", "settings": {"contact": None}, "name": "anna", "password": "x"},
            Request("change", settings={"contact": None}, name="anna", password="x"),
            {},
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_requests(fields: dict[str, Any], request_: Request, variables: dict[str, str]) -> None:
    assert parse(line(**fields)) == request_
    assert request_.variables == variables


NEEDED: dict[str, dict[str, Any]] = {
    "restore": {"backup": BACKUP}, "schedule": {"at": "tonight"}, "cancel": {"schedule": 1},
    "verify": {"backup": BACKUP}, "copy": {"backup": BACKUP}, "download": {"backup": BACKUP},
    "import": {"file": "clms-1.0.1-amd64.zip"}, "change": {"settings": {"contact": "anna"}},
    "set_up": {"code": "0a1b2c3d", "name": "anna", "password": "x"}, "sign_in": {"name": "anna", "password": "x"},
    "password": {"name": "anna", "password": "x", "new": "y"}, "token": {"token": "clms_x"},
    "once": {"name": "anna", "key": "k", "body": "0" * 64},
}  # fmt: skip


@pytest.mark.parametrize("verb", [*RUNS, *READS, *CHANGES, *ACCOUNTS, *KEYS])
def test_every_verb_refuses_fields_that_are_not_its_own(verb: str) -> None:
    fields = {"verb": verb, **NEEDED.get(verb, {})}
    assert parse(line(**fields)).verb == verb
    with pytest.raises(ClmsError, match="inventory is not known") as caught:
        parse(line(**fields, inventory="/tmp/mine"))
    assert caught.value.code == "AGENT_REQUEST"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"null\n",
        b"[]\n",
        b'"update"\n',
        b'{"verb": "update"',
        b'{"verb": null}\n',
        b'{"verb": ["update"]}\n',
        b'{"verb": "shell"}\n',
        b'{"verb": "import"}\n',
        b'{"verb": "import", "path": "/etc/shadow"}\n',
        b'{"verb": "import", "file": "/etc/clms.zip"}\n',
        b'{"verb": "import", "file": "../clms.zip"}\n',
        b'{"verb": "import", "file": ".zip"}\n',
        b'{"verb": "import", "file": "clms.tar"}\n',
        b'{"verb": "update", "version": 1}\n',
        b'{"verb": "update", "version": "1.0"}\n',
        b'{"verb": "update", "version": "{{ lookup(1) }}"}\n',
        b'{"verb": "restore"}\n',
        b'{"verb": "restore", "backup": "../../etc"}\n',
        b'{"verb": "events", "after": -1}\n',
        b'{"verb": "list", "what": "history", "limit": 0}\n',
        b'{"verb": "list", "what": "history", "limit": 101}\n',
        b'{"verb": "list", "what": "secrets"}\n',
        b'{"verb": "events", "follow": 1}\n',
        b'{"verb": "events", "follow": "yes"}\n',
        b'{"verb": "status", "follow": true}\n',
        b'{"verb": "schedule"}\n',
        b'{"verb": "schedule", "at": ""}\n',
        b'{"verb": "schedule", "at": 22}\n',
        b'{"verb": "schedule", "at": "to\\nnight"}\n',
        b'{"verb": "schedule", "at": "' + b"9" * 65 + b'"}\n',
        b'{"verb": "schedule", "at": "tonight", "missed": "later"}\n',
        b'{"verb": "schedule", "at": "tonight", "backup_location": "/media/usb"}\n',
        b'{"verb": "rollback", "backup_location": "local"}\n',
        b'{"verb": "schedule", "at": "tonight", "version": "1.0"}\n',
        b'{"verb": "schedule", "at": "tonight", "confirm": "1.0.0"}\n',
        b'{"verb": "cancel"}\n',
        b'{"verb": "cancel", "schedule": 1, "run": 1}\n',
        b'{"verb": "cancel", "schedule": 0}\n',
        b'{"verb": "cancel", "schedule": 1.5}\n',
        b'{"verb": "cancel", "schedule": true}\n',
        b'{"verb": "cancel", "run": 1e400}\n',
        b'{"verb": "cancel", "run": 99999999999999999999}\n',
        b'{"verb": "sign_in", "name": "anna"}\n',
        b'{"verb": "sign_in", "name": "anna", "password": 1}\n',
        b'{"verb": "sign_in", "name": "anna", "password": "' + b"x" * 1001 + b'"}\n',
        b'{"verb": "set_up", "name": "anna", "password": "x"}\n',
        b'{"verb": "password", "name": "anna", "password": "x"}\n',
        b'{"verb": "sign_in", "name": "anna", "password": "\\ud800"}\n',
        b'{"verb": "token"}\n',
        b'{"verb": "token", "token": "' + b"x" * 1001 + b'"}\n',
        b'{"verb": "once", "name": "anna", "key": "k"}\n',
        b'{"verb": "once", "name": "anna", "key": "\\n", "body": "' + b"0" * 64 + b'"}\n',
        b'{"verb": "once", "name": "anna", "key": "' + b"k" * 129 + b'", "body": "' + b"0" * 64 + b'"}\n',
        b'{"verb": "once", "name": "anna", "key": "k", "body": "x"}\n',
        b'{"verb": "once", "name": "anna", "key": "k", "body": "' + b"0" * 64 + b'", "answer": "{"}\n',
        b'{"verb": "backup", "password": "x"}\n',
        b"\xff\xfe\n",
        b'{"verb": "status", "\\udcff": 1}\n',
        b'{"verb":' * 7000,
        b'{"verb": "status", "x": "' + b"x" * MAX_BYTES + b'"}\n',
    ],
    ids=lambda raw: repr(raw[:30]),
)
def test_what_is_refused(raw: bytes) -> None:
    with pytest.raises(ClmsError) as caught:
        parse(raw)
    assert caught.value.code == "AGENT_REQUEST"
    assert refusal(caught.value).endswith(b"\n")


def test_what_a_person_has_typed_is_not_shown() -> None:
    request = parse(line(verb="password", name="anna", password="canary ü", new="canary\n2"))
    assert (request.name, request.password, request.new) == ("anna", "canary ü", "canary\n2")
    assert "canary" not in repr(request)
    assert "canary" not in repr(parse(line(verb="token", token="canary")))
    with pytest.raises(ClmsError) as caught:
        parse(line(verb="password", name="anna", password="canary", new=["canary"]))
    assert "canary" not in str(caught.value)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode)))
def test_noise(raw: bytes) -> None:
    with pytest.raises(ClmsError):
        parse(raw)


FIELDS = ["version", "backup", "confirm", "what", "after", "follow", "at", "missed", "schedule", "run", "file"]
FIELDS += ["backup_location"]
VALUES = ["1.0.1", "clms.zip", BACKUP, "history", "schedule", "tonight", "skip", "2026-11-24T22:00"]


@given(
    st.dictionaries(
        st.sampled_from(["verb", *FIELDS, "x"]),
        st.one_of(
            st.sampled_from([*RUNS, *READS, *CHANGES, *VALUES]),
            st.integers(), st.floats(), st.booleans(), st.none(), st.text(), st.lists(st.none()),
        ),
    )
)  # fmt: skip
def test_almost_right(fields: dict[str, Any]) -> None:
    """It is understood as it stands, or refused."""
    request = None
    with contextlib.suppress(ClmsError):
        request = parse(line(**fields))
    if request is not None:
        given_ = {name: value for name, value in fields.items() if value is not None}
        assert {name: getattr(request, name) for name in given_} == given_


@given(st.sampled_from([*RUNS, *READS, *CHANGES, *ACCOUNTS, *KEYS]), st.sampled_from(FIELDS), st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=8,
))  # fmt: skip
def test_any_value_in_any_field(verb: str, name: str, value: Any) -> None:
    with contextlib.suppress(ClmsError):
        parse(line(verb=verb, **{**NEEDED.get(verb, {}), name: value}))


def test_answers_are_one_line_each() -> None:
    assert answer({"message": "zwei\nZeilen"}).count(b"\n") == 1
    said = json.loads(refusal(ClmsError("AGENT_CALLER")))
    assert (said["ok"], said["error"]["code"]) == (False, "AGENT_CALLER")


def test_how_long_to_wait_is_told_with_a_refusal() -> None:
    said = json.loads(refusal(ClmsError("SIGN_IN_WAIT", seconds=7)))["error"]
    assert ClmsError.from_dict(said).values == {"seconds": 7}
    assert "seconds" not in json.loads(refusal(ClmsError("AGENT_CALLER")))["error"]


def test_what_a_refusal_names_is_told_with_it() -> None:
    """The page has to know which setting is meant, and says the sentence in another language."""
    said = json.loads(refusal(ClmsError("SETTING_WRONG", setting="tonight", detail="it is no time")))["error"]
    assert ClmsError.from_dict(said).values == {"setting": "tonight", "detail": "it is no time"}
