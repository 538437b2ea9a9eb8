# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the page together; one blueprint for each part."""

from __future__ import annotations

from flask import Flask

from ansible_collections.clms.update.plugins.module_utils.version import UPDATER
from webui.common import headers, logs
from webui.common.openapi import OpenApi

from . import (
    api,
    api_blueprint,
    api_page,
    api_server,
    backups,
    failures,
    health,
    history,
    language,
    metrics,
    pages,
    people,
    said,
    signing_in,
    texts,
    watch,
)
from . import settings as settings_page
from .agent import Agent, attach
from .config import Settings, as_flask
from .protection import csrf
from .uploads import UploadRequest

_OTHERS = 8
"""threads that are kept free of browsers that watch"""
_POLICY = (
    "default-src 'none'",
    *(f"{what} 'self'" for what in ("style-src", "script-src", "img-src", "connect-src", "form-action")),
    *("base-uri 'none'", "frame-ancestors 'none'"),
)
_HEADERS = {
    "Content-Security-Policy": "; ".join(_POLICY),
    # forms are only taken from pages of this very server, which has to be told where they come from
    "Referrer-Policy": "same-origin",
}


def create_app(settings: Settings, agent: Agent | None = None) -> Flask:
    """The page of a school.

    :param agent: by default the one whose socket the settings name
    :raises ClmsError: SECRET_FILE
    """
    app = Flask("webui.school")
    app.request_class = UploadRequest
    app.config.update(as_flask(settings))
    app.json.sort_keys = False  # type: ignore[attr-defined]
    found = agent or Agent(settings.agent_socket)
    attach(app, found)
    watch.attach(app, watch.Watch(found.ask, most=max(1, settings.threads - _OTHERS)))
    logs.install(app)
    language.install(app)
    headers.install(app, tls=True, instead=_HEADERS)
    failures.install(app)
    csrf.init_app(app)
    for upload in (pages.upload, api_server.upload):
        csrf.exempt(upload)  # it looks at the token itself, once there is room for the file
    people.install(app)
    texts.install(app)
    said.install(app)
    app.register_blueprint(language.blueprint)
    app.register_blueprint(signing_in.blueprint)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(history.blueprint)
    app.register_blueprint(backups.blueprint)
    app.register_blueprint(settings_page.blueprint)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(metrics.blueprint)
    _document(app)
    return app


def _document(app: Flask) -> None:
    """Register the API, and describe it at ``/api/openapi.json``."""
    app.config.update(
        API_TITLE="CLMS updates of a school",
        API_VERSION=UPDATER.text,
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/api",
        OPENAPI_JSON_PATH="openapi.json",
    )
    found = OpenApi(app, spec_kwargs={"security": [{name: []} for name in api_blueprint.SECURITY_SCHEMES]})
    for name, scheme in api_blueprint.SECURITY_SCHEMES.items():
        found.spec.components.security_scheme(name, scheme)
    found.register_blueprint(api.blueprint)  # with what api_server has put into it
    app.extensions[api_page.DOCUMENT] = found
    app.register_blueprint(api_page.blueprint)
