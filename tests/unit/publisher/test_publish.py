# SPDX-License-Identifier: GPL-3.0-or-later
"""Copying to the served folder: order, idempotence, and a stop at any moment."""

from __future__ import annotations

from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

import publisher.publish
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from publisher.publish import publish
from publisher.repository import NewTarget, Repository

OFFLINE, ONLINE = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repository = Repository.create(tmp_path / "home", [OFFLINE], OFFLINE, ONLINE)
    repository.add([NewTarget("releases/1.0.1.json", b"1")], OFFLINE, ONLINE)
    return repository


def test_everything_is_copied_once(repository: Repository, tmp_path: Path) -> None:
    home, served = tmp_path / "home", tmp_path / "served"
    written = publish(home, served)
    assert written[0].startswith("targets/releases/")
    assert written[-1] == "metadata/timestamp.json"
    assert [name.split(".")[1] for name in written[1:-1]] == ["targets"] * 2 + ["snapshot"] * 2 + ["root"]
    files = {path.relative_to(home): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert files == {path.relative_to(served): path.read_bytes() for path in served.rglob("*") if path.is_file()}
    assert {path.stat().st_mode & 0o777 for path in served.rglob("*.json")} == {0o644}
    assert publish(home, served) == []


def test_only_what_is_new_is_copied(repository: Repository, tmp_path: Path) -> None:
    publish(tmp_path / "home", tmp_path / "served")
    repository.refresh(ONLINE)
    assert publish(tmp_path / "home", tmp_path / "served") == ["metadata/3.snapshot.json", "metadata/timestamp.json"]


def consistent(served: Path) -> int | None:
    """The version a client would get, after following everything from timestamp to files; None without any."""
    metadata = served / "metadata"
    if not (metadata / "timestamp.json").exists():
        return None
    root = Metadata[Root].from_file(str(metadata / "1.root.json")).signed
    timestamp = Metadata[Timestamp].from_file(str(metadata / "timestamp.json"))
    root.verify_delegate("timestamp", timestamp.signed_bytes, timestamp.signatures)
    data = (metadata / f"{timestamp.signed.snapshot_meta.version}.snapshot.json").read_bytes()
    timestamp.signed.snapshot_meta.verify_length_and_hashes(data)
    meta = Metadata[Snapshot].from_bytes(data).signed.meta["targets.json"]
    data = (metadata / f"{meta.version}.targets.json").read_bytes()
    meta.verify_length_and_hashes(data)
    for path, target in Metadata[Targets].from_bytes(data).signed.targets.items():
        folder, name = path.rsplit("/", 1)
        target.verify_length_and_hashes(
            (served / "targets" / folder / f"{target.hashes['sha256']}.{name}").read_bytes()
        )
    return timestamp.signed.version


def test_a_stop_at_any_moment_leaves_the_old_state_or_the_new_one(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, served = tmp_path / "home", tmp_path / "served"
    publish(home, served)
    repository.add([NewTarget("releases/1.0.2.json", b"2")], OFFLINE, ONLINE)
    write, allowed = publisher.publish.write_file, [0]

    def write_some(path: Path, data: bytes) -> None:
        if not allowed[0]:
            raise OSError(28, "No space left on device")
        allowed[0] -= 1
        write(path, data)

    monkeypatch.setattr(publisher.publish, "write_file", write_some)
    seen = []
    for number in range(4):
        allowed[0] = number and 1
        with pytest.raises(ClmsError) as caught:
            publish(home, served)
        assert caught.value.code == "PUBLISH_FAILED"
        seen.append(consistent(served))
    allowed[0] = 1
    publish(home, served)
    assert [*seen, consistent(served)] == [2, 2, 2, 2, 3]


def test_newer_metadata_is_not_overwritten(repository: Repository, tmp_path: Path) -> None:
    publish(tmp_path / "home", tmp_path / "copy")
    repository.refresh(ONLINE)
    publish(tmp_path / "home", tmp_path / "served")
    with pytest.raises(ClmsError) as caught:
        publish(tmp_path / "copy", tmp_path / "served")
    assert caught.value.code == "PUBLISH_FAILED"
    assert consistent(tmp_path / "served") == 3


def test_a_crash_while_signing_leaves_the_state_before_it(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        pass

    def crash(*_arguments: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "_write_news", crash)
        with pytest.raises(Crash):
            repository.add([NewTarget("releases/1.0.2.json", b"half")], OFFLINE, ONLINE)
    assert list(repository.targets()) == ["releases/1.0.1.json"]
    repository.add([NewTarget("releases/1.0.2.json", b"whole")], OFFLINE, ONLINE)
    publish(tmp_path / "home", tmp_path / "served")
    assert consistent(tmp_path / "served") == 3
    assert repository.read("releases/1.0.2.json") == b"whole"


def test_a_damaged_file_is_noticed(repository: Repository, tmp_path: Path) -> None:
    (file,) = (tmp_path / "home/targets/releases").iterdir()
    file.write_bytes(b"X")
    with pytest.raises(ClmsError) as caught:
        repository.read("releases/1.0.1.json")
    assert caught.value.code == "VENDOR_HOME"
