# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's command line, and that what it changes counts for a server that runs already."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.engine import make_url

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.vendor import create_app
from webui.vendor.cli import main
from webui.vendor.config import VARIABLE, load
from webui.vendor.database import Database
from webui.vendor.models import AuditEntry
from webui.vendor.services import services_of

from .conftest import School, Server, problem_of, report_body

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Runs ``clms-release-server … --json``, checks its exit code and returns what it printed, or its error."""
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings))
    monkeypatch.setenv(VARIABLE, str(path))

    def run(*arguments: object, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        found = main([*map(str, arguments), "--json"])
        output = capsys.readouterr()
        assert found == code, output
        assert output.err == ""
        answer = json.loads(output.out)
        found_error = answer.get("error", answer)
        assert isinstance(found_error, dict)
        return found_error

    return run


@pytest.fixture
def ready(run: Run) -> Run:
    """The same, with a database."""
    run("init-db")
    return run


def test_nothing_works_without_a_database(run: Run, tmp_path: Path) -> None:
    for command in (["school", "list"], ["school", "add", "linden"], ["reports", "list"]):
        assert run(*command, code=1)["code"] == "SERVER_DATABASE"
    assert not (tmp_path / "server.db").exists()
    assert run("init-db") == {"database": f"sqlite:///{tmp_path}/server.db"}
    assert (tmp_path / "server.db").stat().st_mode & 0o777 == 0o600
    run("init-db")
    assert run("school", "list") == {"schools": []}
    database = Database(make_url(f"sqlite:///{tmp_path}/server.db"))
    with database.transaction() as session:
        (entry,) = session.scalars(select(AuditEntry))
    database.close()
    assert (entry.action, entry.school) == ("schema_changed", None)
    assert entry.actor.startswith("cli:")


def test_the_life_of_a_school(ready: Run, make_server: Callable[..., Server], tmp_path: Path) -> None:
    school = School("linden", "")
    (tmp_path / "linden.pem").write_bytes(school.pem)
    server = make_server()
    added = ready("school", "add", "linden", "--public-key", tmp_path / "linden.pem")
    assert (added["school"], added["keyid"]) == ("linden", school.keyid)
    school.api_key = added["api_key"]
    assert server.ask("/api/latest", headers=school.bearer()).status_code == 200
    assert server.report(school, report_body()).status_code == 201
    assert ready("reports", "list")["reports"][0]["run_id"] == report_body()["run_id"]
    assert ready("reports", "list", "--school", "birch") == {"reports": []}

    second = ready("key", "add", "linden", "--scope", "read")["api_key"]
    (listed,) = ready("school", "list")["schools"]
    assert [(key["key"], key["scopes"], key["revoked"]) for key in listed["api_keys"]] == [
        (1, ["read", "report"], None),
        (2, ["read"], None),
    ]
    ready("key", "revoke", 1)
    problem_of(server.ask("/api/latest", headers=school.bearer()), 401, "API_KEY_REFUSED")
    assert server.ask("/api/latest", headers={"Authorization": f"Bearer {second}"}).status_code == 200
    ready("school", "revoke", "linden")
    problem_of(server.ask("/api/latest", headers={"Authorization": f"Bearer {second}"}), 401, "API_KEY_REFUSED")
    (listed,) = ready("school", "list")["schools"]
    assert listed["revoked"]
    assert all(key["revoked"] for key in (*listed["api_keys"], *listed["signing_keys"]))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["school", "add", "linden"], "SCHOOL_TAKEN"),
        (["school", "add", "../x"], "SCHOOL_NAME"),
        (["school", "add", ""], "SCHOOL_NAME"),
        (["school", "add", "a b"], "SCHOOL_NAME"),
        (["school", "add", "x" * 101], "SCHOOL_NAME"),
        (["school", "revoke", "nobody"], "SCHOOL_UNKNOWN"),
        (["school", "set-key", "nobody", "good.pem"], "SCHOOL_UNKNOWN"),
        (["school", "set-key", "gone", "good.pem"], "SCHOOL_REVOKED"),
        (["school", "set-key", "linden", "missing.pem"], "SIGNING_KEY_FILE"),
        (["school", "set-key", "linden", "bad.pem"], "SIGNING_KEY_FILE"),
        (["school", "set-key", "linden", "rsa.pem"], "SIGNING_KEY_FILE"),
        (["school", "set-key", "linden", "taken.pem"], "SIGNING_KEY_TAKEN"),
        (["school", "set-key", "linden", "old.pem"], "SIGNING_KEY_TAKEN"),
        (["school", "add", "new", "--public-key", "bad.pem"], "SIGNING_KEY_FILE"),
        (["key", "add", "nobody"], "SCHOOL_UNKNOWN"),
        (["key", "add", "gone"], "SCHOOL_REVOKED"),
        (["key", "revoke", "99"], "API_KEY_UNKNOWN"),
    ],
)
def test_what_is_refused(
    ready: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("good", "taken", "old", "second"):
        (tmp_path / f"{name}.pem").write_bytes(School(name, "").pem)
    (tmp_path / "bad.pem").write_text("nothing")
    (tmp_path / "rsa.pem").write_text(RSA)
    ready("school", "add", "linden", "--public-key", "old.pem")
    ready("school", "set-key", "linden", "second.pem")
    ready("school", "set-key", "linden", "second.pem")
    ready("school", "add", "birch", "--public-key", "taken.pem")
    ready("school", "add", "gone")
    ready("school", "revoke", "gone")
    before = ready("school", "list")
    assert ready(*command, code=2)["code"] == code
    assert ready("school", "list") == before


RSA = """-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf
9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==
-----END PUBLIC KEY-----
"""


def test_words_for_people(
    ready: Run, make_server: Callable[..., Server], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    server = make_server()
    school = server.school("linden")
    server.report(school, report_body())
    capsys.readouterr()
    assert main(["school", "add", "birch"]) == 0
    assert capsys.readouterr().out.startswith("API key, shown this once: clms_")
    assert main(["school", "list"]) == 0
    listed = capsys.readouterr().out
    assert "linden" in listed
    assert school.keyid in listed
    assert school.api_key not in listed
    assert main(["reports", "list"]) == 0
    assert capsys.readouterr().out.endswith("linden  update  1.0.1  COMPLETED\n")
    assert main(["school", "revoke", "nobody"]) == 2
    assert "There is no school named nobody." in capsys.readouterr().err


def test_without_settings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    assert run("school", "list", code=2)["code"] == "SERVER_SETTINGS"


def test_a_server_does_not_start_without_its_schema(run: Run, tmp_path: Path) -> None:
    config = load(tmp_path / "settings.json")
    with pytest.raises(ClmsError) as caught:
        create_app(config)
    assert caught.value.code == "SERVER_DATABASE"
    database = Database(config.database)
    database.migrate()
    database.close()
    services_of(create_app(config)).close()
