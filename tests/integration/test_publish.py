# SPDX-License-Identifier: GPL-3.0-or-later
"""A release from its definition to the school: real GPG, engine, registry and HTTPS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import pytest

from ansible_collections.clms.update.plugins.module_utils.fetcher import HttpsFetcher
from ansible_collections.clms.update.plugins.module_utils.gpg import verify_package
from ansible_collections.clms.update.plugins.module_utils.https import HttpsClient
from ansible_collections.clms.update.plugins.module_utils.registry import Registry, latest
from ansible_collections.clms.update.plugins.module_utils.trust import TrustStore
from publisher.cli import main

from .conftest import Authority, RunningRegistry, https_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home() -> Iterator[Path]:
    # not tmp_path: gpg's agent has a socket in there, and the path of a socket is short
    folder = Path(tempfile.mkdtemp(prefix="clms-"))
    yield folder / "home"
    shutil.rmtree(folder, ignore_errors=True)  # gpg's agent is removing its sockets meanwhile


@pytest.fixture
def release(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Runs ``clms-release … --json`` and returns what it printed."""

    def run(*arguments: object, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert main([*map(str, arguments), "--json"]) == code, capsys.readouterr().out
        answer = json.loads(capsys.readouterr().out)
        assert isinstance(answer, dict)
        return answer

    return run


def definition(folder: Path, version: str, sequence: int, image: str) -> Path:
    path = folder / f"{version}.json"
    data = {
        "version": version,
        "sequence": sequence,
        "changelog": f"What is new in {version}",
        "images": {"backend": image},
        "health": {"backend": {"path": "/api/health", "port": 3001, "timeoutSeconds": 30}},
    }
    path.write_text(json.dumps(data))
    return path


def test_from_definition_to_school(
    home: Path,
    tmp_path: Path,
    release: Callable[..., dict[str, Any]],
    registry: RunningRegistry,
    authority: Authority,
    engine: docker.DockerClient,
    make_image: Callable[..., str],
) -> None:
    served = tmp_path / "served"
    sign = [
        *("--registry", registry.address, "--registry-ca", registry.ca),
        *("--registry-credentials", registry.credentials),
    ]
    made = release("init", "--home", home)
    for sequence, version in enumerate(("1.0.1", "1.0.2"), start=1):
        path = definition(tmp_path, version, sequence, make_image("backend", version))
        release("build", "--home", home, "--definition", path)
        signed = release("sign", "--home", home, version, *sign)
        assert signed["images"].keys() == {"backend/amd64"}
    assert release("publish", "--home", home, "--to", served)["written"]
    assert release("publish", "--home", home, "--to", served)["written"] == []
    assert [entry["version"] for entry in release("list", "--home", home)["releases"]] == ["1.0.1", "1.0.2"]

    with https_folder(served, authority) as url, closing(HttpsClient(ca_file=authority.ca)) as http:
        store = TrustStore(
            state=tmp_path / "state", pinned_root=Path(made["root"]), url=url, fetcher=HttpsFetcher(http)
        )
        started = time.monotonic()
        store.refresh()
        found = store.release("1.0.2")
        assert time.monotonic() - started < 5  # what users are promised; `make bench` measures
        package = store.package(found, tmp_path)
        assert store.fingerprints() == {made["fingerprint"]}
        verify_package(
            version="1.0.2",
            package=package,
            signature=package.with_name(package.name + ".sig"),
            key=store.public_keys()[made["fingerprint"]],
            fingerprints=store.fingerprints(),
        )

        school = Registry(registry.address, http=http, credentials=registry.credentials)
        image = found.image("backend", "amd64")
        assert school.verify(image.repository, image.digest, image.config).digest == image.digest
        assert latest(school.tags(image.repository)) == "1.0.2"
        assert school.digest(image.repository, "1.0.2") == image.digest

        # a tag moved to another image: it leads elsewhere now, the digest does not
        older = store.release("1.0.1").image("backend", "amd64")
        retag(engine, registry, image.repository, make_image("backend", "swapped"), "1.0.2")
        assert school.digest(image.repository, "1.0.2") not in (image.digest, older.digest)
        assert school.verify(image.repository, image.digest, image.config).config == image.config
    asked = registry_info(registry, {"repository": image.repository, "reference": image.digest})
    assert (asked["verified"], asked["manifest"]["config"], asked["latest"]) == (True, image.config, "1.0.2")
    assert not asked["changed"]


def retag(engine: docker.DockerClient, registry: RunningRegistry, repository: str, image: str, tag: str) -> None:
    """Push another image under a tag that is there already."""
    name = f"{registry.address}/{repository}"
    engine.api.tag(image, name, tag)
    lines = list(engine.api.push(name, tag, auth_config=registry.login(), stream=True, decode=True))
    engine.images.remove(f"{name}:{tag}")
    assert not [line for line in lines if "error" in line]


def registry_info(registry: RunningRegistry, options: dict[str, str], *, check: bool = False) -> dict[str, Any]:
    """The answer of the module, run by Ansible on this machine."""
    options = {"registry": registry.address, "ca_file": str(registry.ca), **options}
    options = {"credentials_file": str(registry.credentials), **options}
    command = ["localhost", "-m", "clms.update.registry_info", "-a", json.dumps(options)]
    command += ["-e", f"ansible_python_interpreter={sys.executable}", *(["--check"] if check else [])]
    result = subprocess.run(
        [Path(sys.executable).with_name("ansible"), *command],
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "json", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout, result.stderr
    answer = json.loads(result.stdout[result.stdout.index("{") :])["plays"][0]["tasks"][0]["hosts"]["localhost"]
    assert isinstance(answer, dict)
    return answer


ZEROS = "sha256:" + "0" * 64


@pytest.mark.parametrize("check", [True, False], ids=["check mode", "real"])
def test_registry_info(
    check: bool, registry: RunningRegistry, engine: docker.DockerClient, make_image: Callable[..., str]
) -> None:
    retag(engine, registry, "clms/info", make_image("info"), "1.2.3")
    tags = registry_info(registry, {"repository": "clms/info"}, check=check)
    assert (tags["tags"], tags["latest"], tags["changed"]) == (["1.2.3"], "1.2.3", False)
    by_tag = registry_info(registry, {"repository": "clms/info", "reference": "1.2.3"}, check=check)
    assert (by_tag["verified"], by_tag["problem"]) == (False, None)
    other_config = {"repository": "clms/info", "reference": by_tag["digest"], "config": ZEROS}
    assert registry_info(registry, other_config, check=check)["problem"]["code"] == "IMAGE_MISMATCH"
    missing = registry_info(registry, {"repository": "clms/info", "reference": ZEROS}, check=check)
    assert (missing["verified"], missing["problem"]["code"]) == (False, "REGISTRY_DIGEST_MISSING")


def test_registry_info_refuses(registry: RunningRegistry, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.touch(mode=0o600)
    wrong.write_text('{"username": "school", "password": "canary-17"}')
    answer = registry_info(registry, {"repository": "clms/info", "credentials_file": str(wrong)})
    assert (answer["failed"], answer["code"]) == (True, "REGISTRY_LOGIN")
    wrong.chmod(0o644)
    answer = registry_info(registry, {"repository": "clms/info", "credentials_file": str(wrong)})
    assert answer["code"] == "SECRET_FILE"
    assert "canary-17" not in json.dumps(answer)
