# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the vendor's servers cannot be reached, a file takes their place, and that is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.phases import preflight
from ansible_collections.clms.update.plugins.module_utils.phases.preflight import Request
from ansible_collections.clms.update.plugins.module_utils.run import Context

SERVER = ClmsError("SERVER_UNREACHABLE", url="https://releases.test", detail="no route")
REGISTRY = ClmsError("REGISTRY_UNREACHABLE", registry="registry.test", detail="no route")
FILE = Path("/home/bundles/clms-1.0.1-amd64.zip")
GOES_ON = " The update goes on with the file clms-1.0.1-amd64.zip."


@pytest.mark.parametrize(
    ("bundle", "away", "registry", "told"),
    [
        pytest.param(FILE, SERVER, None, SERVER.happened + GOES_ON, id="no release server"),
        pytest.param(FILE, SERVER, REGISTRY, SERVER.happened + GOES_ON, id="no network at all"),
        pytest.param(FILE, None, REGISTRY, REGISTRY.happened + GOES_ON, id="no registry"),
        pytest.param(FILE, None, None, None, id="everything there"),
        pytest.param(None, None, REGISTRY, None, id="no registry and no file"),
    ],
)
def test_a_file_takes_its_place(
    installed: Context,
    world: Any,
    handed: list[int],
    describe: Callable[..., dict[str, Any]],
    journal: Journal,
    bundle: Path | None,
    away: ClmsError | None,
    registry: ClmsError | None,
    told: str | None,
) -> None:
    world.bundle, world.away, world.registry = bundle, away, registry
    run = preflight.begin(describe(), Request("update"))["run"]
    events = [event for event in journal.events() if event["type"] == "UPDATE_OFFLINE"]
    assert [(event["run"], event["message"]) for event in events] == ([(run, told)] if told else [])
    result = journal.run(run).result("preflight")
    assert (result["bundle"], result["offline"]) == (str(bundle) if bundle else None, away is not None)
    assert world.asked == ["files", "vendor"], "what is here has to be known first"


def test_a_backup_needs_no_files_of_the_vendor(
    installed: Context, world: Any, handed: list[int], describe: Callable[..., dict[str, Any]]
) -> None:
    preflight.begin(describe(), Request("backup"))
    assert world.asked == []
