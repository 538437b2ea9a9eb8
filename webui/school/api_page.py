# SPDX-License-Identifier: GPL-3.0-or-later
"""The OpenAPI document of the API, to be read by people; it is made of the document itself."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app, render_template
from flask_login import login_required

blueprint = Blueprint("api_page", __name__)
DOCUMENT = "clms_openapi"
"""where the app keeps what makes the document"""
_METHODS = ("get", "post", "patch", "delete")


@blueprint.get("/api-description")
@login_required
def description() -> str:
    """Everything that programs can ask."""
    document: dict[str, Any] = current_app.extensions[DOCUMENT].spec.to_dict()
    schemas = document["components"]["schemas"]
    requests = [
        {
            "method": method.upper(),
            "path": path,
            "summary": operation.get("summary", ""),
            "parameters": [*item.get("parameters", []), *operation.get("parameters", [])],
            "body": _schema(operation.get("requestBody", {})),
            "answers": sorted(operation["responses"].items()),
            "answer": next((_schema(one) for code, one in operation["responses"].items() if code < "300"), None),
        }
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in _METHODS
    ]
    return render_template("api.html", requests=requests, schemas={name: _fields(one) for name, one in schemas.items()})


def _schema(content: dict[str, Any]) -> str | None:
    """The name of the schema of a request or an answer."""
    found = content.get("content", {}).get("application/json", {}).get("schema", {})
    reference = found.get("$ref") or found.get("items", {}).get("$ref", "")
    return reference.rsplit("/", 1)[-1] or None


def _fields(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """What is in a schema: ``name``, ``type``, ``needed`` and ``text``."""
    return [
        {
            "name": name,
            "type": _type(one),
            "needed": name in schema.get("required", ()),
            "text": one.get("description", ""),
            "example": one.get("example"),
        }
        for name, one in schema.get("properties", {}).items()
    ]


def _type(field: dict[str, Any]) -> str:
    """A type in words: ``string or null``, ``list of integer``, or the name of a schema."""
    if "$ref" in field:
        return str(field["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if "allOf" in field:
        return _type(field["allOf"][0])
    kinds = field.get("type", "anything")
    if kinds == "array":
        return f"list of {_type(field.get('items', {}))}"
    return " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
