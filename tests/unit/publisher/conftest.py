# SPDX-License-Identifier: GPL-3.0-or-later
"""A vendor folder with real keys, the command line with its answers as JSON, and schools that ask for releases."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tuf.api.exceptions import DownloadHTTPError

from ansible_collections.clms.update.plugins.module_utils import bundle as format_
from ansible_collections.clms.update.plugins.module_utils.adapters import offline
from ansible_collections.clms.update.plugins.module_utils.adapters import vendor as vendor_adapter
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fetcher import Fetcher
from ansible_collections.clms.update.plugins.module_utils.release import Release
from ansible_collections.clms.update.plugins.module_utils.school import Trust
from ansible_collections.clms.update.plugins.module_utils.trust import TrustStore
from publisher import bundle as maker
from publisher import keys
from publisher.cli import main
from publisher.publish import publish
from publisher.vendor import Vendor

from . import desk as desks
from .desk import IMAGE, Desk, Server

URL = "https://vendor.test"


DEFINITION: dict[str, Any] = {
    "version": "1.0.1",
    "sequence": 1,
    "changelog": "A faster search",
    "builds": {"frontend": {"source": "source/frontend", "arguments": {"API_URL": "${api_url}"}}},
}


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Like ``tmp_path``, but short: gpg's agent has a socket in there, and the path of a socket is limited."""
    folder = Path(tempfile.mkdtemp(prefix="clms-"))
    yield folder
    subprocess.run(["gpgconf", "--homedir", str(folder / "gpg"), "--kill", "gpg-agent"], check=True)
    shutil.rmtree(folder, ignore_errors=True)  # the agent is removing its sockets meanwhile


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Runs ``clms-release … --json``, checks its exit code and returns what it printed, or its error."""

    def run(*arguments: object, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        found = main([*map(str, arguments), "--json"])
        output = capsys.readouterr()
        assert found == code, output
        assert output.err == ""
        answer = json.loads(output.out)
        assert isinstance(answer, dict)
        error = answer.get("error", answer)
        assert isinstance(error, dict)
        return error

    return run


@pytest.fixture
def home(short_path: Path, run: Callable[..., dict[str, Any]]) -> Path:
    """An initialised vendor folder."""
    run("init", "--home", short_path / "home")
    return short_path / "home"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "frontend").mkdir(parents=True)
    (folder / "frontend" / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    return folder


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    path = tmp_path / "registry.json"
    path.touch(mode=0o600)
    path.write_text('{"username": "u", "password": "p"}')
    return path


@pytest.fixture
def define(tmp_path: Path) -> Callable[..., Path]:
    def define(**changes: Any) -> Path:
        path = tmp_path / "definition.json"
        path.write_text(json.dumps({**DEFINITION, **changes}))
        return path

    return define


@pytest.fixture
def release(
    home: Path, source: Path, credentials: Path, define: Callable[..., Path], run: Callable[..., dict[str, Any]]
) -> Callable[..., Any]:
    """Builds and signs a release."""

    def release(version: str, sequence: int, **changes: Any) -> dict[str, Any]:
        path = define(version=version, sequence=sequence, **changes)
        run("build", "--home", home, "--definition", path, "--source", source)
        login = ("--registry", "localhost:1", "--registry-credentials", credentials)
        return run("sign", "--home", home, version, *login)

    return release


class Served(Fetcher):
    """A folder that ``publish`` writes, as schools see it; ``hidden`` paths are not there yet for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hidden: set[str] = set()

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix(f"{URL}/")
        if path in self.hidden or not (self.folder / path).is_file():
            raise DownloadHTTPError("it answered 404", 404)
        yield (self.folder / path).read_bytes()


class SchoolServer:
    """A school that pinned the vendor's root of the day when it was made."""

    def __init__(self, folder: Path, served: Served, root: Path) -> None:
        folder.mkdir()
        self.folder, self.served = folder, served
        shutil.copy(root, folder / "root.json")

    def store(self) -> TrustStore:
        """Its trusted metadata, as each new process opens it."""
        pinned = self.folder / "root.json"
        return TrustStore(state=self.folder / "state", pinned_root=pinned, url=URL, fetcher=self.served)

    def sees(self) -> list[str]:
        """The versions that are listed, freshly verified."""
        store = self.store()
        store.refresh()
        return [entry.version.text for entry in store.releases()]

    def fetch(self, version: str = "1.0.1") -> str:
        """Fetch a package as an update does, anew; who signed it."""
        package = self.folder / "package"
        shutil.rmtree(package, ignore_errors=True)
        package.mkdir()
        store = self.store()
        return vendor_adapter.fetch_package(store, store.release(version), package)[1]


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """The folder that the release server serves."""
    return Served(tmp_path / "served")


@pytest.fixture
def make_school(home: Path, served: Served, tmp_path: Path) -> Callable[[str], SchoolServer]:
    """Makes schools."""
    return lambda name: SchoolServer(tmp_path / name, served, home / "root.json")


@pytest.fixture
def ready(home: Path, release: Callable[..., Any], served: Served) -> str:
    """Version 1.0.1 is published; the fingerprint of the key that signed it."""
    release("1.0.1", 1)
    publish(home / "repository", served.folder)
    return Vendor.load(home).fingerprint


@pytest.fixture
def rotate(home: Path, run: Callable[..., dict[str, Any]]) -> Callable[..., str]:
    """Goes over to another key; returns the fingerprint that counts then."""
    return lambda *arguments: run("rotate-keys", "--home", home, *arguments)["fingerprint"]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ClmsError) as caught:
        call()
    return caught.value.code


def root_version(home: Path) -> int:
    return max(int(path.name.split(".")[0]) for path in (home / "repository/metadata").glob("*.root.json"))


def another_key(gpg_home: Path) -> str:
    gpg_home.mkdir(mode=0o700, exist_ok=True)
    return keys.create_gpg_key(gpg_home, "another key")


@pytest.fixture
def desk(home: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    def images(release: Release, architecture: str, folder: Path) -> dict[str, maker.Content]:
        file = folder / "image"
        file.write_bytes(IMAGE)
        return {format_.image_member(release.image("backend", architecture).config): file}

    monkeypatch.setattr(maker, "_images", images)
    desk = Desk(Vendor.load(home), short_path / "bundles")
    desk.sign("1.0.1", 1)
    return desk


@pytest.fixture
def school(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A school that pins this vendor, with a folder in which it looks for bundles."""
    root = tmp_path / "root.json"
    root.write_bytes(desk.vendor.root.read_bytes())
    trust = Trust(
        url=desks.URL,
        root_file=str(root),
        ca_file=None,
        pins=(),
        api_key_file=None,
        report_key_file=None,
        channel="stable",
    )  # fmt: skip
    (tmp_path / "usb").mkdir()
    school = SimpleNamespace(
        home=tmp_path / "home", trust=trust, reserve_bytes=0,
        bundle_folders=(str(tmp_path / "usb"),), bundle_servers=(), bundle_ca_file=None,
    )  # fmt: skip
    school.home.mkdir()

    def store_of(_: Any) -> TrustStore:
        return TrustStore(
            state=school.home / "trust",
            pinned_root=Path(trust.root_file),
            url=desks.URL,
            fetcher=Server(desk.vendor.repository),
        )

    monkeypatch.setattr(offline, "store_of", store_of)
    school.online = store_of(school)
    return school
