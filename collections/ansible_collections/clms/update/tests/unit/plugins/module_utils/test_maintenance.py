# SPDX-License-Identifier: GPL-3.0-or-later
"""What the closed gate says to people and to programs."""

from __future__ import annotations

import json

import pytest

from ansible_collections.clms.update.plugins.module_utils.maintenance import files, name_of
from ansible_collections.clms.update.plugins.module_utils.maintenance_texts import LANGUAGES


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
    assert page.count("<script") == page.count("<script>\nsetInterval(") == 1  # the page's own
    assert "{{" not in page  # the style's braces came through the template


def test_programs_get_json() -> None:
    answer = json.loads(files("x")["maintenance.json"])
    assert answer["success"] is False
    assert "updated" in answer["error"]


def test_what_an_operator_has_to_do_is_shown() -> None:
    shown = files("A & B", commands="docker start a && echo <x>\nclms-update recover")
    page = shown["maintenance.html"]
    assert "<pre>docker start a &amp;&amp; echo &lt;x&gt;\nclms-update recover</pre>" in page
    assert "<title>A &amp; B: out of order</title>" in page
    assert "few minutes" not in page
    assert "needs help" in json.loads(shown["maintenance.json"])["error"]
    assert "tell the person who looks after the server" in page
    assert "tell Frau Vogt, &lt;room 12&gt;" in files("x", "Frau Vogt, <room 12>", "reboot")["maintenance.html"]


def test_how_far_it_has_come_is_filled_in_and_nothing_else() -> None:
    """A percent sign of somebody else would be read as a log format."""
    shown = files("100 % Schule %[src]", "anna %ci")
    page = shown["maintenance.html"]
    assert "100 %% Schule %%[src]" in page
    assert page.replace("%%", "").count("%") == 2
    assert 'value="%[str(percent),map(/gate/state.map,0)]"' in page
    assert "<p>%[str(phase),map(/gate/state.map,-),map(/gate/phases.map,Please wait)]</p>" in page
    assert "%" not in shown["maintenance.json"].replace("%%", "")
    assert dict(line.split(" ", 1) for line in shown["phases.map"].splitlines())["migrate"] == "Converting the data"
    assert "%[" not in files("x", commands="true")["maintenance.html"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("commands", ["", "docker start a"], ids=["updating", "needs help"])
def test_every_language_has_every_page_and_every_phase(language: str, commands: str) -> None:
    shown = files("A & B", "Frau Vogt", commands)
    for file in ("maintenance.html", "blocked.html"):
        page = shown[name_of(file, language)]
        assert f'<html lang="{language}">' in page
        assert "A &amp; B" in page
        assert "{" not in page.split("<main>")[1].split("</main>")[0]
    closed = shown[name_of("maintenance.html", language)]
    assert ("Frau Vogt" in closed) == ("docker start a" in closed) == bool(commands)
    assert (f"map(/gate/{name_of('phases.map', language)}," in closed) != bool(commands)
    assert "Frau Vogt" in shown[name_of("blocked.html", language)]
    assert list(LANGUAGES[language].phases) == list(LANGUAGES["en"].phases)
    assert "migrate" in shown[name_of("phases.map", language)]


def test_a_forced_update_is_explained() -> None:
    shown = files("A & B", "Frau Vogt")
    assert "A security update has to be installed first" in shown["blocked.html"]
    assert "A &amp; B" in shown["blocked.html"]
    assert "Please tell Frau Vogt." in shown["blocked.html"]
    assert json.loads(shown["blocked.json"])["success"] is False
