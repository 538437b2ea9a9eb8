# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus is told, and who is told nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.school.app import create_app
from webui.school.config import parse_settings

from .conftest import Browser, FakeAgent, running


def samples(browser: Browser) -> dict[tuple[str, tuple[str, ...]], float]:
    """Name and values of the labels -> value."""
    text = browser.get("/metrics")
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_told(browser: Browser, agent: FakeAgent) -> None:
    agent.running = running(percent=30)
    agent.totals = [{"kind": "update", "outcome": "COMPLETED", "count": 240, "seconds": 24_000.0}]
    found = samples(browser)
    assert found["clms_agent_up", ()] == 1
    assert found["clms_version_info", ("1.0.0", "1.0.1")] == 1
    assert found["clms_news_age_seconds", ()] == 7200
    assert (found["clms_run_active", ()], found["clms_run_percent", ()]) == (1, 30)
    assert found["clms_run_seconds_count", ("update", "COMPLETED")] == 240
    assert found["clms_run_seconds_sum", ("update", "COMPLETED")] == 24_000
    assert found["clms_last_update_closed_seconds", ()] == 12.5
    assert found["clms_backup_proven_timestamp_seconds", ()] == 1795515132


def test_what_is_not_known_is_left_out(browser: Browser, agent: FakeAgent) -> None:
    agent.last = None
    names = {name for name, _ in samples(browser)}
    assert "clms_run_percent" not in names
    assert "clms_last_update_timestamp_seconds" not in names


def test_where_nothing_is_installed_there_is_nothing_to_count(browser: Browser, agent: FakeAgent) -> None:
    agent.refuses["list"] = ClmsError("NOT_INSTALLED")
    assert samples(browser) == {("clms_agent_up", ()): 1}


def test_an_agent_that_is_down(browser: Browser, agent: FakeAgent) -> None:
    agent.refuses["status"] = ClmsError("AGENT_SILENT", path="/run/x", detail="y")
    assert samples(browser) == {("clms_agent_up", ()): 0}


@pytest.mark.parametrize(
    ("address", "token", "code"),
    [
        ("127.0.0.1", None, 200),
        ("::1", None, 200),
        ("192.0.2.7", None, 404),
        ("192.0.2.7", "Bearer guessed", 404),
        ("192.0.2.7", "Bearer canary-token", 200),
        ("192.0.2.7", "canary-token", 404),
        ("a proxy", None, 404),
        ("a proxy", "Bearer canary-token", 200),
    ],
)
def test_who_may_see_it(agent: FakeAgent, tmp_path: Path, address: str, token: str | None, code: int) -> None:
    """Behind a proxy everybody seems to come from this server."""
    for name, content in (("secret", "k" * 32), ("token", "canary-token\n")):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(content)
    settings = {
        "hosts": ["school.test"],
        "secret_key_file": f"{tmp_path}/secret",
        "metrics_token_file": f"{tmp_path}/token",
    }
    tls = None if address == "a proxy" else {"certificate": "/nowhere", "key": "/nowhere"}
    client = create_app(parse_settings({**settings, "tls": tls}), agent).test_client()
    headers = {"Authorization": token} if token else {}
    answer = client.get(
        "/metrics",
        base_url="https://school.test",
        headers=headers,
        environ_base={"REMOTE_ADDR": address if tls else "127.0.0.1"},
    )
    assert answer.status_code == code
