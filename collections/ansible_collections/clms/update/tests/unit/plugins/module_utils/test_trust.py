# SPDX-License-Identifier: GPL-3.0-or-later
"""The school's side of The Update Framework against a vendor whose repository is spoilt in every way."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.api.metadata import Metadata, MetaFile, Root

from ansible_collections.clms.update.plugins.module_utils.adapters import vendor as vendor_adapter
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.trust import TrustStore
from publisher.repository import NewTarget

from .conftest import MakeStore, refused

Spoil = Callable[[Any], None]

STRANGER = CryptoSigner.generate_ed25519()


def versions(store: TrustStore) -> list[str]:
    return [entry.version.text for entry in store.releases()]


def test_a_new_school_learns_the_releases(vendor: Any, make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    assert versions(store) == []
    store.refresh()
    assert versions(store) == ["1.0.1", "1.0.2"]
    assert store.release("1.0.2").sequence == 2
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_releases_are_sorted_by_sequence(vendor: Any, make_store: MakeStore) -> None:
    vendor.add("0.9.9", 3)
    store = make_store()
    store.refresh()
    assert versions(store) == ["1.0.1", "1.0.2", "0.9.9"]


def test_a_second_refresh_asks_only_for_root_and_timestamp(vendor: Any, make_store: MakeStore) -> None:
    make_store().refresh()
    vendor.asked.clear()
    make_store().refresh()
    assert vendor.asked == ["metadata/2.root.json", "metadata/timestamp.json"]


def altered(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    decoded = json.loads(data)
    change(decoded)
    return json.dumps(decoded).encode()


def altered_signature(vendor: Any) -> None:
    def change(metadata: dict[str, Any]) -> None:
        signature = metadata["signatures"][0]
        signature["sig"] = ("0" if signature["sig"][0] != "0" else "1") + signature["sig"][1:]

    vendor.spoil("timestamp.json", altered(vendor.bytes("timestamp.json"), change))


def signature_that_is_no_hexadecimal(vendor: Any) -> None:
    def change(metadata: dict[str, Any]) -> None:
        metadata["signatures"][0]["sig"] = "not hexadecimal"

    vendor.spoil("timestamp.json", altered(vendor.bytes("timestamp.json"), change))


def no_signature(vendor: Any) -> None:
    data = altered(vendor.bytes("timestamp.json"), lambda metadata: metadata["signatures"].clear())
    vendor.spoil("timestamp.json", data)


def altered_content(vendor: Any) -> None:
    def change(metadata: dict[str, Any]) -> None:
        metadata["signed"]["expires"] = "2099-01-01T00:00:00Z"

    vendor.spoil("timestamp.json", altered(vendor.bytes("timestamp.json"), change))


def timestamp_by_a_stranger(vendor: Any) -> None:
    vendor.spoil("timestamp.json", vendor.resign("timestamp.json", STRANGER))


def targets_by_a_stranger(vendor: Any) -> None:
    chain_of_targets(vendor, vendor.resign("N.targets.json", STRANGER))


def targets_by_the_online_key(vendor: Any) -> None:
    chain_of_targets(vendor, vendor.resign("N.targets.json", vendor.online))


def chain_of_targets(vendor: Any, targets: bytes) -> None:
    """A snapshot and a timestamp that lead to these targets, as somebody with the online key could make."""

    def to_targets(snapshot: Any) -> None:
        snapshot.meta["targets.json"] = MetaFile.from_data(vendor.newest, targets, ["sha256"])

    snapshot = vendor.resign("N.snapshot.json", vendor.online, to_targets)

    def to_snapshot(timestamp: Any) -> None:
        timestamp.snapshot_meta = MetaFile.from_data(vendor.newest, snapshot, ["sha256"])

    vendor.spoil("timestamp.json", vendor.resign("timestamp.json", vendor.online, to_snapshot))
    vendor.spoil("N.snapshot.json", snapshot)
    vendor.spoil("N.targets.json", targets)


def snapshot_of_an_earlier_state(vendor: Any) -> None:
    vendor.spoil("N.snapshot.json", vendor.bytes("2.snapshot.json"))


def targets_of_an_earlier_state(vendor: Any) -> None:
    vendor.spoil("N.targets.json", vendor.bytes("2.targets.json"))


def timestamp_is_a_snapshot(vendor: Any) -> None:
    vendor.spoil("timestamp.json", vendor.bytes("N.snapshot.json"))


def endless_timestamp(vendor: Any) -> None:
    vendor.spoil("timestamp.json", vendor.bytes("timestamp.json") + b" " * 10_000_000)


def endless_snapshot(vendor: Any) -> None:
    vendor.spoil("N.snapshot.json", vendor.bytes("N.snapshot.json") + b" ")


def new_root(vendor: Any, version: int, *signers: CryptoSigner) -> bytes:
    """A root that brings the stranger's key for targets."""
    metadata: Metadata[Root] = Metadata.from_bytes(vendor.bytes("1.root.json"))
    metadata.signed.version = version
    for role in ("root", "targets"):
        metadata.signed.add_key(STRANGER.public_key, role)
        metadata.signed.revoke_key(vendor.offline.public_key.keyid, role)
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def root_by_new_keys_only(vendor: Any) -> None:
    vendor.spoil("2.root.json", new_root(vendor, 2, STRANGER))


def root_by_old_keys_only(vendor: Any) -> None:
    vendor.spoil("2.root.json", new_root(vendor, 2, vendor.offline))


def root_that_skips_a_version(vendor: Any) -> None:
    vendor.spoil("2.root.json", new_root(vendor, 3, vendor.offline, STRANGER))


def rotated_root_with_old_targets(vendor: Any) -> None:
    vendor.spoil("2.root.json", new_root(vendor, 2, vendor.offline, STRANGER))


def expired(role: str, name: str) -> Spoil:
    def spoil(vendor: Any) -> None:
        signer = vendor.offline if role == "root" else vendor.online
        vendor.spoil(name, vendor.resign(name, signer, lambda signed: setattr(signed, "expires", PAST)))

    return spoil


PAST = datetime.now(UTC) - timedelta(seconds=1)


def answers(name: str, data: bytes | Exception) -> Spoil:
    return lambda vendor: vendor.spoil(name, data)


def expired_targets(vendor: Any) -> None:
    chain_of_targets(
        vendor,
        vendor.resign("N.targets.json", vendor.offline, lambda signed: setattr(signed, "expires", PAST)),
    )


SPOILT = [
    pytest.param(altered_signature, "TRUST_REFUSED", id="altered signature"),
    pytest.param(signature_that_is_no_hexadecimal, "TRUST_REFUSED", id="signature that is no hexadecimal"),
    pytest.param(no_signature, "TRUST_REFUSED", id="no signature"),
    pytest.param(altered_content, "TRUST_REFUSED", id="altered content"),
    pytest.param(timestamp_by_a_stranger, "TRUST_REFUSED", id="timestamp by an unknown key"),
    pytest.param(targets_by_a_stranger, "TRUST_REFUSED", id="targets by an unknown key"),
    pytest.param(targets_by_the_online_key, "TRUST_REFUSED", id="targets by the stolen online key"),
    pytest.param(snapshot_of_an_earlier_state, "TRUST_REFUSED", id="mix: old snapshot"),
    pytest.param(targets_of_an_earlier_state, "TRUST_REFUSED", id="mix: old targets"),
    pytest.param(timestamp_is_a_snapshot, "TRUST_REFUSED", id="wrong role"),
    pytest.param(endless_timestamp, "TRUST_REFUSED", id="endless timestamp"),
    pytest.param(endless_snapshot, "TRUST_REFUSED", id="snapshot longer than signed"),
    pytest.param(answers("timestamp.json", b""), "TRUST_REFUSED", id="empty timestamp"),
    pytest.param(answers("timestamp.json", b"<html>"), "TRUST_REFUSED", id="timestamp is a web page"),
    pytest.param(answers("timestamp.json", b"[" * 10_000), "TRUST_REFUSED", id="nested too deeply"),
    pytest.param(root_by_new_keys_only, "TRUST_REFUSED", id="root by new keys only"),
    pytest.param(root_by_old_keys_only, "TRUST_REFUSED", id="root by old keys only"),
    pytest.param(root_that_skips_a_version, "TRUST_REFUSED", id="root skips a version"),
    pytest.param(rotated_root_with_old_targets, "TRUST_REFUSED", id="targets by a revoked key"),
    pytest.param(expired("timestamp", "timestamp.json"), "TRUST_EXPIRED", id="expired timestamp"),
    pytest.param(expired_targets, "TRUST_EXPIRED", id="expired targets"),
    pytest.param(answers("timestamp.json", DownloadHTTPError("it answered 500", 500)), "SERVER_UNREACHABLE", id="500"),
    pytest.param(answers("timestamp.json", DownloadHTTPError("it answered 404", 404)), "SERVER_UNREACHABLE", id="404"),
    pytest.param(answers("N.targets.json", DownloadError("cut")), "SERVER_UNREACHABLE", id="cut"),
    pytest.param(answers("N.targets.json", SlowRetrievalError()), "SERVER_UNREACHABLE", id="too slow"),
    pytest.param(answers("2.root.json", DownloadError("no route")), "SERVER_UNREACHABLE", id="no route"),
]


@pytest.mark.parametrize(("spoil", "code"), SPOILT)
def test_a_new_school_refuses(spoil: Spoil, code: str, vendor: Any, make_store: MakeStore) -> None:
    spoil(vendor)
    store = make_store()
    assert refused(store.refresh) == code
    assert store.news_age_seconds() is None
    assert refused(lambda: store.release("1.0.2")) == code


REVOKED = "targets by a revoked key"


@pytest.mark.parametrize(("spoil", "code"), [case for case in SPOILT if case.id != REVOKED])
def test_an_old_school_refuses_and_keeps_what_it_knew(
    spoil: Spoil, code: str, vendor: Any, make_store: MakeStore
) -> None:
    make_store(clock=lambda: 1000.0).refresh()
    vendor.add("1.0.3", 3)
    spoil(vendor)
    store = make_store(clock=lambda: 1500.0)
    assert refused(store.refresh) == code
    assert versions(store) == ["1.0.1", "1.0.2"]
    assert store.news_age_seconds() == 500
    vendor.spoilt.clear()
    # where the online key was stolen, the school has believed the forged timestamp: the next one heals it
    vendor.repository().refresh(vendor.online)
    store.refresh()
    assert versions(store) == ["1.0.1", "1.0.2", "1.0.3"]


def test_a_revoked_key_takes_its_releases_along(vendor: Any, make_store: MakeStore) -> None:
    make_store().refresh()
    rotated_root_with_old_targets(vendor)
    store = make_store()
    assert refused(store.refresh) == "TRUST_REFUSED"
    assert refused(store.releases) == "TRUST_REFUSED"


def test_a_new_root_by_old_and_new_keys_is_followed(vendor: Any, make_store: MakeStore) -> None:
    make_store().refresh()
    vendor.repository().rotate_offline([vendor.offline], vendor.offline, STRANGER, vendor.online, [])
    vendor.offline = STRANGER
    vendor.add("1.0.3", 3)
    store = make_store()
    store.refresh()
    assert versions(store) == ["1.0.1", "1.0.2", "1.0.3"]
    assert versions(make_store()) == ["1.0.1", "1.0.2", "1.0.3"]  # along the stored chain of roots


def test_an_expired_root_is_refused(vendor: Any, make_store: MakeStore) -> None:
    expire = vendor.resign("1.root.json", vendor.offline, lambda signed: setattr(signed, "expires", PAST))
    vendor.root.write_bytes(expire)
    assert refused(make_store().refresh) == "TRUST_EXPIRED"


@pytest.mark.parametrize("older", ["timestamp", "snapshot"])
def test_nothing_is_rolled_back(older: str, vendor: Any, make_store: MakeStore) -> None:
    old_timestamp, old_snapshot = vendor.bytes("timestamp.json"), vendor.bytes("N.snapshot.json")
    vendor.add("1.0.3", 3)
    make_store().refresh()
    if older == "timestamp":
        vendor.spoil("timestamp.json", old_timestamp)
    else:  # a higher timestamp, by the stolen online key, that leads to the old snapshot

        def to_old_snapshot(timestamp: Any) -> None:
            timestamp.version += 1
            timestamp.snapshot_meta = MetaFile.from_data(vendor.newest - 1, old_snapshot, ["sha256"])

        vendor.spoil("timestamp.json", vendor.resign("timestamp.json", vendor.online, to_old_snapshot))
    assert refused(make_store().refresh) == "TRUST_REFUSED"
    assert versions(make_store()) == ["1.0.1", "1.0.2", "1.0.3"]


@pytest.mark.parametrize("content", [None, b"", b"{}", b"not json"], ids=["missing", "empty", "other JSON", "no JSON"])
def test_without_a_valid_pinned_root_nothing_is_trusted(
    content: bytes | None, vendor: Any, make_store: MakeStore, tmp_path: Path
) -> None:
    pinned = tmp_path / "pinned.json"
    if content is not None:
        pinned.write_bytes(content)
    assert refused(make_store(pinned_root=pinned).refresh) == "TRUST_MISSING"
    assert vendor.asked == []


def test_another_vendors_root_refuses_everything(vendor: Any, make_store: MakeStore, tmp_path: Path) -> None:
    other = vendor.resign("1.root.json", STRANGER)
    (tmp_path / "other.json").write_bytes(other)
    assert refused(make_store(pinned_root=tmp_path / "other.json").refresh) == "TRUST_MISSING"


@pytest.mark.parametrize(
    "url",
    [
        *("http://vendor.test", "vendor.test", "file:///etc", "https://", "https://u:p@host/", "https://[::1"),
        *("https://host:99999", "https://host:0", "https://host:port", "https://u:p@host:99999"),
    ],
)
def test_only_https_addresses(url: str, make_store: MakeStore) -> None:
    assert refused(lambda: make_store(url=url)) == "SERVER_ADDRESS"


def test_a_release_is_fetched_once(vendor: Any, make_store: MakeStore) -> None:
    make_store().release("1.0.1")
    vendor.asked.clear()
    assert make_store().release("1.0.1", offline=True).version.text == "1.0.1"
    assert vendor.asked == []


def test_offline_a_release_that_was_never_seen_is_out_of_reach(vendor: Any, make_store: MakeStore) -> None:
    make_store().refresh()
    assert refused(lambda: make_store().release("1.0.1", offline=True)) == "SERVER_UNREACHABLE"


def test_a_stored_release_that_was_altered_is_fetched_anew(vendor: Any, make_store: MakeStore, tmp_path: Path) -> None:
    make_store().release("1.0.1")
    stored = tmp_path / "state/targets/releases/1.0.1.json"
    stored.write_bytes(stored.read_bytes().replace(b"stable", b"sTable"))
    assert make_store().release("1.0.1").channel == "stable"


@pytest.mark.parametrize("version", ["9.9.9", "../1.0.1", "", "1.0.1.json", "1.0.1 "])
def test_unknown_releases(version: str, make_store: MakeStore) -> None:
    assert refused(lambda: make_store().release(version)) == "RELEASE_UNKNOWN"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(lambda data: data.replace(b"faster", b"slower"), "TRUST_REFUSED", id="same length"),
        pytest.param(lambda data: data[:-1], "TRUST_REFUSED", id="shorter"),
        pytest.param(lambda data: data + b" " * 10_000_000, "TRUST_REFUSED", id="10 MB longer"),
        pytest.param(lambda data: None, "SERVER_UNREACHABLE", id="gone"),
    ],
)
def test_a_tampered_release(
    change: Callable[[bytes], bytes | None], code: str, vendor: Any, make_store: MakeStore, tmp_path: Path
) -> None:
    file = vendor.target("releases/1.0.1.json")
    data = change(file.read_bytes())
    file.unlink()
    if data is not None:
        file.write_bytes(data)
    assert refused(lambda: make_store().release("1.0.1")) == code
    assert list((tmp_path / "state/targets").glob("**/*.json")) == []


ENTRY = {"version": "1.0.3", "sequence": 3, "channel": "stable"}


@pytest.mark.parametrize(
    ("changes", "custom", "code"),
    [
        pytest.param({}, {**ENTRY, "version": "1.0.4"}, "TRUST_REFUSED", id="listed as another version"),
        pytest.param({}, {**ENTRY, "more": 1}, "TRUST_REFUSED", id="unknown field in the list"),
        pytest.param({}, {**ENTRY, "sequence": True}, "TRUST_REFUSED", id="sequence is no number"),
        pytest.param({}, None, "TRUST_REFUSED", id="no entry in the list"),
        pytest.param({}, {**ENTRY, "sequence": 4}, "RELEASE_INVALID", id="another sequence in the list"),
        pytest.param({}, {**ENTRY, "channel": "beta"}, "RELEASE_INVALID", id="another channel in the list"),
        pytest.param({"version": "1.0.2"}, ENTRY, "RELEASE_INVALID", id="another version inside"),
        pytest.param({"product": "other"}, ENTRY, "RELEASE_OTHER_PRODUCT", id="another product"),
        pytest.param({"surprise": 1}, ENTRY, "RELEASE_INVALID", id="unknown field"),
    ],
)
def test_a_signed_release_that_makes_no_sense(
    changes: dict[str, Any],
    custom: dict[str, Any] | None,
    code: str,
    vendor: Any,
    make_store: MakeStore,
    make_release: Callable[..., dict[str, Any]],
) -> None:
    data = json.dumps({**make_release("1.0.3", 3), **changes}).encode()
    vendor.repository().add([NewTarget("releases/1.0.3.json", data, custom)], vendor.offline, vendor.online)
    assert refused(lambda: make_store().release("1.0.3")) == code


def test_a_package_without_signature(vendor: Any, make_store: MakeStore, tmp_path: Path) -> None:
    def without_signature(targets: Any) -> None:
        del targets.targets["packages/clms-1.0.2.zip.sig"]

    chain_of_targets(vendor, vendor.resign("N.targets.json", vendor.offline, without_signature))
    store = make_store()
    release = store.release("1.0.2")
    assert refused(lambda: store.package(release, tmp_path)) == "TRUST_REFUSED"


def test_a_root_without_gpg_keys_lets_nobody_sign_packages(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    assert (store.fingerprints(), store.public_keys()) == (frozenset(), {})
    release = store.release("1.0.2")
    assert refused(lambda: vendor_adapter.fetch_package(store, release, tmp_path)) == "PACKAGE_SIGNATURE"


@pytest.mark.parametrize(
    ("days", "code"),
    [
        pytest.param(365, "", id="a year later"),
        pytest.param(-7, "", id="the clock was a week fast"),
        pytest.param(-9, "CLOCK_WRONG", id="nine days back"),
        pytest.param(-365, "CLOCK_WRONG", id="a year back"),
    ],
)
def test_time_does_not_run_backwards(vendor: Any, make_store: MakeStore, days: int, code: str) -> None:
    make_store(clock=lambda: 1_795_500_000.0).refresh()
    vendor.asked.clear()
    store = make_store(clock=lambda: 1_795_500_000.0 + days * 86_400)
    if not code:
        store.refresh()
        return
    with pytest.raises(ClmsError, match="clock says 20") as caught:
        store.refresh()
    assert caught.value.code == code
    assert vendor.asked == []  # and what was known stays known
    assert store.releases()


def test_news_age_never_runs_backwards(make_store: MakeStore) -> None:
    make_store(clock=lambda: 5000.0).refresh()
    assert make_store(clock=lambda: 5060.9).news_age_seconds() == 60
    assert make_store(clock=lambda: 4000.0).news_age_seconds() == 0


def test_news_counts_for_as_long_as_the_vendor_says(make_store: MakeStore) -> None:
    assert not make_store().news_expired()
    make_store().refresh()
    assert not make_store().news_expired()
    assert make_store(clock=lambda: time.time() + 5 * 365 * 86_400).news_expired()


def test_a_store_that_cannot_be_written(make_store: MakeStore, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in its place")
    assert refused(make_store().refresh) == "TRUST_STORE"
