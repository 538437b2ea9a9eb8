# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API says of releases: exactly what was signed, and nothing once that cannot be believed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile

from publisher.publish import publish
from publisher.repository import NewTarget, Repository
from webui.vendor.catalogue import FRESH_SECONDS, Catalogue

from .conftest import DIGEST, NOW, OFFLINE, ONLINE, PACKAGE, URL, School, Server, Vendor, problem_of

SHA256 = hashlib.sha256(PACKAGE).hexdigest()
TAGS = {name: f"registry.test:5000/clms/{name}@{DIGEST}" for name in ("backend", "frontend")}


def test_the_newest_release(server: Server, linden: School) -> None:
    response = server.ask("/api/latest", headers=linden.bearer())
    assert response.status_code == 200
    assert response.get_json() == {
        "version": "1.0.2",
        "releaseDate": "2026-01-02",
        "changelog": "New: a faster search",
        "critical": False,
        "dockerTags": TAGS,
    }


def test_one_release(server: Server, linden: School, vendor: Vendor) -> None:
    force = {"critical": True, "forceAfterDate": "2026-11-15T00:00:00Z", "gracePeriodDays": 3}
    vendor.add("1.0.3", 3, minVersion=None, **force)
    answers = [
        server.ask(f"/api/updates/{version}", headers=linden.bearer()).get_json() for version in ("1.0.1", "1.0.3")
    ]
    signature = hashlib.sha256(b"signature").hexdigest()
    common = {"size": "24 bytes", "sha256": SHA256, "changelog": "New: a faster search", "dockerTags": TAGS}
    files = [
        {
            "downloadUrl": f"{URL}/targets/packages/{SHA256}.clms-{version}.zip",
            "signatureUrl": f"{URL}/targets/packages/{signature}.clms-{version}.zip.sig",
        }
        for version in ("1.0.1", "1.0.3")
    ]
    assert answers == [
        {"version": "1.0.1", "critical": False, "forceAfterDate": None, "minVersion": "1.0.0", **common, **files[0]},
        {
            "version": "1.0.3",
            "critical": True,
            "forceAfterDate": "2026-11-15",
            "minVersion": None,
            **common,
            **files[1],
        },
    ]
    for name, content in (("downloadUrl", PACKAGE), ("signatureUrl", b"signature")):
        assert server.ask(answers[1][name].removeprefix(URL)).data == content


def test_files_may_lie_behind_a_cache(make_server: Callable[..., Server]) -> None:
    server = make_server(files_url="https://files.test")
    answer = server.ask("/api/updates/1.0.1", headers=server.school("linden").bearer()).get_json()
    assert answer["downloadUrl"].startswith("https://files.test/targets/packages/")
    assert answer["signatureUrl"].startswith("https://files.test/targets/packages/")


def test_channels(server: Server, linden: School, vendor: Vendor) -> None:
    vendor.add("2.0.0-rc.1", 1, channel="beta")

    def version(path: str) -> Any:
        return server.ask(path, headers=linden.bearer()).get_json().get("version")

    assert version("/api/latest") == "1.0.2"
    assert version("/api/latest?channel=stable") == "1.0.2"
    assert version("/api/latest?channel=beta") == "2.0.0-rc.1"
    assert version("/api/updates/2.0.0-rc.1?channel=beta") == "2.0.0-rc.1"


def test_builds_have_no_image(server: Server, linden: School, vendor: Vendor) -> None:
    image = {"repository": "clms/backend", "digest": DIGEST, "config": DIGEST, "layers": [DIGEST], "size": 1}
    services = {
        "backend": {"images": {"amd64": image, "arm64": {**image, "digest": "sha256:" + "b" * 64}}},
        "frontend": {"build": {"source": "source/frontend", "size": 0}},
    }
    vendor.add("1.0.3", 3, services=services)
    answer = server.ask("/api/latest?architecture=arm64", headers=linden.bearer()).get_json()
    assert answer["dockerTags"] == {"backend": "registry.test:5000/clms/backend@sha256:" + "b" * 64}


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/updates/9.9.9", 404, "RELEASE_UNKNOWN"),
        ("/api/updates/1.0", 404, "RELEASE_UNKNOWN"),
        ("/api/updates/1.0.1?channel=beta", 404, "RELEASE_UNKNOWN"),
        ("/api/updates/..%2F..%2Fetc%2Fpasswd", 404, "REQUEST_PATH"),
        ("/api/updates/" + "9" * 500, 404, "RELEASE_UNKNOWN"),
        ("/api/latest?channel=beta", 404, "CHANNEL_EMPTY"),
        ("/api/latest?architecture=riscv64", 404, "RELEASE_ARCHITECTURE"),
        ("/api/latest?channel=Not+One", 400, "REQUEST_INVALID"),
    ],
)
def test_what_there_is_not(server: Server, linden: School, path: str, status: int, code: str) -> None:
    problem_of(server.ask(path, headers=linden.bearer()), status, code)


def stranger(vendor: Vendor) -> None:
    resign(vendor, CryptoSigner.generate_ed25519())


def resign(vendor: Vendor, signer: CryptoSigner) -> None:
    path = vendor.served / "metadata/timestamp.json"
    metadata: Metadata[Any] = Metadata.from_file(str(path))
    metadata.signed.version += 1
    metadata.sign(signer)
    metadata.to_file(str(path))


def targets_by_the_online_key(vendor: Vendor) -> None:
    """What somebody could make who stole the online key: a list with another package."""
    folder = vendor.served / "metadata"
    version = json.loads((folder / "timestamp.json").read_bytes())["signed"]["version"]
    targets: Metadata[Any] = Metadata.from_file(str(folder / f"{version}.targets.json"))
    del targets.signed.targets["releases/1.0.2.json"]
    targets.sign(ONLINE)
    targets.to_file(str(folder / f"{version}.targets.json"))
    snapshot: Metadata[Any] = Metadata.from_file(str(folder / f"{version}.snapshot.json"))
    snapshot.signed.meta["targets.json"] = MetaFile.from_data(version, targets.to_bytes(), ["sha256"])
    snapshot.sign(ONLINE)
    snapshot.to_file(str(folder / f"{version}.snapshot.json"))
    timestamp: Metadata[Any] = Metadata.from_file(str(folder / "timestamp.json"))
    timestamp.signed.snapshot_meta = MetaFile.from_data(version, snapshot.to_bytes(), ["sha256"])
    timestamp.sign(ONLINE)
    timestamp.to_file(str(folder / "timestamp.json"))


def expired(vendor: Vendor) -> None:
    vendor.refresh(timedelta(days=8))


def altered_release(vendor: Vendor) -> None:
    (path,) = (vendor.served / "targets/releases").glob("*.1.0.2.json")
    path.write_bytes(path.read_bytes().replace(b"faster", b"slower"))


def an_entry_without_sense(vendor: Vendor) -> None:
    file = NewTarget("releases/1.0.9.json", b"{}", {"version": "1.0.9", "sequence": "nine", "channel": "stable"})
    Repository(vendor.home).add([file], OFFLINE, ONLINE)
    publish(vendor.home, vendor.served)


def another_package(vendor: Vendor) -> None:
    vendor.add("1.0.3", 3, package={"path": "packages/clms-1.0.2.zip", "size": 1, "sha256": "0" * 64})


def no_timestamp(vendor: Vendor) -> None:
    (vendor.served / "metadata/timestamp.json").unlink()


def half_a_timestamp(vendor: Vendor) -> None:
    path = vendor.served / "metadata/timestamp.json"
    path.write_bytes(path.read_bytes()[:100])


def no_root(vendor: Vendor) -> None:
    (vendor.served / "metadata/1.root.json").write_text("{}")


@pytest.mark.parametrize(
    "spoil",
    [
        stranger,
        targets_by_the_online_key,
        expired,
        altered_release,
        an_entry_without_sense,
        another_package,
        no_timestamp,
        half_a_timestamp,
        no_root,
    ],
)
def test_what_schools_would_refuse_is_not_offered(
    server: Server, linden: School, vendor: Vendor, spoil: Callable[[Vendor], None]
) -> None:
    spoil(vendor)
    for _ in range(2):
        response = server.ask("/api/latest", headers=linden.bearer())
        problem_of(response, 503, "SERVER_RELEASES")
        assert response.headers["Retry-After"]


@pytest.mark.parametrize("spoil", [stranger, expired, half_a_timestamp])
def test_what_becomes_bad_is_noticed_and_what_becomes_good_too(
    server: Server, linden: School, vendor: Vendor, spoil: Callable[[Vendor], None]
) -> None:
    assert server.ask("/api/latest", headers=linden.bearer()).get_json()["version"] == "1.0.2"
    assert server.ask("/healthz").get_json() == {"status": "ok", "releases": "ok"}
    good = (vendor.served / "metadata/timestamp.json").read_bytes()
    spoil(vendor)
    problem_of(server.ask("/api/latest", headers=linden.bearer()), 503, "SERVER_RELEASES")
    assert server.ask("/healthz").get_json() == {"status": "ok", "releases": "SERVER_RELEASES"}
    (vendor.served / "metadata/timestamp.json").write_bytes(good)
    if spoil is not expired:
        assert server.ask("/api/latest", headers=linden.bearer()).status_code == 200
    vendor.add("1.0.3", 3)
    assert server.ask("/api/latest", headers=linden.bearer()).get_json()["version"] == "1.0.3"


def test_an_older_state_is_refused(server: Server, linden: School, vendor: Vendor) -> None:
    old = (vendor.served / "metadata/timestamp.json").read_bytes()
    vendor.add("1.0.3", 3)
    assert server.ask("/api/latest", headers=linden.bearer()).get_json()["version"] == "1.0.3"
    (vendor.served / "metadata/timestamp.json").write_bytes(old)
    problem_of(server.ask("/api/latest", headers=linden.bearer()), 503, "SERVER_RELEASES")


def test_a_pinned_root(make_server: Callable[..., Server], vendor: Vendor, tmp_path: Path) -> None:
    pinned = tmp_path / "root.json"
    pinned.write_bytes((vendor.served / "metadata/1.root.json").read_bytes())
    good = make_server(root_file=str(pinned))
    school = good.school("linden")
    assert good.ask("/api/latest", headers=school.bearer()).status_code == 200
    other = CryptoSigner.generate_ed25519()
    pinned.write_bytes(Repository.create(tmp_path / "other", [other], other, other).root_bytes())
    problem_of(make_server(root_file=str(pinned)).ask("/api/latest", headers=school.bearer()), 503, "SERVER_RELEASES")


def test_unchanged_metadata_is_verified_once_a_minute(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [float(NOW)], []
    catalogue = Catalogue(vendor.served, vendor.served / "metadata/1.root.json", clock=lambda: now[0])
    refresh = catalogue._store.refresh
    monkeypatch.setattr(catalogue._store, "refresh", lambda: (asked.append(now[0]), refresh()))
    for _ in range(3):
        catalogue.latest("stable")
    assert len(asked) == 1
    now[0] += FRESH_SECONDS
    catalogue.latest("stable")
    assert len(asked) == 2
    vendor.refresh()
    catalogue.latest("stable")
    assert len(asked) == 3
    folder = Path(catalogue._store._state)
    assert folder.is_dir()
    catalogue.close()
    assert not folder.exists()
