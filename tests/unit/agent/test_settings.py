# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that people change: all of them or none, and nothing else in the description is touched."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent import addresses, config, settings
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.school.own_words import known_detail


def path_of(folder: Path) -> Path:
    return folder / "host_vars/school.yml"


def values(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = settings.settings(folder)["settings"]
    return found


def test_what_a_school_that_says_nothing_has(folder: Path) -> None:
    found = settings.settings(folder)
    assert found["settings"] == {
        "contact": None, "notify_language": "en", "time_zone": "UTC",
        "school_hours": ["mon-fri 07:30-17:00"], "quiet_days": [],
        "tonight": "22:00", "weekend": "sat 10:00", "missed": "tonight", "check_interval_days": 7,
        "check_on_startup": False, "backup_path": config.load(folder).school.backup.path, "max_backups": 5,
        "external_backup_path": None, "update_server": "https://releases.test", "registry": "registry.test:5000",
    }  # fmt: skip
    assert set(found["settings"]) == set(settings.PLACES)
    assert found["secrets"] == dict.fromkeys(settings.SECRETS, False)
    assert found["registry_user"] is None


def test_a_page_that_sends_everything_changes_what_is_another(folder: Path) -> None:
    """What a school has without saying so is not written down, and not told as changed."""
    before, shown = path_of(folder).read_bytes(), values(folder)
    assert settings.change(folder, dict(shown)) == []
    assert path_of(folder).read_bytes() == before
    assert settings.change(folder, {**shown, "notify_language": "de"}) == ["notify_language"]
    assert values(folder) == {**shown, "notify_language": "de"}


@pytest.mark.parametrize("value", [1, 0, "no"])
def test_a_number_is_no_truth(folder: Path, value: object) -> None:
    with pytest.raises(ClmsError) as caught:
        settings.change(folder, {"check_on_startup": value})
    assert caught.value.values["setting"] == "check_on_startup"


def test_changes_are_seen_by_every_reader(folder: Path) -> None:
    wanted = {
        "contact": "Frau Vogt, room 12", "notify_language": "de", "time_zone": "Europe/Berlin",
        "school_hours": ["mon-thu 08:00-16:00"],
        "quiet_days": ["2026-12-21..2027-01-06"], "tonight": "23:30", "weekend": "sun 09:00", "missed": "skip",
        "check_interval_days": 1, "check_on_startup": True, "backup_path": "/srv/backups", "max_backups": 9,
        "external_backup_path": "/media/usb", "update_server": "https://other.test", "registry": "other.test",
    }  # fmt: skip
    assert set(settings.change(folder, dict(wanted))) == set(wanted)
    assert values(folder) == wanted
    school = config.load(folder).school
    assert (school.contact, school.schedule.time_zone, school.backup.maximum) == (
        "Frau Vogt, room 12",
        "Europe/Berlin",
        9,
    )
    assert stat.S_IMODE(path_of(folder).stat().st_mode) == 0o600
    # the same once more is no change, and the file stays as it is
    before = path_of(folder).read_bytes()
    assert settings.change(folder, dict(wanted)) == []
    assert path_of(folder).read_bytes() == before
    assert settings.change(folder, {"contact": None, "external_backup_path": None}) == [
        "contact",
        "external_backup_path",
    ]
    assert values(folder)["external_backup_path"] is None


def test_comments_and_everything_else_stay(folder: Path) -> None:
    text = path_of(folder).read_text()
    path_of(folder).write_text(
        f"# by hand\n{text}\nclms_schedule:\n  tonight: 22:30  # after the cleaners\n  check_on_startup: yes\n"
        "other: 0123\n"
    )
    before = yaml.safe_load(path_of(folder).read_text())
    settings.change(folder, {"weekend": "sun 11:00"})
    after = path_of(folder).read_text()
    assert "# by hand" in after
    assert "# after the cleaners" in after
    assert yaml.safe_load(after) == before | {"clms_schedule": before["clms_schedule"] | {"weekend": "sun 11:00"}}
    assert values(folder)["tonight"] == "22:30"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time_zone", "Mars/Olympus"),
        ("time_zone", 7),
        ("school_hours", ["mon-fri 17:00-08:00"]),
        ("school_hours", "mon-fri 08:00-17:00"),
        ("quiet_days", ["2026-02-30"]),
        ("quiet_days", [{}]),
        ("tonight", "25:00"),
        ("weekend", "someday"),
        ("missed", "never"),
        ("check_interval_days", -1),
        ("check_interval_days", "7"),
        ("check_on_startup", "yes"),
        ("backup_path", "backups"),
        ("backup_path", None),
        ("max_backups", 1),
        ("external_backup_path", "usb"),
        ("backup_path", "/etc/cron.d"),
        ("backup_path", "/srv"),
        ("backup_path", "/srv/../etc/cron.d"),
        ("external_backup_path", "/proc/self"),
        ("update_server", "http://plain.test"),
        ("registry", "https://registry.test"),
        ("contact", "x" * 201),
        ("notify_language", "fr"),
        ("notify_language", ["de"]),
        ("contact", "two\nlines"),
        ("api_key", "there is no file for it"),
        ("notify", 5),
        ("registry_login", {"username": "x"}),
        ("registry_login", "x"),
        ("registry_login", {"username": "x", "password": "  "}),
        ("registry_login", {"username": " ", "password": "x"}),
        ("registry_login", {"username": "x", "password": "a\nb"}),
        ("notify", " \n "),
        ("notify", "# nobody yet"),
        ("notify", "anna@school.example"),
        ("notify", "json://x.test\n\njson://x.test?template=/etc/shadow"),
        ("contact", "  "),
        ("tonight", "  "),
        ("update_server", "https://[::1"),
        ("update_server", "https://x.test:99999"),
        ("update_server", "https://x.test:0"),
        ("update_server", "https://x.test:port"),
        ("update_server", "https://anna:geheim@x.test"),
        ("update_server", "https://:443"),
        ("title", "Another School"),
    ],
)
def test_what_is_wrong_changes_nothing(folder: Path, name: str, value: Any) -> None:
    before = path_of(folder).read_bytes()
    with pytest.raises(ClmsError) as caught:
        settings.change(folder, {"time_zone": "Europe/Berlin", "notify": "json://x.test", name: value})
    assert (caught.value.code, caught.value.values["setting"]) == ("SETTING_WRONG", name)
    assert known_detail(caught.value.code, str(caught.value.values["detail"])), "the page does not translate it"
    assert path_of(folder).read_bytes() == before
    assert not (folder / "secrets").exists()


def test_what_is_wrong_with_an_address_does_not_quote_it(folder: Path) -> None:
    with pytest.raises(ClmsError) as caught:
        settings.change(folder, {"notify": "anna:geheim@x.test\njson://x.test\ngeheim"})
    assert "no address in line 1, 3; mail is written mailtos://" in str(caught.value)
    assert "geheim" not in str(caught.value)
    with pytest.raises(ClmsError) as caught:
        settings.change(folder, {"update_server": "https://anna:geheim@x.test:99999"})
    assert "it must not contain a login" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_addresses_that_cannot_be_looked_at_are_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses.sys, "executable", "/bin/false")
    with pytest.raises(ClmsError, match="could not be looked at just now") as caught:
        settings.change(folder, {"notify": "json://x.test"})
    assert known_detail("SETTING_WRONG", str(caught.value.values["detail"]))
    assert config.load(folder).school.notify_file is None


@pytest.mark.parametrize("blank", ["  ", "\t", "\n"])
def test_blanks_replace_no_secret(folder: Path, tmp_path: Path, blank: str) -> None:
    key = tmp_path / "key"
    key.write_text("geheim-0\n")
    path_of(folder).write_text(
        path_of(folder).read_text().replace("clms_trust:", f"clms_trust:\n  api_key_file: {key}\n  report_key_file: /x")
    )
    settings.change(folder, {"registry_login": {"username": " school ", "password": " ge heim "}, "api_key": " new "})
    school = config.load(folder).school
    assert json.loads(Path(str(school.registry_credentials_file)).read_text()) == {
        "username": "school", "password": " ge heim ",
    }  # fmt: skip
    for name, value in (
        ("api_key", blank), ("registry_login", {"username": "school", "password": blank}), ("notify", blank),
    ):  # fmt: skip
        with pytest.raises(ClmsError) as caught:
            settings.change(folder, {name: value})
        assert (caught.value.code, caught.value.values["setting"]) == ("SETTING_WRONG", name)
    assert key.read_text() == "new\n"
    assert "ge heim" in Path(str(school.registry_credentials_file)).read_text()


def test_blanks_around_a_value_are_none_of_it(folder: Path) -> None:
    settings.change(folder, {"contact": " Frau Vogt ", "update_server": " https://x.test:8443 ", "tonight": "21:00 "})
    found = values(folder)
    assert (found["contact"], found["update_server"], found["tonight"]) == (
        "Frau Vogt",
        "https://x.test:8443",
        "21:00",
    )


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ({"backup_path": "/srv/b", "external_backup_path": "/srv/b"}, "external_backup_path"),
        ({"backup_path": "/srv/b", "external_backup_path": "/srv/b/"}, "external_backup_path"),
        ({"backup_path": "/srv/b", "external_backup_path": "/srv/x/../b"}, "external_backup_path"),
        ({"backup_path": "/media/usb"}, "backup_path"),
    ],
)
def test_backups_are_not_copied_onto_themselves(folder: Path, wanted: dict[str, str], name: str) -> None:
    settings.change(folder, {"external_backup_path": "/media/usb"})
    before = path_of(folder).read_bytes()
    with pytest.raises(ClmsError) as caught:
        settings.change(folder, wanted)
    assert (caught.value.code, caught.value.values["setting"]) == ("SETTING_WRONG", name)
    assert "same folder" in str(caught.value)
    assert known_detail("SETTING_WRONG", str(caught.value.values["detail"]))
    assert path_of(folder).read_bytes() == before
    settings.change(folder, {"backup_path": "/media/usb", "external_backup_path": None})


@pytest.mark.parametrize("text", ["{{ lookup('pipe', 'id') }}", "{% raw %}", "room 12 {# left"])
def test_a_template_is_none_of_our_business(folder: Path, text: str) -> None:
    with pytest.raises(ClmsError):
        settings.change(folder, {"contact": text})
    assert values(folder)["contact"] is None


def test_backups_stay_out_of_the_folder_in_which_the_page_writes(folder: Path) -> None:
    uploads = config.load(folder).school.upload_folder
    for path in (uploads / "backups", uploads.parent / "x/../uploads/backups"):
        with pytest.raises(ClmsError) as caught:
            settings.change(folder, {"backup_path": str(path)})
        assert caught.value.values["setting"] == "backup_path"
    (uploads.parent / "link").symlink_to("/etc")
    with pytest.raises(ClmsError):
        settings.change(folder, {"backup_path": str(uploads.parent / "link/cron.d")})
    settings.change(folder, {"backup_path": str(uploads.parent / "other")})  # beside where they are


def test_what_somebody_else_has_just_written_is_not_undone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = config.school_of

    def meanwhile(variables: dict[str, Any], path: Path) -> Any:
        if variables.get("clms_contact") == "anna":
            path.write_text(path.read_text() + "clms_rehearse: false\n")
        return load(variables, path)

    monkeypatch.setattr(config, "school_of", meanwhile)
    with pytest.raises(ClmsError, match="Somebody else"):
        settings.change(folder, {"contact": "anna", "notify": "json://127.0.0.1/x"})
    assert "clms_rehearse: false" in path_of(folder).read_text()
    assert not list(folder.rglob("*notify*")), "a secret was changed all the same"


def test_secrets_are_kept_in_files_and_never_shown(folder: Path) -> None:
    login = {"username": "school", "password": "geheim-1"}
    told = "json://geheim-2.test\n mailto://x.test?from=clms@x.test&to=anna@x.test"
    changed = settings.change(folder, {"registry_login": login, "notify": f"{told} "})
    assert sorted(changed) == ["notify", "registry_login"]
    school = config.load(folder).school
    assert school.registry_credentials_file is not None
    assert school.notify_file is not None
    for path in (Path(school.registry_credentials_file), Path(school.notify_file)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(Path(school.registry_credentials_file).read_text()) == login
    assert Path(school.notify_file).read_text() == f"{told}\n"
    found = settings.settings(folder)
    assert (found["registry_user"], found["secrets"]) == (
        "school", {"api_key": False, "registry_login": True, "notify": True},
    )  # fmt: skip
    assert "geheim" not in json.dumps(found) + path_of(folder).read_text()
    # a file that the description names already is written anew where it is
    settings.change(folder, {"notify": "json://new.test"})
    assert config.load(folder).school.notify_file == school.notify_file
    assert settings.change(folder, {"notify": ""}) == ["notify"]
    assert config.load(folder).school.notify_file is None
