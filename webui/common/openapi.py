# SPDX-License-Identifier: GPL-3.0-or-later
"""What the views of each of our servers say of themselves in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

from flask_smorest import Api, Blueprint
from marshmallow import Schema, fields

from .problems import MEDIA_TYPE

_F = TypeVar("_F", bound=Callable[..., Any])
_RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}


class ProblemAnswer(Schema):
    """A problem document (RFC 9457)."""

    type = fields.String(required=True, metadata={"format": "uri"})
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True, metadata={"description": "what happened"})
    code = fields.String(required=True, metadata={"description": "stable; for programs"})
    remedy = fields.String(required=True, metadata={"description": "what to do"})


class OpenApi(Api):  # type: ignore[misc]
    """The OpenAPI layer, which leaves errors to us."""

    DEFAULT_ERROR_RESPONSE_NAME = None  # every view names its own
    ERROR_SCHEMA = ProblemAnswer

    def _register_error_handlers(self) -> None:
        """None of its own: :mod:`.problems` answers them."""


def problems(
    blueprint: Blueprint, *statuses: int, always: tuple[int, ...], schema: type[Schema] = ProblemAnswer
) -> Callable[[_F], _F]:
    """Name the problem documents with which a view may answer.

    :param always: what everything of this server may be answered with
    """

    def decorate(view: _F) -> _F:
        for status in (*always, *statuses):
            view = blueprint.alt_response(
                status,
                schema=schema,
                content_type=MEDIA_TYPE,
                description=HTTPStatus(status).phrase,
                headers=_RETRY if status in (429, 503) else None,
            )(view)
        return view

    return decorate
