# SPDX-License-Identifier: GPL-3.0-or-later
"""What space a run needs, and where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.phases import preflight_checks
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

Begin = Callable[..., Context]
GB = 10**9


def needs(context: Context, kind: str, slot: Slot | None) -> dict[str, tuple[str, int]]:
    release = slot.parsed_release() if slot else None
    found = preflight_checks.space_needed(context, release, slot, "amd64", kind)
    return {need.purpose: (need.mount.path, need.size) for need in found}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param(
            "update",
            {
                "images": ("/docker", 3_000_000),
                "backup": ("/backups", 5 * GB + 3 * GB),
                "restore test": ("/docker", 10 * GB),
                "slot": ("/docker", 13 * GB),
            },
            id="update",
        ),
        pytest.param(
            "update_images",
            {
                "images": ("/docker", 3_000_000),
                "backup": ("/backups", 5 * GB + 3 * GB),
                "restore test": ("/docker", 10 * GB),
            },
            id="no second copy without a migration",
        ),
    ],
)
def test_space_that_a_run_needs(begin: Begin, world: Any, kind: str, expected: dict[str, tuple[str, int]]) -> None:
    context = begin(kind)
    target = context.journal.slot("candidate")
    world.sizes = {"linden-mysql-data-r1": 10 * GB, "linden-uploads-r1": 3 * GB, "linden-logs-r1": 7 * GB}
    world.sizes |= {"linden-redis-data-r1": GB}  # neither logs nor cache are copied
    assert needs(context, kind, target) == expected


def test_images_that_are_here_already_need_no_space(begin: Begin, world: Any, engine: Any, new: Slot) -> None:
    context = begin()
    layers = list(new.parsed_release().image("backend", "amd64").layers)
    engine.images[new.services["backend"].image] = {"RootFS": {"Layers": layers}}
    assert needs(context, "update", new) == {"images": ("/docker", 2_000_000)}


def test_space_of_earlier_slots_is_given_back_first(
    begin: Begin, world: Any, engine: Any, old: Slot, new: Slot, school: School
) -> None:
    context = begin("rollback")  # the slot of 1.0.0 is kept beside that of 1.0.1
    world.sizes = {f"linden-{name}-{run}": GB for name in ("mysql-data", "uploads") for run in ("r1", "r2")}
    world.free["docker"] = 10 * GB
    free = {
        need.purpose: need.mount.free for need in preflight_checks.space_needed(context, None, None, "amd64", "restore")
    }
    assert free == {"backup": 100 * GB, "restore test": 12 * GB, "slot": 12 * GB}
    kept = preflight_checks.space_needed(context, None, None, "amd64", "rollback")
    assert {need.mount.free for need in kept if need.purpose == "restore test"} == {10 * GB}
