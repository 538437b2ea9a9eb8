# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports: what is refused comes first; what counts is stored once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select

from ansible_collections.clms.update.plugins.module_utils.signed_request import NONCE_SECONDS, new_nonce
from webui.vendor.models import Nonce, Report
from webui.vendor.reports import list_reports

from .conftest import NOW, URL, School, Server, problem_of, report_body, signed_report


def stored(server: Server) -> int:
    with server.database.transaction() as session:
        return session.scalar(select(func.count()).select_from(Report)) or 0


# refused


@pytest.fixture
def birch(server: Server) -> School:
    """Another school."""
    return server.school("birch")


@pytest.mark.parametrize("seconds", [-301, 301, 86_400, -31_536_000])
def test_a_clock_that_is_off(server: Server, linden: School, seconds: int) -> None:
    document = problem_of(server.report(linden, report_body(), now=NOW + seconds), 401, "SIGNATURE_CLOCK")
    assert document["difference_seconds"] == seconds
    assert document["server_time"].endswith("Z")
    assert str(seconds) in document["detail"]
    assert document["server_time"] in document["detail"]
    assert stored(server) == 0


@pytest.mark.parametrize("seconds", [-300, 300])
def test_a_clock_that_is_nearly_right(server: Server, linden: School, seconds: int) -> None:
    assert server.report(linden, report_body(), now=NOW + seconds).status_code == 201


def post(server: Server, data: bytes, headers: dict[str, str], path: str = "/api/reports") -> Any:
    return server.ask(path, "POST", data=data, headers=headers)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data, headers: (data + b" ", headers), "SIGNATURE_INVALID"),
        (lambda data, headers: (b"{}", headers), "SIGNATURE_INVALID"),
        (lambda data, headers: (b"", headers), "SIGNATURE_INVALID"),
        (lambda data, headers: (data, {**headers, "Content-Type": "application/json; charset=x"}), "SIGNATURE_INVALID"),
        (lambda data, headers: (data, without(headers, "Signature")), "SIGNATURE_MISSING"),
        (lambda data, headers: (data, without(headers, "Signature-Input")), "SIGNATURE_MISSING"),
        (lambda data, headers: (data, without(headers, "Content-Digest")), "SIGNATURE_MISSING"),
        (lambda data, headers: (data, {**headers, "Signature": "nonsense"}), "SIGNATURE_INVALID"),
        (lambda data, headers: (data, {**headers, "Signature-Input": "\x01"}), "SIGNATURE_INVALID"),
    ],
)
def test_what_was_altered(server: Server, linden: School, change: Callable[..., Any], code: str) -> None:
    problem_of(post(server, *change(*signed_report(linden, report_body()))), 401, code)
    assert stored(server) == 0


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


@pytest.mark.parametrize("url", ["https://other.test/api/reports", f"{URL}/api/reports?x=1", f"{URL}/api/latest"])
def test_what_was_signed_for_another_address(server: Server, linden: School, url: str) -> None:
    problem_of(server.report(linden, report_body(), url=url), 401, "SIGNATURE_INVALID")


def test_what_was_signed_for_another_method(server: Server, linden: School) -> None:
    problem_of(server.report(linden, report_body(), method="PUT"), 401, "SIGNATURE_INVALID")


def test_an_unknown_key(server: Server, linden: School) -> None:
    problem_of(server.report(linden, report_body(), keyid="nobody"), 401, "SIGNATURE_KEY")
    other = Ed25519PrivateKey.generate()
    problem_of(server.report(linden, report_body(), key=other), 401, "SIGNATURE_INVALID")


def test_keys_of_two_schools(server: Server, linden: School, birch: School) -> None:
    problem_of(server.report(linden, report_body(), api_key=birch.api_key), 403, "SIGNATURE_SCHOOL")
    problem_of(server.report(birch, report_body(), api_key=linden.api_key), 403, "SIGNATURE_SCHOOL")
    assert stored(server) == 0


def test_a_stolen_api_key_alone_cannot_report(server: Server, linden: School) -> None:
    headers = {**linden.bearer(), "Content-Type": "application/json"}
    problem_of(post(server, b"{}", headers), 401, "SIGNATURE_MISSING")


def test_a_signature_cannot_be_used_with_another_key_of_the_school(server: Server, linden: School) -> None:
    data, headers = signed_report(linden, report_body())
    other = server.manage(lambda schools: schools.add_key("linden"))
    problem_of(post(server, data, {**headers, "Authorization": f"Bearer {other}"}), 401, "SIGNATURE_INVALID")


def test_a_signing_key_that_was_replaced(server: Server, linden: School) -> None:
    new = School("linden", linden.api_key)
    path = server.folder / "new.pem"
    path.write_bytes(new.pem)
    assert server.report(linden, report_body()).status_code == 201
    server.manage(lambda schools: schools.set_signing_key("linden", path))
    problem_of(server.report(linden, report_body()), 401, "SIGNATURE_KEY")
    assert server.report(new, report_body()).status_code == 200


def test_a_revoked_school(server: Server, linden: School) -> None:
    server.manage(lambda schools: schools.revoke("linden"))
    problem_of(server.report(linden, report_body()), 401, "API_KEY_REFUSED")


def test_a_replay(server: Server, linden: School) -> None:
    data, headers = signed_report(linden, report_body())
    assert post(server, data, headers).status_code == 201
    problem_of(post(server, data, headers), 409, "SIGNATURE_REPLAYED")
    nonce = new_nonce()
    assert server.report(linden, report_body(run_id="8"), nonce=nonce).status_code == 201
    problem_of(server.report(linden, report_body(run_id="9"), nonce=nonce), 409, "SIGNATURE_REPLAYED")


def test_two_schools_may_use_the_same_nonce(server: Server, linden: School, birch: School) -> None:
    nonce = new_nonce()
    assert [server.report(school, report_body(), nonce=nonce).status_code for school in (linden, birch)] == [201, 201]


def test_a_forged_request_uses_no_nonce_up(server: Server, linden: School) -> None:
    nonce = new_nonce()
    stranger = Ed25519PrivateKey.generate()
    problem_of(server.report(linden, report_body(), nonce=nonce, key=stranger), 401, "SIGNATURE_INVALID")
    assert server.report(linden, report_body(), nonce=nonce).status_code == 201


def test_nonces_are_forgotten_once_the_time_refuses_them(server: Server, linden: School) -> None:
    def nonces() -> int:
        with server.database.transaction() as session:
            return session.scalar(select(func.count()).select_from(Nonce)) or 0

    early = signed_report(linden, report_body(), now=NOW + 300)  # counts longest
    assert post(server, *early).status_code == 201
    server.now = NOW + NONCE_SECONDS
    assert server.report(linden, report_body(), now=server.now).status_code == 200
    assert nonces() == 2
    server.now += 1
    assert server.report(linden, report_body(), now=server.now).status_code == 200
    assert nonces() == 2
    problem_of(post(server, *early), 401, "SIGNATURE_CLOCK")


def test_the_same_request_twice_at_once_counts_once(make_server: Callable[..., Server]) -> None:
    workers = [make_server(), make_server()]
    school = workers[0].school("linden")
    for number in range(5):
        data, headers = signed_report(school, report_body(run_id=str(number)))
        barrier, answers = threading.Barrier(8), []

        def send(worker: Server, data: bytes = data, headers: Any = headers, barrier: Any = barrier) -> None:
            client = worker.app.test_client()
            barrier.wait()
            response = client.post("/api/reports", base_url=URL, data=data, headers=headers)
            answers.append(response.status_code)  # noqa: B023 - the threads end within the loop

        threads = [threading.Thread(target=send, args=(workers[place % 2],)) for place in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [201] + [409] * 7
    assert stored(workers[0]) == 5


def test_the_same_report_twice_at_once_is_stored_once(server: Server, linden: School) -> None:
    barrier, answers = threading.Barrier(6), []

    def send() -> None:
        data, headers = signed_report(linden, report_body())
        client = server.app.test_client()
        barrier.wait()
        answers.append(client.post("/api/reports", base_url=URL, data=data, headers=headers).status_code)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] * 5 + [201]
    assert stored(server) == 1


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
def test_another_type(server: Server, linden: School, media_type: str) -> None:
    data, headers = signed_report(linden, report_body())
    problem_of(post(server, data, {**headers, "Content-Type": media_type}), 415, "REQUEST_TYPE")


def test_a_body_that_is_too_large(server: Server, linden: School) -> None:
    body = b'{"run_id": "' + b"x" * 32 * 1024 + b'"}'
    problem_of(server.report(linden, body), 413, "REQUEST_TOO_LARGE")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 20_000])
def test_what_is_no_json(server: Server, linden: School, body: bytes) -> None:
    problem_of(server.report(linden, body), 400, "REQUEST_INVALID")


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"run_id": None},
        {"run_id": 7},
        {"run_id": "../x"},
        {"run_id": "x" * 65},
        {"run_id": "7\n"},
        {"kind": "format_disk"},
        {"status": "UPDATING"},
        {"status": "completed"},
        {"status": "FAILED"},
        {"error_code": "MIGRATION_FAILED"},
        {"status": "FAILED", "error_code": "<script>"},
        {"version": "1.0"},
        {"from_version": 1},
        {"updater_version": None},
        {"started_at": "yesterday"},
        {"started_at": "2026-11-24T10:11:12"},
        {"started_at": 1795572308},
        {"finished_at": None},
        {"closed_seconds": "12"},
        {"closed_seconds": -1},
        {"closed_seconds": True},
        {"closed_seconds": 1e300},
        {"phases": None},
        {"phases": {}},
        {"phases": [{"name": "commit"}]},
        {"phases": [{"name": "commit", "seconds": 1, "more": 1}]},
        {"phases": [{"name": "Commit!", "seconds": 1}]},
        {"phases": [{"name": "commit", "seconds": 1}] * 41},
    ],
)
def test_a_report_that_cannot_be_used(server: Server, linden: School, change: dict[str, Any]) -> None:
    document = problem_of(server.report(linden, report_body(**change)), 422, "REQUEST_CONTENT")
    assert list(change)[-1] in document["detail"]
    assert stored(server) == 0


@pytest.mark.parametrize("name", report_body())
def test_a_report_without_a_field(server: Server, linden: School, name: str) -> None:
    body = report_body()
    del body[name]
    assert name in problem_of(server.report(linden, body), 422, "REQUEST_CONTENT")["detail"]


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"x"', b'{"run_id": NaN}'])
def test_json_that_is_no_report(server: Server, linden: School, body: bytes) -> None:
    problem_of(server.report(linden, body), 422, "REQUEST_CONTENT")


# stored


def test_a_report(server: Server, linden: School) -> None:
    response = server.report(linden, report_body())
    assert response.status_code == 201
    answer = response.get_json()
    assert (answer["school"], answer["run_id"]) == ("linden", "20261124T101112Z-7")
    with server.database.transaction() as session:
        (row,) = list_reports(session, school=None, limit=10)
    assert row == {"school": "linden", "received_at": answer["received_at"], **report_body()}


@pytest.mark.parametrize(
    "change",
    [
        {"status": "FAILED", "error_code": "REHEARSAL_MIGRATION", "closed_seconds": None, "phases": []},
        {"status": "ROLLED_BACK", "error_code": "SMOKE_FAILED"},
        {"kind": "backup", "version": None, "from_version": None},
        {"kind": "install", "from_version": None, "version": "2.0.0-rc.1"},
    ],
)
def test_other_reports(server: Server, linden: School, change: dict[str, Any]) -> None:
    assert server.report(linden, report_body(**change)).status_code == 201


def test_the_same_report_again_changes_nothing(server: Server, linden: School, birch: School) -> None:
    first = server.report(linden, report_body())
    server.now += 60
    again = server.report(linden, dict(reversed(report_body().items())))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.get_json() == first.get_json()
    document = problem_of(server.report(linden, report_body(closed_seconds=1)), 409, "REPORT_DIFFERS")
    assert "20261124T101112Z-7" in document["detail"]
    assert server.report(birch, report_body(closed_seconds=1)).status_code == 201
    assert stored(server) == 2
