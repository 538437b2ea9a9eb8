# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the release server together; one blueprint for each feature."""

from __future__ import annotations

import time
from collections.abc import Callable

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from ansible_collections.clms.update.plugins.module_utils.version import UPDATER
from webui.common import headers, logs, problems
from webui.common.openapi import OpenApi

from . import documented, files, health, limits, releases, reports
from .audit import RefusalFilter
from .catalogue import Catalogue
from .config import Settings, as_flask
from .database import Database
from .schemas import ProblemAnswer
from .services import Services, attach
from .statuses import STATUSES


class _OpenApi(OpenApi):
    """With problem documents that have two more members."""

    ERROR_SCHEMA = ProblemAnswer


def create_app(config: Settings, *, clock: Callable[[], float] = time.time) -> Flask:
    """A release server.

    :param clock: seconds since 1970
    :raises ClmsError: SERVER_DATABASE when the database was not made with ``clms-release-server init-db``
    """
    database = Database(config.database)
    database.check()
    app = Flask("webui.vendor", static_folder=None)
    app.config.update(as_flask(config))
    app.url_map.merge_slashes = False  # an address with one slash too many is none of ours, not one to redirect
    app.json.sort_keys = False  # type: ignore[attr-defined]
    if config.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=config.proxies, x_proto=config.proxies)  # type: ignore[method-assign]
    logs.install(app)
    headers.install(app, tls=True)
    problems.install(app, STATUSES)
    limiter = limits.install(app, config.limits)
    limiter.limit(config.limits.files)(files.blueprint)
    catalogue = Catalogue(config.repository, config.root_file)
    attach(app, Services(config, database, catalogue, limiter, RefusalFilter(), clock))
    _document(app, config)
    return app


def _document(app: Flask, config: Settings) -> None:
    """Register the blueprints, and describe them at ``/api/openapi.json``."""
    app.config.update(
        API_TITLE="CLMS release server",
        API_VERSION=UPDATER.text,
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/api",
        OPENAPI_JSON_PATH="openapi.json",
    )
    api = _OpenApi(app, spec_kwargs={"servers": [{"url": config.public_url}]})
    api.spec.components.security_scheme(documented.KEY, documented.SECURITY_SCHEME)
    for part in (releases, reports, files, health):
        api.register_blueprint(part.blueprint)
