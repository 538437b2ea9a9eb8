# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a release: what is accepted, and that each bad field refuses it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.release import MAX_BYTES, SmokeStep, parse_release

MakeRelease = Callable[..., dict[str, Any]]
MISSING = object()


def refused(data: Any) -> ClmsError:
    with pytest.raises(ClmsError) as caught:
        parse_release(data)
    return caught.value


def test_a_complete_release(make_release: MakeRelease) -> None:
    release = parse_release(json.dumps(make_release("1.0.1", 7)).encode())
    assert (release.version.text, release.sequence, release.channel) == ("1.0.1", 7, "stable")
    assert release.date == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert release.services == ["backend", "frontend"]
    assert release.image("backend", "amd64").repository == "clms/backend"
    assert release.builds["frontend"].arguments == {"API": "${api_url}"}
    assert release.bases("frontend", "amd64")["BASE_IMAGE"].repository == "clms/frontend/base_image"
    assert [image.repository for image in release.all_images("amd64")] == ["clms/backend", "clms/frontend/base_image"]
    assert release.migration is not None
    assert release.migration.command == ("npx", "prisma", "migrate", "deploy")
    assert release.smoke[0] == SmokeStep(
        name="login",
        method="POST",
        path="/api/auth/login",
        json={"username": "${user}"},
        status=(200, 201, 202, 204),
        save={},
        writes=False,
    )
    assert release.force_after is None


def test_what_may_be_left_out(make_release: MakeRelease) -> None:
    data = make_release()
    for name in ("breakingChanges", "critical", "forceAfterDate", "gracePeriodDays", "minVersion"):
        del data[name]
    release = parse_release({**data, "migration": "none"})
    assert (release.breaking_changes, release.critical, release.grace_days) == ((), False, 0)
    assert (release.minimum, release.migration, release.force_after) == (None, None, None)


def test_a_forced_release(make_release: MakeRelease) -> None:
    data = make_release(critical=True, forceAfterDate="2026-02-01T00:00:00Z", gracePeriodDays=14)
    release = parse_release(data)
    assert (release.force_after, release.grace_days) == (datetime(2026, 2, 1, tzinfo=UTC), 14)


def test_another_architecture(make_release: MakeRelease) -> None:
    release = parse_release(make_release())
    for ask in (partial(release.image, "backend"), partial(release.bases, "frontend"), release.all_images):
        with pytest.raises(ClmsError) as caught:
            ask("arm64")
        assert caught.value.code == "RELEASE_ARCHITECTURE"


def test_what_is_built_on_nothing(make_release: MakeRelease) -> None:
    data = make_release()
    del data["services"]["frontend"]["build"]["bases"]
    assert parse_release(data).bases("frontend", "arm64") == {}


BAD_FIELDS: list[tuple[str, Any]] = [
    ("format", MISSING),
    ("format", 2),
    ("format", "1"),
    ("version", MISSING),
    ("version", ""),
    ("version", "1.0"),
    ("version", "v1.0.1"),
    ("version", "1.0.1+build"),
    ("version", "../1.0.1"),
    ("version", "1" * 65),
    ("version", 1),
    ("sequence", MISSING),
    ("sequence", 0),
    ("sequence", -1),
    ("sequence", 2**60),
    ("sequence", True),
    ("sequence", 1.5),
    ("channel", MISSING),
    ("channel", "Stable"),
    ("channel", "a b"),
    ("releaseDate", MISSING),
    ("releaseDate", "2026-01-02"),
    ("releaseDate", "2026-13-02T00:00:00Z"),
    ("releaseDate", "2026-01-02T00:00:00+01:00"),
    ("expires", MISSING),
    ("expires", "never"),
    ("changelog", MISSING),
    ("changelog", ""),
    ("changelog", "x" * 200_001),
    ("changelog", ["x"]),
    ("breakingChanges", "one"),
    ("breakingChanges", [1]),
    ("critical", "yes"),
    ("critical", 1),
    ("forceAfterDate", "2026-01-02T00:00:00Z"),  # without critical
    ("forceAfterDate", "soon"),
    ("gracePeriodDays", -1),
    ("gracePeriodDays", 366),
    ("minVersion", "1"),
    ("minUpdaterVersion", MISSING),
    ("minUpdaterVersion", "0.1"),
    ("estimatedMinutes", MISSING),
    ("estimatedMinutes", 0),
    ("migration", MISSING),
    ("migration", "some"),
    ("migration", {}),
    ("migration.service", "nothing"),
    ("migration.command", []),
    ("migration.command", "npx"),
    ("migration.command", [""]),
    ("migration.from", MISSING),
    ("migration.to", ""),
    ("migration.timeoutSeconds", 0),
    ("migration.timeoutSeconds", 86_401),
    ("migration.shell", True),
    ("services", MISSING),
    ("services", {}),
    ("services", []),
    ("services.backend", "image"),
    ("services.backend", {}),
    ("services.backend.extra", 1),
    ("services.backend.images.amd64.repository", "UPPER"),
    ("services.backend.images.amd64.repository", "clms/backend:1.0.1"),
    ("services.backend.images.amd64.repository", "../backend"),
    ("services.backend.images.amd64.digest", MISSING),
    ("services.backend.images.amd64.digest", "latest"),
    ("services.backend.images.amd64.digest", "sha256:" + "A" * 64),
    ("services.backend.images.amd64.config", MISSING),
    ("services.backend.images.amd64.layers", MISSING),
    ("services.backend.images.amd64.layers", []),
    ("services.backend.images.amd64.layers", ["sha256:1"]),
    ("services.backend.images.amd64.size", -1),
    ("services.backend.images.amd64.tag", "1.0.1"),
    ("services.backend.images", {}),
    ("services.backend.images.AMD 64", {}),
    ("services.backend.images.", {}),
    ("services.Bad Name", {"build": {"source": "source/x"}}),
    ("services.frontend.build.source", "/etc"),
    ("services.frontend.build.source", "../etc"),
    ("services.frontend.build.source", "source/../../etc"),
    ("services.frontend.build.arguments", {"API": 1}),
    ("services.frontend.build.arguments", {"a b": "x"}),
    ("services.frontend.build.arguments", {"BASE_IMAGE": "debian"}),
    ("services.frontend.build.bases", {"BASE_IMAGE": {}}),
    ("services.frontend.build.bases", {"BASE_IMAGE": "debian"}),
    ("services.frontend.build.bases", {"a=b": {}}),
    ("services.frontend.build.bases.BASE_IMAGE.amd64.tag", "latest"),
    ("services.frontend.build.size", MISSING),
    ("services.frontend.build.size", -1),
    ("services.frontend.build.network", "host"),
    ("services.frontend.images", {}),
    ("health", MISSING),
    ("health.nothing", {"path": "/", "port": 80, "timeoutSeconds": 5}),
    ("health.backend.path", "health"),
    ("health.backend.path", "/a b"),
    ("health.backend.port", 0),
    ("health.backend.port", 65_536),
    ("health.backend.timeoutSeconds", 3601),
    ("health.backend.host", "evil.test"),
    ("smoke", MISSING),
    ("smoke", {}),
    ("smoke.0.name", ""),
    ("smoke.0.method", "TRACE"),
    ("smoke.0.path", "http://evil.test/"),
    ("smoke.0.status", []),
    ("smoke.0.status", [99]),
    ("smoke.0.status", [True]),
    ("smoke.0.save", {"id": 1}),
    ("smoke.0.writes", "no"),
    ("smoke.0.headers", {}),
    ("package", MISSING),
    ("package.path", "/etc/passwd"),
    ("package.path", "packages/../../x.zip"),
    ("package.path", ".zip"),
    ("package.size", -1),
    ("package.sha256", "0" * 63),
    ("package.url", "https://evil.test/"),
    ("surprise", 1),
]


@pytest.mark.parametrize(("path", "value"), BAD_FIELDS, ids=lambda value: "missing" if value is MISSING else None)
def test_each_bad_field_refuses_the_release(path: str, value: Any, make_release: MakeRelease) -> None:
    release = copy.deepcopy(make_release())
    *parents, name = path.split(".")
    place: Any = release
    for parent in parents:
        place = place[int(parent)] if parent.isdigit() else place[parent]
    if value is MISSING:
        del place[name]
    else:
        place[name] = value
    error = refused(release)
    assert error.code == "RELEASE_INVALID"
    assert len(error.happened) < 500


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"product": "clms"', id="cut"),
        pytest.param(b"[" * 100_000, id="nested too deeply"),
        pytest.param(b" " * (MAX_BYTES + 1), id="too large"),
        pytest.param(b'{"product": "clms", "version": 1e999}', id="infinite number"),
    ],
)
def test_what_is_no_release(data: bytes) -> None:
    assert refused(data).code == "RELEASE_INVALID"


@pytest.mark.parametrize("product", ["other", "CLMS", "clms-enterprise"])
def test_another_product(product: str, make_release: MakeRelease) -> None:
    assert refused(make_release(product=product)).code == "RELEASE_OTHER_PRODUCT"
