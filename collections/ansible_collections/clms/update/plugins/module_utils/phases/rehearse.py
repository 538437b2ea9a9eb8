# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase `rehearse`: the update on the copy of the data that the proof of the backup restored.

Smoke test of the running version (the baseline), the new release's migration, smoke test of the new version; all
on a network of their own from which the live database cannot be reached, with every database and cache address
rewritten (architecture.md, decision 7).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..adapters.engine import engine_errors
from ..adapters.probe import Place, run_smoke, wait_healthy
from ..containers import THROWAWAY_GRACE, ContainerSpec, labels, redirected, service_spec
from ..errors import ClmsError
from ..run import Context
from ..school import Service
from ..slots import Slot
from ..smoke import SmokeError
from .migrate import run_migration


def work(context: Context) -> dict[str, Any]:
    """Do the phase; returns the seconds of the migration, the estimate for the real one."""
    with engine_errors("REHEARSAL_BASELINE"):
        _try_version(context, context.old, "old", "REHEARSAL_BASELINE")
    seconds = 0.0
    migration = context.release.migration
    if migration is not None:
        service = context.school.service(migration.service)
        spec = _spec(context, context.new, service, "migrate")
        with engine_errors("REHEARSAL_MIGRATION", version=context.new.version):
            seconds = run_migration(context, spec, "REHEARSAL_MIGRATION")
    with engine_errors("REHEARSAL_SMOKE", version=context.new.version):
        _try_version(context, context.new, "new", "REHEARSAL_SMOKE")
    remove_rehearsal(context)
    return {"migration_seconds": seconds}


def rehearsal_network(context: Context) -> str:
    """The network of the restored copy."""
    return f"{context.school.project}-rehearsal-r{context.run.id}"


def rehearsal_container(context: Context, service: str, what: str = "") -> str:
    """The name of a service's container in the rehearsal."""
    parts = [context.school.project, "rehearsal", service, what, f"r{context.run.id}"]
    return "-".join(part for part in parts if part)


def _spec(context: Context, slot: Slot, service: Service, what: str) -> ContainerSpec:
    school = context.school
    environment = redirected(
        school,
        {**service.environment, **context.environment(service)},
        database_host=rehearsal_container(context, school.database.service),
        cache_hosts={cache.name: rehearsal_container(context, cache.name, what) for cache in school.by_role("cache")},
    )
    spec = service_spec(school, slot, service, environment)
    return replace(
        spec,
        name=rehearsal_container(context, service.name, what),
        network=rehearsal_network(context),
        stop_grace=THROWAWAY_GRACE,
        # no volume of the live school: files written in the rehearsal end with its containers
        binds=tuple(bind for bind in spec.binds if bind.endswith(":ro")),
        labels=labels(school, run=context.run.id, slot=slot.name, service=service.name, purpose="rehearsal"),
    )


def _try_version(context: Context, slot: Slot, what: str, code: str) -> None:
    """Start a version's application on the copy, test it with steps that write, and end it."""
    engine, school = context.engine, context.school
    containers = {}
    for service in school.application:
        spec = _spec(context, slot, service, what)
        with context.step("start", container=spec.name):
            engine.create(spec)
            engine.start(spec.name)
        containers[service.name] = spec.name
    place = Place(rehearsal_network(context), containers)
    release = slot.parsed_release()
    try:
        for name, health in release.health.items():
            if name in containers:
                wait_healthy(engine, place, name, health)
        steps, _ = run_smoke(engine, school, place, release, writes=True)
    except (SmokeError, ClmsError) as error:
        if isinstance(error, ClmsError) and error.code != "HEALTH_FAILED":
            raise
        detail = error.values["detail"] if isinstance(error, ClmsError) else error
        raise ClmsError(code, version=slot.version, detail=detail) from None
    context.note("smoke", version=slot.version, steps=steps)
    for name in reversed(containers.values()):
        engine.remove(name)


def remove_rehearsal(context: Context) -> None:
    """Remove everything that the proof of the backup and the rehearsal made."""
    wanted = {"project": context.school.project, "run": str(context.run.id), "purpose": "rehearsal"}
    with context.step("remove_rehearsal"):
        for container in context.engine.by_label(**wanted):
            context.engine.remove(container)
        for volume in context.engine.volumes_by_label(**wanted):
            context.engine.remove_volume(volume)
        for network in context.engine.networks_by_label(**wanted):
            context.engine.remove_network(network)
