# SPDX-License-Identifier: GPL-3.0-or-later
"""The description of a school: what it may leave out, and that everything wrong in it is refused by its name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.school import School, parse_school

Describe = Callable[..., dict[str, Any]]
MISSING = object()


def put(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of ``data`` with another value at the dotted path; numbers in it are positions in lists."""
    data = copy.deepcopy(data)
    place: Any = data
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        place = place[part]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return data


def refused(data: Any) -> str:
    with pytest.raises(ClmsError) as caught:
        parse_school(data)
    assert caught.value.code == "SCHOOL_INCOMPLETE"
    return caught.value.happened


def test_a_complete_description(describe: Describe, school: School, tmp_path: Path) -> None:
    assert (school.title, school.project, school.home) == ("Linden School", "linden", tmp_path / "home")
    assert [service.name for service in school.services] == ["mysql", "redis", "backend", "frontend"]
    assert [service.name for service in school.application] == ["redis", "backend", "frontend"]
    assert [service.name for service in school.by_role("application")] == ["backend", "frontend"]
    assert school.service("backend").egress is True
    assert school.service("backend").mounts == {"/etc/clms/ca.crt": "/app/ca.crt"}
    assert [(v.name, v.on_update) for v in school.service("backend").volumes] == [
        ("uploads", "copy"),
        ("logs", "share"),
    ]
    assert school.gate.container == "linden-gate"
    assert [(p.listen, p.mode) for p in school.gate.ports] == [(3000, "http"), (3306, "tcp")]
    assert school.raw == describe()


def test_what_may_be_left_out(school: School) -> None:
    assert [service.order for service in school.services] == [0, 1, 2, 3]
    assert school.service("mysql").stop_grace == 300  # killed, it could not be copied
    assert school.service("backend").stop_grace == 30
    assert {service.restart for service in school.services} == {"always"}
    assert (school.database.url_variable, school.database.port) == ("DATABASE_URL", 3306)
    assert (school.gate.address, school.gate.certificate_file, school.gate.drain_seconds) == ("0.0.0.0", None, 30)  # noqa: S104
    assert (school.trust.channel, school.trust.ca_file) == ("stable", None)
    assert (school.backup.maximum, school.backup.images, school.backup.external_path) == (5, True, None)
    assert (school.registry_credentials_file, school.registry_ca_file) == (None, None)
    assert (school.rehearse, school.reserve_bytes, school.smoke_steps) == (True, 512 * 1024 * 1024, ())


def test_null_is_the_same_as_left_out(describe: Describe) -> None:
    names = ("project", "registry_credentials_file", "registry_ca_file", "smoke_steps", "rehearse", "reserve_bytes")
    assert parse_school(describe(**dict.fromkeys(names))).project == "clms"


def test_services_start_in_their_order(describe: Describe) -> None:
    data = put(put(describe(), "services.3.order", 1), "services.0.order", 7)
    assert [service.name for service in parse_school(data).services] == ["redis", "frontend", "backend", "mysql"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("gate.certificate_file", "/etc/clms/gate.pem", id="certificate"),
        pytest.param("gate.address", "2001:db8::1", id="IPv6 address"),
        pytest.param("services.0.image", f"registry.test:5000/mysql@sha256:{'a' * 64}", id="image by digest"),
        pytest.param("backup.maximum", 2, id="two backups"),
        pytest.param("trust.pins", [f"{'A' * 43}=", f"{'B' * 43}="], id="two pins"),
        pytest.param("registry", "registry.test", id="registry without port"),
        pytest.param("services.2.environment", {"PORT": "3001", "WORKERS": 4}, id="a number in the environment"),
        pytest.param("services.3.volumes", [{"name": "logs", "path": "/l", "on_update": "share"}], id="shared volume"),
        pytest.param("smoke_steps", [{"name": "own", "path": "/api/own"}], id="own smoke step"),
    ],
)
def test_accepted(describe: Describe, path: str, value: Any) -> None:
    assert parse_school(put(describe(), path, value)).raw == put(describe(), path, value)


def test_values_of_the_environment_are_texts(describe: Describe) -> None:
    school = parse_school(put(describe(), "services.2.environment", {"WORKERS": 4}))
    assert school.service("backend").environment == {"WORKERS": "4"}


def test_an_address_ends_without_slash(describe: Describe) -> None:
    assert parse_school(put(describe(), "trust.url", "https://releases.test/x/")).trust.url == "https://releases.test/x"


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        pytest.param("title", MISSING, "clms_title is missing", id="no title"),
        pytest.param("title", "", "clms_title has a value that is not allowed", id="empty title"),
        pytest.param("title", "x" * 201, "clms_title", id="long title"),
        pytest.param("project", "Linden", "clms_project", id="upper case in project"),
        pytest.param("project", "-x", "clms_project", id="project like an option"),
        pytest.param("home", "state", "clms_home", id="home is relative"),
        pytest.param("services", MISSING, "clms_services is missing", id="no services"),
        pytest.param("services", [], "exactly one service with role database", id="empty services"),
        pytest.param("services", {}, "clms_services must be of type list", id="services are a mapping"),
        pytest.param("services.2.name", "back end", r"clms_services\[2\].name", id="space in a name"),
        pytest.param("services.2.role", "worker", r"clms_services\[2\].role", id="unknown role"),
        pytest.param("services.0.image", "mysql:8", r"clms_services\[0\].image", id="image by tag"),
        pytest.param("services.0.image", "sha256:abc", r"clms_services\[0\].image", id="cut digest"),
        pytest.param("services.2.egress", "yes", "must be of type bool", id="truth as text"),
        pytest.param("services.2.restart", "sometimes", r"clms_services\[2\].restart", id="restart policy"),
        pytest.param("services.2.stop_grace", 0, "must be from 1 to 3600", id="no grace"),
        pytest.param("services.2.env_file", "backend.env", r"clms_services\[2\].env_file", id="relative env file"),
        pytest.param("services.2.volumes.0.path", "uploads", "volumes.0..path", id="relative volume path"),
        pytest.param("services.2.volumes.0.on_update", "keep", "volumes.0..on_update", id="unknown treatment"),
        pytest.param("services.2.colour", "red", r"clms_services\[2\].colour is not known", id="unknown in service"),
        pytest.param("services.1.role", "database", "exactly one service with role database", id="two databases"),
        pytest.param("services.0.role", "cache", "exactly one service with role database", id="no database"),
        pytest.param("services.3.name", "backend", "two services of the same name", id="same name twice"),
        pytest.param("database.service", "maria", "exactly one service with role database", id="unknown database"),
        pytest.param("database.name", "clms; DROP", "clms_database.name", id="database name"),
        pytest.param("database.url_variable", "url", "clms_database.url_variable", id="lower-case variable"),
        pytest.param("database.port", 0, "clms_database.port", id="port 0"),
        pytest.param("database.host", "x", "clms_database.host is not known", id="unknown in database"),
        pytest.param("entry_service", "web", "entry_service names the service 'web'", id="unknown entry"),
        pytest.param("gate.ports.0.service", "web", "gate.ports names the service 'web'", id="unknown behind the gate"),
        pytest.param("gate.ports.0.mode", "tcp", "needs a port with mode http", id="no http port"),
        pytest.param("gate.ports.0.listen", 65_536, "clms_gate.ports.0..listen", id="port too high"),
        pytest.param("gate.ports.1.listen", 3000, "twice", id="a port twice"),
        pytest.param("gate.ports", [], "needs a port with mode http", id="no ports"),
        pytest.param("gate.address", "school.test", "clms_gate.address", id="address is a name"),
        pytest.param("gate.colour", "red", "clms_gate.colour is not known", id="unknown in gate"),
        pytest.param("trust.url", "http://releases.test", "clms_trust.url", id="without TLS"),
        pytest.param("trust.root_file", MISSING, "clms_trust.root_file is missing", id="no pinned root"),
        pytest.param("trust.fingerprints", ["A" * 40], "clms_trust.fingerprints is not known", id="keys of its own"),
        pytest.param("trust.pins", [f"{'A' * 43}="], "needs a second key", id="one pin"),
        pytest.param("trust.pins", ["A" * 44, "B" * 44], "clms_trust.pins", id="no pins"),
        pytest.param("bundle_folders", ["usb"], "clms_bundle_folders", id="relative folder"),
        pytest.param("registry", "https://registry.test", "clms_registry", id="registry is a URL"),
        pytest.param("backup.maximum", 1, "must be from 2", id="one backup"),
        pytest.param("backup.recovery_recipient", "AGE-SECRET-KEY-1X", "recovery_recipient", id="the private half"),
        pytest.param("backup.signing_key_file", MISSING, "signing_key_file is missing", id="no signing key"),
        pytest.param("reserve_bytes", -1, "clms_reserve_bytes", id="negative reserve"),
        pytest.param("rehearse", "no", "clms_rehearse must be of type bool", id="rehearse as text"),
        pytest.param("smoke_steps", [{"name": "x", "path": "api"}], r"clms_smoke_steps\[0\].path", id="smoke step"),
        pytest.param("backup_path", "/backups", "clms_backup_path is not known", id="unknown"),
        pytest.param("services.1.volumes.0.name", "uploads", "uses a volume twice", id="volume twice"),
        pytest.param("services.0.volumes.0.on_update", "share", "on_update copy", id="shared database"),
        pytest.param("services.0.volumes.0.on_update", "empty", "on_update copy", id="database as a cache"),
    ],
)
def test_refused_by_name(describe: Describe, path: str, value: Any, complaint: str) -> None:
    with pytest.raises(ClmsError, match=complaint) as caught:
        parse_school(put(describe(), path, value))
    assert caught.value.code == "SCHOOL_INCOMPLETE"


@pytest.mark.parametrize("data", [None, [], "text", {}])
def test_no_description_at_all(data: Any) -> None:
    assert "clms_" in refused(data)


def test_the_description_is_not_shown_with_the_object(describe: Describe) -> None:
    assert "raw=" not in repr(parse_school(describe()))


@pytest.mark.parametrize(
    ("location", "drive", "copied"),
    [
        (None, None, None),
        (None, "/media/usb", "/media/usb"),
        ("local", None, None),
        ("local", "/media/usb", None),
        ("external", "/media/usb", "/media/usb"),
    ],
)
def test_where_a_second_copy_of_a_backup_goes(
    describe: Describe, location: str | None, drive: str | None, copied: str | None
) -> None:
    assert parse_school(put(describe(), "backup.external_path", drive)).backup.copied_to(location) == copied


def test_a_copy_to_a_drive_that_nobody_has_named(describe: Describe) -> None:
    with pytest.raises(ClmsError) as caught:
        parse_school(put(describe(), "backup.external_path", None)).backup.copied_to("external")
    assert caught.value.code == "BACKUP_LOCATION"
