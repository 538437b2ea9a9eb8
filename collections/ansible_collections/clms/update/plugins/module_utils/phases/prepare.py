# SPDX-License-Identifier: GPL-3.0-or-later
"""Making the parts of a slot that can be made while the old version still serves.

No phase of its own: `image_pull` calls it, so that no image is removed as unused, and the phases that need the parts
call it again, in case somebody has removed some. An installation and a restore, which have nothing to keep serving,
call it in `slot`.
"""

from __future__ import annotations

from pathlib import Path

from ..adapters.files import mirror_folder, write_atomically
from ..adapters.slot_files import keep_slot
from ..containers import labels, service_spec
from ..run import Context
from ..school import Volume
from ..slots import Slot

EVENTS_OFF = "[mysqld]\nevent_scheduler=OFF\n"
EVENTS_MOUNT = "/etc/mysql/conf.d/clms-update-slot.cnf"


def file_volumes(context: Context) -> list[Volume]:
    """The volumes with files (uploads), which are copied while A serves, and once more after it has stopped."""
    return [
        volume
        for service in context.school.application
        for volume in service.volumes
        if volume.on_update == "copy" and context.new.volumes[volume.name] != old_volume(context, volume)
    ]


def old_volume(context: Context, volume: Volume) -> str | None:
    """The engine's name of ``volume`` in slot A."""
    return context.slot.volumes.get(volume.name) if context.slot else None


def mirror(context: Context, volume: Volume) -> None:
    """Bring slot B's copy of a file volume to the state of A's."""
    source_name = old_volume(context, volume)
    source = context.engine.volume_path(source_name) if source_name else None
    target = context.engine.volume_path(context.new.volumes[volume.name])
    if source and target:
        with context.step("mirror", volume=volume.name, source=source_name):
            mirror_folder(source, target)


def prepare(context: Context) -> None:
    """Make slot B's network, volumes and containers, none of them started."""
    engine, school, slot = context.engine, context.school, context.new
    with context.step("prepare", network=slot.network):
        events = context.run.result("preflight").get("event_scheduler", "OFF")
        keep_slot(school.home, slot, school=context.run.row.school, event_scheduler=events)
        engine.ensure_network(
            slot.network,
            internal=True,
            labels=labels(school, run=slot.run, slot=slot.name, service="", purpose="slot"),
        )
        for name in slot.own_volumes(context.slot):
            engine.ensure_volume(name, labels(school, run=slot.run, slot=slot.name, service="", purpose="slot"))
        own = slot.own_containers(context.slot)
        for service in school.services:
            if slot.services[service.name].container not in own:
                # the database that A and B share gets a place in B's network as well
                engine.connect_as(slot.services[service.name].container, slot.network, service.name)
                continue
            spec = service_spec(school, slot, service, context.environment(service))
            if service.role == "database":
                switch = event_switch(context, slot)
                write_atomically(switch, EVENTS_OFF, mode=0o644)
                spec = spec.with_bind(f"{switch}:{EVENTS_MOUNT}:ro")
            engine.create(spec)


def event_switch(context: Context, slot: Slot) -> Path:
    """The option file that keeps the event scheduler of a slot's database off until the slot is opened."""
    folder = context.school.home / "slots" / slot.name
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return folder / "event_scheduler.cnf"
