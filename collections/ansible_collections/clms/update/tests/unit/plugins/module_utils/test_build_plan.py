# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image is built from, and when it has to be built again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.build_plan import arguments_of, identity, name_of
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.release import Release, parse_release

OTHER = "sha256:" + "9" * 64


@pytest.fixture
def release(make_release: Callable[..., dict[str, Any]]) -> Callable[..., Release]:
    """A release whose build has other fields."""

    def release(**changes: Any) -> Release:
        data = make_release()
        data["services"]["frontend"]["build"].update(changes)
        return parse_release(data)

    return release


@pytest.mark.parametrize(
    ("text", "given", "filled"),
    [
        ("${api_url}", {"api_url": "https://a.test"}, "https://a.test"),
        ("https://${host}:${port}/", {"host": "a", "port": "1", "more": "x"}, "https://a:1/"),
        ("plain", {}, "plain"),
        ("$api_url ${} ${a-b} $", {}, "$api_url ${} ${a-b} $"),
        ("${a}", {"a": "${b}", "b": "x"}, "${b}"),  # what a school says is not looked into
        ("${a}", {"a": r"\1 \g<0>"}, r"\1 \g<0>"),
        ("", {}, ""),
    ],
)
def test_filled_in(release: Callable[..., Release], text: str, given: dict[str, str], filled: str) -> None:
    assert arguments_of(release(arguments={"API": text}), "frontend", given) == {"API": filled}


def test_missing(release: Callable[..., Release]) -> None:
    with pytest.raises(ClmsError) as caught:
        arguments_of(release(), "frontend", {"api": "x"})
    assert caught.value.code == "BUILD_ARGUMENT"
    assert "'api_url'" in caught.value.remedy


def test_the_same_is_not_built_again_and_anything_else_is(
    release: Callable[..., Release], make_release: Callable[..., dict[str, Any]]
) -> None:
    def of(found: Release, **arguments: str) -> str:
        return identity(found, "frontend", arguments, "amd64")

    other_base = make_release()["services"]["frontend"]["build"]["bases"]
    other_base["BASE_IMAGE"]["amd64"]["config"] = OTHER
    other_package = make_release()
    other_package["package"]["sha256"] = "9" * 64
    first = of(release(), API="x")
    assert of(release(size=5), API="x") == first
    found = {
        first,
        of(release(), API="y"),
        of(release(source="source/other"), API="x"),
        of(release(bases=other_base), API="x"),
        of(release(bases={"OTHER": other_base["BASE_IMAGE"]}), API="x"),
        of(parse_release(other_package), API="x"),
    }
    assert len(found) == 6


def test_the_name_can_be_one_of_the_engine(release: Callable[..., Release]) -> None:
    assert name_of("frontend", "ab" * 32) == "clms-build/frontend:" + "ab" * 20
