# SPDX-License-Identifier: GPL-3.0-or-later
"""What the vendor is told of runs, when, and what becomes of a report that does not arrive."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.backoff import MOST_ASKED
from agent.config import load
from agent.reporting import Reporter
from agent.schedule import Store
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.https import Answer, HttpsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run

NOW = 1_795_500_000.0


class Vendor:
    """A release server that answers from a list, and with 201 when that is empty."""

    def __init__(self) -> None:
        self.answers: list[Answer | Exception] = []
        self.reports: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    def __call__(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        assert url == "https://releases.test/api/reports"
        self.headers.append(headers)
        answer = self.answers.pop(0) if self.answers else Answer(201, {}, b"{}")
        if isinstance(answer, Exception):
            raise answer
        if answer.status in (200, 201):
            self.reports.append(json.loads(body))
        return answer


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
def keys(folder: Path, tmp_path: Path) -> Path:
    """The school has both keys."""
    secrets = tmp_path / "secrets"
    secrets.mkdir(exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, content in (("api.key", b"an-api-key\n"), ("report.pem", pem)):
        (secrets / name).touch(mode=0o600)
        (secrets / name).write_bytes(content)
    path = folder / "host_vars/school.yml"
    described = yaml.safe_load(path.read_text())
    described["clms_trust"] |= {"api_key_file": f"{secrets}/api.key", "report_key_file": f"{secrets}/report.pem"}
    path.write_text(yaml.safe_dump(described))
    return secrets


@pytest.fixture
def reporter(folder: Path, keys: Path, vendor: Vendor) -> Reporter:
    return Reporter(lambda: load(folder).school, clock=lambda: NOW, post=vendor)


Begin = Callable[..., Run]


def told(vendor: Vendor) -> list[tuple[str, str]]:
    return [(report["run_id"].split("-")[1], report["status"]) for report in vendor.reports]


def test_every_run_is_told_once(reporter: Reporter, begin: Begin, vendor: Vendor) -> None:
    begin().close("COMPLETED")
    begin("backup", "1.0.1").close("ABORTED", {"phase": "backup", **ClmsError("NOT_INSTALLED").as_dict()})
    going_on = begin()
    assert reporter.send() is None
    assert told(vendor) == [("1", "COMPLETED"), ("2", "FAILED")]
    assert vendor.reports[1]["error_code"] == "NOT_INSTALLED"
    assert reporter.send() is None
    assert len(vendor.reports) == 2
    going_on.close("ROLLED_BACK", {"phase": "drain", **ClmsError("RUN_NONE", phase="x").as_dict()})
    assert reporter.send() is None
    assert told(vendor)[2:] == [("3", "ROLLED_BACK")]


def test_who_tells_it_and_with_which_keys(reporter: Reporter, begin: Begin, vendor: Vendor) -> None:
    begin().close("COMPLETED")
    reporter.send()
    (headers,) = vendor.headers
    assert headers["Authorization"] == "Bearer an-api-key"
    assert {name.lower() for name in headers} >= {"signature", "signature-input", "content-digest"}


def test_a_run_that_needs_an_operator_is_told_when_that_is_settled(
    reporter: Reporter, begin: Begin, vendor: Vendor
) -> None:
    run = begin()
    run.close("NEEDS_OPERATOR", {"phase": "rollback", **ClmsError("RUN_NONE", phase="x").as_dict()})
    assert reporter.send() is None
    assert vendor.reports == []
    begin("backup", "1.0.1").close("COMPLETED")  # somebody has gone on without it
    reporter.send()
    assert told(vendor) == [("1", "FAILED"), ("2", "COMPLETED")]


def test_without_keys_nothing_is_told(folder: Path, begin: Begin, vendor: Vendor) -> None:
    begin().close("COMPLETED")
    assert Reporter(lambda: load(folder).school, post=vendor).send() is None
    assert vendor.headers == []


@pytest.mark.parametrize(
    ("answer", "least", "most"),
    [
        pytest.param(HttpsError("no route"), 30, 60, id="no answer"),
        pytest.param(Answer(503, {}, b""), 30, 60, id="server error"),
        pytest.param(Answer(401, {}, b"{}"), 30, 60, id="clock or key"),
        pytest.param(Answer(429, {"retry-after": "600"}, b""), 600, 600, id="too many"),
        pytest.param(Answer(503, {"retry-after": "5"}, b""), 30, 60, id="sooner than we would"),
        pytest.param(Answer(503, {"retry-after": "99999999"}, b""), MOST_ASKED, MOST_ASKED, id="for years"),
        pytest.param(Answer(503, {"retry-after": "soon"}, b""), 30, 60, id="nonsense"),
    ],
)
def test_what_does_not_arrive_is_told_later(
    reporter: Reporter, begin: Begin, vendor: Vendor, answer: Answer | Exception, least: float, most: float
) -> None:
    begin().close("COMPLETED")
    vendor.answers = [answer]
    seconds = reporter.send()
    assert seconds is not None
    assert least <= seconds <= most
    assert vendor.reports == []
    assert reporter.send() is None
    assert told(vendor) == [("1", "COMPLETED")]


@pytest.mark.parametrize("status", [400, 409, 422])
def test_what_is_refused_for_good_does_not_keep_the_next_one_waiting(
    reporter: Reporter, begin: Begin, vendor: Vendor, status: int
) -> None:
    begin().close("COMPLETED")
    begin("backup", "1.0.1").close("COMPLETED")
    vendor.answers = [Answer(status, {}, b"no")]
    assert reporter.send() is None
    assert told(vendor) == [("2", "COMPLETED")]


def test_a_key_that_cannot_be_read_harms_nothing(reporter: Reporter, keys: Path, begin: Begin, vendor: Vendor) -> None:
    begin().close("COMPLETED")
    (keys / "report.pem").write_bytes(b"no key")
    assert reporter.send() is not None
    (keys / "report.pem").unlink()
    assert reporter.send() is not None
    assert vendor.headers == []


def test_a_new_journal_is_told_from_its_beginning(
    reporter: Reporter, begin: Begin, journal: Journal, vendor: Vendor, home: Path
) -> None:
    with closing(Store(home)) as store:
        store.note("reported_run", "17 1000.0")  # of a journal that is gone
    begin().close("COMPLETED")
    reporter.send()
    assert told(vendor) == [("1", "COMPLETED")]
