# SPDX-License-Identifier: GPL-3.0-or-later
"""What preflight decides without looking at the server: release, description, words, phases, mounts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters.files import mount_of
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.phases import preflight
from ansible_collections.clms.update.plugins.module_utils.phases.preflight_checks import (
    check_description,
    check_release,
)
from ansible_collections.clms.update.plugins.module_utils.plan import KINDS
from ansible_collections.clms.update.plugins.module_utils.release import parse_release
from ansible_collections.clms.update.plugins.module_utils.school import School, parse_school
from ansible_collections.clms.update.plugins.module_utils.slots import Slot
from ansible_collections.clms.update.plugins.module_utils.version import UPDATER

Make = Callable[..., dict[str, Any]]


def code(action: Callable[[], Any]) -> str:
    with pytest.raises(ClmsError) as caught:
        action()
    return caught.value.code


# may this release be installed over what runs?

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "current", "kind", "expected"),
    [
        pytest.param({}, "1.0.0", "update", None, id="update"),
        pytest.param({}, None, "install", None, id="install"),
        pytest.param({"minVersion": None}, "0.1.0", "update", None, id="any older version"),
        pytest.param({"minUpdaterVersion": UPDATER.text}, "1.0.0", "update", None, id="just this updater"),
        pytest.param({"expires": "2026-06-01T00:00:01Z"}, "1.0.0", "update", None, id="in its last second"),
        pytest.param({}, "1.0.1", "update", "RELEASE_SAME", id="it runs already"),
        pytest.param({}, "1.0.0", "install", "RELEASE_SAME", id="installed already"),
        pytest.param({}, "1.0.2", "update", "RELEASE_OLDER", id="older"),
        pytest.param({}, "0.9.0", "update", "RELEASE_MIN_VERSION", id="too far"),
        pytest.param({}, None, "update", "NOT_INSTALLED", id="nothing to update"),
        pytest.param({"minUpdaterVersion": "99.0.0"}, "1.0.0", "update", "RELEASE_UPDATER_TOO_OLD", id="updater"),
        pytest.param({"minUpdaterVersion": "99.0.0"}, None, "install", "RELEASE_UPDATER_TOO_OLD", id="its install"),
        pytest.param({"expires": "2026-06-01T00:00:00Z"}, "1.0.0", "update", "RELEASE_EXPIRED", id="expired"),
        pytest.param({"expires": "2025-01-01T00:00:00Z"}, None, "install", "RELEASE_EXPIRED", id="expired install"),
        pytest.param({"expires": "2025-01-01T00:00:00Z"}, "1.0.1", "update", "RELEASE_SAME", id="expired, but runs"),
    ],
)
def test_check_release(
    make_school_release: Make, old: Slot, changes: dict[str, Any], current: str | None, kind: str, expected: str | None
) -> None:
    release = parse_release(make_school_release("1.0.1", **changes))
    slot = Slot.from_dict({**old.as_dict(), "version": current}) if current else None
    if expected:
        assert code(lambda: check_release(release, slot, kind, now=NOW)) == expected
    else:
        check_release(release, slot, kind, now=NOW)


def test_without_a_reference_time_it_is_now(make_school_release: Make, old: Slot) -> None:
    expired = parse_release(make_school_release(expires="2020-01-01T00:00:00Z"))
    assert code(lambda: check_release(expired, old, "update")) == "RELEASE_EXPIRED"
    check_release(parse_release(make_school_release()), old, "update")


# does the description fit what was installed?

Spoil = Callable[[list[dict[str, Any]]], object]
SEARCH = {"name": "search", "image": "sha256:" + "e" * 64}
SECOND = {"name": "covers", "path": "/app/covers"}


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        pytest.param(lambda services: None, None, id="the same"),
        pytest.param(lambda services: services[2].update(environment={"A": "1"}, egress=False), None, id="a setting"),
        pytest.param(lambda services: services[2]["volumes"][0].update(path="/files"), None, id="a path"),
        pytest.param(lambda services: services.reverse(), None, id="another order"),
        pytest.param(lambda services: services.append(SEARCH), "names the service 'search'", id="a service more"),
        pytest.param(lambda services: services.pop(3), "does not name the service 'frontend'", id="a service fewer"),
        pytest.param(
            lambda services: services[3].update(name="web"), "does not name the service 'frontend'", id="another name"
        ),
        pytest.param(
            lambda services: services[2]["volumes"].append(SECOND), "names the volume 'covers'", id="a volume more"
        ),
        pytest.param(
            lambda services: services[2]["volumes"].pop(0), "does not name the volume 'uploads'", id="a volume fewer"
        ),
        pytest.param(
            lambda services: services[1].update(volumes=[]), "does not name the volume 'redis-data'", id="a cache's"
        ),
        pytest.param(
            lambda services: (services.append(SEARCH), services[2]["volumes"].pop(0)),
            "names the service 'search'",
            id="services first",
        ),
    ],
)
def test_check_description(describe: Make, old: Slot, change: Spoil, detail: str | None) -> None:
    description = describe(entry_service="mysql")
    description["gate"]["ports"] = [
        {"listen": 80, "service": "mysql", "port": 80}
    ]  # whatever service goes, it is known
    change(description["services"])
    school = parse_school(description)
    if detail is None:
        check_description(school, old)
        return
    with pytest.raises(ClmsError) as caught:
        check_description(school, old)
    assert caught.value.code == "SCHOOL_CHANGED"
    assert caught.value.happened == f"The description of this school does not fit its CLMS 1.0.0: it {detail}."


# words and numbers


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ({"borrows": 5, "books": 2}, "at least 7 writes (2 in books, 5 in borrows)"),
        ({"books": 1}, "at least 1 write (1 in books)"),
        ({"books": 3, "students": 0}, "at least 3 writes (3 in books)"),
        ({}, "what was changed, although no new rows were found,"),
    ],
    ids=["several", "one", "untouched tables are left out", "none that could be counted"],
)
def test_words_for_lost_writes(lost: dict[str, int], words: str) -> None:
    assert preflight._words(lost) == words


@pytest.mark.parametrize(
    ("kind", "rehearse", "has_rehearsal"),
    [("update", True, True), ("update", False, False), ("update_images", False, False), ("backup", True, False)],
)
def test_a_school_may_skip_the_rehearsal(
    describe: Make, school: School, kind: str, rehearse: bool, has_rehearsal: bool
) -> None:
    found = preflight.phases_of(kind, parse_school(describe(rehearse=rehearse)))
    assert ("rehearse" in found) is has_rehearsal
    assert [phase for phase in KINDS[kind] if phase != "rehearse"] == [p for p in found if p != "rehearse"]


def test_the_mount_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    there, beyond = mount_of(tmp_path), mount_of(tmp_path / "a" / "b")
    assert (beyond.identity, beyond.path) == (there.identity, there.path)  # what is free changes all the time
    assert there.identity == tmp_path.stat().st_dev
    assert tmp_path.is_relative_to(there.path)
    assert Path(there.path).is_mount()
    assert there.free > 0


def test_different_mounts() -> None:
    assert mount_of(Path("/proc")).identity != mount_of(Path("/")).identity
    assert mount_of(Path("/proc/self")).path == "/proc"
    assert mount_of(Path("/")).path == "/"
