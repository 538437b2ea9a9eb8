# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing slots and images: everything that is not needed any more, and nothing that is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.phases import clean_up
from ansible_collections.clms.update.plugins.module_utils.phases.clean_up import free_slot
from ansible_collections.clms.update.plugins.module_utils.run import Context
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

Begin = Callable[..., Context]


def test_a_slot_with_its_own_data_goes_as_a_whole(begin: Begin, engine: Any, old: Slot, new: Slot) -> None:
    context = begin()
    engine.set_up(new, "linden")
    free_slot(context, new)
    assert set(engine.containers) == {service.container for service in old.services.values()}
    assert engine.running() == set(engine.containers)
    assert set(engine.volumes) == set(old.volumes.values())  # with the log files, which both use
    assert new.network not in engine.networks
    assert context.journal.slots("freed") == [new]


def test_a_slot_that_shares_the_database_leaves_it_alone(
    begin: Begin, engine: Any, old: Slot, new_images: Slot
) -> None:
    context = begin("update_images")
    engine.set_up(new_images, "linden")
    free_slot(context, new_images)
    assert engine.running() == {service.container for service in old.services.values()}
    assert set(engine.volumes) == set(old.volumes.values())
    assert engine.did("disconnect") == [("disconnect", "linden-mysql-r1", "linden-r2")]


def test_the_version_before_is_freed_without_the_database_that_serves(
    begin: Begin, engine: Any, old: Slot, new_images: Slot
) -> None:
    context = begin("update_images")
    engine.set_up(new_images, "linden")
    context.run.commit(new_images)
    later = Context(context.journal, context.run, "preflight")
    later.engine = engine
    free_slot(later, old)
    assert engine.running() == {service.container for service in new_images.services.values()}
    assert set(engine.volumes) == set(new_images.volumes.values())
    assert "linden-redis-data-r1" not in engine.volumes


def test_the_slot_that_serves_is_never_freed(begin: Begin, engine: Any, old: Slot) -> None:
    context = begin()
    engine.calls.clear()
    with pytest.raises(ClmsError) as caught:
        free_slot(context, old)
    assert caught.value.code == "SLOT_FAILED"
    assert engine.calls == []
    assert context.journal.slots("current") == [old]


def test_freeing_twice_does_no_harm(begin: Begin, engine: Any, old: Slot, new: Slot) -> None:
    context = begin()
    engine.set_up(new, "linden")
    for _ in range(2):
        free_slot(context, new)
    assert engine.running() == {service.container for service in old.services.values()}


def test_a_slot_that_could_not_be_freed_is_not_called_freed(begin: Begin, engine: Any, new: Slot) -> None:
    context = begin()
    engine.set_up(new, "linden")
    engine.fails["remove_volume", "linden-uploads-r2"] = ClmsError("ENGINE_UNREACHABLE", detail="x")
    with pytest.raises(ClmsError):
        free_slot(context, new)
    assert context.journal.slots("candidate") == [new]
    engine.fails.clear()
    free_slot(context, new)
    assert "linden-uploads-r2" not in engine.volumes


# images


@pytest.mark.parametrize(
    ("state", "removed"),
    [
        pytest.param("freed", ["backend", "frontend"], id="nobody-needs-them"),
        pytest.param("previous", [], id="needed-to-go-back"),
        pytest.param("candidate", [], id="about-to-serve"),
    ],
)
def test_images_of_another_slot(
    begin: Begin, engine: Any, old: Slot, new: Slot, state: str, removed: list[str]
) -> None:
    context = begin()
    engine.set_up(new, "linden")
    context.journal.set_slot(new, state)
    # the images of database and cache are those of the slot that serves
    assert clean_up._remove_images(context) == sorted(new.services[name].image for name in removed)
    assert {service.image for service in old.services.values()} <= set(engine.images)


def test_an_image_that_cannot_be_removed_is_tried_again(begin: Begin, engine: Any, new: Slot) -> None:
    context = begin()
    context.journal.set_slot(new, "freed")
    engine.set_up(new, "linden")
    used = new.services["backend"].image
    engine.remove_image = lambda image: image != used
    assert clean_up._remove_images(context) == [new.services["frontend"].image]
    engine.remove_image = lambda image: True
    assert used in clean_up._remove_images(context)


# what every run does at its end


def test_a_run_leaves_its_evidence_and_not_its_package(begin: Begin) -> None:
    context = begin(phase="clean_up")
    evidence = ("report.json", "linden-backend-r2.log", "zip.log")
    for name in evidence:
        (context.folder / name).touch()
    downloads = context.school.home / "downloads"
    downloads.mkdir()
    for name in ("clms-1.0.1.zip", "clms-1.0.1.zip.sig", ".clms-1.0.2.zip.part", ".clms-1.0.0.zip.part"):
        (downloads / name).touch()
    os.utime(downloads / ".clms-1.0.0.zip.part", (1, 1))
    for _ in range(2):
        assert clean_up.tidy(context) == ([], [])
        assert {path.name for path in context.folder.iterdir()} == set(evidence)
        # the next try goes on with it
        assert [path.name for path in downloads.iterdir()] == [".clms-1.0.2.zip.part"]


@pytest.mark.parametrize(("runs", "gone"), [(3, 0), (20, 0), (21, 1), (25, 5), (120, 100)])
def test_the_folders_of_the_last_twenty_runs_stay(begin: Begin, runs: int, gone: int) -> None:
    installed = begin()
    installed.run.close("ABORTED")
    journal, school = installed.journal, installed.run.row.school
    while (run := journal.begin("backup", phases=("preflight", "clean_up"), school=school)).id < runs:
        run.close("COMPLETED")
    context = Context(journal, run, "clean_up")
    for number in range(1, runs + 1):
        folder = context.folder.parent / str(number)
        folder.mkdir(exist_ok=True)
        (folder / "evidence.log").touch()
        # somebody has looked into the old ones, or the clock was put back: the number says which is the newest
        os.utime(folder, (10_000 - number, 10_000 - number))
    clean_up.tidy(context)
    assert sorted(int(path.name) for path in context.folder.parent.iterdir()) == list(range(1 + gone, runs + 1))
    assert (context.folder / "evidence.log").is_file()


def test_what_is_no_folder_of_a_run_stays(begin: Begin) -> None:
    context = begin(phase="clean_up")
    for name in ("lost+found", "2.saved", *(str(number) for number in range(100, 120))):
        (context.folder.parent / name).mkdir()
    clean_up.tidy(context)
    assert {"lost+found", "2.saved", "119", "100"} <= {path.name for path in context.folder.parent.iterdir()}


def test_the_phase_and_its_report(begin: Begin, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    context = begin(phase="clean_up")
    monkeypatch.setattr(clean_up, "remove_old_backups", lambda _: (["/backups/a"], ["/mnt: not there"]))
    answer = clean_up.work(context)
    assert answer == {"backups": ["/backups/a"], "images": [], "problems": ["/mnt: not there"]}
    report = json.loads((context.folder / "report.json").read_text())
    assert (report["id"], report["kind"], report["version"]) == (context.run.id, "update", "1.0.1")
    assert [phase["name"] for phase in report["phases"]][-1] == "open"


@pytest.mark.parametrize("fails", [None, OSError(5, "Input/output error"), ClmsError("TRUST_REFUSED", detail="x")])
def test_files_of_the_vendor_are_looked_through(
    fails: Exception | None, begin: Begin, old: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = begin("backup", phase="clean_up")
    asked: list[list[str]] = []

    def remove_old(school: Any, used: Any) -> list[str]:
        asked.append([release.version.text for release in used])
        if fails:
            raise fails
        return []

    monkeypatch.setattr(clean_up, "remove_old", remove_old)
    clean_up.tidy(context)
    assert asked == []  # there are none
    folder = context.school.home / "bundles"
    folder.mkdir()
    (folder / "clms-1.0.0-amd64.zip").touch()
    _, problems = clean_up.tidy(context)
    assert asked == [[old.version]]
    assert problems == ([str(fails)] if fails else [])
