# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `migrate`: the new release's migration, in a one-off container of its own image, on slot B."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from ..adapters.engine import engine_errors
from ..adapters.files import write_atomically
from ..containers import ContainerSpec, labels, service_spec
from ..errors import ClmsError
from ..masking import last_words
from ..run import Context


def work(context: Context) -> dict[str, Any]:
    """Do the phase; returns the seconds it took."""
    migration = context.release.migration
    if migration is None:
        return {"seconds": 0.0}
    service = context.school.service(migration.service)
    spec = service_spec(context.school, context.new, service, context.environment(service))
    name = f"{context.school.project}-migrate-{context.new.name}"
    return {"seconds": run_migration(context, replace(spec, name=name), "MIGRATION_FAILED")}


def run_migration(context: Context, spec: ContainerSpec, code: str) -> float:
    """Run the migration of the run's release in a container like ``spec``; returns the seconds it took.

    :param code: error code for a migration that fails or does not end in time
    """
    migration = context.release.migration
    if migration is None:
        return 0.0
    spec = replace(
        spec,
        aliases=(),
        command=migration.command,
        labels=labels(
            context.school, run=context.run.id, slot=context.new.name, service=migration.service, purpose="migrate"
        ),
    )
    began = time.monotonic()
    version = context.release.version
    with context.step("migrate", container=spec.name) as outcome, engine_errors(code, version=version):
        exit_code, output = context.engine.run_once(spec, timeout=migration.timeout)
        log = context.folder / f"{spec.name}.log"
        write_atomically(log, output)  # for root only; it may quote people's data
        outcome.update(exit_code=exit_code, log=str(log))
    if exit_code is None:
        detail = f"it did not end within {migration.timeout} seconds"
    else:
        detail = last_words(output) or f"it ended with code {exit_code}"
    if exit_code != 0:
        raise ClmsError(code, version=version, detail=detail)
    return round(time.monotonic() - began, 3)
