# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of keys that is read or interrupted in the middle."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import publisher.publish
from publisher import keys, repository, rotation, vendor
from publisher.publish import publish
from publisher.vendor import Vendor

from .conftest import SchoolServer, Served, another_key, root_version

Run = Callable[..., dict[str, Any]]
Release = Callable[..., dict[str, Any]]
MakeSchool = Callable[[str], SchoolServer]
Rotate = Callable[..., str]


def nothing_more(home: Path, rotate: Rotate, run: Run, release: Release) -> None:
    pass


def a_release(home: Path, rotate: Rotate, run: Run, release: Release) -> None:
    release("1.0.2", 2)


def refreshed(home: Path, rotate: Rotate, run: Run, release: Release) -> None:
    run("refresh", "--home", home, "--all")


def withdrawn(home: Path, rotate: Rotate, run: Run, release: Release) -> None:
    release("1.0.2", 2)
    run("disable", "--home", home, "1.0.2")


def both_keys(home: Path, rotate: Rotate, run: Run, release: Release) -> None:
    rotate("--online")
    rotate()


@pytest.mark.parametrize("more", [nothing_more, a_release, refreshed, withdrawn, both_keys])
@pytest.mark.parametrize("arguments", [(), ("--online",)], ids=["gpg key", "online key"])
def test_schools_that_ask_while_it_is_published(
    arguments: tuple[str, ...],
    more: Callable[..., None],
    home: Path,
    ready: str,
    rotate: Rotate,
    run: Run,
    release: Release,
    served: Served,
    make_school: MakeSchool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After each file that is written: a school as it was before, one that asks all the time, and a new one."""
    sleeping, awake = make_school("sleeping"), make_school("awake")
    sleeping.fetch()
    rotate(*arguments)
    more(home, rotate, run, release)
    write, number = publisher.publish.write_file, 0

    def write_and_ask(path: Path, data: bytes) -> None:
        nonlocal number
        write(path, data)
        if path.parent.name != "metadata":
            return
        number += 1
        waking = SchoolServer(tmp_path / f"waking-{number}", served, sleeping.folder / "root.json")
        shutil.copytree(sleeping.folder / "state", waking.folder / "state")
        new = SchoolServer(tmp_path / f"new-{number}", served, sleeping.folder / "root.json")
        for school in (waking, awake, new):
            assert school.fetch() in school.store().fingerprints()

    monkeypatch.setattr(publisher.publish, "write_file", write_and_ask)
    publish(home / "repository", served.folder)
    assert number >= 3
    assert make_school("after").fetch() == Vendor.load(home).fingerprint


@pytest.mark.parametrize("arguments", [(), ("--online",)], ids=["gpg key", "online key"])
def test_a_school_that_looked_for_roots_before_and_at_the_rest_afterwards(
    arguments: tuple[str, ...], home: Path, ready: str, rotate: Rotate, served: Served, make_school: MakeSchool
) -> None:
    school = make_school("school")
    new = rotate(*arguments)
    publish(home / "repository", served.folder)
    served.hidden.add("metadata/2.root.json")
    assert school.fetch() == ready
    served.hidden.clear()
    assert school.fetch() == new


class Crash(BaseException):
    """The power goes."""


@contextmanager
def crash_before(name: str, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stop right before a file of that name is written; with ``:2`` behind it, before the second time."""
    name, _colon, number = name.partition(":")
    left = int(number or 1)
    write = vendor.write_file

    def write_or_crash(path: Path, data: bytes, mode: int = 0o644) -> None:
        nonlocal left
        left -= path.name == name
        if not left:
            raise Crash
        write(path, data, mode)

    with patch.context() as context:
        for module in (keys, repository, rotation, vendor):
            context.setattr(module, "write_file", write_or_crash)
        with pytest.raises(Crash):
            yield


@pytest.mark.parametrize(
    ("arguments", "name", "goes_on"),
    [
        pytest.param((), "vendor.json", True, id="gpg key: made, but not put down"),
        pytest.param((), "3.targets.json", True, id="gpg key: before the targets"),
        pytest.param((), "timestamp.json", True, id="gpg key: before the timestamp"),
        pytest.param((), "2.timestamp.json", True, id="gpg key: after the timestamp"),
        pytest.param((), "2.root.json", True, id="gpg key: before the root"),
        pytest.param((), "vendor.asc", False, id="gpg key: after the root"),
        pytest.param((), "root.json", False, id="gpg key: before the root for new schools"),
        pytest.param((), "vendor.json:2", False, id="gpg key: before the end"),
        pytest.param(("--online",), "online.next.pem", True, id="online key: not yet made"),
        pytest.param(("--online",), "timestamp.json", True, id="online key: before the timestamp"),
        pytest.param(("--online",), "2.timestamp.json", True, id="online key: after the timestamp"),
        pytest.param(("--online",), "2.root.json", True, id="online key: before the root"),
        pytest.param(("--online",), "root.json", False, id="online key: before the end"),
    ],
)
def test_an_interrupted_rotation_is_finished_by_a_repetition(
    arguments: tuple[str, ...],
    name: str,
    goes_on: bool,
    home: Path,
    ready: str,
    rotate: Rotate,
    run: Run,
    release: Release,
    served: Served,
    make_school: MakeSchool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    school = make_school("school")
    with crash_before(name, monkeypatch):
        rotate(*arguments)
    intended = Vendor.load(home).next_key
    # what is here counts, and can be published
    publish(home / "repository", served.folder)
    assert school.fetch() in school.store().fingerprints()
    if goes_on:  # with the old key, as long as no root says otherwise
        release("1.0.2", 2)
    else:
        all_keys = ("refresh", "--home", home, "--all")
        assert run(*all_keys, code=2)["code"] == "ROTATION_UNFINISHED"
        assert run("disable", "--home", home, "1.0.1", code=2)["code"] == "ROTATION_UNFINISHED"
    new = rotate(*arguments)
    assert root_version(home) == 2
    assert intended is None or intended[1] == new
    assert Vendor.load(home).next_key is None
    assert not (home / "online.next.pem").exists()
    release("1.0.3", 3)
    publish(home / "repository", served.folder)
    for one in (school, make_school("after")):
        assert {one.fetch(version) for version in one.sees()} == {new}


def test_an_interrupted_rotation_can_go_to_yet_another_key(
    home: Path, short_path: Path, ready: str, rotate: Rotate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with crash_before("2.root.json", monkeypatch):
        rotate()
    wanted = another_key(short_path / "gpg")
    assert rotate("--gpg-home", short_path / "gpg", "--gpg-key", wanted) == wanted
    assert root_version(home) == 2


def test_a_finished_rotation_goes_on_to_the_key_that_is_asked_for(
    home: Path, short_path: Path, ready: str, rotate: Rotate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with crash_before("vendor.asc", monkeypatch):
        rotate()
    wanted = another_key(short_path / "gpg")
    assert rotate("--gpg-home", short_path / "gpg", "--gpg-key", wanted) == wanted
    assert root_version(home) == 3
