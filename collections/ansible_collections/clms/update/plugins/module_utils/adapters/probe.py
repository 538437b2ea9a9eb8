# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking the services of one place (a slot or a rehearsal) over HTTP, from the server itself."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import requests

    HAS_REQUESTS = True
except ImportError:
    HAS_REQUESTS = False

from .. import smoke
from ..errors import ClmsError
from ..masking import last_words
from ..release import Health, Release, SmokeStep
from ..school import School
from ..secret_file import read_credentials
from .engine import Engine

_ANSWER_SECONDS = 30
_PAUSE = 0.05


@dataclass(frozen=True)
class Place:
    """Where a set of services can be reached."""

    network: str
    containers: dict[str, str]
    """service -> container"""


def _session() -> requests.Session:
    """Straight to the containers: neither proxies nor logins of the environment have a say."""
    session = requests.Session()
    session.trust_env = False
    return session


def _url(engine: Engine, place: Place, service: str, port: int) -> str:
    container = place.containers[service]
    address = engine.address(container, place.network)
    if address is None:
        raise ClmsError("HEALTH_FAILED", detail=f"the container of '{service}' is not running")
    return f"http://{address}:{port}"


def wait_healthy(engine: Engine, place: Place, service: str, health: Health) -> float:
    """Wait until a service answers its health request.

    :returns: seconds it took
    :raises ClmsError: HEALTH_FAILED, with the last answer or the end of the container's output
    """
    began = time.monotonic()
    last = "no answer"
    session = _session()
    while time.monotonic() - began < health.timeout:
        state = engine.state(place.containers[service])
        if state is None or not state.running:
            output = last_words(engine.logs(place.containers[service], lines=50))
            raise ClmsError(
                "HEALTH_FAILED",
                detail=f"the container of '{service}' ended with code {state.exit_code if state else '?'}"
                + (f" and said: {output}" if output else ""),
            )
        try:
            left = max(1.0, health.timeout - (time.monotonic() - began))
            answer = session.get(
                _url(engine, place, service, health.port) + health.path,
                timeout=min(left, _ANSWER_SECONDS),
                allow_redirects=False,
            )
            if answer.status_code < 400:
                return time.monotonic() - began
            last = f"answer {answer.status_code}"
        except requests.RequestException as error:
            last = f"no answer ({type(error).__name__})"
        time.sleep(_PAUSE)
    raise ClmsError("HEALTH_FAILED", detail=f"'{service}' gave {last} at {health.path} for {health.timeout} seconds")


def run_smoke(
    engine: Engine, school: School, place: Place, release: Release, *, writes: bool
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run the smoke steps of ``release`` and of the school, in order.

    :param writes: include the steps that write
    :returns: name and seconds of each step, and what the steps saved
    :raises smoke.SmokeError: with the first step that failed
    """
    steps: list[SmokeStep] = [step for step in (*release.smoke, *school.smoke_steps) if writes or not step.writes]
    login = read_credentials(Path(school.smoke_credentials_file))
    variables: dict[str, Any] = {
        "username": login.username,
        "password": login.password,
        "unique": secrets.token_hex(4),
    }
    base = _url(engine, place, school.entry_service, release.health[school.entry_service].port)
    seconds = []
    with _session() as session:
        for step in steps:
            began = time.monotonic()
            sent = smoke.request(step, variables)
            try:
                answer = session.request(
                    sent.method,
                    base + sent.path,
                    json=sent.json,
                    headers=sent.headers,
                    timeout=_ANSWER_SECONDS,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                raise smoke.SmokeError(f"step '{step.name}' got no answer ({type(error).__name__})") from None
            try:
                body = answer.json()
            except ValueError:
                body = None
            variables.update(smoke.check(step, answer.status_code, body))
            seconds.append({"name": step.name, "seconds": round(time.monotonic() - began, 3)})
    return seconds, variables
