# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import cli, doctor, new_server
from agent.config import Config
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.finding_texts import FINDINGS
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run


class _NoEngine:
    def __init__(self) -> None:
        raise ClmsError("ENGINE_UNREACHABLE", detail="nobody there")


class _Engine:
    by_manifest = False

    def architecture(self) -> str:
        return "amd64"

    def names_images_by_manifest(self) -> bool:
        return self.by_manifest


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "Engine", _NoEngine)


def _by_name(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in answer["checks"]}


def test_nothing_installed(settings: Config) -> None:
    answer = doctor.examine(settings.school)
    checks = _by_name(answer)
    assert answer["ok"] is False
    assert checks["description"]["ok"] is True
    assert {name: check["code"] for name, check in checks.items() if check["ok"] is False} == {
        "secrets": "SECRET_FILE",
        "journal": "NOT_INSTALLED",
        "engine": "ENGINE_UNREACHABLE",
        "last backup": None,
        "news": None,
        "keys": "TRUST_MISSING",
        "vendor": None,
    }
    assert all(check["remedy"] for check in checks.values() if check["ok"] is False)
    for name in ("containers", "database", "gate", "disk", "registry"):
        assert checks[name]["ok"] is None
        assert "no installation is recorded" in checks[name]["message"]
    assert not settings.school.home.exists()


def test_everything_that_can_be_found_is_found_somewhere() -> None:
    """Each with the words that it names."""
    found = {}
    for node in ast.walk(ast.parse(Path(doctor.__file__).read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Finding", "_NotSeen"):
            assert isinstance(node.args[0], ast.Constant)
            found[node.args[0].value] = {keyword.arg for keyword in node.keywords} - {"repair"}
    assert found == {name: text.names for name, text in FINDINGS.items()}


def test_how_long_ago_and_when() -> None:
    said = doctor.Finding("BACKUP_OLD", backup="x", ago=8_000_000.5, repair="backup").as_dict()
    assert said["message"] == "The newest backup, x, was proven 92 days ago."
    assert (said["finding"], said["values"]) == ("BACKUP_OLD", {"backup": "x", "ago": "8000000.5"})
    said = doctor.Finding("CLOCK_SHOWS", moment="2026-11-23T14:05:09Z").as_dict()
    assert re.fullmatch(r"The clock of this server shows 2026-11-2[34] [0-9:]{5}\.", said["message"])


def test_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--config", str(folder), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert cli.main(["doctor", "--config", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "PROBLEM   journal: No installation of CLMS is recorded on this server." in out
    assert "Mend the problems above" in out


def test_interrupted_run(settings: Config, begin: Callable[..., Run]) -> None:
    begin()
    checks = _by_name(doctor.examine(settings.school))
    assert checks["journal"]["code"] == "RUN_INTERRUPTED"
    assert "clms-update recover" in checks["journal"]["remedy"]


def test_run_that_could_not_be_put_back(settings: Config, begin: Callable[..., Run]) -> None:
    error = ClmsError("ROLLBACK_FAILED", detail="no", commands="docker start x")
    begin().close("NEEDS_OPERATOR", {"phase": "rollback", **error.as_dict()})
    check = _by_name(doctor.examine(settings.school))["journal"]
    assert (check["ok"], check["remedy"]) == (False, error.remedy)


@pytest.mark.parametrize(
    ("trust", "finding"),
    [
        pytest.param({}, "VENDOR_ANYBODY", id="nothing"),
        pytest.param({"ca_file": "/etc/clms-update/vendor-ca.crt"}, "VENDOR_NAMED", id="authority"),
        pytest.param({"pins": ("A" * 43 + "=", "B" * 43 + "=")}, "VENDOR_NAMED", id="pins"),
    ],
)
def test_who_may_answer_as_the_vendor(settings: Config, trust: dict[str, Any], finding: str) -> None:
    school = replace(settings.school, trust=replace(settings.school.trust, **trust))
    check = _by_name(doctor.examine(school))["vendor"]
    assert (check["finding"], check["ok"]) == (finding, finding == "VENDOR_NAMED")
    if not check["ok"]:
        assert school.trust.url in check["message"]
        assert "clms_trust" in check["remedy"]


def test_a_check_that_breaks_hides_no_other(
    settings: Config, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(doctor, "check_place", fail)
    monkeypatch.setattr(doctor, "Engine", _Engine)
    checks = _by_name(doctor.examine(settings.school))
    assert checks["backup place"]["code"] == "INTERNAL"
    assert checks["engine"]["ok"] is True
    assert checks["journal"]["ok"] is True


def test_an_engine_that_cannot_be_used(settings: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A new server is not filled with the files of the old one for it, either."""
    monkeypatch.setattr(_Engine, "by_manifest", True)
    for module in (doctor, new_server):
        monkeypatch.setattr(module, "Engine", _Engine)
    check = _by_name(doctor.examine(settings.school))["engine"]
    assert (check["ok"], check["code"]) == (False, "ENGINE_IMAGE_STORE")
    assert "'containerd-snapshotter'" in check["remedy"]
    with pytest.raises(ClmsError) as caught:
        new_server.prepare(tmp_path / "backup", tmp_path / "sheet", tmp_path / "config")
    assert caught.value.code == "ENGINE_IMAGE_STORE"


def test_all_in_order(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    check = {"name": "gate", "ok": True, "message": "The gate is open.", "remedy": None, "code": None}
    monkeypatch.setattr(doctor, "examine", lambda *_: {"ok": True, "checks": [check]})
    assert cli.main(["doctor", "--config", str(folder)]) == 0
    assert capsys.readouterr().out == "ok        gate: The gate is open.\nEverything is in order.\n"
