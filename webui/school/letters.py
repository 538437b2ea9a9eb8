# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent tells people by mail or chat, in their language: with the words of the page, and its remedies.

There is no request then, by whose language and school the page would go, so both are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask
from flask_babel import Babel, force_locale

from .agent import Agent, attach
from .language import TRANSLATIONS, gettext
from .said import told


class _School(Agent):
    """In place of an agent that would be asked: of a school, only the time is in these words."""

    def __init__(self, time_zone: str) -> None:
        super().__init__(Path("/nowhere"))
        self._time_zone = time_zone

    def ask_kept(self, verb: str) -> dict[str, Any]:
        """What the page wants to know of the school."""
        return {"time_zone": self._time_zone}


def in_language(code: str, time_zone: str, title: str, event: Mapping[str, Any]) -> tuple[str, str]:
    """Title and text of an event, as plain text.

    :param code: of a language that has a catalogue
    :param title: one of :data:`.told.TITLES`
    :param event: see :meth:`.journal.Journal.events`
    """
    with _app(time_zone).app_context(), force_locale(code):
        return gettext(title), told(event).striptags()


@cache
def _app(time_zone: str) -> Flask:
    app = Flask("webui.school.letters", static_folder=None)
    Babel(app, default_translation_directories=str(TRANSLATIONS))
    attach(app, _School(time_zone))
    return app
