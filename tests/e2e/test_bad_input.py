# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot be done is refused before anything is touched, with a code, what happened and what to do."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.observe import School
from tests.integration.conftest import archive
from tests.sample_clms import build as sample
from tests.stand.stand import Stand


@pytest.fixture
def school(school_named: Callable[[str], School]) -> School:
    return school_named("birch")


@contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """Another content in a file, for a while."""
    before = path.read_bytes()
    try:
        path.write_bytes(content)  # not renamed: who serves or mounts the file has to see it
        yield
    finally:
        path.write_bytes(before)


@contextmanager
def moved_away(path: Path, to: Path) -> Iterator[None]:
    """A file or folder that is gone for a while."""
    shutil.move(path, to)
    try:
        yield
    finally:
        shutil.move(to, path)


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    """A folder in which not even root can write."""
    subprocess.run(["chattr", "+i", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


@pytest.mark.parametrize(
    ("version", "code"),
    [("9.9.9", "RELEASE_UNKNOWN"), ("1.0", "RELEASE_UNKNOWN"), ("{{ 1 + 1 }}", "RELEASE_UNKNOWN")],
)
def test_version_that_was_never_published(school: School, version: str, code: str) -> None:
    assert version in school.assert_refused(code, "update", "--version", version)


def test_version_that_needs_a_newer_one_first(school: School) -> None:
    message = school.assert_refused("RELEASE_MIN_VERSION", "update", "--version", "1.1.0")
    assert "1.0.1" in message


def test_backup_for_a_drive_that_there_is_not(school: School) -> None:
    school.assert_refused("BACKUP_LOCATION", "update", "--version", "1.0.1", "--backup-location", "external")


def newest(folder: Path, role: str) -> Path:
    """The newest metadata file of a role."""
    return max(folder.glob(f"*.{role}.json"), key=lambda path: int(path.name.split(".")[0]))


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_tampered_metadata(school: School, stand: Stand, role: str) -> None:
    folder = stand.vendor / "releases/repository/metadata"
    path = folder / "timestamp.json" if role == "timestamp" else newest(folder, role)
    signed: dict[str, Any] = json.loads(path.read_text())
    signed["signed"]["expires"] = "2099-01-01T00:00:00Z"
    # what this school has verified before, it would not ask for again
    shutil.rmtree(school.home / "trust")
    with replaced(path, json.dumps(signed).encode()):
        school.assert_refused("TRUST_REFUSED", "update", "--version", "1.0.1")


def test_tampered_description_of_a_release(school: School, stand: Stand) -> None:
    path = next((stand.vendor / "releases/repository/targets/releases").glob("*.1.0.1.json"))
    content = path.read_bytes()
    tampered = content.replace(b'"migration": {', b'"migratiom": {')
    assert tampered != content
    with replaced(path, tampered):
        school.assert_refused("TRUST_REFUSED", "update", "--version", "1.0.1")


def test_tampered_package(school: School, stand: Stand) -> None:
    path = next((stand.vendor / "releases/repository/targets/packages").glob("*.clms-1.0.1.zip"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with replaced(path, bytes(content)):
        school.assert_refused("PACKAGE_CORRUPT", "update", "--version", "1.0.1")


def test_digest_that_the_registry_does_not_have(school: School, stand: Stand, tmp_path: Path) -> None:
    registry = school.engine.volume_path(f"{stand.prefix}-vendor-registry")
    assert registry is not None
    path = next((stand.vendor / "releases/repository/targets/releases").glob("*.1.0.9-dies.json"))
    (image,) = json.loads(path.read_text())["services"]["backend"]["images"].values()
    revisions = registry / "docker/registry/v2/repositories" / image["repository"] / "_manifests/revisions/sha256"
    with moved_away(revisions / image["digest"].removeprefix("sha256:"), tmp_path / "manifest"):
        message = school.assert_refused("REGISTRY_DIGEST_MISSING", "update", "--version", "1.0.9-dies")
    assert image["digest"] in message


@pytest.fixture
def arm_image(school: School, stand: Stand) -> Iterator[str]:
    """An image for another processor than this server's; without a single file."""
    name, layer = f"{stand.prefix}-arm:1", bytes(10_240)
    config = {
        "architecture": "arm64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": "2026-01-02T03:04:05Z"}],
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    members = {"manifest.json": json.dumps(manifest).encode(), "config.json": json.dumps(config).encode()}
    school.engine.client.images.load(archive({**members, "layer.tar": layer}))
    yield name
    school.engine.client.images.remove(name)


def test_source_that_is_built_on_images_for_another_processor(
    school: School, stand: Stand, arm_image: str, tmp_path: Path
) -> None:
    described = sample.release_definition("1.0.3")
    for build in described["builds"].values():
        build["bases"] = dict.fromkeys(build["bases"], arm_image)
    definition, source = tmp_path / "definition.json", tmp_path / "source"
    definition.write_text(json.dumps({**described, "version": "1.0.9-arm", "sequence": 151, "channel": "test"}))
    sample.write_source("1.0.3", source)
    stand.release_tool("build", "--definition", definition, "--source", source)
    stand.sign("1.0.9-arm")
    stand.publish_signed()
    with school.described(clms_build_arguments={"api_url": "https://library.birch.test"}):
        message = school.assert_refused("RELEASE_ARCHITECTURE", "update", "--version", "1.0.9-arm")
    assert "1.0.9-arm" in message
    assert "amd64" in message


def test_engine_that_does_not_run(school: School, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with school.untouched():
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
        done = school.clms_update("update", "--version", "1.0.1", "--json")
        monkeypatch.delenv("DOCKER_HOST")
    assert (done.code, done.json()["error_code"]) == (2, "ENGINE_UNREACHABLE"), done.output
    assert "Traceback" not in done.output + done.errors
    assert "systemctl start docker" in done.json()["remedy"]


def test_wrong_database_password(school: School) -> None:
    path = school.folder / "etc/secrets/database.cnf"
    right = path.read_text()
    wrong = "\n".join('password="wrong"' if line.startswith("password") else line for line in right.splitlines())
    assert wrong != right.rstrip("\n")
    with school.untouched():
        path.write_text(wrong)
        try:
            done = school.clms_update("update", "--version", "1.0.1", "--json")
        finally:
            path.write_text(right)
    assert (done.code, done.json()["error_code"]) == (2, "DATABASE_LOGIN"), done.output
    assert "Traceback" not in done.output + done.errors


def test_disk_too_small(school: School) -> None:
    with school.described(clms_reserve_bytes=10**15):
        message = school.assert_refused("DISK_TOO_SMALL", "update", "--version", "1.0.1")
    # the arithmetic: every term, the sum, what is free and what is missing
    for word in ("backup", "restore test", "slot", "reserve 1000.0 TB", "needed", "free", "missing"):
        assert word in message


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"clms_registry": None}, "registry"),
        ({"clms_services": []}, "services"),
        ({"clms_backup": {"path": "/var/backups/clms"}}, "backup"),
        ({"clms_title": "{{ nobody }}"}, "clms_title"),
    ],
    ids=["no registry", "no services", "backup without keys", "template"],
)
def test_incomplete_description(school: School, changes: dict[str, Any], named: str) -> None:
    with school.described(**changes):
        message = school.assert_refused("SCHOOL_INCOMPLETE", "update", "--version", "1.0.1")
    assert named in message


def test_description_that_does_not_fit_what_runs(school: School) -> None:
    services = school.description()["clms_services"]
    for changed in ([*services, {"name": "search"}], services[:-1]):
        changes = {"clms_services": changed}
        if len(changed) < len(services):
            gate = school.description()["clms_gate"]
            ports = [{**port, "service": changed[-1]["name"]} for port in gate["ports"]]
            changes |= {"clms_entry_service": changed[-1]["name"], "clms_gate": {**gate, "ports": ports}}
        with school.described(**changes):
            message = school.assert_refused("SCHOOL_CHANGED", "update", "--version", "1.0.1")
        assert ("search" if len(changed) > len(services) else services[-1]["name"]) in message


def test_gate_that_is_to_have_another_port(school: School) -> None:
    gate = school.description()["clms_gate"]
    ports = [*gate["ports"], {"listen": 1, "service": gate["ports"][0]["service"], "port": gate["ports"][0]["port"]}]
    with school.described(clms_gate={**gate, "ports": ports}):
        message = school.assert_refused("GATE_DIFFERS", "update", "--version", "1.0.1")
    assert f"{gate['ports'][0]['listen']}" in message


def test_version_that_does_not_work_is_not_updated(school: School) -> None:
    """Or its faults would be taken for the update's; nothing is closed for that."""
    credentials = school.folder / "etc/secrets/smoke.json"
    wrong = json.dumps({**json.loads(credentials.read_text()), "password": "wrong"}).encode()
    with replaced(credentials, wrong):
        message = school.assert_refused("SCHOOL_NOT_RUNNING", "update", "--version", "1.0.1")
    assert "login" in message


def test_incomplete_description_through_ansible(school: School) -> None:
    """The vendor's workstation gets the same refusal, and no traceback either."""
    with school.untouched():
        done = school.playbook("update", "-e", "clms_version=1.0.1", "-e", '{"clms_registry": null}')
    assert done.code != 0
    assert "registry" in done.output
    assert "Traceback" not in done.output + done.errors


def test_file_in_place_of_the_backup_folder(school: School, tmp_path: Path) -> None:
    file = tmp_path / "no-folder"
    file.touch()
    with school.described(clms_backup={**school.description()["clms_backup"], "path": str(file)}):
        assert str(file) in school.assert_refused("BACKUP_PLACE", "update", "--version", "1.0.1")


def test_backup_folder_that_cannot_be_written(school: School) -> None:
    folder = school.folder / "backups"
    with immutable(folder):
        assert str(folder) in school.assert_refused("BACKUP_PLACE", "update", "--version", "1.0.1")


def test_school_is_as_it_was(school: School) -> None:
    """After all these refusals an update that can be done is still possible, and nothing was written down wrongly."""
    school.assert_serves("1.0.0")
    done = school.clms_update("doctor", "--json")
    assert done.code == 1, done.output
    problems = {check["name"] for check in done.json()["checks"] if check["ok"] is False}
    assert problems == {"last backup"}  # there is none yet
