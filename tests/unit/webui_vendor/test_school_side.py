# SPDX-License-Identifier: GPL-3.0-or-later
"""What a school's agent sends is what the release server takes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.reporting import Reporter
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.https import Answer
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.school import Trust

from .conftest import NOW, URL, School, Server


@pytest.fixture
def trust(server: Server, tmp_path: Path) -> Trust:
    """A school that the server knows, with its keys in files."""
    school: School = server.school("linden")
    pem = school.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, content in (("api.key", school.api_key.encode()), ("report.pem", pem)):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_bytes(content)
    return Trust(
        url=URL, root_file="/x", ca_file=None, pins=(), channel="stable",
        api_key_file=str(tmp_path / "api.key"), report_key_file=str(tmp_path / "report.pem"),
    )  # fmt: skip


@pytest.fixture
def post(server: Server) -> Callable[..., Answer]:
    def post(url: str, headers: dict[str, str], body: bytes) -> Answer:
        answer = server.ask(url.removeprefix(URL), "POST", data=body, headers=headers)
        return Answer(answer.status_code, {name.lower(): value for name, value in answer.headers}, answer.data)

    return post


def reports(server: Server) -> list[dict[str, Any]]:
    from webui.vendor.reports import list_reports

    with server.database.transaction() as session:
        return list_reports(session, school=None, limit=10)


def test_reports_of_all_kinds_are_taken(server: Server, trust: Trust, post: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    error = {"phase": "drain", **ClmsError("DRAIN_FAILED", detail="x").as_dict()}
    with closing(Journal(home, create=True)) as journal:
        for kind, outcome in (
            ("install", "COMPLETED"), ("update", "ROLLED_BACK"), ("update_images", "ABORTED"), ("backup", "REFUSED"),
            ("rollback", "COMPLETED"), ("restore", "COMPLETED"),
        ):  # fmt: skip
            run = journal.begin(kind, phases=KINDS[kind], school={}, version="1.0.1", from_version="1.0.0")
            run.enter("preflight")
            run.leave("preflight")
            run.close(outcome, None if outcome == "COMPLETED" else error)
    school: Any = SimpleNamespace(home=home, trust=trust)
    reporter = Reporter(lambda: school, clock=lambda: NOW, post=post)
    assert reporter.send() is None
    stored = reports(server)
    assert [(report["kind"], report["status"]) for report in reversed(stored)] == [
        ("install", "COMPLETED"), ("update", "ROLLED_BACK"), ("update", "FAILED"), ("backup", "FAILED"),
        ("rollback", "COMPLETED"), ("restore", "COMPLETED"),
    ]  # fmt: skip
    assert {report["school"] for report in stored} == {"linden"}
    assert stored[0]["phases"][0]["name"] == "preflight"


def test_after_a_wrong_clock_it_is_told_once_more(server: Server, trust: Trust, post: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with closing(Journal(home, create=True)) as journal:
        journal.begin("backup", phases=KINDS["backup"], school={}).close("COMPLETED")
    school: Any = SimpleNamespace(home=home, trust=trust)
    now = [NOW + 3600.0]
    reporter = Reporter(lambda: school, clock=lambda: now[0], post=post)
    assert reporter.send() is not None
    assert reports(server) == []
    now[0] = float(NOW)
    assert reporter.send() is None
    assert [report["kind"] for report in reports(server)] == ["backup"]
