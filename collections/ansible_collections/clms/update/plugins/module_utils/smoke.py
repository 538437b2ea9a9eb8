# SPDX-License-Identifier: GPL-3.0-or-later
"""The smoke test: requests that show that CLMS does its work, not merely that it is up.

Steps come with the signed release. ``${name}`` in a path or a JSON string is filled in; a JSON value that is
nothing but ``${name}`` is replaced by the saved value with its type. ``${username}`` and ``${password}`` are the
smoke user's, ``${unique}`` differs in every pass. Once a step has saved ``token``, it is sent as Bearer token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .release import SmokeStep

_VARIABLE = re.compile(r"\$\{([a-z_]+)\}")


class SmokeError(Exception):
    """A step did not do what it should; the text says which and how, and holds no secret."""


@dataclass(frozen=True)
class Request:
    """A request as it is sent."""

    method: str
    path: str
    json: Any
    headers: dict[str, str]


def fill(template: Any, variables: dict[str, Any]) -> Any:
    """``template`` with every variable filled in.

    :raises SmokeError: when a variable has not been saved before
    """
    if isinstance(template, dict):
        return {key: fill(value, variables) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(value, variables) for value in template]
    if not isinstance(template, str):
        return template
    try:
        whole = _VARIABLE.fullmatch(template)
        if whole:
            return variables[whole.group(1)]
        return _VARIABLE.sub(lambda match: str(variables[match.group(1)]), template)
    except KeyError as error:
        raise SmokeError(f"the variable {error} was not saved by an earlier step") from None


def request(step: SmokeStep, variables: dict[str, Any]) -> Request:
    """The request of ``step``."""
    headers = {"Authorization": f"Bearer {variables['token']}"} if "token" in variables else {}
    try:
        return Request(step.method, fill(step.path, variables), fill(step.json, variables), headers)
    except SmokeError as error:
        raise SmokeError(f"step '{step.name}': {error}") from None


def statement(template: str, variables: dict[str, Any]) -> tuple[str, list[Any]]:
    """An SQL statement with a placeholder for each variable, and the values of the placeholders.

    :raises SmokeError: when a variable has not been saved
    """
    names = _VARIABLE.findall(template)
    missing = [name for name in names if name not in variables]
    if missing:
        raise SmokeError(f"the variable '{missing[0]}' was not saved by any step")
    text = _VARIABLE.sub("%s", template.replace("%", "%%"))
    return (text if names else template), [variables[name] for name in names]


def check(step: SmokeStep, status: int, answer: Any) -> dict[str, Any]:
    """Decide whether ``step`` succeeded.

    :param answer: the decoded JSON answer, or None when it was no JSON
    :returns: the variables that the step saves
    :raises SmokeError: when it did not
    """
    if status not in step.status:
        raise SmokeError(f"step '{step.name}' ({step.method} {step.path}) answered {status}")
    saved: dict[str, Any] = {}
    for name, path in step.save.items():
        value = answer
        for part in path.lstrip(".").split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            raise SmokeError(f"step '{step.name}' ({step.method} {step.path}) gave no '{path}'")
        saved[name] = value
    return saved
