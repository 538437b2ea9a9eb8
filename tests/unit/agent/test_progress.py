# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable

import pytest

from agent.output import age, moment, outcome_text
from agent.progress import Bar, Lines, Silent, View, display_for, view_of
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.journal_run import Run
from ansible_collections.clms.update.plugins.module_utils.status import duration

WORKING = View({"preflight": 1.2, "release": 0.4}, "image_pull", False, 9, 83, None)
FAILED = View({"preflight": 1.2}, "release", False, 3, None, "The release server cannot be reached.")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_view(journal: Journal, begin: Callable[..., Run]) -> None:
    run = begin()
    run.enter("preflight")
    assert view_of(journal, run.row) == View({}, "preflight", False, 0, None, None)
    run.leave("preflight")
    run.enter("release")
    run.fail("release", ClmsError("SERVER_UNREACHABLE", url="https://x", detail="y"))
    view = view_of(journal, run.row)
    assert (list(view.done), view.phase) == (["preflight"], "release")
    assert view.failure == "The release server at https://x cannot be reached: y."


def test_lines() -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    for view in (WORKING, WORKING, FAILED, FAILED):
        lines.show(view)
    assert stream.getvalue().splitlines() == [
        "preflight               1.2 s  Checking this server and all that is needed",
        "release                 0.4 s  Fetching the release and checking its signature",
        "release                failed  The release server cannot be reached.",
    ]


def test_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = _Terminal()
    bar = Bar(stream)
    bar.show(WORKING)
    bar.show(WORKING)
    bar.say("[red]not markup[/red]")
    bar.show(FAILED)
    bar.close()
    shown = stream.getvalue()
    assert shown.count("Checking this server") == 1
    assert "[red]not markup[/red]" in shown
    assert "The release server cannot be reached." in shown


@pytest.mark.parametrize(
    ("as_json", "out", "err", "kind"),
    [
        (False, io.StringIO, io.StringIO, Lines),
        (False, _Terminal, io.StringIO, Bar),
        (True, _Terminal, io.StringIO, Silent),
        (True, io.StringIO, _Terminal, Bar),
    ],
    ids=["pipe", "terminal", "json", "json with a terminal on stderr"],
)
def test_display(
    as_json: bool,
    out: type[io.StringIO],
    err: type[io.StringIO],
    kind: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdout = out()
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", err())
    display = display_for(json=as_json)
    display.show(WORKING)
    display.close()
    monkeypatch.undo()
    assert type(display) is kind
    assert (stdout.getvalue() == "") is as_json


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (7200, "2 h"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_ages() -> None:
    assert (age(3), age(600), age(3 * 86400)) == ("just now", "10 min ago", "3 days ago")


def test_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert moment(None) == "?"
    assert moment("2026-11-23T14:05:09Z").startswith("2026-11-2")


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("REFUSED", "Nothing was touched."),
        ("ABORTED", "(SMOKE_FAILED) Version 1.0.0 is running."),
        ("ROLLED_BACK", "(SMOKE_FAILED) Version 1.0.0 is running."),
        ("NEEDS_OPERATOR", "(SMOKE_FAILED)"),
    ],
)
def test_outcome(outcome: str, said: str) -> None:
    error = ClmsError("SMOKE_FAILED", detail="checkout").as_dict()
    run = {
        "id": 3,
        "kind": "update",
        "version": "1.0.1",
        "from_version": "1.0.0",
        "outcome": outcome,
        "closed_seconds": 4.0,
        "error_code": error["code"],
        **error,
    }
    text = outcome_text(json.loads(json.dumps(run)))
    assert text.startswith("The update to version 1.0.1 did not succeed. The new version is up but does not do")
    assert text.endswith(said)
