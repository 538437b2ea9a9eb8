# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions, their order, and which steps are allowed."""

from __future__ import annotations

import itertools

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.version import Version, check_path

# the example of section 11 of the specification, and more
ASCENDING = [
    *("0.0.9", "0.9.0", "1.0.0-0", "1.0.0-2", "1.0.0-10", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta"),
    *("1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.2", "1.0.10", "1.2.0", "10.0.0"),
]


def test_order() -> None:
    versions = [Version(text) for text in ASCENDING]
    shuffled = versions[1::2] + versions[::2]
    assert sorted(shuffled) == versions
    assert all(low < high and high > low and low != high for low, high in itertools.pairwise(versions))


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "1.0", "1.0.0.0", "v1.0.0", "1.0.x", "01.0.0", "1.0.0-", "1.0.0-a..b", "1.0.0+1", "1.0.0-01"),
        *(" 1.0.0", "1.0.0 ", "1.0.0\n", "-1.0.0", "1\u0661.0.0", "1.0.0/../x", "1.0." + "0" * 70),
    ],
)
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        Version(text)


def test_equal_versions_are_the_same_key() -> None:
    assert {Version("1.0.0"): 1}[Version("1.0.0")] == 1
    assert Version("1.0.0") != "1.0.0"


@pytest.mark.parametrize(
    ("current", "wanted", "minimum", "code"),
    [
        ("1.0.0", "1.0.1", None, None),
        ("1.0.0", "1.0.1", "1.0.0", None),
        ("1.0.0", "2.0.0", "1.0.1", "RELEASE_MIN_VERSION"),
        ("1.0.1", "1.0.1", None, "RELEASE_SAME"),
        ("1.0.1", "1.0.0", None, "RELEASE_OLDER"),
        ("1.0.1", "1.0.1-rc.1", None, "RELEASE_OLDER"),
    ],
)
def test_steps(current: str, wanted: str, minimum: str | None, code: str | None) -> None:
    arguments = {
        "current": Version(current),
        "wanted": Version(wanted),
        "minimum": Version(minimum) if minimum else None,
    }
    if code is None:
        check_path(**arguments)
        return
    with pytest.raises(ClmsError) as caught:
        check_path(**arguments)
    assert caught.value.code == code
