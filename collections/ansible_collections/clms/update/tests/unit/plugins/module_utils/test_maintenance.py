# SPDX-License-Identifier: GPL-3.0-or-later
"""What the closed gate says to people and to programs."""

from __future__ import annotations

import json

import pytest

from ansible_collections.clms.update.plugins.module_utils.maintenance import files


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        pytest.param("Linden School", "Linden School", id="plain"),
        pytest.param("Grundschule Süd", "Grundschule Süd", id="umlaut"),
        pytest.param("A & B", "A &amp; B", id="ampersand"),
        pytest.param("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;", id="script"),
        pytest.param("\"x\" onload='y'", "&quot;x&quot; onload=&#x27;y&#x27;", id="quotes"),
        pytest.param("{title} {0} {", "{title} {0} {", id="braces"),
    ],
)
def test_the_title_is_text(title: str, shown: str) -> None:
    page = files(title)["maintenance.html"]
    assert f"<title>{shown}: back in a few minutes</title>" in page
    assert page.count(shown) == 2  # and in the text
    assert "<script" not in page
    assert "{{" not in page  # the style's braces came through the template


def test_programs_get_json() -> None:
    answer = json.loads(files("x")["maintenance.json"])
    assert answer["success"] is False
    assert "updated" in answer["error"]


def test_what_an_operator_has_to_do_is_shown() -> None:
    shown = files("A & B", "docker start a && echo <x>\nclms-update recover")
    page = shown["maintenance.html"]
    assert "<pre>docker start a &amp;&amp; echo &lt;x&gt;\nclms-update recover</pre>" in page
    assert "<title>A &amp; B: out of order</title>" in page
    assert "few minutes" not in page
    assert "needs help" in json.loads(shown["maintenance.json"])["error"]
