# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of phases, and the progress bar that is drawn from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.clms.update.plugins.module_utils import plan
from ansible_collections.clms.update.plugins.module_utils.plan import (
    KINDS,
    PHASES,
    is_closed,
    is_over,
    kind_word,
    next_phase,
    progress,
)

UPDATE = KINDS["update"]
ROLES = Path(plan.__file__).parents[2] / "roles"

seconds = st.integers(0, 10_000_000).map(lambda milliseconds: milliseconds / 1000)
durations = st.dictionaries(st.sampled_from(sorted(PHASES)), seconds)


def percent(done: int, *, elapsed: float = 0.0, history: dict[str, float] | None = None) -> int:
    """Percent of an update that has done its first ``done`` phases."""
    return progress(
        UPDATE,
        durations=dict.fromkeys(UPDATE[:done], 1.0),
        current=next_phase(UPDATE, set(UPDATE[:done])),
        elapsed=elapsed,
        history=history or {},
    ).percent


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_consists_of_known_phases_each_once(kind: str) -> None:
    phases = KINDS[kind]
    assert set(phases) <= set(PHASES)
    assert len(set(phases)) == len(phases)
    assert phases[0] == "preflight"
    assert phases[-1] == "clean_up"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "backup"])
def test_nothing_is_changed_before_there_is_a_backup_nor_valid_before_its_test(kind: str) -> None:
    phases = KINDS[kind]
    if kind not in ("install", "reinstall"):  # there is nothing yet that could be backed up
        changing = ("slot", "migrate", "container_replace", "commit", "open")
        assert not set(changing) & set(phases[: phases.index("backup")])
    assert phases.index("health_check") < phases.index("commit") < phases.index("open")


@pytest.mark.parametrize(
    ("kind", "closed_for_it"),
    [("update", False), ("update_images", False), ("rollback", True), ("restore", True), ("backup", False)],
)
def test_only_what_gives_up_data_closes_before_its_backup(kind: str, closed_for_it: bool) -> None:
    assert ("drain" in KINDS[kind][: KINDS[kind].index("backup")]) is closed_for_it


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_has_a_role_of_its_name(phase: str) -> None:
    assert (ROLES / phase / "tasks" / "main.yml").is_file()
    assert PHASES[phase].text
    assert PHASES[phase].weight > 0


@pytest.mark.parametrize(
    ("kind", "word"),
    [("update", "update"), ("update_images", "update"), ("restore", "restore"), ("backup", "backup")],
)
def test_the_word_of_a_kind(kind: str, word: str) -> None:
    assert kind_word(kind) == word


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        pytest.param("", "a", id="none done"),
        pytest.param("a", "b", id="first done"),
        pytest.param("abc", None, id="all done"),
        pytest.param("ac", "b", id="a gap"),
        pytest.param("x", "a", id="one of another kind"),
    ],
)
def test_next_phase(done: str, expected: str | None) -> None:
    assert next_phase(("a", "b", "c"), set(done)) == expected


@pytest.mark.parametrize(
    ("done", "elapsed", "expected"),
    [
        pytest.param(0, 0.0, 0, id="begin"),
        pytest.param(3, 0.0, 21, id="fetched: 3 + 3 + 15 of 100"),
        pytest.param(3, 5.0, 26, id="5 seconds into the backup"),
        pytest.param(3, 1e9, 44, id="the backup takes for ever: just short of its end"),
        pytest.param(13, 0.0, 100, id="end"),
    ],
)
def test_percent_without_history(done: int, elapsed: float, expected: int) -> None:
    assert percent(done, elapsed=elapsed) == expected


def test_what_this_school_needed_last_time_counts() -> None:
    history = dict.fromkeys(UPDATE, 0.1) | {"backup": 98.8}
    assert percent(3, history=history) == 0
    assert percent(3, history=history, elapsed=50) == 50
    assert percent(4, history=history) == 99


@pytest.mark.parametrize(
    ("history", "elapsed", "left"),
    [
        pytest.param({}, 0.0, None, id="first run"),
        pytest.param({"backup": 0.0}, 0.0, None, id="a history without time"),
        pytest.param(dict.fromkeys(UPDATE, 10.0), 0.0, 100, id="ten phases of ten seconds"),
        pytest.param(dict.fromkeys(UPDATE, 10.0), 4.0, 96, id="four seconds later"),
        pytest.param(dict.fromkeys(UPDATE, 10.0), 999.0, 90, id="longer than last time"),
        pytest.param({"backup": 50.0}, 0.0, 158, id="the others by their weights: 2 seconds a point, 79 points"),
    ],
)
def test_seconds_left(history: dict[str, float], elapsed: float, left: int | None) -> None:
    seen = progress(
        UPDATE, durations=dict.fromkeys(UPDATE[:3], 10.0), current="backup", elapsed=elapsed, history=history
    )
    assert seen.seconds_left == left


def test_a_clock_that_was_put_back_does_not_turn_the_bar_round() -> None:
    assert percent(0, elapsed=-3600.0) == 0
    assert percent(3, elapsed=-3600.0) == percent(3)


@given(durations, st.lists(seconds, min_size=1, max_size=4), st.sampled_from(sorted(KINDS)))
def test_the_bar_only_moves_forward(history: dict[str, float], moments: list[float], kind: str) -> None:
    phases = KINDS[kind]
    seen = [
        progress(phases, durations=dict.fromkeys(phases[:done], 1.0), current=phase, elapsed=elapsed, history=history)
        for done, phase in enumerate(phases)
        for elapsed in sorted(moments)
    ]
    seen.append(progress(phases, durations=dict.fromkeys(phases, 1.0), current=None, elapsed=0.0, history=history))
    percents = [step.percent for step in seen]
    assert percents == sorted(percents)
    assert all(0 <= value <= 100 for value in percents)
    assert percents[-1] == 100
    assert all(value < 100 for value in percents[:-1])
    assert all(step.seconds_left is None or step.seconds_left >= 0 for step in seen)


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("update", "drain"),
        ("update_images", "drain"),  # the new version is started beside the old one
        ("rollback", "drain"),  # its backup is made after that
        ("restore", "drain"),
        ("install", "slot"),
        ("reinstall", "slot"),
        ("backup", None),
    ],
)
def test_when_clms_is_closed_and_when_nothing_is_put_back_any_more(kind: str, first: str | None) -> None:
    phases = KINDS[kind]
    closed = [name for n, name in enumerate(phases) if is_closed(phases, name, phases[:n])]
    assert closed == (list(phases[phases.index(first) : phases.index("clean_up")]) if first else [])
    assert [name for n, name in enumerate(phases) if is_over(name, phases[:n])] == ["clean_up"]
    assert not is_closed(phases, None, phases)


def test_each_kind_of_run_tells_what_it_is() -> None:
    assert plan.events_of("update_images") == plan.events_of("install") == plan.events_of("update")
    assert plan.events_of("update").started == "UPDATE_STARTED"
    assert plan.events_of("rollback") == plan.events_of("restore")
    assert plan.events_of("rollback").started == "ROLLBACK_STARTED"
    assert plan.events_of("backup").failed == "BACKUP_FAILED"


def test_putting_in_order_closes_clms_until_it_is_opened() -> None:
    assert [is_closed(plan.RECOVERY, *seen) for seen in (("preflight", ()), ("open", ("preflight",)))] == [False, True]
