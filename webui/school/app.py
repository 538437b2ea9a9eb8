# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the page together; one blueprint for each part."""

from __future__ import annotations

from flask import Flask
from flask_wtf.csrf import CSRFProtect

from webui.common import headers, logs

from . import failures, pages, people, signing_in, texts
from .agent import Agent, attach
from .config import Settings, as_flask
from .watch import Watch

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def create_app(settings: Settings, agent: Agent | None = None) -> Flask:
    """The page of a school.

    :param agent: by default the one whose socket the settings name
    :raises ClmsError: SECRET_FILE
    """
    app = Flask("webui.school")
    app.config.update(as_flask(settings))
    app.json.sort_keys = False  # type: ignore[attr-defined]
    found = agent or Agent(settings.agent_socket)
    attach(app, found)
    app.extensions[pages._WATCH] = Watch(found.ask)
    logs.install(app)
    headers.install(app, tls=True, policy=_POLICY)
    failures.install(app)
    CSRFProtect(app)
    people.install(app)
    texts.install(app)
    app.register_blueprint(signing_in.blueprint)
    app.register_blueprint(pages.blueprint)
    return app
