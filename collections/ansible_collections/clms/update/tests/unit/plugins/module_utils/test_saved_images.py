# SPDX-License-Identifier: GPL-3.0-or-later
"""Images in the folder of the backups: how they are kept and loaded, and what the journal says where one is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters import image_archive, takeover
from ansible_collections.clms.update.plugins.module_utils.adapters.backup_store import image_file
from ansible_collections.clms.update.plugins.module_utils.adapters.image_archive import TooLargeError
from ansible_collections.clms.update.plugins.module_utils.adapters.pipes import ArchiveError
from ansible_collections.clms.update.plugins.module_utils.phases import backup, restore
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

from .conftest import refused

CONFIG = "sha256:" + "56" * 32


@pytest.fixture
def saved(begin: Callable[..., Context]) -> tuple[Context, Slot]:
    """A run, and a slot of whose images one has to be loaded."""
    context = begin("restore")
    slot = context.old
    service = replace(slot.services["backend"], image=f"registry.test/backend@sha256:{'12' * 32}")
    slot = replace(slot, services={**slot.services, "backend": service})
    file = image_file(Path(context.school.backup.path), service.config)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"an archive")
    return context, slot


def notes(context: Context) -> list[dict[str, Any]]:
    records = context.journal.records(context.run.id)
    return [record.names for record in records if record.step == "image_not_loaded"]


def test_an_image_is_loaded(saved: tuple[Context, Slot], monkeypatch: pytest.MonkeyPatch) -> None:
    context, slot = saved
    asked = []

    def load_saved(source: Path, config: str, *, root: Path, reserve: int, names: tuple[str, ...]) -> None:
        asked.append((source, config, root, reserve, names))
        context.engine.images[config] = {"Id": config, "RootFS": {"Layers": []}}  # type: ignore[attr-defined]

    monkeypatch.setattr(restore, "load_saved", load_saved)
    service, place = slot.services["backend"], Path(context.school.backup.path)
    assert restore.load_saved_images(context, slot, place).services["backend"].image == service.config
    reserve, file = context.school.reserve_bytes, image_file(place, service.config)
    assert asked == [(file, service.config, context.engine.root(), reserve, (service.image,))]
    assert notes(context) == []


@pytest.mark.parametrize("here", ["missing", "damaged"])
def test_an_image_is_loaded_from_the_drive_on_which_the_backup_lies(
    saved: tuple[Context, Slot], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, here: str
) -> None:
    context, slot = saved
    config = slot.services["backend"].config
    drive, own = tmp_path / "drive", Path(context.school.backup.path)
    image_file(drive, config).parent.mkdir(parents=True)
    image_file(drive, config).write_bytes(b"an archive")
    if here == "missing":
        image_file(own, config).unlink()

    def load_saved(source: Path, config: str, **_: Any) -> None:
        if source == image_file(own, config):
            raise ArchiveError("it ends too soon")
        context.engine.images[config] = {"Id": config, "RootFS": {"Layers": []}}  # type: ignore[attr-defined]

    monkeypatch.setattr(restore, "load_saved", load_saved)
    assert restore.load_saved_images(context, slot, drive).services["backend"].image == config
    assert [note["detail"] for note in notes(context)] == ["it ends too soon"] * (here == "damaged")


def test_too_little_room_is_said(saved: tuple[Context, Slot], monkeypatch: pytest.MonkeyPatch) -> None:
    """And not that the image is missing, which nobody could mend."""

    def load_image(*_: Any, **__: Any) -> None:
        raise TooLargeError("it has more than 0 bytes when it is unpacked")

    monkeypatch.setattr(image_archive, "load_image", load_image)
    context, slot = saved
    assert refused(lambda: restore.load_saved_images(context, slot, Path("drive"))) == "DISK_TOO_SMALL"
    assert refused(lambda: takeover.load_gate_image(context.school, context.engine, CONFIG)) == "DISK_TOO_SMALL"


@pytest.mark.parametrize("recorded", [True, False])
def test_the_journal_says_why_one_is_not(
    saved: tuple[Context, Slot], monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    def load_saved(source: Path, config: str, **_: Any) -> None:
        raise ArchiveError("it holds another image")

    monkeypatch.setattr(restore, "load_saved", load_saved)
    context, slot = saved
    context.recorded = recorded  # a run that is only looked at is not in the journal
    assert restore.load_saved_images(context, slot, Path(context.school.backup.path)) == slot
    said = [(note["image"], note["detail"]) for note in notes(context)]
    assert said == [(slot.services["backend"].image, "it holds another image")] * recorded


def test_a_backup_names_images_by_their_configuration(saved: tuple[Context, Slot]) -> None:
    """A registry's digest says nothing of what is in an archive, and is all that a school's description has."""
    context, slot = saved
    digest = f"sha256:{'34' * 32}"
    named = replace(slot.services["mysql"], image=f"mysql@{digest}", config=digest)
    slot = replace(slot, services={"mysql": named})
    context.engine.images[named.image] = {"Id": "sha256:own", "RootFS": {"Layers": []}}  # type: ignore[attr-defined]
    found = backup._with_configurations(context, slot).services
    assert found == {"mysql": replace(named, config="sha256:own")}


def test_an_image_is_saved_without_a_name(saved: tuple[Context, Slot], monkeypatch: pytest.MonkeyPatch) -> None:
    context, _ = saved
    asked: list[str] = []
    monkeypatch.setattr(backup, "save_image", lambda image, target: asked.append(image))
    for number, service in enumerate(context.old.services.values()):
        context.engine.images[service.image] = {"Id": f"sha256:{number}", "RootFS": {"Layers": []}}  # type: ignore[attr-defined]
    backup._images(context, context.old)
    assert asked
    assert all(image.startswith("sha256:") for image in asked), asked
