# SPDX-License-Identifier: GPL-3.0-or-later
"""What events tell: in English at once, and with all that it takes to tell it anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS, events_of
from ansible_collections.clms.update.plugins.module_utils.told import Told, completed, told

ERROR = ClmsError("DRAIN_FAILED", detail="it did not end")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (told("CAUSE", cause=ERROR), ERROR.happened),
        (told("FAILURE", failure=ERROR), str(ERROR)),
        (told("FAILURE", failure={**ERROR.as_dict(), "phase": "drain"}), str(ERROR)),
        (told("CAUSE", cause={"code": "X", "message": "As an older updater has said.", "remedy": None}),
         "As an older updater has said."),
        (told("FAILURE", failure={"code": "X", "message": "Without a remedy.", "remedy": None}), "Without a remedy."),
        (told("CANCELLED", update="1.0.1", at="now"),
         "The update to version 1.0.1 that was scheduled for now was cancelled."),
        (told("CANCELLED", update=None, at="now"),
         "The update to the newest version that was scheduled for now was cancelled."),
        (told("CHANGED_BY", name="anna\n\x1b[31m", settings="\udcff"),
         r"These settings were changed by anna" + "\n" + r"\x1b[31m: \udcff."),
        (completed("update_images", "1.0.1"), "CLMS was updated to version 1.0.1."),
        (completed("restore", None), "The backup was restored."),
    ],
)  # fmt: skip
def test_what_it_says_in_english(what: Told, message: str) -> None:
    assert what.message == message


def test_an_error_keeps_what_its_words_name() -> None:
    values = told("WAITING", update="1.0.1", cause={**ERROR.as_dict(), "phase": "drain"}).values
    assert values == {"update": "1.0.1", "cause": ERROR.as_dict()}


def test_a_journal_keeps_it(tmp_path: Path) -> None:
    what = told("NOT_BEGUN", update=None, failure=ERROR)
    journal = Journal(tmp_path, create=True)
    journal.event("UPDATE_FAILED", what)
    journal.event_once("UPDATE_AVAILABLE", told("AVAILABLE", version="1.0.1"))
    journal.event_once("UPDATE_AVAILABLE", told("AVAILABLE", version="1.0.1"))
    journal.event_anew("UPDATE_AVAILABLE", told("AVAILABLE", version="1.0.1"))
    journal.event_anew("CHECK_REFUSED", told("CAUSE", cause=ERROR))
    events = [(event["type"], event["message"], event["told"]) for event in reversed(journal.events())]
    assert events == [
        ("UPDATE_FAILED", what.message, {"code": "NOT_BEGUN", "values": json.loads(json.dumps(what.values))}),
        ("UPDATE_AVAILABLE", "Version 1.0.1 is available.", {"code": "AVAILABLE", "values": {"version": "1.0.1"}}),
        ("CHECK_REFUSED", ERROR.happened, {"code": "CAUSE", "values": {"cause": ERROR.as_dict()}}),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_run_that_is_completed_tells_so(kind: str) -> None:
    if events_of(kind).completed:  # at the end of a run nothing may be missing
        assert completed(kind, "1.0.1").message


def test_a_value_that_is_missing_is_no_sentence() -> None:
    with pytest.raises(KeyError):
        told("AVAILABLE")
    with pytest.raises(KeyError):
        told("UNKNOWN")
