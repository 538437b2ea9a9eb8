# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.vendor.config import VARIABLE, from_environment, load

SMALLEST: dict[str, Any] = {
    "public_url": "https://releases.test:8443",
    "repository": "/srv/releases/repository",
    "registry": "registry.test:5000",
    "database": "sqlite:////var/lib/server.db",
}
TLS = {"certificate": "/etc/server.crt", "key": "/etc/server.key"}
TOML = """
public_url = "https://releases.test:8443"
repository = "/srv/releases/repository"
registry = "registry.test:5000"
database = "sqlite:////var/lib/server.db"
"""


@pytest.mark.parametrize(
    ("name", "text"), [("s.yml", yaml.safe_dump(SMALLEST)), ("s.json", json.dumps(SMALLEST)), ("s.toml", TOML)]
)
def test_the_smallest_file_in_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    monkeypatch.setenv(VARIABLE, str(tmp_path / name))
    settings = from_environment()
    assert settings == load(tmp_path / name)
    assert settings.hosts == ("releases.test",)
    assert settings.files_url == settings.public_url
    assert settings.listen == "127.0.0.1:8443"
    assert settings.root_file == Path("/srv/releases/repository/metadata/1.root.json")
    assert settings.report_bytes == 32 * 1024


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"surprise": 1}, "surprise is not known"),
        ({"limits": {"surprise": 1}}, "limits.surprise is not known"),
        ({"tls": {**TLS, "surprise": 1}}, "tls.surprise is not known"),
        ({"tls": {"certificate": "/etc/server.crt"}}, "tls.key is missing"),
        ({"public_url": None}, "public_url is missing"),
        ({"public_url": "http://releases.test"}, "https://"),
        ({"public_url": "https://user:canary@releases.test"}, "login"),
        ({"public_url": "https://releases.test/path"}, "without a path"),
        ({"files_url": "http://files.test"}, "https://"),
        ({"repository": "releases"}, "repository"),
        ({"registry": "registry.test/path"}, "registry"),
        ({"database": "sqlite:///server.db"}, "absolute path"),
        ({"database": "sqlite://"}, "absolute path"),
        ({"database": "oracle://db/x"}, "database must begin with"),
        ({"database": "nonsense"}, "database must be like"),
        ({"database": "mariadb+pymysql://clms:canary@db/clms"}, "must not contain a password"),
        ({"hosts": ["*"]}, "hosts"),
        ({"hosts": "releases.test"}, "hosts"),
        ({"listen": "0.0.0.0:8443"}, "without tls"),
        ({"listen": "releases.test:8443"}, "without tls"),
        ({"listen": "8443"}, "listen"),
        ({"proxies": -1}, "proxies"),
        ({"workers": 0}, "workers"),
        ({"limits": {"key": "many"}}, "limits.key"),
        ({"report_bytes": "1 MB"}, "report_bytes"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "settings.yml"
    path.write_text(yaml.safe_dump({**SMALLEST, **change}))
    with pytest.raises(ClmsError) as caught:
        load(path)
    assert caught.value.code == "SERVER_SETTINGS"
    assert words in caught.value.happened
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("text", ["- a", "", "a: [", "\x00", "canary"])
def test_what_is_no_settings_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.yml"
    path.write_text(text)
    with pytest.raises(ClmsError) as caught:
        load(path)
    assert caught.value.code == "SERVER_SETTINGS"
    assert "canary" not in str(caught.value)
    with pytest.raises(ClmsError):
        load(tmp_path / "missing.yml")


@pytest.mark.parametrize("listen", ["127.0.0.2:1", "localhost:8443", "[::1]:8443", "unix:/run/server.sock"])
def test_without_tls_only_this_machine_is_answered(tmp_path: Path, listen: str) -> None:
    path = tmp_path / "settings.yml"
    path.write_text(yaml.safe_dump({**SMALLEST, "listen": listen}))
    assert load(path).listen == listen
    path.write_text(yaml.safe_dump({**SMALLEST, "tls": TLS}))
    assert load(path).listen == "0.0.0.0:8443"


def test_the_password_of_a_database_lies_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.touch(mode=0o600)
    secret.write_text("s3cret/@\n")
    change = {"database": "mariadb+pymysql://clms@db.test/clms", "database_password_file": str(secret)}
    path = tmp_path / "settings.yml"
    path.write_text(yaml.safe_dump({**SMALLEST, **change}))
    settings = load(path)
    assert settings.database.password == "s3cret/@"
    assert "s3cret" not in repr(settings)
    secret.chmod(0o644)
    with pytest.raises(ClmsError) as caught:
        load(path)
    assert caught.value.code == "SECRET_FILE"
