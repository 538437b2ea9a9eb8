# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of a backup: its dump is restored into a throwaway database of the same image, on a network of its own,
and compared with what was counted in the dump's own snapshot. No phase of its own; part of `backup`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..adapters.accounts import apply_accounts
from ..adapters.archive import count_packed, decrypted
from ..adapters.database import database_in
from ..adapters.dump import check_restored, hurried, restore
from ..adapters.files import write_atomically
from ..backup_manifest import BackupFile
from ..containers import THROWAWAY_GRACE, ContainerSpec, labels, service_spec
from ..errors import ClmsError
from ..run import Context
from ..school import Service
from .prepare import EVENTS_MOUNT, EVENTS_OFF
from .rehearse import rehearsal_container, rehearsal_network

HOW = "restored into a throwaway database of the same image; rows of every table and the schema compared"

_START_SECONDS = 120
"""for an empty database; on a disk that is full it waits for space without end"""


def live_image(context: Context) -> str:
    """The id of the image that the live database runs.

    :raises ClmsError: DATABASE_UNREACHABLE
    """
    container = context.old.services[context.school.database.service].container
    state = context.engine.state(container)
    if state is None:
        raise ClmsError("DATABASE_UNREACHABLE", detail=f"the container {container} is gone")
    return state.image


def _throwaway(context: Context, service: Service) -> tuple[ContainerSpec, list[str]]:
    """The throwaway database: its container and its volumes, all of them fresh."""
    school, run = context.school, context.run.id
    volumes = {volume.name: f"{school.project}-rehearsal-{volume.name}-r{run}" for volume in service.volumes}
    switch = context.folder / "rehearsal.cnf"
    write_atomically(switch, EVENTS_OFF, mode=0o644)
    place = replace(context.old, network=rehearsal_network(context), volumes=volumes)
    spec = replace(
        service_spec(school, place, service, context.environment(service)),
        name=rehearsal_container(context, service.name),
        image=live_image(context),
        stop_grace=THROWAWAY_GRACE,
        aliases=(),  # it must never answer to the live database's name
        labels=labels(school, run=run, slot="rehearsal", service=service.name, purpose="rehearsal"),
    )
    return spec.with_bind(f"{switch}:{EVENTS_MOUNT}:ro"), list(volumes.values())


def start_throwaway(context: Context) -> None:
    """Start the throwaway database; it is ready some seconds later."""
    engine = context.engine
    spec, volumes = _throwaway(context, context.school.service(context.school.database.service))
    with context.step("throwaway", network=spec.network, container=spec.name, volumes=volumes):
        engine.ensure_network(spec.network, internal=True, labels=spec.labels)
        for volume in volumes:
            engine.ensure_volume(volume, spec.labels)
        engine.create(spec)
        engine.start(spec.name)


def prove(context: Context, folder: Path, files: Sequence[BackupFile], rows: dict[str, int], schema: str) -> None:
    """Read every file back with this server's key, and restore the dump into the throwaway database.

    :param rows: table -> rows, as they were in the dump's snapshot
    :raises ArchiveError: when something is not as it was written
    :raises ClmsError: DATABASE_LOGIN or DATABASE_UNREACHABLE
    """
    identity = Path(context.school.backup.host_key_file)
    container = rehearsal_container(context, context.school.database.service)
    with (
        context.step("prove", container=container) as outcome,
        database_in(context, container, rehearsal_network(context), wait_seconds=_START_SECONDS) as database,
    ):
        # the dump first: accounts have rights on its tables
        for file in sorted(files, key=lambda file: file.kind != "database"):
            with decrypted(folder / file.name, identity) as stream:
                if file.kind == "database":
                    with hurried(database):
                        restore(container, database, stream)
                    check_restored(database, rows, schema)
                elif file.kind == "accounts":
                    outcome["rights_left_out"] = apply_accounts(database, stream.read().decode())
                else:
                    outcome[file.name] = count_packed(stream)
