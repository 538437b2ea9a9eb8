# SPDX-License-Identifier: GPL-3.0-or-later
"""What views say of themselves in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask_smorest import Blueprint

from webui.common import openapi as common

from .schemas import ProblemAnswer

_F = TypeVar("_F", bound=Callable[..., Any])

ALWAYS = (400, 429, 500)
"""Unknown host, too many requests, failure: what everything may be answered with."""

KEY = "apiKey"
SECURITY_SCHEME = {"type": "http", "scheme": "bearer", "description": "the API key of a school"}


def problems(blueprint: Blueprint, *statuses: int) -> Callable[[_F], _F]:
    """Name the problem documents with which a view may answer, besides :data:`ALWAYS`."""
    return common.problems(blueprint, *statuses, always=ALWAYS, schema=ProblemAnswer)


def file_answers(blueprint: Blueprint, content_type: str) -> Callable[[_F], _F]:
    """A view that sends a file: whole, a part of it, or not again."""
    schema = {"type": "string", "format": "binary"}

    def decorate(view: _F) -> _F:
        view = blueprint.response(200, schema, content_type=content_type, description="the file")(view)
        view = blueprint.alt_response(206, schema=schema, content_type=content_type, description="a part of it")(view)
        view = blueprint.alt_response(304, description="the file is as the client has it")(view)
        return problems(blueprint, 404, 416)(view)

    return decorate
