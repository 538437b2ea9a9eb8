# SPDX-License-Identifier: GPL-3.0-or-later
"""Secret files are refused unless only their owner can use them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.secret_file import (
    MAX_BYTES,
    Credentials,
    read_credentials,
    read_secret,
)

LOGIN = b'{"username": "school", "password": "canary-17"}'


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(LOGIN)
    path.chmod(0o600)
    return path


def refused(path: Path) -> str:
    with pytest.raises(ClmsError) as caught:
        read_credentials(path)
    assert caught.value.code == "SECRET_FILE"
    assert "canary-17" not in str(caught.value)
    return caught.value.happened


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_its_owner_alone(mode: int, secret: Path) -> None:
    secret.chmod(mode)
    assert read_secret(secret) == LOGIN
    credentials = read_credentials(secret)
    assert credentials == Credentials("school", "canary-17")
    assert "canary-17" not in repr(credentials)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_others_may_use_it(mode: int, secret: Path) -> None:
    secret.chmod(mode)
    assert f"{mode:04o}" in refused(secret)


def test_a_link(secret: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(secret)
    assert refused(tmp_path / "link")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    tmp_path.joinpath("folder").mkdir(mode=0o700)
    assert "not a regular file" in refused(tmp_path / "pipe")
    assert "not a regular file" in refused(tmp_path / "folder")
    assert "No such file" in refused(tmp_path / "missing")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_owner(secret: Path) -> None:
    os.chown(secret, 65534, -1)
    assert "another user" in refused(secret)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"canary-17", id="no JSON"),
        pytest.param(b'{"password": "canary-17"}', id="no user name"),
        pytest.param(b'{"username": "", "password": "canary-17"}', id="empty user name"),
        pytest.param(b'{"username": "a", "password": ["canary-17"]}', id="password is no text"),
        pytest.param(b'{"username": "a", "password": "canary-17", "more": 1}', id="unknown field"),
        pytest.param(b'"canary-17"', id="no mapping"),
        pytest.param(b" " * (MAX_BYTES + 1), id="too large"),
    ],
)
def test_what_is_no_login(content: bytes, secret: Path) -> None:
    secret.write_bytes(content)
    refused(secret)
