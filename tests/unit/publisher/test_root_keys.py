# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of the root: two of three sign, one may be lost or stolen, and none has to lie in the vendor folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Root

from publisher import keys
from publisher.cli import main
from publisher.publish import publish
from publisher.vendor import Vendor

from .conftest import SchoolServer, Served, refused, root_version
from .test_rotation_interrupted import crash_before

Run = Callable[..., dict[str, Any]]
MakeSchool = Callable[[str], SchoolServer]


@pytest.fixture
def drives(home: Path, tmp_path: Path) -> list[Path]:
    """The root keys, moved out of the vendor folder to drives of their own."""
    moved = []
    for path in sorted((home / "root-keys").iterdir()):
        (tmp_path / f"drive-{path.stem}").mkdir()
        moved.append(Path(shutil.move(path, tmp_path / f"drive-{path.stem}/root.pem")))
    return moved


def given(*paths: Path) -> list[object]:
    return [argument for path in paths for argument in ("--root-key", path)]


COMMANDS = [("refresh", "--all"), ("rotate-keys",), ("rotate-keys", "--online"), ("rotate-keys", "--lost")]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_two_drives_are_enough(
    command: tuple[str, ...], home: Path, ready: str, drives: list[Path], run: Run, served: Served,
    make_school: MakeSchool,
) -> None:  # fmt: skip
    school = make_school("school")
    school.fetch()
    run(command[0], "--home", home, *command[1:], *given(drives[0], drives[2]))
    publish(home / "repository", served.folder)
    assert school.fetch() == Vendor.load(home).fingerprint
    assert root_version(home) == 2


@pytest.mark.parametrize("command", [*COMMANDS, ("rotate-keys", "--new-root-key", "{}")], ids=" ".join)
@pytest.mark.parametrize("number", [0, 1])
def test_fewer_are_not(
    command: tuple[str, ...], number: int, home: Path, ready: str, drives: list[Path], run: Run, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in home.rglob("*.json")}
    arguments = [part.format(tmp_path / "new.pem") for part in command[1:]]
    error = run(command[0], "--home", home, *arguments, *given(*drives[:number]), code=2)
    assert (error["code"], f"and {number} were given" in error["message"]) == ("ROOT_KEYS_MISSING", True)
    assert {path: path.read_bytes() for path in home.rglob("*.json")} == before
    assert not (tmp_path / "new.pem").exists()
    assert not (home / "online.next.pem").exists()


def test_a_key_of_somebody_else_does_not_count(home: Path, drives: list[Path], run: Run, tmp_path: Path) -> None:
    keys.create_key_file(tmp_path / "strange.pem")
    arguments = given(drives[0], tmp_path / "strange.pem", drives[0])
    assert run("rotate-keys", "--home", home, *arguments, code=2)["code"] == "ROOT_KEYS_MISSING"


@pytest.mark.parametrize("content", [None, b"no key"])
def test_a_file_that_is_no_key(content: bytes | None, home: Path, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.touch(mode=0o600)
        path.write_bytes(content)
    code = 2 if content is None else 1
    error = run("rotate-keys", "--home", home, *given(path), code=code)
    assert error["code"] == ("SECRET_FILE" if content is None else "SIGNING_FAILED")


def test_a_lost_root_key_is_replaced(
    home: Path, ready: str, drives: list[Path], run: Run, served: Served, make_school: MakeSchool, tmp_path: Path
) -> None:
    school = make_school("school")
    school.fetch()
    run("rotate-keys", "--home", home, "--new-root-key", tmp_path / "new.pem", *given(*drives[:2]))
    run("rotate-keys", "--home", home, *given(drives[0], tmp_path / "new.pem"))  # the new one counts
    publish(home / "repository", served.folder)
    assert school.fetch() == Vendor.load(home).fingerprint != ready
    assert root_version(home) == 3
    root = Metadata[Root].from_file(str(home / "root.json")).signed.roles["root"]
    wanted = [keys.file_signer(path).public_key.keyid for path in (*drives[:2], tmp_path / "new.pem")]
    assert (sorted(root.keyids), root.threshold) == (sorted(wanted), 2)


def test_a_root_key_that_was_replaced_counts_no_more(
    home: Path, ready: str, drives: list[Path], run: Run, served: Served, make_school: MakeSchool, tmp_path: Path
) -> None:
    school = make_school("school")
    run("rotate-keys", "--home", home, "--new-root-key", tmp_path / "new.pem", *given(*drives[:2]))
    publish(home / "repository", served.folder)
    school.fetch()
    error = run("rotate-keys", "--home", home, *given(*drives[1:]), code=2)
    assert error["code"] == "ROOT_KEYS_MISSING"
    forged = Metadata[Root].from_file(str(home / "root.json"))
    forged.signed.version += 1
    forged.signatures.clear()
    for path in drives[1:]:  # one that counts, and the stolen one
        forged.sign(keys.file_signer(path), append=True)
    forged.to_file(str(served.folder / "metadata/3.root.json"))
    assert refused(school.sees) == "TRUST_REFUSED"


def test_it_has_to_be_clear_which_one_goes(home: Path, run: Run, tmp_path: Path) -> None:
    error = run("rotate-keys", "--home", home, "--new-root-key", tmp_path / "new.pem", code=2)
    assert error["code"] == "ROOT_KEYS_ALL"
    assert (root_version(home), (tmp_path / "new.pem").exists()) == (1, False)


@pytest.mark.parametrize("name", ["new.pem", "2.timestamp.json", "2.root.json", "root.json"])
def test_an_interrupted_replacement_is_finished_by_a_repetition(
    name: str, home: Path, ready: str, drives: list[Path], run: Run, served: Served, make_school: MakeSchool,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    school = make_school("school")
    command = ("rotate-keys", "--home", home, "--new-root-key", tmp_path / "new.pem", *given(*drives[:2]))
    with crash_before(name, monkeypatch):
        run(*command)
    publish(home / "repository", served.folder)
    assert school.fetch() == ready
    run(*command)
    run(*command)  # once more changes nothing
    publish(home / "repository", served.folder)
    assert school.fetch() == ready
    assert root_version(home) == 2
    assert (home / "root.json").read_bytes() == (home / "repository/metadata/2.root.json").read_bytes()


@pytest.mark.parametrize("more", [("--online",), ("--lost",), ("--gpg-key", "0" * 40)], ids=" ".join)
def test_one_kind_of_key_at_a_time(
    more: tuple[str, ...], home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["rotate-keys", "--home", str(home), "--new-root-key", str(tmp_path / "new.pem"), *more])
    assert caught.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_the_key_that_is_to_go_is_no_new_one(home: Path, ready: str, drives: list[Path], run: Run) -> None:
    """Else a stolen key would stay, and the command say that it was replaced."""
    command = ("rotate-keys", "--home", home, "--new-root-key", drives[2], *given(*drives[:2]))
    assert run(*command, code=2)["code"] == "ROOT_KEY_USED"
    assert root_version(home) == 1


def test_a_place_where_no_key_can_be_made(home: Path, drives: list[Path], run: Run, tmp_path: Path) -> None:
    command = ("rotate-keys", "--home", home, "--new-root-key", tmp_path / "gone/new.pem", *given(*drives[:2]))
    assert run(*command, code=1)["code"] == "SIGNING_FAILED"
    assert root_version(home) == 1


def test_keys_that_lie_there_are_not_written_over(short_path: Path, run: Run) -> None:
    folder = short_path / "other/root-keys"
    folder.mkdir(parents=True, mode=0o700)
    keys.create_key_file(folder / "2.pem")
    before = (folder / "2.pem").read_bytes()
    assert run("init", "--home", short_path / "other", code=2)["code"] == "VENDOR_HOME"
    assert (folder / "2.pem").read_bytes() == before
