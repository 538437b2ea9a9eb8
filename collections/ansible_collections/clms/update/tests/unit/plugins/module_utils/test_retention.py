# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.clms.update.plugins.module_utils.retention import to_delete, unused_images


@pytest.mark.parametrize(
    ("backups", "maximum", "protected", "gone"),
    [
        pytest.param("", 5, "", "", id="none"),
        pytest.param("abc", 5, "", "", id="fewer-than-allowed"),
        pytest.param("abcde", 3, "", "ab", id="the-oldest-go"),
        pytest.param("ecadb", 3, "", "ab", id="in-any-order"),
        pytest.param("abcde", 1, "", "abc", id="never-fewer-than-two"),
        pytest.param("abcde", 0, "", "abc", id="not-even-with-none-allowed"),
        pytest.param("abcde", 3, "a", "bc", id="a-protected-one-stays-and-counts"),
        pytest.param("abcde", 2, "ab", "c", id="protected-ones-beyond-the-limit-stay"),
        pytest.param("abcde", 3, "xe", "ab", id="protected-ones-that-are-not-there"),
    ],
)
def test_which_backups_are_deleted(backups: str, maximum: int, protected: str, gone: str) -> None:
    assert to_delete(list(backups), maximum=maximum, protected=set(protected)) == list(gone)


@pytest.mark.parametrize(
    ("images", "needed", "gone"),
    [
        pytest.param("abc", ["ab", "b"], "c", id="one-unused"),
        pytest.param("abc", [], "abc", id="no-backups"),
        pytest.param("a", ["ab"], "", id="one-missing"),
    ],
)
def test_which_images_are_deleted(images: str, needed: list[str], gone: str) -> None:
    assert unused_images(list(images), [set(names) for names in needed]) == list(gone)
