# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of an unfinished run: every phase of every kind, and everything that does not fit together."""

from __future__ import annotations

import itertools

import pytest

from ansible_collections.clms.update.plugins.module_utils.plan import KINDS, PHASES, RECOVERY
from ansible_collections.clms.update.plugins.module_utils.restart import TABLE, Restart, Stage, decide, stage_of

D, B, F = Restart.DISCARD, Restart.PUT_BACK, Restart.FORWARD

# phase of the last record -> what to do where CLMS was not closed, and where it was; both without a commit record.
# A pair that cannot come about (closed before `drain`, open after it) is put back.
EXPECTED: dict[str, dict[str | None, tuple[Restart, Restart]]] = {
    "install": {
        **dict.fromkeys(
            (None, "preflight", "release", "image_pull", "slot", "migrate", "container_replace", "health_check"), (D, B)
        ),
        "commit": (D, B),
        "open": (B, B),
        "clean_up": (B, B),
        "rollback": (D, B),
    },
    "update": {
        **dict.fromkeys((None, "preflight", "release", "image_pull", "backup", "rehearse"), (D, B)),
        "drain": (D, B),
        **dict.fromkeys(("slot", "migrate", "container_replace", "health_check", "commit"), (B, B)),
        "open": (B, B),
        "clean_up": (B, B),
        "rollback": (D, B),
    },
    "update_images": {
        **dict.fromkeys((None, "preflight", "release", "image_pull", "backup", "rehearse"), (D, B)),
        "container_replace": (D, B),  # the new version starts beside the old one
        "health_check": (D, B),
        "drain": (D, B),
        "commit": (B, B),
        "open": (B, B),
        "clean_up": (B, B),
        "rollback": (D, B),
    },
    "rollback": {
        **dict.fromkeys((None, "preflight", "drain"), (D, B)),
        **dict.fromkeys(("backup", "container_replace", "health_check", "commit"), (B, B)),
        "open": (B, B),
        "clean_up": (B, B),
        "rollback": (D, B),
    },
    "restore": {
        **dict.fromkeys((None, "preflight", "drain"), (D, B)),
        **dict.fromkeys(("backup", "slot", "container_replace", "health_check", "commit"), (B, B)),
        "open": (B, B),
        "clean_up": (B, B),
        "rollback": (D, B),
    },
    "backup": dict.fromkeys((None, "preflight", "backup", "clean_up", "rollback"), (D, B)),
    "reinstall": {
        **dict.fromkeys((None, "preflight", "image_pull", "slot", "container_replace", "health_check"), (D, B)),
        "commit": (D, B),
        "open": (B, B),
        "clean_up": (B, B),
        "rollback": (D, B),
    },
}


def test_the_table_has_every_phase_of_every_kind() -> None:
    assert {kind: set(table) for kind, table in EXPECTED.items()} == {
        kind: {*phases, None, "rollback"} for kind, phases in KINDS.items()
    }


@pytest.mark.parametrize(
    ("kind", "last", "closed", "expected"),
    [
        (kind, last, closed, pair[closed])
        for kind, table in EXPECTED.items()
        for last, pair in table.items()
        for closed in (False, True)
    ],
)
def test_without_a_commit_record(kind: str, last: str | None, closed: bool, expected: Restart) -> None:
    assert decide(KINDS[kind], last, closed=closed, committed=False) is expected


@pytest.mark.parametrize("kind", EXPECTED)
@pytest.mark.parametrize("closed", [False, True])
def test_from_the_commit_record_on_there_is_only_forward(kind: str, closed: bool) -> None:
    for last in (*EXPECTED[kind], "a phase of another version"):
        assert decide(KINDS[kind], last, closed=closed, committed=True) is F


def test_the_run_that_follows_a_broken_journal_is_finished() -> None:
    for last in (*RECOVERY, "rollback"):
        assert decide(RECOVERY, last, closed=False, committed=True) is F


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(
    ("phases", "last"),
    [
        pytest.param(KINDS["update"], "thaw", id="its last phase is unknown"),
        pytest.param(KINDS["backup"], "slot", id="or none of this kind"),
        pytest.param(KINDS["update"], "", id="or has no name"),
        pytest.param(("preflight", "freeze", "drain", "commit"), "preflight", id="a phase to come is unknown"),
        pytest.param(("preflight", "freeze", "drain", "commit"), None, id="and nothing was done yet"),
    ],
)
def test_what_is_unknown_is_put_back(phases: tuple[str, ...], last: str | None, closed: bool) -> None:
    assert decide(phases, last, closed=closed, committed=False) is B


def test_without_a_rehearsal_the_order_is_the_same() -> None:
    phases = tuple(phase for phase in KINDS["update"] if phase != "rehearse")
    for last, (open_, closed) in EXPECTED["update"].items():
        if last != "rehearse":
            assert decide(phases, last, closed=False, committed=False) is open_
            assert decide(phases, last, closed=True, committed=False) is closed


def test_nothing_is_discarded_that_users_could_miss() -> None:
    for phases, last, closed in itertools.product(KINDS.values(), (None, "rollback", *PHASES), (False, True)):
        if decide(phases, last, closed=closed, committed=False) is D:
            assert not closed
            assert stage_of(phases, last) in (Stage.OPEN, Stage.CLOSING, Stage.PUTTING_BACK)
    assert F not in TABLE.values()  # only the commit record leads there
