# SPDX-License-Identifier: GPL-3.0-or-later
"""One vendor with all releases, and schools that are set up when the first test asks for them.

Each file of tests has a school of its own, so that nothing has to be put back between them. ``CLMS_KEEP_STAND=1``
leaves everything there for a look afterwards, and ``CLMS_STAND_FOLDER`` names a folder whose stand is used, and kept.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from tests.e2e.observe import SEED, School
from tests.sample_clms.releases import RELEASES
from tests.stand.stand import Stand

INVENTORIES = {"linden": "demo", "alder": "three", "birch": "three", "cedar": "three"}


@pytest.fixture(scope="session")
def stand() -> Iterator[Stand]:
    """A vendor with every release of the sample; its schools are not set up yet."""
    # not below pytest's own folder: the gate listens on a socket whose path may have 107 characters
    named = os.environ.get("CLMS_STAND_FOLDER")
    folder = Path(named or tempfile.mkdtemp(prefix="clms-e2e-"))
    try:
        stand = Stand.create(
            folder, prefix=f"clms-e2e-{secrets.token_hex(3)}", schools=list(INVENTORIES), backup_images=False
        )
        stand.set_up_vendor()
        stand.start_release_api()
        for version in RELEASES:
            stand.publish(version, health=health_of(version))
        yield stand
    finally:
        if named or os.environ.get("CLMS_KEEP_STAND"):
            print(f"\nkept: {folder}\nremove it with: python -m tests.stand remove --folder {folder}")
        else:
            Stand(folder).remove()


def health_of(version: str) -> dict[str, Any]:
    """The release's own, but nobody has a minute for the one that answers 502 until its time is over."""
    seconds = 10 if version == "1.0.9-frontend" else 60
    return {name: {**health, "timeoutSeconds": seconds} for name, health in RELEASES[version].health.items()}


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.client.close()


@pytest.fixture(scope="session")
def school_named(stand: Stand, engine: Engine) -> Callable[[str], School]:
    """Gives a school of the stand; at first it runs 1.0.0 and has data."""
    made: dict[str, School] = {}

    def get(name: str) -> School:
        if name not in made:
            stand.set_up_schools(name, inventory=INVENTORIES[name])
            counts = {"students": SEED["students"], "books": SEED["books"], "loans": SEED["borrows"]}
            small = [part for option, count in counts.items() for part in (f"--{option}", str(count))]
            stand.seed(name, *([] if name == "linden" else small))
            made[name] = School(stand, name, INVENTORIES[name], engine)
        return made[name]

    return get
