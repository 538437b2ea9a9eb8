# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.cli import main
from agent.config import load
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .conftest import description, write_config


def test_complete(folder: Path, home: Path) -> None:
    config = load(folder)
    assert (config.host, config.school.title, config.school.home) == ("school", "Linden School", home)
    assert "ansible_user" not in config.school.raw


@pytest.mark.parametrize(
    "hosts",
    [
        pytest.param({"all": {"children": {"schools": {"hosts": {"school": None}}}}}, id="below all"),
        pytest.param({"schools": {"children": {"north": {"hosts": {"school": {}}}}}}, id="in a group of the group"),
        pytest.param({"schools": {"hosts": {"school": {}}}, "others": {"hosts": {"else": {}}}}, id="beside others"),
    ],
)
def test_inventory_shapes(tmp_path: Path, home: Path, hosts: object) -> None:
    assert load(write_config(tmp_path / "etc", description(home), hosts=hosts)).host == "school"


def _variables(folder: Path) -> Path:
    return folder / "host_vars" / "school.yml"


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda f: f.rename(f.with_name("elsewhere")), "there is no file"),
    "no inventory": (lambda f: (f / "hosts.yml").unlink(), "hosts.yml"),
    "inventory is a list": (lambda f: (f / "hosts.yml").write_text("- a"), "must be a mapping"),
    "inventory is no YAML": (lambda f: (f / "hosts.yml").write_text("a: [\nb"), "not plain YAML, see line"),
    "no host": (lambda f: (f / "hosts.yml").write_text("schools: {hosts: {}}"), "exactly one host"),
    "two hosts": (lambda f: (f / "hosts.yml").write_text("schools: {hosts: {a: , b: }}"), "exactly one host"),
    "host in another group": (lambda f: (f / "hosts.yml").write_text("vendors: {hosts: {a: }}"), "exactly one host"),
    "host outside the folder": (
        lambda f: (f / "hosts.yml").write_text("schools: {hosts: {../x: }}"),
        "exactly one host",
    ),
    "no variables": (lambda f: _variables(f).unlink(), "host_vars/school.yml"),
    "variables are a folder": (lambda f: (_variables(f).unlink(), _variables(f).mkdir()), "cannot be read"),
    "variables are not text": (lambda f: _variables(f).write_bytes(b"\xff\xfe\xfd"), "not plain YAML"),
    "variables have a vault": (lambda f: _append(f, "clms_x: !vault secret"), "not plain YAML"),
    "variables have a template": (lambda f: _append(f, "clms_x: ['{{ y }}']"), "a template in 'clms_x'"),
    "unknown variable": (lambda f: _append(f, "clms_colour: red"), "clms_colour is not known"),
    "missing variable": (lambda f: _without(f, "clms_title"), "clms_title is missing"),
    "empty variable": (lambda f: _append(f, "clms_title:"), "clms_title is missing"),
    "wrong kind": (lambda f: _append(f, "clms_reserve_bytes: much"), "clms_reserve_bytes must be of type int"),
}


def _append(folder: Path, line: str) -> None:
    with _variables(folder).open("a") as file:
        file.write(f"{line}\n")


def _without(folder: Path, name: str) -> None:
    lines = _variables(folder).read_text().splitlines(keepends=True)
    _variables(folder).write_text("".join(line for line in lines if not line.startswith(name)))


@pytest.mark.parametrize(("spoil", "said"), BROKEN.values(), ids=BROKEN)
def test_broken(folder: Path, spoil: Callable[[Path], Any], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(folder)
    with pytest.raises(ClmsError) as caught:
        load(folder)
    assert caught.value.code == "SCHOOL_INCOMPLETE"
    assert said in caught.value.happened
    for command in ("status", "check", "list", "doctor", "update"):
        assert main([command, "--config", str(folder)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "(SCHOOL_INCOMPLETE)" in err
        assert len(err.strip().splitlines()) == 1


def test_secret_stays_out_of_the_complaint(folder: Path) -> None:
    _append(folder, "password: [hunter2")
    with pytest.raises(ClmsError) as caught:
        load(folder)
    assert "hunter2" not in str(caught.value)


def test_it_is_read_once_until_it_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "_SETTLED", -60.0)
    first = load(folder)
    assert load(folder) is first
    for path in (first.path, first.inventory):
        before, text = load(folder), path.read_text()
        path.write_text(f"{text}\n# a comment\n")
        assert load(folder) is not before
        assert load(folder) == first
    first.path.unlink()
    with pytest.raises(ClmsError):
        load(folder)


def test_what_was_only_just_written_is_read_again(folder: Path) -> None:
    """Two changes within one tick of the clock leave a file with one and the same time."""
    path = load(folder).path
    text = path.read_text()
    assert "Linden School" in text
    path.write_text(text.replace("Linden School", "Poplar Schule"[:13]))
    assert load(folder).school.title == "Poplar Schule"
    assert load(folder) is not load(folder)
