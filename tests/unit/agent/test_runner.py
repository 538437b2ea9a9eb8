# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agent.detached import Driver
from agent.runner import Ending, Play, environment, failure_in


def _event(result: dict[str, Any], event: str = "runner_on_failed", **data: Any) -> dict[str, Any]:
    return {"event": event, "event_data": {"task": "Do it", "res": result, **data}}


@pytest.mark.parametrize(
    ("event", "code", "said"),
    [
        (_event({"msg": "No.", "code": "NOT_INSTALLED", "remedy": "Yes."}), "NOT_INSTALLED", "No."),
        (_event({"msg": "argument missing"}), "INTERNAL", "step 'Do it': argument missing."),
        (_event({"msg": ["one", "two"]}), "INTERNAL", "one two"),
        (_event({"msg": "x", "code": "MADE_UP"}), "INTERNAL", "x"),
        (_event({}, "runner_on_unreachable"), "INTERNAL", "no reason was given"),
    ],
    ids=["with a code", "without", "list", "unknown code", "unreachable"],
)
def test_failure(event: dict[str, Any], code: str, said: str) -> None:
    failure = failure_in(event)
    assert failure is not None
    assert failure["code"] == code
    assert said in failure["message"]
    assert failure["remedy"]


@pytest.mark.parametrize(
    "event",
    [_event({}, "runner_on_ok"), _event({"msg": "x"}, ignore_errors=True), {"event": "verbose"}],
    ids=["ok", "ignored", "other"],
)
def test_no_failure(event: dict[str, Any]) -> None:
    assert failure_in(event) is None


def test_environment_is_our_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VENDOR_PASSWORD", "hunter2")
    monkeypatch.setenv("ANSIBLE_CONFIG", "/elsewhere")
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/other.sock")
    found = environment(tmp_path)
    assert "hunter2" not in str(found)
    assert Path(found["ANSIBLE_CONFIG"]).is_file()
    assert found["DOCKER_HOST"] == "unix:///run/other.sock"
    assert (Path(found["ANSIBLE_COLLECTIONS_PATH"]) / "ansible_collections/clms/update/galaxy.yml").is_file()


def _run(folder: Path, tmp_path: Path, playbook: str, **variables: str) -> Ending:
    driver = Driver(Play(playbook, str(folder / "hosts.yml"), str(tmp_path / "runner"), variables))
    while not driver.wait(0.3):
        pass
    ending = driver.ending()
    assert ending is not None
    return ending


@pytest.mark.slow
def test_real_playbook(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real ansible-runner in a process of its own, with the collection's own playbooks."""
    monkeypatch.setenv("VENDOR_PASSWORD", "hunter2")
    (folder / "vendor.asc").write_text("[no inventory\n")  # keys and certificates lie beside the description
    assert _run(folder, tmp_path, "report").exit_code == 0

    ending = _run(folder, tmp_path, "recover", clms_version="1.0.2")
    assert (ending.exit_code, ending.failure and ending.failure["code"]) == (2, "NOT_INSTALLED")

    (folder / "hosts.yml").write_text("schools: [")
    ending = _run(folder, tmp_path, "report")
    assert ending.exit_code
    assert ending.failure
    assert "hosts.yml" in ending.failure["message"]

    files = [path for path in (tmp_path / "runner").rglob("*") if path.is_file()]
    assert not [path for path in files if b"hunter2" in path.read_bytes()]
    commands = [json.loads(path.read_text())["command"] for path in files if path.name == "command"]
    # what an earlier run was asked for does not come back in a later one
    assert sum("clms_version" in str(command) for command in commands) == 1
    assert (tmp_path / "runner").stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_killed_process(folder: Path, tmp_path: Path) -> None:
    driver = Driver(Play("report", str(folder / "hosts.yml"), str(tmp_path / "runner")))
    mark = str(tmp_path / "runner").encode()
    found = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"agent.detached" in (line := path.read_bytes()) and mark in line
    ]
    assert found
    assert all(os.getsid(pid) != os.getsid(0) for pid in found)
    for pid in found:
        os.kill(pid, 9)
    while not driver.wait(0.3):
        pass
    assert driver.ending() is None
