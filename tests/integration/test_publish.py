# SPDX-License-Identifier: GPL-3.0-or-later
"""A release from its definition to the school: real GPG, engine, registry and HTTPS."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fetcher import HttpsFetcher
from ansible_collections.clms.update.plugins.module_utils.gpg import verify_package
from ansible_collections.clms.update.plugins.module_utils.https import HttpsClient
from ansible_collections.clms.update.plugins.module_utils.registry import Registry, latest
from ansible_collections.clms.update.plugins.module_utils.trust import TrustStore
from publisher.cli import main

from .conftest import Authority, RunningRegistry, https_folder


@pytest.fixture
def home() -> Iterator[Path]:
    # not tmp_path: gpg's agent has a socket in there, and the path of a socket is short
    folder = Path(tempfile.mkdtemp(prefix="clms-"))
    yield folder / "home"
    shutil.rmtree(folder)


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
        assert time.monotonic() - started < 0.5
        package = store.package(found, tmp_path)
        assert store.fingerprints() == {made["fingerprint"]}
        verify_package(
            version="1.0.2",
            package=package,
            signature=package.with_name(package.name + ".sig"),
            key=Path(made["publicKey"]),
            fingerprints=store.fingerprints(),
        )

        school = Registry(registry.address, http=http, credentials=registry.credentials)
        image = found.image("backend", "amd64")
        assert school.verify(image.repository, image.digest, image.config).digest == image.digest
        assert latest(school.tags(image.repository)) == "1.0.2"
        assert school.digest(image.repository, "1.0.2") == image.digest
        with pytest.raises(ClmsError) as refused:
            school.verify(image.repository, image.digest, "sha256:" + "0" * 64)
        assert refused.value.code == "IMAGE_MISMATCH"
