# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages on their way from the release server: tampered with, broken off, slow, or not what was signed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tuf.api.exceptions import DownloadError

from ansible_collections.clms.update.plugins.module_utils.fetcher import Fetcher

from .conftest import MakeStore, refused


def test_a_package_comes_with_its_signature(vendor: Any, make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    release = store.release("1.0.2")
    package = store.package(release, tmp_path)
    assert package == tmp_path / "clms-1.0.2.zip"
    assert len(package.read_bytes()) == release.package.size
    assert (tmp_path / "clms-1.0.2.zip.sig").read_bytes() == b"signature"
    vendor.asked.clear()
    store.package(release, tmp_path)
    assert vendor.asked == []


@pytest.mark.parametrize("name", ["clms-1.0.2.zip", "clms-1.0.2.zip.sig"])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data[:-1] + b"X", id="altered"),
        pytest.param(lambda data: data[:-1], id="cut"),
        pytest.param(lambda data: data + b"more", id="longer"),
    ],
)
def test_a_tampered_package(
    name: str, change: Callable[[bytes], bytes], vendor: Any, make_store: MakeStore, tmp_path: Path
) -> None:
    file = vendor.target(f"packages/{name}")
    file.write_bytes(change(file.read_bytes()))
    store = make_store()
    release = store.release("1.0.2")
    assert refused(lambda: store.package(release, tmp_path)) == "PACKAGE_CORRUPT"
    assert not (tmp_path / name).exists()
    assert list(tmp_path.glob(".*.part")) == []


class Breaking(Fetcher):
    """Breaks off in the middle of what another fetcher brings, a few times."""

    def __init__(self, vendor: Any, *after: int) -> None:
        self.vendor, self.after = vendor, list(after)
        self.asked: list[int] = []

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield from self.vendor._fetch(url)

    def fetch_from(self, url: str, start: int) -> Iterator[bytes]:
        if not url.endswith("clms-1.0.2.zip"):
            yield from super().fetch_from(url, start)
            return
        self.asked.append(start)
        data = b"".join(super().fetch_from(url, start))
        if not self.after:
            yield data
            return
        yield data[: self.after.pop(0)]
        raise DownloadError("the connection broke")


@pytest.mark.parametrize(
    ("after", "asked", "pauses"),
    [
        pytest.param([5], [0, 5], [1.0], id="once"),
        pytest.param([5, 3, 2], [0, 5, 8, 10], [1.0, 2.0, 4.0], id="three times"),
    ],
)
def test_a_download_that_breaks_goes_on(
    vendor: Any, make_store: MakeStore, tmp_path: Path, after: list[int], asked: list[int], pauses: list[float]
) -> None:
    waited: list[float] = []
    fetcher = Breaking(vendor, *after)
    store = make_store(fetcher=fetcher, sleep=waited.append)
    package = store.package(store.release("1.0.2"), tmp_path)
    assert (fetcher.asked, waited) == (asked, pauses)
    assert package.stat().st_size == store.release("1.0.2").package.size


def test_the_next_call_goes_on_where_the_last_one_has_given_up(
    vendor: Any, make_store: MakeStore, tmp_path: Path
) -> None:
    fetcher = Breaking(vendor, 5, 1, 1, 1, 0)
    store = make_store(fetcher=fetcher, sleep=lambda _: None)
    release = store.release("1.0.2")
    for _ in range(2):
        assert refused(lambda: store.package(release, tmp_path)) == "SERVER_UNREACHABLE"
        assert not (tmp_path / "clms-1.0.2.zip").exists()
    store.package(release, tmp_path)
    assert fetcher.asked == [0, 5, 6, 7, 8, 8]


class Slow(Breaking):
    """Needs some seconds for each piece, and notes within which time it was to come."""

    def __init__(self, vendor: Any, seconds: float, *after: int) -> None:
        super().__init__(vendor, *after)
        self.seconds, self.now = seconds, 0.0
        self.left: list[float] = []

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        self.left.append(seconds)
        yield

    def fetch_from(self, url: str, start: int) -> Iterator[bytes]:
        if url.endswith("clms-1.0.2.zip"):
            self.now += self.seconds
        yield from super().fetch_from(url, start)

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_taking_up_a_download_gives_no_more_time(vendor: Any, make_store: MakeStore, tmp_path: Path) -> None:
    fetcher = Slow(vendor, 1500, 5, 3, 2)
    store = make_store(fetcher=fetcher, sleep=fetcher.wait, monotonic=lambda: fetcher.now)
    release = store.release("1.0.2")
    fetcher.left.clear()
    assert refused(lambda: store.package(release, tmp_path)) == "SERVER_UNREACHABLE"
    assert fetcher.left == [3600, 3600 - 1501, 3600 - 1501 - 1502]
    assert (tmp_path / ".clms-1.0.2.zip.part").stat().st_size == 10  # what the next call goes on with
    store.package(release, tmp_path)
    assert fetcher.asked == [0, 5, 8, 10]


@pytest.mark.parametrize("left", [b"something else", b"x" * 1000], ids=["shorter", "longer"])
def test_what_is_left_of_another_file_does_no_harm(
    vendor: Any, make_store: MakeStore, tmp_path: Path, left: bytes
) -> None:
    fetcher = Breaking(vendor)
    store = make_store(fetcher=fetcher)
    release = store.release("1.0.2")
    (tmp_path / ".clms-1.0.2.zip.part").write_bytes(left)
    assert store.package(release, tmp_path).stat().st_size == release.package.size
    assert fetcher.asked[-1] == 0
    assert list(tmp_path.glob(".*.part")) == []


class Gated(Breaking):
    """Stops before it brings something until it is let go on."""

    def __init__(self, vendor: Any, *after: int, spoilt: bytes = b"") -> None:
        super().__init__(vendor, *after)
        self.spoilt = spoilt
        self.began, self.goes_on = threading.Event(), threading.Event()

    def fetch_from(self, url: str, start: int) -> Iterator[bytes]:
        if url.endswith("clms-1.0.2.zip"):
            self.began.set()
            assert self.goes_on.wait(30)
            yield self.spoilt
        yield from super().fetch_from(url, start)


@pytest.mark.parametrize(
    ("after", "spoilt", "code", "asked"),
    [
        pytest.param([], b"", None, [], id="it is there then"),
        pytest.param([5, 0], b"", "SERVER_UNREACHABLE", [5], id="the other one gives up"),
        pytest.param([], b"x", "PACKAGE_CORRUPT", [0], id="the other one throws it away"),
    ],
)
def test_who_wants_what_somebody_else_fetches_waits(
    vendor: Any,
    make_store: MakeStore,
    tmp_path: Path,
    after: list[int],
    spoilt: bytes,
    code: str | None,
    asked: list[int],
) -> None:
    first, second = Gated(vendor, *after, spoilt=spoilt), Breaking(vendor)
    stores = [make_store(fetcher=fetcher, sleep=lambda _: None) for fetcher in (first, second)]
    releases = [store.release("1.0.2") for store in stores]
    with ThreadPoolExecutor() as pool:
        one = pool.submit(stores[0].package, releases[0], tmp_path)
        assert first.began.wait(30)
        other = pool.submit(stores[1].package, releases[1], tmp_path)
        time.sleep(0.2)
        assert second.asked == []
        first.goes_on.set()
        if code is None:
            one.result()
        else:
            assert refused(one.result) == code
        assert other.result().stat().st_size == releases[1].package.size
    assert second.asked == asked
    assert list(tmp_path.glob(".*.part")) == []


def test_a_package_that_the_release_does_not_name(vendor: Any, make_store: MakeStore, tmp_path: Path) -> None:
    package = {"path": "packages/clms-1.0.2.zip", "size": 3, "sha256": "0" * 64}
    vendor.add("1.0.3", 3, package=package)
    store = make_store()
    release = store.release("1.0.3")
    assert refused(lambda: store.package(release, tmp_path)) == "PACKAGE_CORRUPT"
