# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run will build: which image, which container and which volume is kept, and which is new."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.release import parse_release
from ansible_collections.clms.update.plugins.module_utils.school import School, parse_school
from ansible_collections.clms.update.plugins.module_utils.slots import Slot, plan_slot, restored_slot

Make = Callable[..., dict[str, Any]]


def refused(school: School, release: dict[str, Any], current: Slot | None, architecture: str = "amd64") -> ClmsError:
    with pytest.raises(ClmsError) as caught:
        plan_slot(school, parse_release(release), run=9, architecture=architecture, current=current)
    return caught.value


def test_the_first_slot(old: Slot, make_school_release: Make) -> None:
    release = make_school_release("1.0.0", 1)
    backend = release["services"]["backend"]["images"]["amd64"]
    assert (old.name, old.run, old.version, old.network) == ("r1", 1, "1.0.0", "linden-r1")
    assert old.services["backend"].container == "linden-backend-r1"
    assert old.services["backend"].image == f"registry.test:5000/clms/backend@{backend['digest']}"
    assert old.services["backend"].config == backend["config"]
    assert old.services["mysql"].image == old.services["mysql"].config == "sha256:" + "d" * 64
    assert old.services["redis"].image == "registry.test:5000/redis@sha256:" + "c" * 64
    assert old.services["redis"].config == "sha256:" + "c" * 64
    assert old.volumes == {
        "mysql-data": "linden-mysql-data-r1",
        "redis-data": "linden-redis-data-r1",
        "uploads": "linden-uploads-r1",
        "logs": "linden-logs-r1",
    }
    assert old.release == release


@pytest.mark.parametrize(
    ("volume", "with_migration", "without"),
    [
        pytest.param("mysql-data", "r2", "r1", id="the database's"),
        pytest.param("uploads", "r2", "r1", id="files"),
        pytest.param("logs", "r1", "r1", id="shared"),
        pytest.param("redis-data", "r2", "r2", id="a cache is empty at every switch"),
    ],
)
def test_which_volumes_are_new(new: Slot, new_images: Slot, volume: str, with_migration: str, without: str) -> None:
    assert new.volumes[volume] == f"linden-{volume}-{with_migration}"
    assert new_images.volumes[volume] == f"linden-{volume}-{without}"


def test_only_with_a_migration_there_is_a_second_database(old: Slot, new: Slot, new_images: Slot) -> None:
    assert new.services["mysql"].container == "linden-mysql-r2"
    assert new.services["mysql"].image == old.services["mysql"].image
    assert new_images.services["mysql"] == old.services["mysql"]
    for service in ("redis", "backend", "frontend"):
        assert new.services[service].container == new_images.services[service].container == f"linden-{service}-r2"


def test_what_belongs_to_a_slot_alone(old: Slot, new: Slot, new_images: Slot) -> None:
    assert new.own_containers(None) == sorted(service.container for service in new.services.values())
    assert new.own_containers(old) == new.own_containers(None)
    assert new.own_volumes(old) == ["linden-mysql-data-r2", "linden-redis-data-r2", "linden-uploads-r2"]
    assert new_images.own_containers(old) == ["linden-backend-r2", "linden-frontend-r2", "linden-redis-r2"]
    assert new_images.own_volumes(old) == ["linden-redis-data-r2"]
    assert old.own_volumes(old) == []


def test_two_slots_share_no_name_but_what_is_shared_on_purpose(old: Slot, new: Slot) -> None:
    assert not {s.container for s in old.services.values()} & {s.container for s in new.services.values()}
    assert set(old.volumes.values()) & set(new.volumes.values()) == {"linden-logs-r1"}
    assert old.network != new.network


def test_a_service_that_the_release_does_not_bring_keeps_its_image(
    describe: Make, make_school_release: Make, old: Slot
) -> None:
    described = describe()
    described["services"][1]["image"] = "sha256:" + "e" * 64  # another cache in the inventory
    release = parse_release(make_school_release())
    planned = plan_slot(parse_school(described), release, run=2, architecture="amd64", current=old)
    assert planned.services["redis"].image == old.services["redis"].image


def test_a_service_and_a_volume_that_are_new_at_this_school(
    describe: Make, make_school_release: Make, old: Slot
) -> None:
    described = describe()
    new_service = {"name": "search", "image": "sha256:" + "e" * 64, "volumes": [{"name": "index", "path": "/index"}]}
    described["services"].append(new_service)
    release = parse_release(make_school_release())
    planned = plan_slot(parse_school(described), release, run=2, architecture="amd64", current=old)
    assert planned.services["search"].container == "linden-search-r2"
    assert planned.volumes["index"] == "linden-index-r2"


def test_a_service_that_nobody_brings(describe: Make, make_school_release: Make) -> None:
    described = describe()
    del described["services"][1]["image"]
    error = refused(parse_school(described), make_school_release(), None)
    assert error.code == "RELEASE_INVALID"
    assert "'redis'" in error.happened


def test_a_service_that_would_have_to_be_built_is_not_left_at_its_old_image(
    school: School, make_school_release: Make, old: Slot
) -> None:
    release = make_school_release()
    release["services"]["frontend"] = {"build": {"source": "source/frontend", "size": 0}}
    planned = plan_slot(school, parse_release(release), run=2, architecture="amd64", current=old)
    assert planned.services["frontend"].image.startswith("clms-build/frontend:")
    assert planned.services["frontend"].config == ""
    assert planned.services["frontend"].container == "linden-frontend-r2"
    built = planned.with_images({"frontend": "sha256:" + "b" * 64})
    assert built.services["frontend"].config == built.services["frontend"].image == "sha256:" + "b" * 64
    assert built.services["backend"] == planned.services["backend"]


def test_a_built_service_is_replaced_where_the_data_stay(school: School, make_school_release: Make, old: Slot) -> None:
    release = make_school_release(migration="none")
    release["services"]["frontend"] = {"build": {"source": "source/frontend", "size": 0}}
    planned = plan_slot(school, parse_release(release), run=2, architecture="amd64", current=old)
    assert planned.services["frontend"].container == "linden-frontend-r2"
    assert planned.services["mysql"] == old.services["mysql"]


def test_a_build_needs_what_the_school_does_not_say(school: School, make_school_release: Make, old: Slot) -> None:
    release = make_school_release()
    build = {"source": "source/frontend", "size": 0, "arguments": {"API": "https://${api_host}/api"}}
    release["services"]["frontend"] = {"build": build}
    error = refused(school, release, old)
    assert error.code == "BUILD_ARGUMENT"
    assert "api_host" in error.happened


def test_a_release_that_does_not_say_how_its_entry_is_reached(
    school: School, make_school_release: Make, old: Slot
) -> None:
    release = make_school_release()
    del release["health"]["frontend"]
    error = refused(school, release, old)
    assert error.code == "RELEASE_INVALID"
    assert "'frontend'" in error.happened


def test_another_architecture(school: School, make_school_release: Make) -> None:
    error = refused(school, make_school_release(), None, architecture="riscv64")
    assert (error.code, error.values["architecture"]) == ("RELEASE_ARCHITECTURE", "riscv64")


@pytest.mark.parametrize(
    ("migration", "code"),
    [
        pytest.param("none", "RELEASE_INVALID", id="without-a-migration-refused"),
        pytest.param(None, None, id="with-one-allowed"),
    ],
)
def test_a_release_that_brings_another_database(
    school: School, make_school_release: Make, old: Slot, migration: str | None, code: str | None
) -> None:
    release = make_school_release(**({"migration": migration} if migration else {}))
    digest = "sha256:" + "f" * 64
    image = {"repository": "mysql", "digest": digest, "config": digest, "layers": [digest], "size": 1}
    release["services"]["mysql"] = {"images": {"amd64": image}}
    if code:
        error = refused(school, release, old)
        assert error.code == code
        assert "it changes the image of 'mysql' but declares that it has no migration" in error.happened
    else:
        planned = plan_slot(school, parse_release(release), run=2, architecture="amd64", current=old)
        assert planned.services["mysql"].config == digest


def test_a_restore_brings_old_services_on_fresh_volumes(school: School, old: Slot, new: Slot) -> None:
    slot = restored_slot(school, old, run=7, current=new)
    assert (slot.name, slot.run, slot.version, slot.network) == ("r7", 7, "1.0.0", "linden-r7")
    for name, service in old.services.items():
        assert slot.services[name].container == f"linden-{name}-r7"
        assert slot.services[name].image == service.image
        assert slot.services[name].config == service.config
    assert slot.release == old.release
    assert slot.own_volumes(new) == ["linden-mysql-data-r7", "linden-redis-data-r7", "linden-uploads-r7"]


def test_a_slot_survives_the_journal(new: Slot) -> None:
    again = Slot.from_dict(json.loads(json.dumps(new.as_dict())))
    assert again == new
    assert again.parsed_release().version.text == "1.0.1"
