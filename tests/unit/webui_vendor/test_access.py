# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is refused, before anything else: keys, scopes, hosts, and what the answers and the audit trail say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.vendor.access import bearer
from webui.vendor.audit import LEFT_OUT, REFUSALS_PER_MINUTE, REFUSALS_PER_SCHOOL, RefusalFilter
from webui.vendor.models import ApiKey, AuditEntry
from webui.vendor.schools import hash_api_key, new_api_key

from .conftest import URL, School, Server, problem_of, report_body, signed_report

PLACES = [("GET", "/api/latest"), ("GET", "/api/updates/1.0.1"), ("POST", "/api/reports")]


@pytest.mark.parametrize(("method", "path"), PLACES)
@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "API_KEY_MISSING"),
        ("", "API_KEY_MISSING"),
        ("Basic dXNlcjpwYXNz", "API_KEY_MISSING"),
        ("Bearer", "API_KEY_MISSING"),
        ("Bearer a b", "API_KEY_MISSING"),
        ("Bearer " + "x" * 201, "API_KEY_MISSING"),
        ("Bearer x", "API_KEY_REFUSED"),
        ("Bearer clms_" + "A" * 43, "API_KEY_REFUSED"),
    ],
)
def test_without_a_valid_key_nothing_is_answered(
    server: Server, method: str, path: str, header: str | None, code: str
) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = server.ask(path, method, headers=headers)
    problem_of(response, 401, code)
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [("report", "GET", "/api/latest"), ("report", "GET", "/api/updates/1.0.1"), ("read", "POST", "/api/reports")],
)
def test_a_key_without_the_scope(server: Server, linden: School, scope: str, method: str, path: str) -> None:
    key = server.manage(lambda schools: schools.add_key("linden", [scope]))
    document = problem_of(server.ask(path, method, headers={"Authorization": f"Bearer {key}"}), 403, "API_SCOPE")
    assert ("read" if scope == "report" else "report") in document["detail"]


def test_a_revoked_key_is_refused_at_once_in_every_worker(make_server: Callable[..., Server]) -> None:
    one, other = make_server(), make_server()
    school = one.school("linden")
    for worker in (one, other):
        assert worker.ask("/api/latest", headers=school.bearer()).status_code == 200
    one.manage(lambda schools: schools.revoke_key(1))
    for worker in (one, other):
        problem_of(worker.ask("/api/latest", headers=school.bearer()), 401, "API_KEY_REFUSED")
    fresh = {"Authorization": "Bearer " + one.manage(lambda schools: schools.add_key("linden"))}
    assert other.ask("/api/latest", headers=fresh).status_code == 200
    one.manage(lambda schools: schools.revoke("linden"))
    for worker in (one, other):
        problem_of(worker.ask("/api/latest", headers=fresh), 401, "API_KEY_REFUSED")


def test_a_key_is_stored_as_its_hash_only(server: Server, linden: School) -> None:
    with server.database.transaction() as session:
        (row,) = session.scalars(select(ApiKey))
    assert row.hash == hash_api_key(linden.api_key)
    files = [path.read_bytes() for path in server.folder.glob("server.db*")]
    assert files
    assert not any(linden.api_key.encode() in data for data in files)


def test_keys_are_random_and_long() -> None:
    keys = {new_api_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) >= 43 + len("clms_") for key in keys)
    assert all(bearer(f"bearer {key}") == key for key in keys)


@pytest.mark.parametrize("path", ["/api/latest", "/healthz", "/metadata/timestamp.json", "/nowhere"])
@pytest.mark.parametrize("host", ["evil.test", "releases.test.evil.test", "127.0.0.1"])
def test_an_unknown_host(server: Server, linden: School, path: str, host: str) -> None:
    response = server.ask(path, base_url=f"https://{host}", headers=linden.bearer())
    problem_of(response, 400, "REQUEST_HOST")


@pytest.mark.parametrize("path", ["/api/latest", "/healthz", "/metadata/timestamp.json", "/nowhere"])
def test_headers_of_every_answer(server: Server, path: str) -> None:
    headers = server.ask(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Strict-Transport-Security"].startswith("max-age=")
    assert headers["Cache-Control"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "REQUEST_PATH"),
        ("GET", "/api/nothing", 404, "REQUEST_PATH"),
        ("GET", "/api/updates/", 404, "REQUEST_PATH"),
        ("POST", "/api/latest", 405, "REQUEST_METHOD"),
        ("DELETE", "/metadata/timestamp.json", 405, "REQUEST_METHOD"),
        ("GET", "/api/reports", 405, "REQUEST_METHOD"),
    ],
)
def test_addresses_that_do_not_exist(server: Server, method: str, path: str, status: int, code: str) -> None:
    response = server.ask(path, method)
    problem_of(response, status, code)
    assert (status == 405) == ("Allow" in response.headers)


def test_a_failure_shows_no_traceback(
    server: Server, linden: School, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr("webui.vendor.releases.describe_latest", fail)
    response = server.ask("/api/latest", headers=linden.bearer())
    document = problem_of(response, 500, "SERVER_FAILED")
    assert "canary" not in response.text
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert vars(record)["request"] in document["remedy"]


def test_an_error_that_was_forgotten_is_a_failure_and_no_page(
    server: Server, linden: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise ClmsError("NOT_INSTALLED")

    monkeypatch.setattr("webui.vendor.releases.describe_latest", fail)
    document = server.ask("/api/latest", headers=linden.bearer())
    problem_of(document, 500, "NOT_INSTALLED")


def entries(server: Server) -> list[tuple[str, str, str | None]]:
    with server.database.transaction() as session:
        return [(row.action, row.actor, row.school) for row in session.scalars(select(AuditEntry))]


def test_what_is_done_and_refused_is_written_down_once(server: Server, linden: School) -> None:
    for _ in range(5):
        server.ask("/api/latest", headers={"Authorization": "Bearer x"})
        server.ask("/api/latest")
        server.report(linden, report_body(), now=server.now - 1000)
    server.ask("/api/latest", headers=linden.bearer())
    server.manage(lambda schools: schools.revoke_key(1))
    server.manage(lambda schools: schools.revoke_key(1))
    server.manage(lambda schools: schools.revoke("linden"))
    server.manage(lambda schools: schools.revoke("linden"))
    assert entries(server) == [
        ("school_added", "test", "linden"),
        ("api_key_added", "test", "linden"),
        ("signing_key_set", "test", "linden"),
        ("API_KEY_REFUSED", "api:127.0.0.1", None),
        ("API_KEY_MISSING", "api:127.0.0.1", None),
        ("SIGNATURE_CLOCK", "api:127.0.0.1", "linden"),
        ("api_key_revoked", "test", "linden"),
        ("school_revoked", "test", "linden"),
    ]


def test_a_flood_of_refusals_does_not_fill_the_trail() -> None:
    wanted = RefusalFilter()
    assert [wanted.wants("A", f"{number}", 60.0) for number in range(REFUSALS_PER_MINUTE)] == [
        True
    ] * REFUSALS_PER_MINUTE
    assert not wanted.wants("A", "another", 119.0)
    assert wanted.wants("A", "another", 120.0)
    assert not wanted.wants("A", "another", 121.0)
    assert wanted.wants("B", "another", 121.0)


def test_a_flood_does_not_hide_the_keys_of_schools() -> None:
    wanted = RefusalFilter()
    for number in range(REFUSALS_PER_MINUTE):
        assert wanted.wants("A", f"{number}", 60.0)
    assert not wanted.wants("A", "another", 61.0)
    assert wanted.wants("A", "another", 61.0, school="linden")
    assert not wanted.wants("A", "another", 61.0, school="linden")
    assert wanted.wants("B", "another", 61.0, school="linden")
    for number in range(2, REFUSALS_PER_SCHOOL):
        assert wanted.wants("A", f"{number}", 61.0, school="linden")
    assert not wanted.wants("A", "one more", 61.0, school="linden")
    assert wanted.wants("A", "one more", 61.0, school="ash")


def test_what_is_left_out_is_counted_once() -> None:
    wanted = RefusalFilter()
    assert wanted.left_out(60.0) is None
    for number in range(REFUSALS_PER_MINUTE + 5):
        wanted.wants("A", f"{number}", 60.0)
    for _ in range(3):
        wanted.wants("B", "x", 60.0, school="linden")
    assert wanted.left_out(119.0) is None, "the minute is not over"
    assert wanted.left_out(120.0) == "7 more refused: A 5, B 2"
    assert wanted.left_out(180.0) is None


def test_a_revoked_key_is_seen_in_a_flood(make_server: Callable[..., Server]) -> None:
    server = make_server(proxies=1)
    stolen = server.school("linden")
    server.manage(lambda schools: schools.revoke_key(1))
    for number in range(REFUSALS_PER_MINUTE + 40):
        headers = {"Authorization": "Bearer x", "X-Forwarded-For": f"192.0.2.{number}"}
        problem_of(server.ask("/api/latest", headers=headers), 401, "API_KEY_REFUSED")
    headers = {**stolen.bearer(), "X-Forwarded-For": "198.51.100.7"}
    problem_of(server.ask("/api/latest", headers=headers), 401, "API_KEY_REFUSED")
    assert entries(server)[-1] == ("API_KEY_REFUSED", "api:198.51.100.7", "linden")
    assert [action for action, *_ in entries(server)].count("API_KEY_REFUSED") == REFUSALS_PER_MINUTE + 1
    server.now += 60
    assert server.ask("/api/latest", headers=server.school("ash").bearer()).status_code == 200
    with server.database.transaction() as session:
        (entry,) = session.scalars(select(AuditEntry).where(AuditEntry.action == LEFT_OUT))
    assert (entry.actor, entry.school, entry.detail) == ("server", None, "40 more refused: API_KEY_REFUSED 40")


LIMITS = {"address": "1000 per minute", "key": "1000 per minute", "files": "1000 per minute"}


@pytest.mark.parametrize(
    ("limit", "path", "key"),
    [
        ("address", "/api/latest", True),
        ("address", "/healthz", False),
        ("key", "/api/latest", True),
        ("files", "/metadata/timestamp.json", False),
    ],
)
def test_a_burst_is_limited(make_server: Callable[..., Server], limit: str, path: str, key: bool) -> None:
    server = make_server(limits={**LIMITS, limit: "20 per minute"})
    headers = server.school("linden").bearer() if key else {}
    answers = [server.ask(path, headers=headers) for _ in range(100)]
    assert [response.status_code for response in answers] == [200] * 20 + [429] * 80
    problem_of(answers[-1], 429, "LIMIT_REACHED")
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 61


def test_addresses_and_keys_are_counted_each_for_itself(make_server: Callable[..., Server]) -> None:
    server = make_server(limits={**LIMITS, "address": "5 per minute"}, proxies=1)
    first, second = ({"X-Forwarded-For": f"192.0.2.{number}"} for number in (1, 2))
    assert [server.ask("/healthz", headers=first).status_code for _ in range(6)][-1] == 429
    assert server.ask("/healthz", headers=second).status_code == 200
    server = make_server(limits={**LIMITS, "key": "5 per minute"})
    one, other = server.school("one"), server.school("other")
    assert [server.ask("/api/latest", headers=one.bearer()).status_code for _ in range(6)][-1] == 429
    assert server.ask("/api/latest", headers=other.bearer()).status_code == 200


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_what_counts_as_one_address(make_server: Callable[..., Server], one: str, other: str, together: bool) -> None:
    server = make_server(limits={**LIMITS, "address": "5 per minute"}, proxies=1)
    for _ in range(5):
        assert server.ask("/healthz", headers={"X-Forwarded-For": one}).status_code == 200
    assert server.ask("/healthz", headers={"X-Forwarded-For": other}).status_code == (429 if together else 200)


def test_without_proxies_an_address_cannot_be_made_up(make_server: Callable[..., Server]) -> None:
    server = make_server(limits={**LIMITS, "address": "5 per minute"})
    headers = [{"X-Forwarded-For": f"192.0.2.{number}"} for number in range(6)]
    assert [server.ask("/healthz", headers=header).status_code for header in headers][-1] == 429


def test_the_log_has_no_keys(server: Server, linden: School, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    server.ask("/api/latest?channel=stable", headers=linden.bearer())
    data, headers = signed_report(linden, report_body())
    server.ask("/api/reports", "POST", data=data, headers=headers)
    lines = [str(vars(record)) for record in caplog.records]
    assert any("'school': 'linden'" in line for line in lines)
    assert not any(linden.api_key in line or "Bearer" in line or headers["Signature"] in line for line in lines)


def test_the_document_describes_every_route(server: Server) -> None:
    def place(rule: Any) -> str:
        return str(rule).replace("<path:", "<").replace("<", "{").replace(">", "}")

    routes = {
        (place(rule), method.lower())
        for rule in server.app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS") and not rule.endpoint.startswith("api-docs.")
    }
    paths = server.document["paths"]
    documented = {(path, method) for path, item in paths.items() for method in item if method != "parameters"}
    assert documented == routes
    assert server.document["servers"] == [{"url": URL}]
    for path, method in routes:
        operation = paths[path][method]
        assert operation.get("summary"), path
        assert {"400", "429", "500"} <= set(operation["responses"])
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"], (path, status)
        assert ("security" in operation) == path.startswith("/api/")
    # what JSON Schema and its dialect of regular expressions do not know
    assert all(word not in json.dumps(server.document) for word in (r"\A", r"\Z", '"pattern": null', '"format": null'))
