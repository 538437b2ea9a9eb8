# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands with real GPG; a release that is built at school needs no engine and no registry."""

from __future__ import annotations

import json
import stat
import subprocess
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Root

from ansible_collections.clms.update.plugins.module_utils.gpg import verify_package
from ansible_collections.clms.update.plugins.module_utils.release import parse_release
from publisher import keys
from publisher.cli import main
from publisher.repository import Repository

Run = Callable[..., dict[str, Any]]


def test_init_makes_keys_that_only_their_owner_can_read(home: Path) -> None:
    for path in (home, home / "gnupg"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "online.pem").stat().st_mode) == 0o600


def test_who_signs_what(home: Path) -> None:
    root = Metadata[Root].from_file(str(home / "root.json"))
    fingerprint = json.loads((home / "vendor.json").read_text())["fingerprint"]
    roles = root.signed.roles
    assert root.signed.consistent_snapshot
    assert roles["targets"].keyids == [fingerprint.lower()]
    assert roles["snapshot"].keyids == roles["timestamp"].keyids == [file_key(home / "online.pem")]
    assert roles["root"].keyids == [file_key(home / f"root-keys/{number}.pem") for number in (1, 2, 3)]
    assert {name: role.threshold for name, role in roles.items()} == {
        "root": 2, "targets": 1, "snapshot": 1, "timestamp": 1,
    }  # fmt: skip
    assert set(root.signatures) == set(roles["root"].keyids)
    assert (home / "root-keys").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (home / "root-keys").iterdir()} == {0o600}


def file_key(path: Path) -> str:
    return keys.file_signer(path).public_key.keyid


def test_init_leaves_no_agent_behind(home: Path) -> None:
    deadline = time.monotonic() + 10
    while sockets := list((home / "gnupg").glob("S.gpg-agent*")):
        assert time.monotonic() < deadline, sockets
        time.sleep(0.05)


def test_init_refuses_a_folder_in_use(home: Path, run: Run) -> None:
    assert run("init", "--home", home, code=2)["code"] == "VENDOR_HOME"


def test_init_refuses_a_path_that_is_too_long(tmp_path: Path, run: Run) -> None:
    error = run("init", "--home", tmp_path / ("x" * 100), code=2)
    assert error["code"] == "VENDOR_HOME"
    assert "too long" in error["message"]


def existing_key(gpg_home: Path, *, subkey: bool = False) -> str:
    gpg_home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(gpg_home), "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
    usage = "cert" if subkey else "sign"
    made = subprocess.run(
        [*gpg, "--status-fd", "1", "--quick-generate-key", "old key", "rsa2048", usage, "never"],
        capture_output=True,
        text=True,
        check=True,
    )
    fingerprint = made.stdout.split("KEY_CREATED P ")[1].split()[0]
    if subkey:
        subprocess.run([*gpg, "--quick-add-key", fingerprint, "rsa2048", "sign"], capture_output=True, check=True)
    return fingerprint


def test_init_with_an_existing_rsa_key(short_path: Path, run: Run) -> None:
    fingerprint = existing_key(short_path / "gpg")
    home = short_path / "home"
    made = run("init", "--home", home, "--gpg-home", short_path / "gpg", "--gpg-key", fingerprint.lower())
    assert made["fingerprint"] == fingerprint
    assert run("refresh", "--home", home, "--all")["expires"]


def test_init_refuses_a_key_that_signs_with_a_subkey(short_path: Path, run: Run) -> None:
    fingerprint = existing_key(short_path / "gpg", subkey=True)
    arguments = ("--home", short_path / "home", "--gpg-home", short_path / "gpg", "--gpg-key", fingerprint)
    assert run("init", *arguments, code=1)["code"] == "SIGNING_FAILED"
    # and nothing is in the way of a second try with another key
    assert run("init", "--home", short_path / "home")["fingerprint"] != fingerprint


@pytest.mark.parametrize("key", ["0" * 40, "vendor@example.org", "ABCD"])
def test_init_refuses_a_key_that_is_not_there(key: str, short_path: Path, run: Run) -> None:
    (short_path / "gpg").mkdir(mode=0o700)
    arguments = ("--home", short_path / "home", "--gpg-home", short_path / "gpg", "--gpg-key", key)
    assert run("init", *arguments, code=1)["code"] == "SIGNING_FAILED"


def test_a_release_from_build_to_list(home: Path, release: Callable[..., Any], run: Run, tmp_path: Path) -> None:
    signed = release("1.0.1", 1, critical=True, releaseDate="2026-01-02T03:04:05Z")
    assert (signed["version"], signed["sequence"], signed["channel"], signed["images"]) == ("1.0.1", 1, "stable", {})
    repository = Repository(home / "repository")
    found = parse_release(repository.read("releases/1.0.1.json"))
    assert found.builds["frontend"].source == "source/frontend"
    (listed,) = run("list", "--home", home)["releases"]
    assert listed == {
        "version": "1.0.1",
        "sequence": 1,
        "channel": "stable",
        "date": "2026-01-02T03:04:05Z",
        "critical": True,
    }

    package, signature = tmp_path / "package.zip", tmp_path / "package.zip.sig"
    package.write_bytes(repository.read("packages/clms-1.0.1.zip"))
    signature.write_bytes(repository.read("packages/clms-1.0.1.zip.sig"))
    fingerprint = json.loads((home / "vendor.json").read_text())["fingerprint"]
    key = home / "vendor.asc"
    verify_package(version="1.0.1", package=package, signature=signature, key=key, fingerprints={fingerprint})
    with zipfile.ZipFile(package) as archive:
        names = ["contents.json", "CHANGELOG.md", "definition.json", "source/frontend/Dockerfile", "version.json"]
        assert archive.namelist() == names


def test_the_list_for_people(home: Path, release: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    release("1.0.1", 1)
    assert main(["list", "--home", str(home)]) == 0
    assert "1.0.1" in capsys.readouterr().out


def test_an_error_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--home", str(tmp_path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "was not initialised" in output.err
    assert "clms-release init" in output.err


@pytest.mark.parametrize(
    ("version", "sequence", "channel", "code"),
    [
        ("1.0.2", 6, "stable", None),
        ("1.0.2", 1, "beta", None),
        ("1.0.1", 6, "stable", "RELEASE_USED"),
        ("1.0.1", 6, "beta", "RELEASE_USED"),
        ("1.0.2", 5, "stable", "RELEASE_USED"),
        ("1.0.2", 4, "stable", "RELEASE_USED"),
    ],
)
def test_versions_and_sequences_are_used_once(
    version: str,
    sequence: int,
    channel: str,
    code: str | None,
    home: Path,
    source: Path,
    release: Callable[..., Any],
    define: Callable[..., Path],
    run: Run,
) -> None:
    release("1.0.1", 5)
    arguments = ("--home", home, "--source", source)
    arguments = (*arguments, "--definition", define(version=version, sequence=sequence, channel=channel))
    if code is None:
        assert run("build", *arguments)["version"] == version
    else:
        assert run("build", *arguments, code=2)["code"] == code


def test_a_sequence_that_was_used_between_build_and_sign(
    home: Path, source: Path, credentials: Path, release: Callable[..., Any], define: Callable[..., Path], run: Run
) -> None:
    run("build", "--home", home, "--source", source, "--definition", define(version="1.0.2", sequence=1))
    release("1.0.1", 1)
    login = ("--registry", "localhost:1", "--registry-credentials", credentials)
    assert run("sign", "--home", home, "1.0.2", *login, code=2)["code"] == "RELEASE_USED"


def test_signing_what_was_not_built(home: Path, credentials: Path, run: Run) -> None:
    login = ("--registry", "localhost:1", "--registry-credentials", credentials)
    assert run("sign", "--home", home, "9.9.9", *login, code=2)["code"] == "RELEASE_NOT_BUILT"
    assert run("sign", "--home", home, "../..", *login, code=2)["code"] == "RELEASE_NOT_BUILT"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param({"version": "1.0"}, "not a version", id="version"),
        pytest.param({"version": "../../x"}, "not a version", id="version with a path"),
        pytest.param({"sequence": None}, "sequence is missing", id="no sequence"),
        pytest.param({"changelog": None}, "changelog is missing", id="no changelog"),
        pytest.param({"surprise": 1}, "surprise is not known", id="unknown field"),
        pytest.param({"images": ["a"]}, "images must be", id="images are a list"),
        pytest.param({"images": {"frontend": "x"}}, "both an image and a build", id="image and build"),
        pytest.param({"builds": {}}, "at least one", id="no services"),
        pytest.param({"builds": {"frontend": {"source": "source/none"}}}, "not in the package", id="no such source"),
        pytest.param({"builds": {"frontend": {"source": "source"}, "x": {}}}, "source is missing", id="no source"),
        pytest.param({"health": {"backend": {}}}, "missing", id="incomplete health"),
        pytest.param({"migration": {"service": "x"}}, "missing", id="incomplete migration"),
        pytest.param({"forceAfterDate": "2026-01-01T00:00:00Z"}, "only a critical", id="forced but not critical"),
        pytest.param({"minVersion": "x"}, "not a version", id="minimum version"),
        pytest.param({"expires": "tomorrow"}, "expires", id="expiry"),
    ],
)
def test_definitions_that_are_refused(
    changes: dict[str, Any], text: str, home: Path, source: Path, define: Callable[..., Path], run: Run
) -> None:
    error = run("build", "--home", home, "--source", source, "--definition", define(**changes), code=2)
    assert error["code"] == "DEFINITION_INVALID"
    assert text in error["message"]
    assert not (home / "staging").exists()


def test_definitions_that_cannot_be_read(home: Path, tmp_path: Path, run: Run) -> None:
    for name, content in (("list", "[]"), ("no-json", "{"), ("missing", None)):
        path = tmp_path / name
        if content is not None:
            path.write_text(content)
        assert run("build", "--home", home, "--definition", path, code=2)["code"] == "DEFINITION_INVALID"


def test_the_changelog_can_come_from_a_file(
    home: Path, source: Path, define: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    (tmp_path / "CHANGES.md").write_text("From a file")
    arguments = ("--home", home, "--source", source, "--changelog", tmp_path / "CHANGES.md")
    staging = Path(run("build", *arguments, "--definition", define(changelog=None))["staging"])
    assert json.loads((staging / "draft.json").read_bytes())["release"]["changelog"] == "From a file"


def test_the_same_input_gives_the_same_package(home: Path, source: Path, define: Callable[..., Path], run: Run) -> None:
    packages = []
    for _ in range(2):
        path = define(releaseDate="2026-01-02T03:04:05Z")
        staging = Path(run("build", "--home", home, "--source", source, "--definition", path)["staging"])
        packages.append((staging / "clms-1.0.1.zip").read_bytes())
        (source / "frontend" / "Dockerfile").touch()
    assert packages[0] == packages[1]


def test_refresh_needs_the_online_key_only(home: Path, run: Run) -> None:
    (home / "gnupg").rename(home / "offline")
    before = json.loads((home / "repository/metadata/timestamp.json").read_bytes())["signed"]["version"]
    expires = run("refresh", "--home", home)["expires"]
    after = json.loads((home / "repository/metadata/timestamp.json").read_bytes())["signed"]["version"]
    assert after == before + 1
    assert expires["timestamp"] > datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert run("refresh", "--home", home, "--all", code=1)["code"] == "SIGNING_FAILED"


def test_an_online_key_that_others_can_read_is_not_used(home: Path, run: Run) -> None:
    (home / "online.pem").chmod(0o644)
    assert run("refresh", "--home", home, code=2)["code"] == "SECRET_FILE"


def test_a_vendor_folder_that_others_can_look_into_is_not_used(home: Path, run: Run) -> None:
    home.chmod(0o755)
    assert run("list", "--home", home, code=2)["code"] == "VENDOR_HOME"


@pytest.mark.parametrize("damage", ["vendor.json", "repository/metadata/timestamp.json"])
def test_a_damaged_vendor_folder(damage: str, home: Path, run: Run) -> None:
    (home / damage).write_text("{")
    assert run("list", "--home", home, code=2)["code"] == "VENDOR_HOME"


@pytest.mark.parametrize("arguments", [[], ["destroy"], ["init"], ["list", "--hom", "x"], ["sign", "--home", "x"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
