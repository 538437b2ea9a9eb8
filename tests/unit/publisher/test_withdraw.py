# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a release off the list, and what schools see of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from publisher.publish import publish
from publisher.repository import Repository

from .conftest import SchoolServer, Served, refused

Run = Callable[..., dict[str, Any]]
Release = Callable[..., dict[str, Any]]
MakeSchool = Callable[[str], SchoolServer]


@pytest.fixture
def ready(home: Path, release: Release, served: Served) -> None:
    """Versions 1.0.1 and 1.0.2 are published."""
    release("1.0.1", 1)
    release("1.0.2", 2)
    publish(home / "repository", served.folder)


def test_schools_do_not_see_it_any_more(
    home: Path, ready: None, run: Run, served: Served, make_school: MakeSchool
) -> None:
    school = make_school("school")
    school.fetch("1.0.2")
    unlisted = run("disable", "--home", home, "1.0.2")["unlisted"]
    assert len(unlisted) == 3
    publish(home / "repository", served.folder)
    for one in (school, make_school("new")):
        assert one.sees() == ["1.0.1"]
        assert refused(lambda one=one: one.fetch("1.0.2")) == "RELEASE_UNKNOWN"  # type: ignore[misc]
        one.fetch("1.0.1")
    # the files may go whenever the vendor likes
    for folder in (home / "repository", served.folder):
        for name in unlisted:
            (folder / name).unlink()
    assert make_school("later").sees() == ["1.0.1"]
    assert publish(home / "repository", served.folder) == []


def test_after_a_change_of_keys_all_signatures_go(home: Path, ready: None, run: Run) -> None:
    run("rotate-keys", "--home", home)
    unlisted = run("disable", "--home", home, "1.0.2")["unlisted"]
    assert len(unlisted) == 4
    assert not any("1.0.2" in path for path in Repository(home / "repository").targets())


def test_the_list_names_it(home: Path, ready: None, run: Run) -> None:
    run("disable", "--home", home, "1.0.2")
    listed = run("list", "--home", home)
    assert [entry["version"] for entry in listed["releases"]] == ["1.0.1"]
    assert listed["withdrawn"] == ["1.0.2"]


def test_twice_is_once(home: Path, ready: None, run: Run) -> None:
    run("disable", "--home", home, "1.0.2")
    before = (home / "repository/metadata/timestamp.json").read_bytes()
    assert run("disable", "--home", home, "1.0.2")["unlisted"] == []
    assert (home / "repository/metadata/timestamp.json").read_bytes() == before


@pytest.mark.parametrize("version", ["9.9.9", "../1.0.1", "", "1.0"])
def test_what_is_not_listed(version: str, home: Path, ready: None, run: Run) -> None:
    assert run("disable", "--home", home, version, code=2)["code"] == "RELEASE_NOT_LISTED"


@pytest.mark.parametrize(
    "since",
    [None, ("refresh", "--all"), ("rotate-keys",), ("sign",)],
    ids=["at once", "refreshed", "new key", "signed"],
)
@pytest.mark.parametrize(
    ("version", "sequence", "channel"),
    [
        pytest.param("1.0.2", 9, "stable", id="version"),
        pytest.param("1.0.2", 9, "beta", id="version in another channel"),
        pytest.param("1.0.3", 2, "stable", id="sequence"),
        pytest.param("1.0.3", 1, "stable", id="lower sequence"),
    ],
)
def test_version_and_sequence_stay_used(
    version: str,
    sequence: int,
    channel: str,
    since: tuple[str, ...] | None,
    home: Path,
    source: Path,
    ready: None,
    release: Release,
    define: Callable[..., Path],
    run: Run,
) -> None:
    run("disable", "--home", home, "1.0.2")
    if since == ("sign",):
        release("1.0.4", 4)
    elif since:
        run(since[0], "--home", home, *since[1:])
    path = define(version=version, sequence=sequence, channel=channel)
    error = run("build", "--home", home, "--source", source, "--definition", path, code=2)
    assert error["code"] == "RELEASE_USED"


def test_what_was_built_before_is_not_signed_any_more(
    home: Path, source: Path, credentials: Path, release: Release, define: Callable[..., Path], run: Run
) -> None:
    run("build", "--home", home, "--source", source, "--definition", define(version="1.0.1", sequence=2))
    release("1.0.2", 2)
    run("disable", "--home", home, "1.0.2")
    login = ("--registry", "localhost:1", "--registry-credentials", credentials)
    assert run("sign", "--home", home, "1.0.1", *login, code=2)["code"] == "RELEASE_USED"


def test_a_crash_leaves_it_listed(home: Path, ready: None, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Crash(BaseException):
        pass

    def crash(*_arguments: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "_write_news", crash)
        with pytest.raises(Crash):
            run("disable", "--home", home, "1.0.2")
    listed = run("list", "--home", home)
    assert ([entry["version"] for entry in listed["releases"]], listed["withdrawn"]) == (["1.0.1", "1.0.2"], [])
    assert len(run("disable", "--home", home, "1.0.2")["unlisted"]) == 3
