# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of errors, and every place in the code that raises one of them."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from ansible_collections.clms.update.plugins.module_utils import errors
from ansible_collections.clms.update.plugins.module_utils.error_texts import SCHOOL
from ansible_collections.clms.update.plugins.module_utils.errors import CATALOGUE, ClmsError
from ansible_collections.clms.update.plugins.module_utils.vendor_error_texts import VENDOR

PLUGINS = Path(errors.__file__).resolve().parents[1]
ROOT = PLUGINS.parents[4]
FOLDERS = [PLUGINS, *(ROOT / name for name in ("agent", "publisher", "webui"))]


def placeholders(code: str) -> set[str]:
    """The names of the values that the texts of a code need."""
    return CATALOGUE[code].names


@pytest.mark.parametrize("code", CATALOGUE)
def test_the_texts_of_a_code(code: str) -> None:
    text = CATALOGUE[code]
    assert all(name.isidentifier() for name in placeholders(code))
    error = ClmsError(code, **{name: f"<{name}>" for name in placeholders(code)})
    for name in placeholders(code):
        assert f"<{name}>" in str(error)
    values = {name: f"<{name}>" for name in placeholders(code)}
    assert error.as_dict() == {"code": code, "message": error.happened, "remedy": error.remedy, "values": values}
    assert ClmsError.from_dict(json.loads(json.dumps(error.as_dict()))).as_dict() == error.as_dict()
    assert str(error) == f"{error.happened} {error.remedy}"
    assert text.happened.endswith((".", ","))
    assert text.remedy.endswith((".", "{commands}"))
    assert "{" not in str(error)


@pytest.mark.parametrize("code", [code for code in CATALOGUE if placeholders(code)])
def test_a_value_that_is_missing_is_noticed_at_once(code: str) -> None:
    with pytest.raises(KeyError):
        ClmsError(code)


def test_an_unknown_code() -> None:
    with pytest.raises(KeyError):
        ClmsError("NO_SUCH_CODE")


@pytest.mark.parametrize("value", ["{detail}", "{", "{0}", "%s", "a\nb", "ß"])
def test_braces_in_a_value_are_left_alone(value: str) -> None:
    assert ClmsError("BACKUP_FAILED", detail=value).happened == f"The backup could not be made: {value}."


# every place that makes an error


@dataclass(frozen=True)
class Function:
    """A function, and where it is."""

    path: Path
    node: ast.FunctionDef

    @property
    def parameters(self) -> list[str]:
        """Its parameters in the order in which calls give them."""
        arguments = self.node.args
        every = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        return every[1:] if every[:1] in (["self"], ["cls"]) else every


@dataclass(frozen=True)
class Call:
    """A call, and the function in which it stands."""

    path: Path
    node: ast.Call
    inside: Function | None

    @property
    def name(self) -> str:
        """What is called, without the object or module that has it."""
        called = self.node.func
        return called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")

    def argument(self, function: Function, parameter: str) -> ast.expr | None:
        """What the call gives for a parameter of ``function``."""
        position = function.parameters.index(parameter)
        if position < len(self.node.args):
            return self.node.args[position]
        return next((keyword.value for keyword in self.node.keywords if keyword.arg == parameter), None)


def calls_in(path: Path) -> list[Call]:
    """Every call in a file."""
    found: list[Call] = []

    def visit(node: ast.AST, inside: Function | None) -> None:
        if isinstance(node, ast.Call):
            found.append(Call(path, node, inside))
        if isinstance(node, ast.FunctionDef):
            inside = Function(path, node)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(path.read_text()), None)
    return found


CALLS = [call for folder in FOLDERS for path in sorted(folder.rglob("*.py")) for call in calls_in(path)]
ERRORS = [call for call in CALLS if call.name == "ClmsError"]


def codes_of(node: ast.expr | None, inside: Function | None) -> set[str]:
    """What an expression may be: a text, one of two, or what a variable or the callers of the function give it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.IfExp):
        return codes_of(node.body, inside) | codes_of(node.orelse, inside)
    if not isinstance(node, ast.Name) or inside is None:
        return set()
    found: set[str] = set()
    for other in ast.walk(inside.node):
        if isinstance(other, ast.Assign) and any(ast.unparse(target) == node.id for target in other.targets):
            found |= codes_of(other.value, inside)
    if node.id in inside.parameters:
        private = inside.node.name.startswith("_")
        for call in CALLS:
            if call.name == inside.node.name and (call.path == inside.path or not private):
                found |= codes_of(call.argument(inside, node.id), call.inside)
    return found


@pytest.mark.parametrize(
    "call", [pytest.param(call, id=f"{call.path.relative_to(ROOT)}:{call.node.lineno}") for call in ERRORS]
)
def test_an_error_is_made_with_a_known_code_and_all_it_needs(call: Call) -> None:
    codes = codes_of(call.node.args[0], call.inside)
    assert codes, "no code was found; teach codes_of() where it comes from"
    values = {keyword.arg for keyword in call.node.keywords}
    assert None not in values, "values out of a mapping cannot be checked"
    for code in codes:
        assert code in CATALOGUE
        assert placeholders(code) <= values, code


def test_this_finds_the_errors() -> None:
    assert len(ERRORS) > 100
    through_functions = {code for call in ERRORS for code in codes_of(call.node.args[0], call.inside)}
    # given to functions, and from there to others
    assert {"BACKUP_UNPROVEN", "REHEARSAL_MIGRATION", "DRAIN_FAILED", "DATABASE_LOGIN"} <= through_functions


@pytest.mark.parametrize(
    ("name", "shown"), [("\udcff.zip", "\\udcff.zip"), ("\x1b[2J.zip", "\\x1b[2J.zip"), ("é\n.zip", "é\n.zip")]
)
def test_what_somebody_has_named_can_be_written_down(name: str, shown: str) -> None:
    error = ClmsError("BUNDLE_REFUSED", path=name, detail=name)
    assert error.happened == f"The file {shown} was refused: {shown}."
    assert str(error).encode().decode() == str(error)


def test_of_the_values_only_those_are_carried_that_the_texts_name() -> None:
    error = ClmsError("SCHEDULE_TWICE", at="Friday", schedule=3, version="1.0.1", canary="canary")
    assert error.as_dict()["values"] == {"at": "Friday", "schedule": "3"}
    named = ClmsError("BUNDLE_REFUSED", path="\udcff.zip", detail="x").as_dict()["values"]
    assert json.dumps(named, ensure_ascii=False).encode()


def test_an_error_of_another_version_is_carried_as_it_came() -> None:
    said = {"code": "NOT_KNOWN_HERE", "message": "It is so.", "remedy": "Do this.", "values": {"x": "y"}}
    assert ClmsError.from_dict(said).as_dict() == said
    older = {"code": "RUN_NONE", "message": "It is so.", "remedy": "Do this."}
    assert ClmsError.from_dict(older).as_dict() == older | {"values": {}}


def test_a_code_means_one_thing() -> None:
    assert set(SCHOOL) & set(VENDOR) == set()
