# SPDX-License-Identifier: GPL-3.0-or-later
"""``/metrics`` for Prometheus: for this server itself, and for whoever has the token."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from flask import Blueprint, Response, current_app, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric, SummaryMetricFamily

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .agent import Agent, agent

blueprint = Blueprint("metrics", __name__)
_TOKEN = "METRICS_TOKEN"  # noqa: S105 - the name of a setting
_DIRECT = "METRICS_DIRECT"
"""the setting that says whether browsers reach this server without a proxy"""


@blueprint.get("/metrics")
def metrics() -> Response:
    """What Prometheus asks for; without the agent there is nothing but ``clms_agent_up 0``."""
    if not _may_see():
        raise ClmsError("REQUEST_PATH")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_School(agent()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _may_see() -> bool:
    token = current_app.config.get(_TOKEN)
    if token and hmac.compare_digest(request.headers.get("Authorization", "").encode(), b"Bearer " + token):
        return True
    if not current_app.config[_DIRECT]:  # behind a proxy everybody comes from here
        return False
    try:
        return ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False


class _School:
    """What the agent says, as metrics."""

    def __init__(self, asked: Agent) -> None:
        self._agent = asked

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        try:
            status = self._agent.ask("status")
            totals = self._agent.ask("list", what="totals")["totals"]
            backups = self._agent.ask("list", what="backups")["backups"]
        except ClmsError as error:
            answers = error.code != "AGENT_SILENT"  # where nothing is installed there is nothing to count
            yield GaugeMetricFamily("clms_agent_up", "Whether the agent answers.", value=int(answers))
            return
        yield GaugeMetricFamily("clms_agent_up", "Whether the agent answers.", value=1)
        versions = {name: status[f"{name}_version"] or "" for name in ("current", "latest")}
        yield InfoMetricFamily(
            "clms_version", "The version that serves, and the newest one that is known.", value=versions
        )
        yield _gauge("clms_news_age_seconds", "How long ago the vendor was heard of.", status["news_age_seconds"])
        running = status["running"]
        yield GaugeMetricFamily("clms_run_active", "Whether a run goes on.", value=int(running is not None))
        yield _gauge("clms_run_percent", "How far it has come.", running["percent"] if running else None)
        yield GaugeMetricFamily("clms_backups", "Backups on this server.", value=len(backups))
        proven = max((_seconds(backup["proven"]) for backup in backups), default=None)
        yield _gauge("clms_backup_proven_timestamp_seconds", "When the newest backup was proven.", proven)
        ended = SummaryMetricFamily(
            "clms_run_seconds", "Runs that have ended, and the time that they took.", labels=("kind", "outcome")
        )
        for one in totals:
            ended.add_metric((one["kind"], one["outcome"]), count_value=one["count"], sum_value=one["seconds"])
        yield ended
        last = status["last_update"]
        closed = last["closed_seconds"] if last else None
        yield _gauge("clms_last_update_closed_seconds", "How long CLMS was closed for the last update.", closed)
        at = _seconds(last["finished_at"]) if last and last["finished_at"] else None
        yield _gauge("clms_last_update_timestamp_seconds", "When the last update ended.", at)


def _gauge(name: str, text: str, value: Any) -> GaugeMetricFamily:
    """A gauge, without a sample where nothing is known."""
    return GaugeMetricFamily(name, text, value=value)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
