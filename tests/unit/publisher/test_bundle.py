# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles: made by the release manager's tool, taken in by a school, and spoilt in every way in between."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import bundle as format_
from ansible_collections.clms.update.plugins.module_utils.adapters import bundle_file, offline
from ansible_collections.clms.update.plugins.module_utils.adapters.bundle_file import Bundle, bundles_in
from ansible_collections.clms.update.plugins.module_utils.bundle import BundleError
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from publisher import bundle as maker
from publisher.vendor import Vendor

from .desk import CONFIG, IMAGE, Desk, Server, flip, refused, versions
from .spoilt import altered_seal, contents, resigned


def test_what_the_command_makes_is_a_zip(desk: Desk, run: Callable[..., dict[str, Any]]) -> None:
    made = run("bundle", "1.0.1", "--home", desk.vendor.home, "--to", desk.to)
    path = Path(made["bundle"])
    assert path.name == "clms-1.0.1-amd64.zip"
    assert made["size"] == path.stat().st_size
    left = datetime.fromisoformat(made["counts_until"]) - datetime.now(UTC)
    assert timedelta(days=179, hours=23) < left <= timedelta(days=180)
    assert [entry.name for entry in desk.to.iterdir()] == [path.name]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
    assert names[0] == "contents.json"
    assert {"metadata/1.root.json", "metadata/timestamp.json"} < set(names)


@pytest.mark.parametrize(
    ("later", "expires", "days", "renewed"),
    [
        pytest.param(0, "2099-01-01T00:00:00Z", 180, False, id="whole"),
        pytest.param(200, "2099-01-01T00:00:00Z", 180, True, id="the list of releases would expire sooner"),
        pytest.param(600, "2099-01-01T00:00:00Z", 130, True, id="the root does"),
        pytest.param(0, 30, 30, False, id="the release does"),
    ],
)
def test_until_when_it_counts(desk: Desk, later: int, expires: str | int, days: int, renewed: bool) -> None:
    start = datetime.now(UTC)
    if isinstance(expires, int):
        expires = (start + timedelta(days=expires)).strftime("%Y-%m-%dT%H:%M:%SZ")
    desk.sign("1.0.2", 2, expires=expires)
    now = start + timedelta(days=later)
    made = desk.made("1.0.2", now)
    assert abs(made.until - now - timedelta(days=days)) < timedelta(hours=1)
    with zipfile.ZipFile(made.path) as archive:
        inside = {
            name.rpartition("/")[2]: json.loads(archive.read(name))["signed"]
            for name in archive.namelist()
            if name.startswith("metadata/")
        }
    ends = {signed["_type"]: datetime.fromisoformat(signed["expires"]) for signed in inside.values()}
    assert min(ends.values()) >= made.until - timedelta(seconds=1)
    assert ("4.targets.json" in inside) is renewed, inside.keys()


def test_it_holds_all_that_an_update_needs(
    home: Path, release: Callable[..., Any], run: Callable[..., dict[str, Any]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What is new, how the database is brought there, and of a service that schools build the source."""
    migration = {"service": "frontend", "command": ["migrate"], "from": "1", "to": "2", "timeoutSeconds": 60}
    release("1.0.1", 1, changelog="New: a search", migration=migration)
    monkeypatch.setattr(maker, "_images", lambda *_: {})  # they have tests of their own, with an engine
    with zipfile.ZipFile(run("bundle", "1.0.1", "--home", home, "--to", tmp_path / "to")["bundle"]) as archive:
        (description,) = (name for name in archive.namelist() if re.fullmatch(r"targets/releases/.*\.json", name))
        (package,) = (name for name in archive.namelist() if re.fullmatch(r"targets/packages/.*\.zip", name))
        (signature,) = (name for name in archive.namelist() if re.fullmatch(r"targets/packages/.*\.zip\.sig", name))
        (key,) = (name for name in archive.namelist() if re.fullmatch(r"targets/keys/.*\.asc", name))
        said = json.loads(archive.read(description))
        assert archive.read(signature)
        assert archive.read(key).startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
        with zipfile.ZipFile(archive.open(package)) as inside:
            assert inside.read("source/frontend/Dockerfile") == b"FROM scratch\nCOPY . /\n"
    assert (said["changelog"], said["migration"]) == ("New: a search", migration)
    assert said["services"]["frontend"]["build"]["source"] == "source/frontend"


def test_a_school_believes_it(desk: Desk, school: Any) -> None:
    found = offline.import_file(school, desk.bundle("1.0.1"))
    assert found.release.version.text == "1.0.1"
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o600
    assert versions(school) == ["1.0.1"]
    with Bundle(found.path) as bundle, bundle.stream(format_.image_member(CONFIG)) as image:
        assert image.read() == IMAGE
    assert not list((school.home / "trust-offline").glob(".*"))  # nothing is left of the verification


def test_there_has_to_be_room_for_the_file_that_is_read(
    desk: Desk, school: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for the one that had its name a moment before."""
    path, sizes = desk.bundle("1.0.1"), []
    large = path.rename(path.with_name("large"))
    path.write_bytes(b"small")
    size, real = large.stat().st_size, os.open

    def swap_and_open(name: Any, *arguments: Any, **more: Any) -> int:
        if name == path:
            large.rename(path)
        return real(name, *arguments, **more)

    def no_room(_: Any, __: str, size: int) -> None:
        sizes.append(size)
        raise ClmsError("DISK_TOO_SMALL", detail="x")

    monkeypatch.setattr(offline, "check_room", no_room)
    monkeypatch.setattr(bundle_file.os, "open", swap_and_open)
    assert refused(lambda: offline.import_file(school, path)).code == "DISK_TOO_SMALL"
    assert sizes == [size]
    assert versions(school) == []


def test_it_takes_nothing_from_the_release_server(desk: Desk, school: Any) -> None:
    """Its metadata counts for months, so that it must not become what the school thinks the server has said."""
    path = desk.bundle("1.0.1")
    offline.import_file(school, path)
    assert school.online.releases() == []
    school.online.refresh()
    assert [entry.version.text for entry in school.online.releases()] == ["1.0.1"]
    assert versions(school) == ["1.0.1"]


def test_a_release_server_cannot_serve_its_timestamp(desk: Desk) -> None:
    from ansible_collections.clms.update.plugins.module_utils.fetcher import is_offline

    with zipfile.ZipFile(desk.bundle("1.0.1")) as archive:
        assert is_offline(archive.read("metadata/timestamp.json"))
    assert not is_offline((desk.vendor.repository / "metadata/timestamp.json").read_bytes())
    assert not is_offline(b"nonsense")


def test_a_bundle_of_the_future_points_to_the_clock(desk: Desk, school: Any) -> None:
    path = desk.bundle("1.0.1")
    resigned(desk, path, contents(created="2099-01-01T00:00:00Z"))
    assert refused(lambda: offline.import_file(school, path)).code == "CLOCK_WRONG"
    assert bundles_in(offline.folder_of(school)) == []


DAY = 86_400


def seen(folder: Path, days: float) -> None:
    """What was verified there last was so many days from now."""
    (folder / "refreshed").write_text(str(int(time.time() + days * DAY)))


@pytest.mark.parametrize(
    ("days", "code"),
    [
        pytest.param(7, None, id="it was a week fast"),
        pytest.param(9, "CLOCK_WRONG", id="put back by nine days"),
        pytest.param(300, "CLOCK_WRONG", id="put back by most of a year"),
    ],
)
@pytest.mark.parametrize("by", ["server", "bundle"])
def test_a_clock_that_was_put_back_revives_no_bundle(
    desk: Desk, school: Any, by: str, days: float, code: str | None
) -> None:
    taken = offline.import_file(school, desk.bundle("1.0.1"))
    if by == "server":
        school.online.refresh()
        seen(school.home / "trust", days)
    else:
        (newest,) = (school.home / "trust-offline").iterdir()
        seen(newest, days)
    if code is None:
        assert offline.believed(school, taken.path).release.version.text == "1.0.1"
        return
    for call in (lambda: offline.believed(school, taken.path), lambda: offline.import_file(school, taken.path)):
        assert refused(call).code == code
    assert versions(school) == []


def test_each_time_that_a_bundle_is_believed_time_has_gone_on(desk: Desk, school: Any) -> None:
    older = offline.import_file(school, desk.bundle("1.0.1"))
    desk.sign("1.0.2", 2)
    offline.import_file(school, desk.bundle("1.0.2"))
    newest = max((school.home / "trust-offline").iterdir())
    seen(newest, -100)
    offline.believed(school, older.path)
    assert int((newest / "refreshed").read_text()) > time.time() - DAY
    seen(newest, 5)
    offline.believed(school, older.path)
    assert int((newest / "refreshed").read_text()) > time.time() + 4 * DAY


def test_a_clock_that_was_fast_locks_nobody_out_for_good(desk: Desk, school: Any) -> None:
    older = offline.import_file(school, desk.bundle("1.0.1"))
    (newest,) = (school.home / "trust-offline").iterdir()
    seen(newest, 100)
    assert refused(lambda: offline.believed(school, older.path)).code == "CLOCK_WRONG"
    desk.sign("1.0.2", 2)
    offline.import_file(school, desk.bundle("1.0.2"))
    assert versions(school) == ["1.0.1", "1.0.2"]


def test_an_older_bundle_counts_while_the_release_is_listed(desk: Desk, school: Any) -> None:
    older = offline.import_file(school, desk.bundle("1.0.1"))
    desk.sign("1.0.2", 2)
    offline.import_file(school, desk.bundle("1.0.2"))
    school.online.refresh()
    assert versions(school) == ["1.0.1", "1.0.2"]
    assert offline.believed(school, older.path).release.version.text == "1.0.1"


@pytest.mark.parametrize("how", ["server", "bundle"])
def test_a_release_that_was_withdrawn_since(desk: Desk, school: Any, how: str) -> None:
    old = desk.bundle("1.0.1")
    desk.repository.withdraw("1.0.1", desk.offline_key, desk.online_key)
    desk.sign("1.0.2", 2)
    if how == "server":
        school.online.refresh()
    else:
        offline.import_file(school, desk.bundle("1.0.2"))
    error = refused(lambda: offline.import_file(school, old))
    assert error.code == "BUNDLE_OLD"
    assert "1.0.1" in error.happened
    assert [path.name for path in bundles_in(offline.folder_of(school))] in ([], ["clms-1.0.2-amd64.zip"])


def test_files_that_nobody_needs_any_more(desk: Desk, school: Any) -> None:
    found = {}
    for number, version in enumerate(("1.0.1", "1.0.2", "1.0.3"), 1):
        if number > 1:
            desk.sign(version, number)
        found[version] = offline.import_file(school, desk.bundle(version)).release
    assert offline.remove_old(school, []) == []
    assert offline.remove_old(school, [found["1.0.1"], found["1.0.2"]]) == []
    assert offline.remove_old(school, [found["1.0.3"], found["1.0.2"]]) == ["clms-1.0.1-amd64.zip"]
    other = replace(found["1.0.3"], channel="beta", sequence=99)
    assert offline.remove_old(school, [other]) == []
    assert versions(school) == ["1.0.2", "1.0.3"]


def test_a_file_that_the_vendor_has_taken_back_goes(desk: Desk, school: Any) -> None:
    taken = offline.import_file(school, desk.bundle("1.0.1"))
    desk.repository.withdraw("1.0.1", desk.offline_key, desk.online_key)
    desk.sign("1.0.2", 2)
    school.online.refresh()
    assert offline.remove_old(school, [taken.release]) == ["clms-1.0.1-amd64.zip"]
    assert bundles_in(offline.folder_of(school)) == []


def test_a_file_that_cannot_be_judged_right_now_stays(desk: Desk, school: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = offline.import_file(school, desk.bundle("1.0.1"))
    expired = ClmsError("TRUST_EXPIRED", detail="x")
    monkeypatch.setattr(offline, "believed", lambda *_, **__: (_ for _ in ()).throw(expired))
    assert offline.remove_old(school, [taken.release]) == []
    assert bundles_in(offline.folder_of(school)) == [taken.path]


def test_what_a_killed_question_has_left_goes_the_next_day(desk: Desk, school: Any) -> None:
    offline.import_file(school, desk.bundle("1.0.1"))
    left, other = (school.home / "trust-offline" / name for name in (".left", ".in-use"))
    for folder in (left, other):
        (folder / "store").mkdir(parents=True)
    os.utime(left, (0, 0))
    offline.remove_old(school, [])
    assert (left.exists(), other.exists()) == (False, True)
    assert versions(school) == ["1.0.1"]


def test_a_school_that_was_offline_while_the_keys_changed(
    desk: Desk, school: Any, run: Callable[..., dict[str, Any]]
) -> None:
    old = desk.bundle("1.0.1")
    offline.import_file(school, old)
    run("rotate-keys", "--home", desk.vendor.home)
    run("rotate-keys", "--home", desk.vendor.home)
    changed = Desk(Vendor.load(desk.vendor.home), desk.to)
    changed.sign("1.0.2", 2)
    assert offline.import_file(school, changed.bundle("1.0.2")).release.version.text == "1.0.2"
    # what the key before has signed does not count any more
    assert versions(school) == ["1.0.2"]
    (old_again,) = [path for path in bundles_in(offline.folder_of(school)) if "1.0.1" in path.name]
    assert refused(lambda: offline.import_file(school, old_again)).code == "BUNDLE_REFUSED"


@pytest.mark.parametrize("heard", [True, False], ids=["asked before", "never asked"])
def test_keys_that_a_bundle_says_are_revoked_count_no_more_at_the_release_server(
    desk: Desk, school: Any, run: Callable[..., dict[str, Any]], short_path: Path, heard: bool
) -> None:
    """Whoever has stolen them, and the release server, withholds the root that revokes them."""
    if heard:
        school.online.refresh()
    stolen = short_path / "stolen"
    shutil.copytree(desk.vendor.home, stolen, ignore=shutil.ignore_patterns("S.gpg-agent*"))
    for options in ((), ("--online",)):
        run("rotate-keys", "--home", desk.vendor.home, *options)
    changed = Desk(Vendor.load(desk.vendor.home), desk.to)
    changed.sign("1.0.2", 2)
    offline.import_file(school, changed.bundle("1.0.2"))
    thief = Desk(Vendor.load(stolen), desk.to)
    thief.sign("9.9.9", 9)
    online = offline.store_of(school)
    assert (online.root_version(), online.releases()) == (3, []), "what the old keys have signed is still shown"
    online._fetcher = Server(thief.vendor.repository)
    assert refused(online.refresh).code == "TRUST_REFUSED"
    assert versions(school) == ["1.0.2"]
    online._fetcher = Server(desk.vendor.repository)
    online.refresh()
    assert [entry.version.text for entry in online.releases()] == ["1.0.1", "1.0.2"]


@pytest.mark.parametrize("options", [(), ("--online",)], ids=["GPG keys", "online key"])
@pytest.mark.parametrize("heard", [True, False], ids=["asked before", "never asked"])
def test_bundles_go_on_counting_when_the_keys_have_changed_twice(
    desk: Desk, school: Any, run: Callable[..., dict[str, Any]], heard: bool, options: tuple[str, ...]
) -> None:
    """What a bundle has said is kept with the keys from which it began, which are not those of the installation."""
    if not heard:
        offline.import_file(school, desk.bundle("1.0.1"))
    for more in ((), options):
        run("rotate-keys", "--home", desk.vendor.home, *more)
    changed = Desk(Vendor.load(desk.vendor.home), desk.to)
    if heard:
        school.online._fetcher = Server(changed.vendor.repository)
        school.online.refresh()
    for number in (2, 3):
        changed.sign(f"1.0.{number}", number)
        offline.import_file(school, changed.bundle(f"1.0.{number}"))
    assert versions(school) == ["1.0.2", "1.0.3"]


@pytest.mark.parametrize("damage", [b"", b"\0" * 500], ids=["empty", "zeros"])
@pytest.mark.parametrize("name", ["timestamp", "targets", "root"])
def test_what_a_power_cut_has_damaged_is_in_no_ones_way(
    desk: Desk, school: Any, run: Callable[..., dict[str, Any]], damage: bytes, name: str
) -> None:
    run("rotate-keys", "--home", desk.vendor.home)
    changed = Desk(Vendor.load(desk.vendor.home), desk.to)
    changed.sign("1.0.2", 2)
    offline.import_file(school, changed.bundle("1.0.2"))
    found = list(school.home.rglob("2.root.json" if name == "root" else f"{name}.json"))
    assert found
    for path in found:
        path.write_bytes(damage)
    assert versions(school) == ["1.0.2"]  # it says once more what it has said before
    changed.sign("1.0.3", 3)
    offline.import_file(school, changed.bundle("1.0.3"))
    assert versions(school) == ["1.0.2", "1.0.3"]


def test_a_chain_of_roots_with_a_gap(desk: Desk, school: Any, run: Callable[..., dict[str, Any]]) -> None:
    run("rotate-keys", "--home", desk.vendor.home)
    run("rotate-keys", "--home", desk.vendor.home)
    changed = Desk(Vendor.load(desk.vendor.home), desk.to)
    path = changed.bundle("1.0.1")
    altered_seal(lambda seal: seal["roots"].pop(0))(path, changed)
    error = refused(lambda: offline.import_file(school, path))
    assert (error.code, "does not count here" in error.happened) == ("BUNDLE_REFUSED", True)


@pytest.mark.parametrize("kind", ["missing", "folder", "link", "pipe"])
def test_no_file_at_all(desk: Desk, school: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "clms.zip"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(desk.bundle("1.0.1"))
    elif kind == "pipe":
        os.mkfifo(path)
    error = refused(lambda: offline.import_file(school, path))
    assert error.code in ("BUNDLE_MISSING", "BUNDLE_REFUSED")


def test_a_copy_that_differs_from_what_was_verified(desk: Desk, school: Any) -> None:
    """The copy is what is used: whatever is done to the original afterwards is no matter."""
    path = desk.bundle("1.0.1")
    found = offline.import_file(school, path)
    flip(path, 0.5)
    assert versions(school) == ["1.0.1"]
    flip(found.path, 0.5)  # a disk that forgets
    with (
        Bundle(found.path) as bundle,
        pytest.raises((BundleError, zipfile.BadZipFile)),
        bundle.stream(format_.image_member(CONFIG)) as image,
    ):
        image.read()


def test_a_full_disk(desk: Desk, school: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written of the copy is gone, and what was there before is as it was."""
    offline.import_file(school, desk.bundle("1.0.1"))

    def full(source: Any, target: Any, size: int) -> None:
        target.write(source.read(size // 2))
        raise OSError(28, "No space left on device")

    path = desk.bundle("1.0.1")
    monkeypatch.setattr(bundle_file, "_copy", full)
    error = refused(lambda: offline.import_file(school, path))
    assert (error.code, "No space left" in error.happened) == ("BUNDLE_MISSING", True)
    assert [path.name for path in offline.folder_of(school).iterdir()] == ["clms-1.0.1-amd64.zip"]
    assert versions(school) == ["1.0.1"]


def test_a_good_one_stays_when_an_old_one_of_that_version_is_refused(desk: Desk, school: Any) -> None:
    """The old one is the vendor's as well, and would have the same name."""
    old = desk.bundle("1.0.1")
    kept = old.with_name("old.zip")
    old.rename(kept)
    desk.repository.withdraw("1.0.1", desk.offline_key, desk.online_key)
    desk.sign("1.0.1", 2, changelog="New: a better search")
    good = offline.import_file(school, desk.bundle("1.0.1"))
    before = good.path.read_bytes()
    assert refused(lambda: offline.import_file(school, kept)).code == "BUNDLE_OLD"
    assert good.path.read_bytes() == before
    assert [found.release for found in offline.releases_here(school)] == [good.release]


def test_a_file_that_grows_is_not_copied_without_end(desk: Desk, school: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = desk.bundle("1.0.1")
    copy = bundle_file._copy

    def growing(source: Any, target: Any, size: int) -> Any:
        with path.open("ab") as file:
            file.write(b"x" * 10_000_000)
        try:
            return copy(source, target, size)
        finally:
            assert target.tell() == size

    monkeypatch.setattr(bundle_file, "_copy", growing)
    error = refused(lambda: offline.import_file(school, path))
    assert (error.code, "longer" in error.happened) == ("BUNDLE_REFUSED", True)
    assert list(offline.folder_of(school).iterdir()) == []


def test_what_a_killed_process_has_left_is_removed(desk: Desk, school: Any) -> None:
    left = offline.folder_of(school) / ".clms.zip.partial"
    left.parent.mkdir()
    left.write_bytes(b"half of it")
    offline.import_file(school, desk.bundle("1.0.1"))
    assert [path.name for path in offline.folder_of(school).iterdir()] == ["clms-1.0.1-amd64.zip"]


def test_taken_in_twice_at_once(desk: Desk, school: Any) -> None:
    path = desk.bundle("1.0.1")
    barrier, found = threading.Barrier(4), []

    def take() -> None:
        barrier.wait()
        try:
            found.append(offline.import_file(school, path).release.version.text)
        except ClmsError as error:
            found.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["1.0.1"] * 4
    assert versions(school) == ["1.0.1"]
