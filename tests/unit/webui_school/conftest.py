# SPDX-License-Identifier: GPL-3.0-or-later
"""The page with an agent that says what a test wants."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agent.doctor import Finding
from agent.once import Once
from agent.protocol import parse
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.plan import PHASES, is_closed, is_over
from webui.school import watch
from webui.school.agent import Agent, attach
from webui.school.app import create_app
from webui.school.config import parse_settings

BACKUP = "20261124T101112Z-1.0.0-r1"
PASSWORD = "blue whale in the attic"


SETTINGS: dict[str, Any] = {
    "contact": None, "notify_language": "en",
    "time_zone": "Europe/Berlin", "school_hours": ["mon-fri 07:30-17:00"], "quiet_days": [],
    "tonight": "22:00", "weekend": "sat 10:00", "missed": "tonight", "check_interval_days": 7,
    "check_on_startup": False, "backup_path": "/srv/backups", "max_backups": 5, "external_backup_path": None,
    "update_server": "https://updates.test", "registry": "registry.test",
}  # fmt: skip


class FakeAgent(Agent):
    """Keeps what was asked; answers from :attr:`answers`, or as a school where all is well."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"), kept_seconds=0)  # what a test changes counts at once
        self.asked: list[dict[str, Any]] = []
        self.accounts = {"anna": 1}
        self.running: dict[str, Any] | None = None
        self.last: dict[str, Any] | None = run_of()
        self.runs = [run_of()]
        self.totals: list[dict[str, Any]] = []
        self.planned: list[dict[str, Any]] = []
        self.release = release_of()
        self.files: list[dict[str, Any]] = []
        self.external_backup = False
        self.folder = Path("/nowhere")
        """for uploads"""
        self.taken: list[bytes] = []
        """the content of the files that were taken in"""
        self.settings: dict[str, Any] = {
            "settings": dict(SETTINGS),
            "secrets": {"api_key": True, "registry_login": True, "notify": False},
            "registry_user": "school-42",
        }
        self.health = [
            check_of("disk", ok=False, message="The disk is full.", remedy="Free some space."),
            check_of("last backup", ok=False, **Finding("BACKUP_NONE", repair="backup").as_dict()),
            check_of("gate", ok=None, **Finding("SEEN_NO_ENGINE").as_dict()),
            check_of("news", **Finding("NEWS_FRESH", ago=7500.0).as_dict()),
        ]
        self.events: list[dict[str, Any]] = [
            {"id": 1, "at": "2026-11-24T10:11:12Z", "type": "UPDATE_CHECKED", "run": None, "schedule": None,
             "message": "Newest release: 1.0.1.", "told": {"code": "NEWEST", "values": {"version": "1.0.1"}}},
        ]  # fmt: skip
        self.enforcement: dict[str, Any] = {"forced": None, "blocked": False}
        self.tokens: dict[str, str] = {}
        """token -> account"""
        self.version_before: str | None = "0.9.0"
        """the version to which can be gone back"""
        self.loss: dict[str, Any] = {"loses": True, "tables": {"books": 1, "borrows": 5}}
        self.once: Once | None = None
        """keeps idempotency keys, where a test has some"""
        self.refuses: dict[str, ClmsError] = {}
        """verb -> what it is refused with"""

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        verb, fields = request["verb"], {name: value for name, value in request.items() if name != "verb"}
        if verb in self.refuses:
            raise self.refuses[verb]
        answer: dict[str, Any] = getattr(self, f"_{verb}", lambda **_: {"begun": verb})(**fields)
        return answer

    def did(self, verb: str) -> list[dict[str, Any]]:
        """The fields with which something was asked for."""
        found = [dict(request) for request in self.asked if request["verb"] == verb]
        for request in found:
            del request["verb"]
        return found

    def _enforcement(self) -> dict[str, Any]:
        return self.enforcement

    def _postpone(self, deadline: str | None = None) -> dict[str, Any]:
        self.enforcement["forced"]["postponements_left"] -= 1
        return self.enforcement

    def _loss(self, backup: str | None = None) -> dict[str, Any]:
        if backup is None and self.version_before is None:
            raise ClmsError("ROLLBACK_UNAVAILABLE", detail="no earlier slot is kept on this server")
        return {**self.loss, "version": "1.0.0" if backup else self.version_before}

    def _settings(self) -> dict[str, Any]:
        return self.settings

    def _change(self, settings: dict[str, Any], **_: str) -> dict[str, Any]:
        return {"changed": [name for name, value in settings.items() if value != self.settings["settings"].get(name)]}

    def _health(self) -> dict[str, Any]:
        return {"ok": all(check["ok"] for check in self.health), "checks": self.health}

    def fetch(self, verb: str, **fields: Any) -> tuple[dict[str, Any], Iterator[bytes]]:
        self.ask(verb, **fields)
        return {"name": f"{fields['backup']}.tar", "bytes": 8}, iter((b"tar ", b"file"))

    def _accounts(self) -> dict[str, Any]:
        return {"accounts": dict(self.accounts)}

    def _school(self) -> dict[str, Any]:
        return {
            "title": "Linden School", "contact": "Frau Vogt, room 12", "time_zone": "Europe/Berlin",
            "in_school_hours": True,
            "tonight": "2026-11-27T22:00+01:00", "weekend": "2026-11-28T10:00+01:00", "missed": "tonight",
            "external_backup": self.external_backup,
        }  # fmt: skip

    def _sign_in(self, name: str, password: str) -> dict[str, Any]:
        if password != PASSWORD or name not in self.accounts:
            raise ClmsError("SIGN_IN_REFUSED")
        return {"name": name, "generation": self.accounts[name]}

    def _set_up(self, code: str, name: str, password: str) -> dict[str, Any]:
        if code != "0a1b2c3d":
            raise ClmsError("ACCOUNT_CODE")
        self.accounts[name] = 1
        return {"name": name, "generation": 1}

    def _password(self, name: str, password: str, new: str) -> dict[str, Any]:
        self._sign_in(name, password)
        self.accounts[name] += 1
        return {"name": name, "generation": self.accounts[name]}

    def _token(self, token: str) -> dict[str, Any]:
        if token not in self.tokens:
            raise ClmsError("TOKEN_REFUSED")
        name = self.tokens[token]
        return {"name": name, "generation": self.accounts[name], "id": token.split("_")[1]}

    def _once(self, **fields: Any) -> dict[str, Any]:
        assert self.once is not None
        return self.once.answer(parse(json.dumps({"verb": "once", **fields}).encode()))

    def _status(self) -> dict[str, Any]:
        return {
            "current_version": "1.0.0", "latest_version": "1.0.1", "news_age_seconds": 7200, "news_expired": False,
            "running": self.running, "last_update": self.last, "backups": 1,
        }  # fmt: skip

    def _release(self, version: str | None = None) -> dict[str, Any]:
        if version not in (None, self.release["info"]["version"]):
            raise ClmsError("RELEASE_UNKNOWN", version=version)
        return self.release

    def _check(self) -> dict[str, Any]:
        return {
            "message": "Version 1.0.1 is available.", "updateAvailable": True, "currentVersion": "1.0.0",
            "latestVersion": "1.0.1", "offline": None,
        }  # fmt: skip

    def _schedule(self, at: str, version: str, **_: Any) -> dict[str, Any]:
        return {
            "schedule": {"id": 3, "due_at": "2026-11-27T21:00:00Z", "version": version},
            "warnings": [{"code": "SCHOOL_HOURS", "message": "School is on at that time."}],
        }

    def _list(self, what: str, before: int | None = None, limit: int = 3) -> dict[str, Any]:
        backup = {
            "id": BACKUP, "created": "2026-11-24T10:11:12Z", "version": "1.0.0",
            "bytes": 12_000_000, "proven": "2026-11-24T10:12:12Z",
        }  # fmt: skip
        runs = sorted(self.runs, key=lambda run: -run["id"])
        lists: dict[str, dict[str, Any]] = {
            "schedule": {"schedules": self.planned, "time_zone": "Europe/Berlin", "checked_at": None},
            "history": {"history": [run for run in runs if before is None or run["id"] < before][:limit]},
            "totals": {"totals": self.totals},
            "backups": {"backups": [backup]},
            "files": {"files": self.files, "folder": str(self.folder)},
        }
        return lists[what]

    def _import(self, file: str) -> dict[str, Any]:
        self.taken.append((self.folder / file).read_bytes())
        return {"version": "1.0.1"}

    def _events(self, before: int | None = None) -> dict[str, Any]:
        return {"events": [event for event in self.events if before is None or event["id"] < before]}


def forced(**changes: Any) -> dict[str, Any]:
    """A release that is forced, as the agent describes it."""
    return {
        "version": "1.0.1", "install": "1.0.1", "deadline": "2026-12-01T20:00:00Z", "overdue": False,
        "postponements_left": 3, "lifted_until": None, **changes,
    }  # fmt: skip


def check_of(name: str, **changes: Any) -> dict[str, Any]:
    """Something that was looked at, as the agent describes it."""
    return {
        "name": name, "ok": True, "message": "It is as it should be.", "remedy": None, "code": None, "repair": None,
        "finding": None, "values": {}, **changes,
    }  # fmt: skip


def run_of(**changes: Any) -> dict[str, Any]:
    """A run as the agent describes it."""
    return {
        "id": 7, "kind": "update", "version": "1.0.0", "from_version": "0.9.0", "status": "COMPLETED",
        "outcome": "COMPLETED", "started_at": "2026-11-24T10:11:12Z", "finished_at": "2026-11-24T10:13:12Z",
        "closed_seconds": 12.5, "error_code": None, "message": "CLMS was updated to version 1.0.0.", "remedy": None,
        "error_values": None, "failed_phase": None, "phases": [{"name": "preflight", "seconds": 3.2}],
        "backup_path": "/srv/backups/b", "restored": None, **changes,
    }  # fmt: skip


def release_of(**changes: Any) -> dict[str, Any]:
    """A release as the agent describes it; ``changes`` are of its ``info``."""
    info = {
        "version": "1.0.1", "releaseDate": "2026-11-20T08:00:00Z", "changelog": "A faster search\nand more",
        "critical": False, "forceAfterDate": None, "gracePeriodDays": 0, "breakingChanges": ["The menu is on the left"],
        "estimatedMinutes": 5, "migrationNotes": "0001 → 0002", "size": 1_000_000, "minVersion": None,
        "backupRequired": True, "dockerTags": {"backend": f"registry.test/backend@sha256:{'a' * 64}"}, **changes,
    }  # fmt: skip
    return {
        "info": info, "blocked": None, "file": None, "fingerprints": ["A" * 40], "root_version": 1,
        "expected_seconds": 95, "rehearsed": False,
    }  # fmt: skip


def running(**changes: Any) -> dict[str, Any]:
    """A run that goes on."""
    names, phase = list(PHASES), changes.get("phase", "backup")
    done = names.index(phase) if phase in names else 0
    closed, over = is_closed(tuple(names), phase, names[:done]), is_over(phase, names[:done])
    return {
        "id": 8, "kind": "update", "version": "1.0.1", "phase": "backup", "percent": 30, "seconds_left": 60,
        "interrupted": False, "closed": closed, "over": over, "failure": None, "events": [],
        "phases": [{"name": name, "seconds": 2.0 if number < done else None} for number, name in enumerate(names)],
        **changes,
    }  # fmt: skip


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


class Browser:
    """Follows forms as a browser does: with what is hidden in them."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client
        self.base = "https://school.test"

    def get(self, path: str, code: int = 200) -> str:
        """A page."""
        answer = self.look(path)
        assert answer.status_code == code, answer.text[:2000]
        return answer.text

    def look(self, path: str) -> TestResponse:
        """What is at an address."""
        return self.client.get(path, base_url=self.base)

    def send(self, path: str, *, page: str | None = None, token: str | None = None, **fields: str) -> TestResponse:
        """Send a form that is on a page."""
        found = self.token_in(self.get(page or path))
        return self.post(path, csrf_token=found if token is None else token, **fields)

    def token_in(self, text: str) -> str:
        """What a form on a page has to show."""
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', text)
        assert found, "there is no form"
        return found.group(1)

    def post(self, path: str, *, headers: dict[str, str] | None = None, **fields: str) -> TestResponse:
        """Send a form whose page is open already."""
        headers = {"Referer": f"{self.base}{path}", **(headers or {})}
        return self.client.post(path, base_url=self.base, data=fields, headers=headers)

    def sign_in(self, password: str = PASSWORD) -> TestResponse:
        """Sign anna in."""
        return self.send("/sign-in", name="anna", password=password)


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """The page. To put it together takes longer than most tests, so they share it."""
    secret = tmp_path_factory.mktemp("page") / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(b"k" * 32)
    tls = {"certificate": "/nowhere", "key": "/nowhere"}
    return create_app(parse_settings({"hosts": ["school.test"], "secret_key_file": str(secret), "tls": tls}))


@pytest.fixture
def make_browser(app: Flask, agent: FakeAgent) -> Callable[[], Browser]:
    """Makes browsers that share one server, which remembers nothing of other tests."""
    attach(app, agent)
    watch.attach(app, watch.Watch(agent.ask, most=app.extensions["clms_watch"].most))
    app.extensions["clms_ended_sessions"].clear()
    return lambda: Browser(app.test_client())


@pytest.fixture
def browser(make_browser: Callable[[], Browser]) -> Browser:
    """Nobody is signed in."""
    return make_browser()


@pytest.fixture
def signed_in(browser: Browser) -> Browser:
    """Anna is signed in."""
    assert browser.sign_in().status_code == 302
    return browser


class Program:
    """Asks with JSON, as the page's own scripts could."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        text = browser.get("/backups")
        self.token = text.split('name="csrf_token" value="')[1].split('"')[0]

    def ask(
        self,
        method: str,
        path: str,
        code: int = 200,
        json: Any = None,
        *,
        data: bytes | str | None = None,
        content_type: str | None = None,
        **headers: str,
    ) -> Any:
        headers = {"X-CSRFToken": self.token, "Referer": f"{self.browser.base}/", **headers}
        content: dict[str, Any] = {"json": json} if data is None else {"data": data, "content_type": content_type}
        answer = self.browser.client.open(path, method=method, base_url=self.browser.base, headers=headers, **content)
        assert answer.status_code == code, answer.text
        assert answer.mimetype == ("application/json" if code < 400 else "application/problem+json")
        if code >= 400:
            assert set(answer.json) >= {"type", "title", "status", "detail", "code", "remedy"}
        return answer.json


@pytest.fixture
def program(signed_in: Browser) -> Program:
    return Program(signed_in)
