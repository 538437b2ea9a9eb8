# SPDX-License-Identifier: GPL-3.0-or-later
"""Going over to other keys, with real GPG, and what schools see of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Root, Targets, Timestamp

from publisher import keys, repository, rotation
from publisher.cli import main
from publisher.publish import publish
from publisher.repository import Repository
from publisher.vendor import Vendor

from .conftest import SchoolServer, Served, another_key, refused, root_version

Run = Callable[..., dict[str, Any]]
Release = Callable[..., dict[str, Any]]
MakeSchool = Callable[[str], SchoolServer]
Rotate = Callable[..., str]


# a school goes along


@pytest.mark.parametrize("arguments", [(), ("--online",)], ids=["gpg key", "online key"])
def test_schools_go_over(
    arguments: tuple[str, ...],
    home: Path,
    ready: str,
    rotate: Rotate,
    release: Release,
    served: Served,
    make_school: MakeSchool,
) -> None:
    school = make_school("before")
    assert school.fetch() == ready
    new = rotate(*arguments)
    assert (new == ready) == bool(arguments)
    release("1.0.2", 2)
    publish(home / "repository", served.folder)
    for one in (school, make_school("after")):
        assert one.sees() == ["1.0.1", "1.0.2"]
        assert one.store().fingerprints() == {new}
        assert [one.fetch("1.0.1"), one.fetch("1.0.2")] == [new, new]
    assert Metadata[Root].from_file(str(home / "root.json")).signed.version == 2


def test_an_existing_key_in_another_gpg_home(
    home: Path, short_path: Path, ready: str, rotate: Rotate, served: Served, make_school: MakeSchool
) -> None:
    school, wanted = make_school("school"), another_key(short_path / "gpg")
    arguments = ("--gpg-home", short_path / "gpg", "--gpg-key", wanted.lower())
    assert rotate(*arguments) == wanted
    assert Vendor.load(home) == Vendor(home, "CLMS vendor", short_path / "gpg", wanted)
    assert (home / "vendor.asc").read_bytes() == Repository(home / "repository").read(f"keys/{wanted}.asc")
    assert rotate(*arguments) == wanted  # it is there already: no root without need
    assert root_version(home) == 2
    publish(home / "repository", served.folder)
    assert school.fetch() == wanted


@pytest.mark.parametrize("asked_before", [True, False], ids=["had asked before", "never asked"])
def test_a_school_that_slept_follows_the_chain(
    asked_before: bool, home: Path, ready: str, rotate: Rotate, run: Run, served: Served, make_school: MakeSchool
) -> None:
    school = make_school("school")
    if asked_before:
        school.fetch()
    for arguments in ((), ("--online",), ()):
        last = rotate(*arguments)
    run("refresh", "--home", home, "--all")
    publish(home / "repository", served.folder)
    assert root_version(home) == 5
    assert school.fetch() == last
    roots = sorted(path.name for path in (school.folder / "state/metadata/root_history").iterdir())
    assert roots == [f"{version}.root.json" for version in range(1, 6)]


def test_a_revoked_key_can_be_marked_as_such_in_gpg(
    home: Path, ready: str, rotate: Rotate, release: Release, run: Run, served: Served, make_school: MakeSchool
) -> None:
    school = make_school("school")
    school.fetch()
    new = rotate()
    revoke(home / "gnupg", ready)
    release("1.0.2", 2)
    run("refresh", "--home", home, "--all")
    publish(home / "repository", served.folder)
    assert [school.fetch("1.0.1"), school.fetch("1.0.2")] == [new, new]


@pytest.mark.parametrize("how", ["revoked in GPG", "gone"])
def test_a_key_that_cannot_sign_any_more(
    how: str, home: Path, ready: str, run: Run, rotate: Rotate, served: Served, make_school: MakeSchool
) -> None:
    """The root keys lead over to another one without it."""
    school = make_school("school")
    school.fetch()
    if how == "gone":
        keys.end_agent(home / "gnupg")
        shutil.rmtree(home / "gnupg")
        (home / "gnupg").mkdir(mode=0o700)
    else:
        revoke(home / "gnupg", ready)
    assert run("rotate-keys", "--home", home, code=1)["code"] == "SIGNING_FAILED"
    assert (Vendor.load(home).next_key, root_version(home)) == (None, 1)
    new = rotate("--lost")
    publish(home / "repository", served.folder)
    for one in (school, make_school("after")):
        assert one.fetch() == new


def revoke(gpg_home: Path, fingerprint: str) -> None:
    certificate = gpg_home / "openpgp-revocs.d" / f"{fingerprint}.rev"
    text = certificate.read_text().replace(":-----BEGIN", "-----BEGIN")
    subprocess.run(
        ["gpg", "--homedir", gpg_home, "--batch", "--import"],
        input=text.encode(),
        capture_output=True,
        check=True,
    )
    keys.end_agent(gpg_home)


# what schools refuse


def by_one_root_key(metadata: Path, home: Path, old: str, new: str) -> None:
    path = metadata / "2.root.json"
    data = json.loads(path.read_bytes())
    data["signatures"] = data["signatures"][:1]
    path.write_text(json.dumps(data))


def by_release_keys(metadata: Path, home: Path, old: str, new: str) -> None:
    """What somebody can do who has stolen the release manager's key, and has one of his own."""
    path = metadata / "2.root.json"
    root = Metadata[Root].from_file(str(path))
    root.signatures.clear()
    for fingerprint in (old, new):
        root.sign(keys.gpg_signer(home / "gnupg", fingerprint), append=True)
    root.to_file(str(path))
    keys.end_agent(home / "gnupg")


def skipped(metadata: Path, home: Path, old: str, new: str) -> None:
    (metadata / "3.root.json").replace(metadata / "2.root.json")


def missing(metadata: Path, home: Path, old: str, new: str) -> None:
    (metadata / "2.root.json").unlink()


def older(metadata: Path, home: Path, old: str, new: str) -> None:
    shutil.copy(metadata / "1.root.json", metadata / "2.root.json")


@pytest.mark.parametrize("asked_before", [True, False], ids=["had asked before", "never asked"])
@pytest.mark.parametrize(
    ("spoil", "again"),
    [
        pytest.param(by_one_root_key, False, id="signed by one root key only"),
        pytest.param(by_release_keys, False, id="signed by the old and the new GPG key"),
        pytest.param(skipped, True, id="N+2 in place of N+1"),
        pytest.param(missing, True, id="N+2 without N+1"),
        pytest.param(older, False, id="N in place of N+1"),
    ],
)
def test_a_root_that_is_refused(
    spoil: Callable[[Path, Path, str, str], None],
    again: bool,
    asked_before: bool,
    home: Path,
    ready: str,
    rotate: Rotate,
    release: Release,
    served: Served,
    make_school: MakeSchool,
) -> None:
    school = make_school("school")
    if asked_before:
        school.fetch()
    new = rotate()
    last = rotate() if again else new
    release("1.0.2", 2)
    publish(home / "repository", served.folder)
    metadata = served.folder / "metadata"
    spoil(metadata, home, ready, new)
    assert refused(school.sees) == "TRUST_REFUSED"
    assert school.store().fingerprints() == {ready}
    assert [entry.version.text for entry in school.store().releases()] == (["1.0.1"] if asked_before else [])
    for path in metadata.glob("?.root.json"):
        path.unlink()
    publish(home / "repository", served.folder)
    assert school.fetch("1.0.2") == last


def test_what_the_old_key_signs_later_is_refused(
    home: Path, ready: str, rotate: Rotate, served: Served, make_school: MakeSchool
) -> None:
    thief = home.with_name("thief")
    shutil.copytree(home, thief)
    school = make_school("school")
    school.fetch()
    rotate()
    publish(home / "repository", served.folder)
    school.sees()
    signer = keys.gpg_signer(thief / "gnupg", ready)
    stolen = Repository(thief / "repository")
    for _ in range(3):
        stolen.add([], signer, keys.file_signer(thief / "online.pem"))
    shutil.rmtree(served.folder)
    shutil.copytree(thief / "repository", served.folder)
    assert refused(school.sees) == "TRUST_REFUSED"
    shutil.copy(home / "repository/metadata/2.root.json", served.folder / "metadata")
    assert refused(make_school("new").sees) == "TRUST_REFUSED"
    keys.end_agent(thief / "gnupg")


def test_a_school_that_a_thief_led_away_comes_back_by_hand(
    home: Path, ready: str, rotate: Rotate, run: Run, served: Served, make_school: MakeSchool
) -> None:
    thief = home.with_name("thief")
    shutil.copytree(home, thief)
    settings = (thief / "vendor.json").read_text()
    (thief / "vendor.json").write_text(settings.replace(str(home), str(thief)))
    run("rotate-keys", "--home", thief)
    publish(thief / "repository", served.folder)
    school = make_school("school")
    school.fetch()
    new = rotate()
    run("refresh", "--home", home)  # newer than the thief's
    shutil.rmtree(served.folder)
    publish(home / "repository", served.folder)
    assert refused(school.sees) == "TRUST_REFUSED"
    shutil.copy(home / "root.json", school.folder)
    shutil.rmtree(school.folder / "state")
    assert school.fetch() == new


def test_a_new_online_key_ends_what_the_stolen_one_forged(
    home: Path, ready: str, rotate: Rotate, served: Served, make_school: MakeSchool
) -> None:
    school = make_school("school")
    timestamp = served.folder / "metadata/timestamp.json"
    honest = timestamp.read_bytes()
    forged = Metadata[Timestamp].from_bytes(honest)
    forged.signed.version = 1_000_000
    forged.sign(keys.file_signer(home / "online.pem"))
    timestamp.write_bytes(forged.to_bytes())
    assert school.sees() == ["1.0.1"]
    timestamp.write_bytes(honest)
    assert refused(school.sees) == "TRUST_REFUSED"
    rotate("--online")
    publish(home / "repository", served.folder)
    assert school.sees() == ["1.0.1"]


def test_a_lost_online_key(
    home: Path, ready: str, rotate: Rotate, run: Run, served: Served, make_school: MakeSchool
) -> None:
    school = make_school("school")
    school.fetch()
    (home / "online.pem").unlink()
    assert run("rotate-keys", "--home", home, code=2)["code"] == "SECRET_FILE"
    assert rotate("--online") == ready
    run("refresh", "--home", home)
    publish(home / "repository", served.folder)
    assert school.fetch() == ready


# the rest


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param(("--gpg-key", "0" * 40), "SIGNING_FAILED", id="no such key"),
        pytest.param(("--gpg-key", "vendor@example.org"), "SIGNING_FAILED", id="no fingerprint"),
        pytest.param(("--gpg-home", "/nonexistent"), "VENDOR_HOME", id="no such GPG home"),
        pytest.param(("--gpg-home", "/nonexistent", "--gpg-key", "0" * 40), "SIGNING_FAILED", id="key in no GPG home"),
        pytest.param(("--gpg-home", "/" + "x" * 100, "--gpg-key", "0" * 40), "VENDOR_HOME", id="GPG home, long path"),
    ],
)
def test_a_key_that_cannot_be_used(arguments: tuple[str, ...], code: str, home: Path, run: Run) -> None:
    error = run("rotate-keys", "--home", home, *arguments, code=2 if code == "VENDOR_HOME" else 1)
    assert error["code"] == code
    assert (Vendor.load(home).next_key, root_version(home)) == (None, 1)


@pytest.mark.parametrize("more", [("--gpg-key", "0" * 40), ("--gpg-home", "/gpg")], ids=["key", "home"])
def test_the_online_key_is_no_gpg_key(more: tuple[str, ...], home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["rotate-keys", "--home", str(home), "--online", *more])
    assert caught.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [("refresh", "--all"), ("rotate-keys",), ("sign",)], ids=lambda command: " ".join(command)
)
def test_a_folder_from_before_public_keys_were_listed(
    command: tuple[str, ...],
    home: Path,
    ready: str,
    run: Run,
    release: Release,
    served: Served,
    make_school: MakeSchool,
) -> None:
    def without_keys(targets: Targets) -> None:
        del targets.targets[f"keys/{ready}.asc"]

    change_targets(home, without_keys)
    school = make_school("school")
    publish(home / "repository", served.folder)
    assert refused(school.fetch) == "TRUST_REFUSED"
    if command == ("sign",):
        release("1.0.2", 2)
    else:
        run(command[0], "--home", home, *command[1:])
    publish(home / "repository", served.folder)
    assert school.fetch() == Vendor.load(home).fingerprint


def test_a_listed_key_that_is_another_one(home: Path, ready: str, served: Served, make_school: MakeSchool) -> None:
    other = another_key(home / "gnupg")
    signers = keys.gpg_signer(home / "gnupg", ready), keys.file_signer(home / "online.pem")
    key = rotation.key_target(home / "gnupg", other)
    Repository(home / "repository").add([repository.NewTarget(f"keys/{ready}.asc", key.data)], *signers)
    publish(home / "repository", served.folder)
    assert refused(make_school("school").fetch) == "PACKAGE_SIGNATURE"
    keys.end_agent(home / "gnupg")


def test_a_stored_key_that_was_altered_is_fetched_anew(ready: str, make_school: MakeSchool) -> None:
    school = make_school("school")
    school.fetch()
    stored = school.folder / f"state/targets/keys/{ready}.asc"
    stored.write_bytes(stored.read_bytes()[:-1] + b"X")
    assert school.fetch() == ready
    assert school.store().public_keys() == {ready: stored}


def change_targets(home: Path, change: Callable[[Targets], None]) -> None:
    """Sign a change that no command makes."""
    offline = keys.gpg_signer(home / "gnupg", Vendor.load(home).fingerprint)
    found = Repository(home / "repository")
    targets = found._current_targets()
    change(targets)
    targets.version += 1
    found._renew(found._write_targets(targets, offline), keys.file_signer(home / "online.pem"))
    keys.end_agent(home / "gnupg")
